//! What a member may do, in one word: viewer, editor or administrator; each may what those before it may.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The role of a member or an API token in one organization. The order is that of rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees names, descriptions, domains and usage.
    Viewer,
    /// Creates, edits and deletes secrets, and tests requests.
    Editor,
    /// Rules over members, runners and tokens.
    Administrator,
}

/// Why a text is no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is one of viewer, editor, administrator")]
pub struct NoRole;

impl Role {
    /// Every role, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Editor, Self::Administrator];

    /// Parses the word, in lower case as it is written.
    pub fn parse(text: &str) -> Result<Self, NoRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(NoRole)
    }

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Administrator => "administrator",
        }
    }

    /// Whether this role may do what `needed` may.
    pub fn covers(self, needed: Self) -> bool {
        self >= needed
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_what_those_before_it_may() {
        for (at, role) in Role::ALL.into_iter().enumerate() {
            for (other_at, other) in Role::ALL.into_iter().enumerate() {
                assert_eq!(role.covers(other), at >= other_at, "{role} and {other}");
            }
        }
    }

    #[test]
    fn only_its_own_word_is_a_role() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Ok(role));
            assert_eq!(serde_json::to_string(&role).expect("a word"), format!("\"{role}\""));
        }
        for other in ["", "Viewer", "admin", "owner", "viewer "] {
            assert_eq!(Role::parse(other), Err(NoRole), "{other}");
        }
    }
}
