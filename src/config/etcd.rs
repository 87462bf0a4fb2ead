//! What `[store.etcd]` must say before it is used.

use std::collections::HashSet;

use url::{Host, Url};

use super::Config;
use super::check::{Fault, fault};
use super::sections::{Engine, Etcd};
use super::words::Span;

/// The shortest wait: an election takes longer than a moment.
const LEAST_TIMEOUT: Span = Span::secs(1);

/// Every rule over the section.
pub(super) fn check(config: &Config) -> Result<(), Fault> {
    let is_meant = config.store.engine == Engine::Etcd;
    if is_meant && config.store.etcd.is_none() {
        return fault(
            "store.engine",
            "this needs to know where etcd is; add [store.etcd] with endpoints = [\"https://HOST:2379\", …]",
        );
    }
    if let Some(etcd) = &config.store.etcd {
        endpoints(etcd)?;
        prefix(etcd)?;
        credentials(etcd)?;
        tls(etcd)?;
        if etcd.timeout < LEAST_TIMEOUT {
            return fault("store.etcd.timeout", "an election in etcd takes about a second; say at least \"1s\"");
        }
    }
    if is_meant && !cfg!(feature = "etcd") {
        let text = "this subrosa was built without etcd; build it with `cargo build --release --features etcd` \
             (that takes protoc, Debian: protobuf-compiler), or take the image, which has it";
        return fault("store.engine", text);
    }
    Ok(())
}

fn endpoints(etcd: &Etcd) -> Result<(), Fault> {
    let mut seen = HashSet::new();
    if etcd.endpoints.is_empty() {
        return fault("store.etcd.endpoints", "this names no member; name all of them, as in [\"https://10.0.0.1:2379\"]");
    }
    for text in &etcd.endpoints {
        let Some(url) = endpoint(text) else {
            let text = format!("`{text}` is no endpoint; say https://HOST:PORT (or http://) and nothing behind it");
            return fault("store.etcd.endpoints", text);
        };
        if !seen.insert(url) {
            return fault("store.etcd.endpoints", format!("`{text}` is named twice; remove one"));
        }
    }
    let secure = etcd.endpoints.iter().filter(|text| text.starts_with("https:")).count();
    if secure != 0 && secure != etcd.endpoints.len() {
        return fault("store.etcd.endpoints", "some of these are https:// and some http://; a cluster speaks one of them to all");
    }
    Ok(())
}

/// What a member may be called.
fn endpoint(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    let is_plain = matches!(url.scheme(), "http" | "https") && text.starts_with(url.scheme()) && !text.ends_with('/');
    (is_bare && is_plain && url.host().is_some() && url.password().is_none() && has_port(text)).then_some(url)
}

/// Whether the port stands there: etcd has none of its own that a URL would know.
fn has_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port != 0))
}

fn prefix(etcd: &Etcd) -> Result<(), Fault> {
    let prefix = &etcd.prefix;
    let is_good =
        prefix.len() > 1 && prefix.ends_with('/') && !prefix.contains("//") && prefix.bytes().all(|byte| byte.is_ascii_graphic());
    if is_good {
        return Ok(());
    }
    fault(
        "store.etcd.prefix",
        "a prefix is visible ASCII and ends with one \"/\", as in \"/subrosa/\", so that nobody else's keys begin like it",
    )
}

fn credentials(etcd: &Etcd) -> Result<(), Fault> {
    match (&etcd.user, &etcd.password_file) {
        (Some(user), _) if user.is_empty() => fault("store.etcd.user", "this is empty; name the user, or leave it out"),
        (Some(_), None) => {
            fault("store.etcd.user", "a user has a password; name the file that holds it with store.etcd.password_file")
        }
        (None, Some(_)) => {
            fault("store.etcd.password_file", "there is nobody to sign in as; name store.etcd.user, or remove this")
        }
        _ => Ok(()),
    }
}

fn tls(etcd: &Etcd) -> Result<(), Fault> {
    let is_secure = etcd.endpoints.iter().any(|text| text.starts_with("https:"));
    let named = [
        ("store.etcd.ca_file", etcd.ca_file.is_some()),
        ("store.etcd.certificate_file", etcd.certificate_file.is_some()),
        ("store.etcd.key_file", etcd.key_file.is_some()),
    ];
    match named.into_iter().find(|(_, is_named)| *is_named) {
        Some((key, _)) if !is_secure => {
            return fault(key, "nobody is shown this over http://; say https:// in store.etcd.endpoints");
        }
        _ => {}
    }
    if is_secure && etcd.ca_file.is_none() {
        return fault(
            "store.etcd.endpoints",
            "https:// needs to know whom to trust; name who signs the members' certificates with store.etcd.ca_file",
        );
    }
    match (&etcd.certificate_file, &etcd.key_file) {
        (Some(_), None) => fault("store.etcd.certificate_file", "a certificate has a key; name it with store.etcd.key_file"),
        (None, Some(_)) => fault("store.etcd.key_file", "there is no certificate to it; name store.etcd.certificate_file"),
        _ => Ok(()),
    }
}

/// What is permitted and not wise.
pub(super) fn remark(config: &Config) -> Option<String> {
    let etcd = config.store.etcd.as_ref().filter(|_| config.store.engine == Engine::Etcd)?;
    let far = etcd.endpoints.iter().find(|text| text.starts_with("http:") && !is_loopback(text))?;
    Some(format!(
        "store.etcd.endpoints: {far} is not encrypted: values are sealed, but names, hosts and who did what can be read and put in on the way; \
         better say https:// with store.etcd.ca_file"
    ))
}

fn is_loopback(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Environment;
    use super::super::file::ConfigFile;
    use super::*;

    fn read(section: &str) -> Result<Config, String> {
        let text = format!("[store]\nengine = \"sled\"\n[store.etcd]\n{section}\n");
        Config::assemble(Some(&ConfigFile::from_text("s.toml", &text)), Environment::default()).map_err(|fault| fault.to_string())
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_place_and_cure() {
        let one = "endpoints = [\"http://127.0.0.1:1\"]\n";
        let secure = "endpoints = [\"https://e:1\"]\n";
        for (section, key, cure) in [
            ("endpoints = []", "line 4: `store.etcd.endpoints`", "name all of them"),
            ("endpoints = [\"10.0.0.1:2379\"]", "line 4: `store.etcd.endpoints`", "say https://HOST:PORT"),
            ("endpoints = [\"http://e:2379/v3\"]", "line 4: `store.etcd.endpoints`", "nothing behind it"),
            ("endpoints = [\"http://e\"]", "line 4: `store.etcd.endpoints`", "say https://HOST:PORT"),
            ("endpoints = [\"http://u:p@e:1\"]", "line 4: `store.etcd.endpoints`", "say https://HOST:PORT"),
            ("endpoints = [\"http://e:1\", \"http://e:1\"]", "line 4: `store.etcd.endpoints`", "named twice"),
            ("endpoints = [\"http://e:1\", \"https://e:2\"]", "line 4: `store.etcd.endpoints`", "one of them to all"),
            (secure, "line 4: `store.etcd.endpoints`", "store.etcd.ca_file"),
            (&format!("{one}prefix = \"/\""), "line 5: `store.etcd.prefix`", "ends with one"),
            (&format!("{one}prefix = \"/subrosa\""), "line 5: `store.etcd.prefix`", "ends with one"),
            (&format!("{one}user = \"u\""), "line 5: `store.etcd.user`", "store.etcd.password_file"),
            (&format!("{one}password_file = \"p\""), "line 5: `store.etcd.password_file`", "store.etcd.user"),
            (&format!("{one}ca_file = \"c\""), "line 5: `store.etcd.ca_file`", "say https://"),
            (
                &format!("{secure}ca_file = \"c\"\ncertificate_file = \"c\""),
                "line 6: `store.etcd.certificate_file`",
                "store.etcd.key_file",
            ),
            (
                &format!("{secure}ca_file = \"c\"\nkey_file = \"c\""),
                "line 6: `store.etcd.key_file`",
                "store.etcd.certificate_file",
            ),
            (&format!("{one}timeout = \"10ms\""), "line 5: `store.etcd.timeout`", "at least"),
            ("endpoint = []", "line 4: `store.etcd.endpoint`", "did you mean `endpoints`?"),
        ] {
            let fault = read(section).expect_err(section);
            assert!(fault.contains(key) && fault.contains(cure), "{section}: {fault}");
        }
        let config = read(one).expect("it is right").store.etcd.expect("it is there");
        assert_eq!((config.prefix.as_str(), config.timeout), ("/subrosa/", Span::secs(5)));
    }

    #[test]
    fn the_engine_needs_the_section_and_a_build_that_has_it() {
        let text = "[store]\nengine = \"etcd\"\n";
        let read = |text: &str| Config::assemble(Some(&ConfigFile::from_text("s.toml", text)), Environment::default());
        let fault = read(text).expect_err("where is it?").to_string();
        assert!(fault.contains("line 2: `store.engine`") && fault.contains("[store.etcd]"), "{fault}");
        let whole = read(&format!("{text}[store.etcd]\nendpoints = [\"http://10.0.0.1:2379\"]\n"));
        if cfg!(feature = "etcd") {
            assert!(whole.expect("it is built in").remarks[0].contains("is not encrypted"));
        } else {
            assert!(whole.expect_err("it is not").to_string().contains("--features etcd"));
        }
    }

    #[test]
    fn the_commented_section_of_the_written_file_is_right() {
        let text = include_str!("../../config/subrosa.toml");
        let section = text.split("# [store.etcd]").nth(1).and_then(|rest| rest.split_once('\n')).expect("it is there").1;
        let lines = section.lines().take_while(|line| line.starts_with("# ")).map(|line| &line[2..]);
        let etcd = read(&lines.collect::<Vec<_>>().join("\n")).expect("it is right").store.etcd.expect("it is there");
        assert_eq!((etcd.prefix.as_str(), etcd.timeout, etcd.endpoints.len()), ("/subrosa/", Span::secs(5), 3));
    }
}
