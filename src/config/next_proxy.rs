//! The words of `egress.upstream_proxy` and the keys beside it: the URL of another proxy, what it is
//! shown, what it is asked for, and what does not go through it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::words::{self, VariableName};
use crate::origin::{Authority, Host};
use crate::secret::{DomainPattern, OrganizationName, SecretName};

/// What another proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyScheme {
    /// `http://`: CONNECT.
    Http,
    /// `https://`: CONNECT, over TLS.
    Https,
    /// `socks5://`: SOCKS 5.
    Socks5,
}

/// The URL of another proxy: `http://HOST:PORT`, `https://HOST:PORT` or `socks5://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyUrl {
    /// What it speaks.
    pub scheme: ProxyScheme,
    /// Its host.
    pub host: Host,
    /// Its port.
    pub port: u16,
}

impl ProxyUrl {
    /// Parses a URL. What stands in it is not repeated in the error: a password may.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "write it as http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT";
        let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
        let scheme = match scheme {
            "http" => ProxyScheme::Http,
            "https" => ProxyScheme::Https,
            "socks5" => ProxyScheme::Socks5,
            _ => return Err(FORM),
        };
        if rest.contains('@') {
            return Err(
                "credentials are never written here: name a secret, a variable or a file with egress.upstream_proxy_credentials",
            );
        }
        let authority = Authority::parse(rest.strip_suffix('/').unwrap_or(rest)).map_err(|_| FORM)?;
        Ok(Self { scheme, host: authority.host, port: authority.port.ok_or(FORM)? })
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            ProxyScheme::Http => "http",
            ProxyScheme::Https => "https",
            ProxyScheme::Socks5 => "socks5",
        };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl Serialize for ProxyUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ProxyUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// What another proxy is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyNames {
    /// An address, resolved and checked here.
    #[default]
    Resolve,
    /// The name, which is not resolved here.
    Send,
}

/// Where the credentials for another proxy lie, `user:password`: `{ secret = "NAME" }`, of an
/// `organization` if not of `default`, `{ env = "NAME" }` or `{ file = "PATH" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ProxyCredentials {
    /// In a secret, looked up for each connection.
    Secret {
        /// Its name.
        secret: SecretName,
        /// Whose it is.
        organization: OrganizationName,
    },
    /// In an environment variable.
    Env {
        /// The variable.
        env: VariableName,
    },
    /// In a file; one trailing line end is not part of them.
    File {
        /// The file.
        file: PathBuf,
    },
}

const CREDENTIALS: &str =
    "credentials are never written here: say { secret = \"NAME\" }, { env = \"VARIABLE\" } or { file = \"PATH\" }";

impl<'de> Deserialize<'de> for ProxyCredentials {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CredentialsVisitor)
    }
}

/// Written by hand so that a password that was typed in by mistake is not repeated in the message.
struct CredentialsVisitor;

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum CredentialsKey {
    Secret,
    Organization,
    Env,
    File,
    #[serde(other)]
    Other,
}

impl<'de> de::Visitor<'de> for CredentialsVisitor {
    type Value = ProxyCredentials;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ secret = \"NAME\" }, { env = \"VARIABLE\" } or { file = \"PATH\" }")
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<ProxyCredentials, E> {
        Err(E::custom(CREDENTIALS))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<ProxyCredentials, A::Error> {
        let (mut secret, mut organization, mut env, mut file) = (None, None, None, None);
        while let Some(key) = map.next_key()? {
            match key {
                CredentialsKey::Secret => secret = Some(map.next_value()?),
                CredentialsKey::Organization => organization = Some(map.next_value()?),
                CredentialsKey::Env => env = Some(map.next_value()?),
                CredentialsKey::File => file = Some(map.next_value()?),
                CredentialsKey::Other => return Err(de::Error::custom(CREDENTIALS)),
            }
        }
        match (secret, organization, env, file) {
            (Some(secret), organization, None, None) => {
                Ok(ProxyCredentials::Secret { secret, organization: organization.unwrap_or_default() })
            }
            (None, None, Some(env), None) => Ok(ProxyCredentials::Env { env }),
            (None, None, None, Some(file)) => Ok(ProxyCredentials::File { file }),
            _ => Err(de::Error::custom(CREDENTIALS)),
        }
    }
}

/// What does not go through another proxy: a domain pattern, an address or a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// A host, or the hosts below a domain.
    Hosts(DomainPattern),
    /// A network.
    Network(IpNet),
}

impl Bypass {
    /// Parses `intern.example`, `*.intern.example`, `10.1.2.3` or `10.0.0.0/8`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.parse::<IpAddr>().is_ok() {
            return words::network(text).map(Self::Network);
        }
        if text.contains('/') && !text.contains("://") {
            return words::network(text).map(Self::Network);
        }
        DomainPattern::parse(text).map(Self::Hosts).map_err(|fault| format!("`{text}`: {fault}"))
    }
}

impl fmt::Display for Bypass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hosts(pattern) => pattern.fmt(f),
            Self::Network(network) => network.fmt(f),
        }
    }
}

impl Serialize for Bypass {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bypass {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_proxy_has_scheme_host_and_port_and_no_credentials() {
        for (given, kept) in [
            ("http://proxy.corp.example:3128", "http://proxy.corp.example:3128"),
            ("https://PROXY.corp.example.:443/", "https://proxy.corp.example:443"),
            ("socks5://[::1]:1080", "socks5://[::1]:1080"),
        ] {
            assert_eq!(ProxyUrl::parse(given).map(|url| url.to_string()), Ok(kept.to_owned()), "{given}");
        }
        for (bad, said) in [
            ("proxy.corp.example:3128", "http://HOST:PORT"),
            ("http://proxy.corp.example", "http://HOST:PORT"),
            ("ftp://proxy.corp.example:1", "http://HOST:PORT"),
            ("http://h:1/path", "http://HOST:PORT"),
            ("http://me:hunter2@h:1", "egress.upstream_proxy_credentials"),
        ] {
            let fault = ProxyUrl::parse(bad).expect_err(bad);
            assert!(fault.contains(said) && !fault.contains("hunter2"), "{bad}: {fault}");
        }
    }

    #[test]
    fn a_bypass_is_a_pattern_an_address_or_a_network() {
        for (given, kept) in [
            ("*.Intern.example", "*.intern.example"),
            ("crm.example", "crm.example"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("fd00::/8", "fd00::/8"),
        ] {
            assert_eq!(Bypass::parse(given).map(|bypass| bypass.to_string()), Ok(kept.to_owned()), "{given}");
        }
        for bad in ["", "*", ".intern.example", "10.0.0.1/8", "h:1", "a/b"] {
            assert!(Bypass::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn credentials_have_one_source_and_are_never_repeated() {
        let parse = |text: &str| toml::from_str::<std::collections::BTreeMap<String, ProxyCredentials>>(&format!("c = {text}"));
        for good in [
            "{ secret = \"corp.proxy\" }",
            "{ secret = \"a\", organization = \"infrastructure\" }",
            "{ env = \"A\" }",
            "{ file = \"a\" }",
        ] {
            let read = parse(good).expect(good);
            assert_eq!(parse(&toml::Value::try_from(&read["c"]).expect("text").to_string()).expect("the same"), read);
        }
        for bad in [
            "\"me:hunter2\"",
            "{ secret = \"a\", env = \"HUNTER2\" }",
            "{ file = \"a\", organization = \"hunter2\" }",
            "{ password = \"hunter2\" }",
            "{}",
        ] {
            let fault = parse(bad).expect_err(bad).message().to_owned();
            assert!(fault.contains("never written here") && !fault.to_lowercase().contains("hunter2"), "{bad}: {fault}");
        }
    }
}
