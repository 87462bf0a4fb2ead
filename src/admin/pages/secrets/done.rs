//! What was just done, told once on the page that follows: a word in the address, from a fixed table,
//! and a secret's name.

use maud::{Markup, html};

use crate::admin::pages::parts::{Tone, status};
use crate::admin::pages::query::Query;
use crate::secret::SecretName;

/// What was done to a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// It is there now.
    Created,
    /// It changed.
    Saved,
    /// It is gone.
    Removed,
}

const WORDS: [(Done, &str); 3] = [(Done::Created, "created"), (Done::Saved, "saved"), (Done::Removed, "removed")];

/// The query by which the next page tells it; `cut`: a line end at the end of the value was removed.
pub(super) fn query(done: Done, name: &SecretName, cut: bool) -> String {
    let word = WORDS.into_iter().find(|(known, _)| *known == done).map_or("", |(_, word)| word);
    format!("?done={word}&name={name}{}", if cut { "&cut=1" } else { "" })
}

/// What the query tells.
pub(super) fn told(query: &Query) -> Markup {
    let done = WORDS.into_iter().find(|(_, word)| *word == query.text("done")).map(|(done, _)| done);
    let (Some(done), Ok(name)) = (done, SecretName::parse(query.text("name"))) else { return html! {} };
    let text = match done {
        Done::Created => html! { p { "The secret " code { (name) } " was created." } },
        Done::Saved => html! { p { "The secret " code { (name) } " was saved." } },
        Done::Removed => {
            html! { p { "The secret " code { (name) } " was removed. Requests that still refer to it are refused." } }
        }
    };
    let cut = html! { @if !query.text("cut").is_empty() { p { "One line end at the end of the value was left out." } } };
    status(Tone::Good, &html! { (text) (cut) })
}
