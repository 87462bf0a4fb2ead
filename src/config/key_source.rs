//! Where a key lies, as the config file says it: never the key itself.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::words::VariableName;

/// `{ file = "PATH" }`, `{ env = "NAME" }`, `{ credential = "NAME" }` or `{ command = ["PROGRAM", "ARGUMENT"] }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeySource {
    /// In a file, 0600.
    File(PathBuf),
    /// In an environment variable.
    Env(VariableName),
    /// In a file below `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// A program prints it.
    Command(Vec<String>),
}

impl<'de> Deserialize<'de> for KeySource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeySourceVisitor)
    }
}

/// Written by hand so that a key that was typed into the config file by mistake is not repeated in the error
/// message, as serde's own would.
struct KeySourceVisitor;

const SOURCE: &str = "a key is never written here: say { file = \"PATH\" }, { env = \"VARIABLE\" }, { credential = \"NAME\" } or \
                      { command = [\"PROGRAM\"] }";

impl<'de> de::Visitor<'de> for KeySourceVisitor {
    type Value = KeySource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ file = \"PATH\" } or another place of a key")
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<KeySource, E> {
        Err(E::custom(SOURCE))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<KeySource, A::Error> {
        let source = match map.next_key::<String>()?.as_deref() {
            Some("file") => KeySource::File(map.next_value()?),
            Some("env") => KeySource::Env(map.next_value()?),
            Some("credential") => KeySource::Credential(map.next_value()?),
            Some("command") => KeySource::Command(map.next_value()?),
            _ => return Err(de::Error::custom(SOURCE)),
        };
        match map.next_key::<String>()? {
            None => Ok(source),
            Some(_) => Err(de::Error::custom("a key has one source: file, env, credential or command")),
        }
    }
}
