//! The name of a process among those that share a store.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest name, as of a host (RFC 1035).
const LONGEST: usize = 63;

/// The name of this process among those that share a store; part of keys.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(Arc<str>);

/// Why a text is no name of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a node is called by letters, digits, `-`, `_` and `.`, beginning with a letter or digit, 63 at most")]
pub struct NoNode;

impl NodeName {
    /// Parses a name.
    pub fn parse(text: &str) -> Result<Self, NoNode> {
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        let begins = text.starts_with(|first: char| first.is_ascii_alphanumeric());
        if plain && begins && text.len() <= LONGEST { Ok(Self(text.into())) } else { Err(NoNode) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for NodeName {
    /// The only one.
    fn default() -> Self {
        Self("local".into())
    }
}

impl TryFrom<String> for NodeName {
    type Error = NoNode;
    fn try_from(text: String) -> Result<Self, NoNode> {
        Self::parse(&text)
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_stand_in_a_key() {
        for good in ["local", "node-1", "10.0.0.7", "a_b.c"] {
            assert_eq!(NodeName::parse(good).map(|name| name.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "a/b", "-a", "ä", "a b", &"a".repeat(64)] {
            assert_eq!(NodeName::parse(bad), Err(NoNode), "{bad}");
        }
    }
}
