//! What the config file declares: secrets and runners whose values lie in a file or a variable,
//! never in the config file itself.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::words::VariableName;
use crate::secret::{AllowedDomains, Description, DomainPattern, Limits, NamePattern, OrganizationName, RunnerName, SecretName};
use crate::tls::CertificateName;

/// One `[[secrets]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredSecret {
    /// Its name.
    pub name: SecretName,
    /// Where its value lies.
    pub value: Source,
    /// Whose it is; `default` unless said.
    #[serde(default)]
    pub organization: OrganizationName,
    /// Notes for the team.
    #[serde(default)]
    pub description: Description,
    /// Where it may be sent; empty: anywhere.
    #[serde(default)]
    pub allowed_domains: AllowedDomains,
    /// What else limits its use.
    #[serde(default)]
    pub limits: Limits,
}

/// One `[[runners]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredRunner {
    /// Its name.
    pub name: RunnerName,
    /// Where its token lies; it may be left out where a certificate is named.
    #[serde(default)]
    pub token: Option<Source>,
    /// Whose it is; `default` unless said.
    #[serde(default)]
    pub organization: OrganizationName,
    /// The secrets it may use; unset: all of its organization.
    #[serde(default)]
    pub secrets: Option<Vec<NamePattern>>,
    /// The hosts it may reach; empty: all.
    #[serde(default)]
    pub hosts: Vec<DomainPattern>,
    /// The certificate it may show instead of its token.
    #[serde(default)]
    pub certificate: Option<CertificateName>,
}

/// Where a value lies: `{ env = "NAME" }` or `{ file = "PATH" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// In an environment variable.
    Env(VariableName),
    /// In a file; one trailing line end is not part of the value.
    File(PathBuf),
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

/// Written by hand so that a value that was typed into the config file by mistake is not repeated
/// in the error message, as serde's own would.
struct SourceVisitor;

const SOURCE: &str = "a value is never written here: say { env = \"VARIABLE\" } or { file = \"PATH\" }";

impl<'de> de::Visitor<'de> for SourceVisitor {
    type Value = Source;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ env = \"VARIABLE\" } or { file = \"PATH\" }")
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Source, E> {
        Err(E::custom(SOURCE))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Source, E> {
        Err(E::custom(SOURCE))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Source, E> {
        Err(E::custom(SOURCE))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Source, A::Error> {
        let source = match map.next_key::<String>()?.as_deref() {
            Some("env") => Source::Env(map.next_value()?),
            Some("file") => Source::File(map.next_value()?),
            _ => return Err(de::Error::custom(SOURCE)),
        };
        match map.next_key::<String>()? {
            None => Ok(source),
            Some(_) => Err(de::Error::custom("a value has one source: either env or file")),
        }
    }
}
