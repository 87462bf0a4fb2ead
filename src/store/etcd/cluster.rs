//! The members of a cluster: whichever answers is asked, and none of another cluster.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, GetOptions, Identity, TlsOptions};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

use super::EtcdSettings;
use super::faults::{Fault, judge};
use crate::store::StoreError;

/// Between two rounds of asking everybody.
pub(super) const AGAIN: Duration = Duration::from_millis(100);
/// The least that one member is given; it may be on a slow disk.
const LEAST: Duration = Duration::from_secs(1);
/// Answers are as large as what is stored; how much of it is asked for at once is decided elsewhere.
const LARGEST_ANSWER: usize = i32::MAX as usize;

/// Why nobody did what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody answered in time.
    Unanswered(String),
    /// It was refused, in one sentence with its cure.
    Refused(String),
    /// What was asked for is compacted away.
    Compacted,
}

/// The members, and who of them is asked first.
pub(super) struct Cluster {
    pub(super) settings: EtcdSettings,
    members: Vec<Member>,
    first: AtomicUsize,
    /// Which cluster this is, once anybody said so; never 0.
    id: AtomicU64,
}

struct Member {
    endpoint: String,
    client: Mutex<Option<Client>>,
}

impl Cluster {
    pub(super) fn new(settings: EtcdSettings) -> Self {
        let member = |endpoint: &String| Member { endpoint: endpoint.clone(), client: Mutex::default() };
        let members: Vec<_> = settings.endpoints.iter().map(member).collect();
        let first = AtomicUsize::new(some_number() % members.len().max(1));
        Self { settings, members, first, id: AtomicU64::new(0) }
    }

    pub(super) fn count(&self) -> usize {
        self.members.len()
    }

    pub(super) fn name(&self, member: usize) -> &str {
        &self.members[member].endpoint
    }

    /// The key in etcd.
    pub(super) fn full(&self, key: &str) -> String {
        format!("{}{key}", self.settings.prefix)
    }

    /// The key of a store at `full`. One that is no text is nobody's of ours.
    pub(super) fn short(&self, full: &[u8]) -> String {
        String::from_utf8_lossy(full.strip_prefix(self.settings.prefix.as_bytes()).unwrap_or(full)).into_owned()
    }

    /// How long one member is waited for.
    pub(super) fn patience(&self) -> Duration {
        (self.settings.timeout / 3).max(LEAST).min(self.settings.timeout)
    }

    /// The revision of the store, confirmed by a majority: everything acknowledged before is in it.
    pub(super) async fn revision(&self) -> Result<u64, Trouble> {
        let prefix = &self.settings.prefix;
        let answer = self.ask(|mut client| async move { client.get(prefix.as_str(), Some(few())).await }).await?;
        Ok(answer.header().map_or(0, |header| unsigned(header.revision())))
    }

    /// Asks one member after the other until one answers: for what may be asked twice.
    pub(super) async fn ask<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let until = Instant::now() + self.settings.timeout;
        loop {
            let mut faults = Vec::new();
            for member in self.in_turn() {
                match self.ask_one(member, until, &call).await {
                    Ok(answer) => return Ok(answer),
                    Err(Fault::Refused(why)) => return Err(Trouble::Refused(why)),
                    Err(Fault::Compacted) => return Err(Trouble::Compacted),
                    Err(fault) => faults.push(fault),
                }
            }
            give_up(&faults, until)?;
            sleep(AGAIN).await;
        }
    }

    /// The members, beginning with the one that answered last.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = usize> + use<> {
        let (first, count) = (self.first.load(Ordering::Relaxed), self.count());
        (0..count).map(move |offset| (first + offset) % count)
    }

    /// Asks this member, which is asked first from now on if it answers.
    pub(super) async fn ask_one<T, F>(&self, member: usize, until: Instant, call: impl Fn(Client) -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let left = until.saturating_duration_since(Instant::now());
        let wait = self.patience().min(left);
        let name = self.name(member);
        // What takes part in making a connection changes nothing.
        let begun = timeout(wait, self.client(member)).await;
        let client = match begun {
            Ok(Ok(client)) => client,
            Ok(Err(Fault::Lost(why))) => return Err(Fault::NotDone(why)),
            Ok(Err(fault)) => return Err(fault),
            Err(_) => return Err(Fault::NotDone(format!("{name}: it does not answer"))),
        };
        let outcome = match timeout(wait, call(client)).await {
            Ok(Ok(answer)) => {
                self.first.store(member, Ordering::Relaxed);
                return Ok(answer);
            }
            Ok(Err(error)) => judge(&error, name, &self.settings),
            Err(_) => Fault::Lost(format!("{name}: no answer within {wait:?}")),
        };
        if !matches!(outcome, Fault::Refused(_) | Fault::Compacted) {
            *self.members[member].client.lock().await = None;
        }
        Err(outcome)
    }

    async fn client(&self, member: usize) -> Result<Client, Fault> {
        let mut client = self.members[member].client.lock().await;
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        Ok(client.insert(self.connect(member).await?).clone())
    }

    /// A connection of its own to this member, which belongs to the same cluster as the others.
    pub(super) async fn connect(&self, member: usize) -> Result<Client, Fault> {
        let name = self.name(member);
        let judged = |error| judge(&error, name, &self.settings);
        let options = self.options().await?;
        let mut client = Client::connect([name], Some(options)).await.map_err(judged)?;
        // It answers for itself, whether it has a leader or not.
        let who = client.get(self.settings.prefix.as_str(), Some(few().with_serializable())).await.map_err(judged)?;
        let id = who.header().map_or(0, etcd_client::ResponseHeader::cluster_id);
        match self.id.compare_exchange(0, id, Ordering::Relaxed, Ordering::Relaxed) {
            Err(known) if known != id => Err(Fault::Unwelcome(format!(
                "{name} belongs to another cluster of etcd (its id is {id:x}, and this node began with {known:x}); name the members of one in \
                 store.etcd.endpoints, and restart the node if the cluster was made anew"
            ))),
            _ => Ok(client),
        }
    }

    async fn options(&self) -> Result<ConnectOptions, Fault> {
        let settings = &self.settings;
        let mut options = ConnectOptions::new().with_connect_timeout(self.patience()).with_auto_token_refresh(true);
        options = options.with_require_leader(true);
        if let (Some(user), Some(file)) = (&settings.user, &settings.password_file) {
            let bytes = Zeroizing::new(read(file, "store.etcd.password_file").await?);
            let password =
                std::str::from_utf8(&bytes).map_err(|_| unreadable(file, "store.etcd.password_file", &"it is no text"))?;
            options = options.with_user(user, password.trim_end_matches(['\r', '\n']));
        }
        if let Some(file) = &settings.ca_file {
            let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(read(file, "store.etcd.ca_file").await?));
            if let (Some(certificate), Some(key)) = (&settings.certificate_file, &settings.key_file) {
                let certificate = read(certificate, "store.etcd.certificate_file").await?;
                tls = tls.identity(Identity::from_pem(certificate, read(key, "store.etcd.key_file").await?));
            }
            options = options.with_tls(tls);
        }
        Ok(options)
    }
}

/// Whether there is time for another round.
pub(super) fn give_up(faults: &[Fault], until: Instant) -> Result<(), Trouble> {
    let unwelcome = faults.iter().find_map(|fault| match fault {
        Fault::Unwelcome(why) => Some(why),
        _ => None,
    });
    if let Some(why) = unwelcome {
        return Err(Trouble::Refused(why.clone()));
    }
    // An election takes a moment. Where nobody is there at all, there is nothing to wait for.
    let is_anybody_there = faults.iter().any(|fault| !matches!(fault, Fault::Away(_)));
    if is_anybody_there && Instant::now() + AGAIN < until {
        return Ok(());
    }
    let whys = faults.iter().map(|fault| match fault {
        Fault::Away(why) | Fault::NotDone(why) | Fault::Lost(why) | Fault::Unwelcome(why) | Fault::Refused(why) => why.as_str(),
        Fault::Compacted => "it is compacted away",
    });
    Err(Trouble::Unanswered(format!("etcd does not answer ({})", whys.collect::<Vec<_>>().join("; "))))
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        Self::Failed(match trouble {
            Trouble::Unanswered(why) => {
                format!("{why}; see whether a majority of its members runs, and whether store.etcd.endpoints names them")
            }
            Trouble::Refused(why) => why,
            Trouble::Compacted => {
                "etcd compacts faster than this node can read; try again, and keep a longer history there".to_owned()
            }
        })
    }
}

async fn read(file: &std::path::Path, key: &str) -> Result<Vec<u8>, Fault> {
    tokio::fs::read(file).await.map_err(|fault| unreadable(file, key, &fault))
}

fn unreadable(file: &std::path::Path, key: &str, fault: &dyn std::fmt::Display) -> Fault {
    Fault::Refused(format!("{} cannot be read: {fault}; see to {key}", file.display()))
}

/// Of what is asked for only to hear an answer.
fn few() -> GetOptions {
    GetOptions::new().with_keys_only().with_limit(1)
}

/// Revisions are never negative.
pub(super) fn unsigned(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0)
}

/// The same the other way.
pub(super) fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

/// So that a thousand nodes do not all begin with the same member.
pub(super) fn some_number() -> usize {
    usize::try_from(RandomState::new().build_hasher().finish() >> 33).unwrap_or(0)
}

/// A client for what is stored.
pub(super) fn kv(client: &Client) -> etcd_client::KvClient {
    client.kv_client().max_decoding_message_size(LARGEST_ANSWER).max_encoding_message_size(LARGEST_ANSWER)
}

/// A client for following it.
pub(super) fn watching(client: &Client) -> etcd_client::WatchClient {
    client.watch_client().max_decoding_message_size(LARGEST_ANSWER)
}
