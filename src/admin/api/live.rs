//! Activity as it happens: server-sent events, for as long as the right to see them lasts.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use tokio::sync::broadcast::{self, error::RecvError};

use super::activity::shown;
use crate::activity::{Activity, Filter, Found};
use crate::admin::principal::Standing;
use crate::secret::OrganizationName;
use crate::store::StoreError;

/// How often something is said where nothing happens; the right is looked at as often.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Entries at most that somebody who comes back is told of.
const BACK: usize = 500;

/// Somebody who follows.
pub(super) struct Following {
    pub(super) activity: Arc<Activity>,
    pub(super) entries: broadcast::Receiver<Found>,
    pub(super) organization: OrganizationName,
    pub(super) filter: Filter,
    pub(super) standing: Standing,
}

/// What is told: what came after the entry `last` first, then everything as it happens.
pub(super) async fn response(following: Following, last: Option<String>) -> Result<Response, StoreError> {
    let missed = match last.as_deref().and_then(place) {
        Some((node, number)) => following.since(node, number).await?,
        None => VecDeque::new(),
    };
    let told_up_to = missed.back().and_then(|found| found.number.map(|number| (found.node.to_string(), number)));
    Ok(Sse::new(events(following, missed, told_up_to)).into_response())
}

/// The node and the number in an entry's id.
fn place(id: &str) -> Option<(&str, u64)> {
    let (node, number) = id.rsplit_once('-')?;
    Some((node, number.parse().ok()?))
}

impl Following {
    /// What is wanted and came after an entry of `node`, the oldest first.
    async fn since(&self, node: &str, number: u64) -> Result<VecDeque<Found>, StoreError> {
        let mut walk = self.activity.walk(&self.organization, self.filter.clone());
        let mut since = VecDeque::new();
        while let Some(found) = walk.next().await? {
            let is_known = found.node.as_str() == node && found.number.is_none_or(|found| found <= number);
            if is_known || since.len() == BACK {
                break;
            }
            since.push_front(found);
        }
        Ok(since)
    }

    /// What happens next, as an event; `None` once there is nothing more to be told.
    async fn next(&mut self, told_up_to: Option<&(String, u64)>) -> Option<Event> {
        loop {
            if !self.standing.sees(&self.organization) {
                return None;
            }
            match tokio::time::timeout(HEARTBEAT, self.entries.recv()).await {
                Err(_) => return Some(Event::default().comment("")),
                Ok(Err(RecvError::Closed)) => return None,
                Ok(Err(RecvError::Lagged(missed))) => {
                    return Some(Event::default().event("lagged").data(format!("{{\"missed\":{missed}}}")));
                }
                Ok(Ok(found)) => {
                    let is_told = told_up_to.is_some_and(|(node, number)| {
                        found.node.as_str() == node && found.number.is_some_and(|found| found <= *number)
                    });
                    // The right may have ended while nothing happened.
                    let sees = self.standing.sees(&self.organization);
                    if sees && !is_told && self.filter.wants(&self.organization, &found.entry) {
                        return Some(event(&found));
                    }
                }
            }
        }
    }
}

enum Stage {
    Missed(Following, VecDeque<Found>, Option<(String, u64)>),
    Live(Following, Option<(String, u64)>),
    Over,
}

fn events(
    following: Following,
    missed: VecDeque<Found>,
    told_up_to: Option<(String, u64)>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(Stage::Missed(following, missed, told_up_to), |stage| async {
        let (mut following, told_up_to) = match stage {
            Stage::Over => return None,
            Stage::Missed(following, mut missed, told_up_to) => match missed.pop_front() {
                Some(found) => return Some((Ok(event(&found)), Stage::Missed(following, missed, told_up_to))),
                None => (following, told_up_to),
            },
            Stage::Live(following, told_up_to) => (following, told_up_to),
        };
        if let Some(event) = following.next(told_up_to.as_ref()).await {
            return Some((Ok(event), Stage::Live(following, told_up_to)));
        }
        let reason = "{\"reason\":\"You may no longer see this, or the server is stopping.\"}";
        Some((Ok(Event::default().event("end").data(reason)), Stage::Over))
    })
}

fn event(found: &Found) -> Event {
    let data = serde_json::to_string(&shown(found)).expect("an entry has text keys only");
    let event = Event::default().event("entry").data(data);
    match found.id() {
        Some(id) => event.id(id),
        None => event,
    }
}
