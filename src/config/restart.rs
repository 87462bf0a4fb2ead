//! What a changed configuration can change while the server runs, and what takes a restart.
//!
//! Everything that [`TAKES_A_RESTART`] does not name follows a reload.

use serde::Serialize;
use serde_json::Value;

use super::sections::AdminTls;
use super::{Config, ConfigError, check};

/// A setting that stays as it is until the server is restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The key, dotted.
    pub key: &'static str,
    /// What is in force.
    pub in_force: Value,
    /// What the configuration says now.
    pub configured: Value,
}

/// Names the settings that take a restart, and keeps them.
macro_rules! takes_a_restart {
    ($($key:literal: $($part:ident).+;)+) => {
        /// The keys that take a restart. `proxy.tls` and `admin.tls` take one where TLS is turned on or off; their files are
        /// read anew with each reload.
        pub const TAKES_A_RESTART: &[&str] = &[$($key),+];

        fn hold(next: &mut Config, running: &Config, held: &mut Vec<Held>) {
            $(
                if next.$($part).+ != running.$($part).+ {
                    held.push(Held::new($key, &running.$($part).+, &next.$($part).+));
                    next.$($part).+.clone_from(&running.$($part).+);
                }
            )+
        }
    };
}

takes_a_restart! {
    "data_dir": data_dir;
    "node": node;
    "proxy.listen": proxy.listen;
    "proxy.listen_tls": proxy.listen_tls;
    "proxy.socks": proxy.socks;
    "proxy.transparent": proxy.transparent;
    "proxy.workers": proxy.workers;
    "admin.listen": admin.listen;
    "intercept.ca_certificate": intercept.ca_certificate;
    "intercept.ca_key": intercept.ca_key;
    "keys.file": keys.file;
    "keys.env": keys.env;
    "keys.command": keys.command;
    "keys.command_timeout": keys.command_timeout;
    "keys.credential": keys.credential;
    "keys.previous": keys.previous;
    "log.format": log.format;
    "store.engine": store.engine;
    "store.etcd": store.etcd;
}

impl Held {
    fn new(key: &'static str, in_force: &impl Serialize, configured: &impl Serialize) -> Self {
        Self { key, in_force: shown(in_force), configured: shown(configured) }
    }
}

impl Config {
    /// This configuration as far as a server that runs under `running` can follow it, and what it cannot. What is held can
    /// contradict what is followed; then nothing can be.
    pub fn following(mut self, running: &Self) -> Result<(Self, Vec<Held>), ConfigError> {
        let mut held = Vec::new();
        hold(&mut self, running, &mut held);
        if self.proxy.tls.is_some() != running.proxy.tls.is_some() {
            held.push(Held::new("proxy.tls", &running.proxy.tls, &self.proxy.tls));
            self.proxy.tls.clone_from(&running.proxy.tls);
        }
        if way(self.admin.tls.as_ref()) != way(running.admin.tls.as_ref()) {
            held.push(Held::new("admin.tls", &running.admin.tls, &self.admin.tls));
            self.admin.tls.clone_from(&running.admin.tls);
        }
        if let Err((key, fault)) = check::check(&self) {
            let keys: Vec<_> = held.iter().map(|held| held.key).collect();
            return Err(self.fault(&key, format!("{fault} ({} takes a restart and is not changed yet)", keys.join(", "))));
        }
        Ok((self, held))
    }

    /// The keys of settings that differ between this configuration and `other`; not what they declare.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let (Value::Object(ours), Value::Object(theirs)) = (shown(self), shown(other)) else { return Vec::new() };
        let mut keys = Vec::new();
        for (name, our) in ours.iter().filter(|(name, _)| !DECLARATIONS.contains(&name.as_str())) {
            match (our, &theirs[name]) {
                (Value::Object(our), Value::Object(their)) => {
                    let differ = our.iter().filter(|(key, value)| their.get(*key) != Some(*value));
                    keys.extend(differ.map(|(key, _)| format!("{name}.{key}")));
                }
                (our, their) if our != their => keys.push(name.clone()),
                _ => {}
            }
        }
        keys
    }
}

/// What is declared is compared by whoever keeps it, values included.
const DECLARATIONS: [&str; 2] = ["secrets", "runners"];

/// How the admin port's TLS is done; which files that takes makes no difference.
fn way(tls: Option<&AdminTls>) -> Option<bool> {
    tls.map(|tls| matches!(tls, AdminTls::Files(_)))
}

/// As it is shown: a configuration holds no value.
fn shown(setting: &impl Serialize) -> Value {
    serde_json::to_value(setting).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::Environment;
    use super::super::file::ConfigFile;
    use super::*;

    fn read(text: &str) -> Config {
        Config::assemble(Some(&ConfigFile::from_text("s.toml", text)), Environment::default()).expect(text)
    }

    /// Every key with a value of its own.
    fn keys() -> Vec<String> {
        let Value::Object(sections) = shown(&Config::default()) else { panic!("a table") };
        let all = sections.iter().flat_map(|(name, value)| match value {
            Value::Object(inner) => inner.keys().map(|key| format!("{name}.{key}")).collect(),
            _ => vec![name.clone()],
        });
        all.collect()
    }

    #[test]
    fn what_takes_a_restart_stays_and_everything_else_follows() {
        let running = read("");
        let next = "data_dir = \"d\"\nnode = \"n\"\n[proxy]\nlisten = [\"127.0.0.1:1\"]\nsocks = [\"127.0.0.1:2\"]\nworkers = 3\nanonymous = \"a\"\n\
             [admin]\nlisten = [\"127.0.0.1:4\"]\nhosts = [\"a.example\"]\n[intercept]\nca_certificate = \"c/c.pem\"\nca_key = \"k/k.pem\"\npass_through = [\"b.example\"]\n\
             [egress]\nallow = [\"10.0.0.0/8\"]\n[keys]\nfile = \"k/kek\"\nenv = \"KEK\"\ncommand_timeout = \"1s\"\ncredential = \"x\"\nprevious = [{ file = \"k/old\" }]\n[injection]\nwebsocket = true\n\
             [limits]\nconnections = 1\n[timeouts]\nbody = \"1s\"\n[shutdown]\ngrace = \"1s\"\n[log]\nformat = \"json\"\nlevel = \"debug\"\n\
             [store]\nengine = \"memory\"\n[store.etcd]\nendpoints = [\"http://127.0.0.1:2379\"]\n[activity]\nkeep = \"1d\"\n";
        let (followed, held) = read(next).following(&running).expect("no contradiction");
        let held: Vec<_> = held.iter().map(|held| held.key).collect();
        let changed_here = |key: &&&str| !["proxy.listen_tls", "proxy.transparent", "keys.command"].contains(*key);
        assert_eq!(held, TAKES_A_RESTART.iter().filter(changed_here).copied().collect::<Vec<_>>());
        let mut differ = followed.differences(&running);
        differ.sort();
        assert_eq!(
            differ,
            [
                "activity.keep",
                "admin.hosts",
                "egress.allow",
                "injection.websocket",
                "intercept.pass_through",
                "limits.connections",
                "log.level",
                "proxy.anonymous",
                "shutdown.grace",
                "timeouts.body"
            ]
        );
        assert!(running.differences(&running).is_empty());
        assert!(TAKES_A_RESTART.iter().all(|key| keys().contains(&(*key).to_owned())));
    }

    #[test]
    fn tls_that_is_turned_on_or_off_takes_a_restart_and_other_files_do_not() {
        let without = read("");
        let with = |file: &str| {
            read(&format!(
                "[proxy]\nlisten_tls = [\"127.0.0.1:8443\"]\ntls = {{ certificate = \"{file}\", key = \"k\" }}\n[admin]\ntls = {{ certificate = \"{file}\", key = \"k\" }}\n"
            ))
        };
        let held = |next: Config, running: &Config| {
            let (followed, held) = next.following(running).expect("no contradiction");
            (followed.differences(running), held.iter().map(|held| held.key).collect::<Vec<_>>())
        };
        let all = vec!["proxy.listen_tls", "proxy.tls", "admin.tls"];
        assert_eq!(held(with("a"), &without), (vec![], all.clone()));
        assert_eq!(held(without.clone(), &with("a")), (vec![], all));
        assert_eq!(held(with("b"), &with("a")), (vec!["admin.tls".to_owned(), "proxy.tls".to_owned()], vec![]));
        let elsewhere = read("[admin]\ntls = \"terminated-elsewhere\"\n");
        assert_eq!(held(elsewhere, &without), (vec![], vec!["admin.tls"]));
    }

    #[test]
    fn the_documents_name_what_takes_a_restart_and_nothing_else() {
        let text = include_str!("../../config/subrosa.toml");
        let (mut section, mut told) = (String::new(), Vec::new());
        for line in text.lines() {
            let bare = line.strip_prefix("# ").unwrap_or(line);
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                section = format!("{name}.");
            } else if let Some(name) = line.strip_prefix("# [").and_then(|rest| rest.split(']').next()) {
                // A section that is shown as a comment takes a restart as a whole, or does not.
                told.extend(line.contains("; restart").then(|| name.to_owned()));
            } else if let Some((key, rest)) = bare.split_once(" = ")
                && rest.contains("; restart")
            {
                told.push(format!("{section}{key}"));
            }
        }
        assert_eq!(told, TAKES_A_RESTART);
        let operations = include_str!("../../docs/operations.md");
        let listed = operations.split("These take a restart: ").nth(1).and_then(|rest| rest.split("\n\n").next());
        let listed = listed.expect("the sentence is there").split('`').skip(1).step_by(2);
        assert_eq!(listed.collect::<Vec<_>>(), TAKES_A_RESTART);
    }
}
