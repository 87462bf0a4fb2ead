//! The icons, drawn into the page so that they take the colour of the text beside them. They say nothing
//! that the text does not.

use maud::{Markup, PreEscaped};

macro_rules! icons {
    ($($(#[$doc:meta])* $name:ident = $file:literal;)*) => {
        $($(#[$doc])* pub(in crate::admin) const $name: Icon = Icon(include_str!(concat!("../assets/icons/", $file)));)*
    };
}

/// One drawing.
#[derive(Clone, Copy)]
pub(in crate::admin) struct Icon(&'static str);

impl maud::Render for Icon {
    fn render(&self) -> Markup {
        PreEscaped(self.0.trim_end().to_owned())
    }
}

icons! {
    /// Secrets.
    KEY = "key.svg";
    /// A request test.
    FLASK = "flask.svg";
    /// What happened.
    ACTIVITY = "activity.svg";
    /// Runners.
    RUNNER = "runner.svg";
    /// Members.
    MEMBERS = "members.svg";
    /// Trust and environment.
    SETUP = "setup.svg";
    /// Copying.
    COPY = "copy.svg";
    /// It worked.
    CHECK = "check.svg";
    /// Removing.
    TRASH = "trash.svg";
    /// Searching.
    SEARCH = "search.svg";
    /// Something new.
    PLUS = "plus.svg";
    /// A choice.
    CHEVRONS = "chevrons.svg";
    /// Careful.
    WARNING = "warning.svg";
    /// For the record.
    INFO = "info.svg";
    /// Refused.
    STOP = "stop.svg";
    /// Whoever is signed in.
    USER = "user.svg";
    /// An organization.
    ORGANIZATION = "organization.svg";
}
