//! What is known of a secret's use, as the pages show it.

use maud::{Markup, html};

use crate::activity::LastUse;
use crate::admin::State;
use crate::admin::pages::parts::{moment, now};
use crate::vault::SecretView;

const DAY: i64 = 24 * 60 * 60;
/// So long a refusal is told as a fresh one, in seconds.
const JUST: i64 = DAY;
/// Who was not used for so long may not be needed any more, in seconds.
const LONG: i64 = 90 * DAY;

/// The use of one secret.
pub(super) struct Usage {
    /// The last time it went out.
    pub(super) last: Option<LastUse>,
    /// When somebody was refused its use, if that was a short while ago.
    pub(super) refused: Option<i64>,
    /// It has been there for 90 days and more, and nobody used it in that time.
    pub(super) unused: bool,
}

/// The use of `secret`.
pub(super) fn of(state: &State, secret: &SecretView) -> Usage {
    let (last, refused) = state.activity.last_times(&secret.organization, &secret.name);
    let (refused, now) = (refused.map(seconds), now());
    let used_at = last.as_ref().map_or(secret.created_at, |last| seconds(last.at));
    Usage {
        refused: refused.filter(|at| now - at < JUST),
        unused: secret.fault.is_none() && now - secret.created_at.max(used_at) >= LONG,
        last,
    }
}

/// Every use that is known, newest first: one for each runner, host and surface.
pub(super) fn recent(state: &State, secret: &SecretView) -> Vec<LastUse> {
    state.activity.usage(&secret.organization, &secret.name).unwrap_or_default().last_uses
}

impl Usage {
    /// When it was used last, in unix seconds.
    pub(super) fn last_at(&self) -> Option<i64> {
        self.last.as_ref().map(|last| seconds(last.at))
    }

    /// In a few words.
    pub(super) fn told(&self, now: i64) -> Markup {
        html! {
            @match &self.last {
                Some(last) => {
                    (moment(seconds(last.at), now))
                    div.small.muted { (last.host) }
                }
                None => { span.muted { "not seen" } }
            }
        }
    }

    /// With by whom and how.
    pub(super) fn told_in_full(&self, now: i64) -> Markup {
        html! {
            (self.told(now))
            @if let Some(last) = &self.last { div.small.muted { "by " (by(last)) ", in the " (place(last)) } }
        }
    }
}

/// Use by use.
pub(super) fn table(uses: &[LastUse], now: i64) -> Markup {
    html! {
        table.table role="table" {
            thead role="rowgroup" { tr role="row" {
                @for title in ["When", "Runner", "Host", "Where"] { th scope="col" role="columnheader" { (title) } }
            } }
            tbody role="rowgroup" {
                @for last in uses {
                    tr role="row" {
                        td role="cell" data-label="When" { (moment(seconds(last.at), now)) }
                        td role="cell" data-label="Runner" { (by(last)) }
                        td role="cell" data-label="Host" { span.mono { (last.host) } }
                        td role="cell" data-label="Where" { (place(last)) }
                    }
                }
            }
        }
    }
}

fn by(last: &LastUse) -> &str {
    last.runner.as_ref().map_or("a client without a name", |runner| runner.as_str())
}

fn place(last: &LastUse) -> &'static str {
    last.surface.map_or("request", crate::secret::Surface::as_str)
}

fn seconds(millis: i64) -> i64 {
    millis.div_euclid(1_000)
}
