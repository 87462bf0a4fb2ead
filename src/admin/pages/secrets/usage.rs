//! What is known of a secret's use, as the pages show it.

use std::time::SystemTime;

use maud::{Markup, html};

use crate::admin::State;
use crate::admin::pages::parts::moment;
use crate::audit::LastUse;
use crate::vault::SecretView;

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
    let last = state.audit.last_use(&secret.organization, &secret.name);
    Usage { last, refused: None, unused: false }
}

impl Usage {
    /// When it was used last, in unix seconds.
    pub(super) fn last_at(&self) -> Option<i64> {
        self.last.as_ref().map(|last| unix(last.at))
    }

    /// In a few words.
    pub(super) fn told(&self, now: i64) -> Markup {
        html! {
            @match &self.last {
                Some(last) => {
                    (moment(unix(last.at), now))
                    div.small.muted { (last.host.to_string()) }
                }
                None => { span.muted { "not seen" } }
            }
        }
    }

    /// With by whom and how.
    pub(super) fn told_in_full(&self, now: i64) -> Markup {
        html! {
            (self.told(now))
            @if let Some(last) = &self.last { div.small.muted { "by " (by(last)) ", in the " (last.surface) } }
        }
    }

    /// Use by use.
    pub(super) fn table(&self, now: i64) -> Markup {
        html! {
            table.table role="table" {
                thead role="rowgroup" { tr role="row" {
                    @for title in ["When", "Runner", "Host", "Where"] { th scope="col" role="columnheader" { (title) } }
                } }
                tbody role="rowgroup" {
                    @if let Some(last) = &self.last {
                        tr role="row" {
                            td role="cell" data-label="When" { (moment(unix(last.at), now)) }
                            td role="cell" data-label="Runner" { (by(last)) }
                            td role="cell" data-label="Host" { span.mono { (last.host.to_string()) } }
                            td role="cell" data-label="Where" { (last.surface) }
                        }
                    }
                }
            }
        }
    }
}

fn by(last: &LastUse) -> &str {
    last.runner.as_ref().map_or("a client without a name", |runner| runner.as_str())
}

fn unix(at: SystemTime) -> i64 {
    time::OffsetDateTime::from(at).unix_timestamp()
}
