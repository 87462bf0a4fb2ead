//! The watch: every commit below the prefix is told once, whole and in order, whatever becomes of connections and members.
//!
//! It goes on behind the last revision that was told. Only where etcd has compacted that away, or was set back, changes may
//! have been missed, and then everybody loads again.
//!
//! How fresh it is, is asked each second: a majority confirms a revision, and the watch has to reach it. A member that is cut
//! off from the others, or hangs, therefore never passes for current.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use etcd_client::{EventType, WatchOptions, WatchRequestSender, WatchResponse, WatchResponseStream};
use futures_util::future::{Either, pending};
use tokio::sync::{broadcast, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::cluster::{Cluster, Trouble, signed, some_number, unsigned, watching};
use super::faults::{Fault, judge};
use super::reading::behind;
use crate::store::{Changed, Freshness, Told};

/// How often a majority is asked how far the store is.
const ASK: Duration = Duration::from_secs(1);
/// A watch that was confirmed this long ago is behind, and one that said nothing for so long is dead.
const OLD: Duration = Duration::from_secs(3);
/// How often it is looked whether it is.
const LOOK: Duration = Duration::from_millis(250);
/// Between two attempts to watch, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Whoever is told.
#[derive(Clone)]
pub(super) struct Followers {
    pub(super) told: broadcast::Sender<Told>,
    pub(super) freshness: watch::Sender<Freshness>,
}

/// What the watch is known to have told.
struct Pulse {
    /// Everything that was acknowledged before this moment.
    confirmed: Instant,
    /// Why there is no more, as far as that is known.
    why: String,
}

/// Why a watch ended.
enum End {
    Fault(String),
    /// What comes next is not to be had any more.
    Lost,
}

/// However following ends, by a fault of this program too: nobody may take what was told last for the truth for ever.
struct Ended(watch::Sender<Freshness>);

impl Drop for Ended {
    fn drop(&mut self) {
        let why = "the task that follows etcd has ended; restart subrosa".to_owned();
        self.0.send_replace(Freshness::Behind { since: Instant::now(), why });
    }
}

/// Follows what comes behind `revision`, which was confirmed at `since`, for ever.
pub(super) async fn follow(cluster: Arc<Cluster>, followers: Followers, revision: u64, since: Instant) {
    let _ended = Ended(followers.freshness.clone());
    let why = "the watch has not begun yet".to_owned();
    let pulse = Arc::new(Mutex::new(Pulse { confirmed: since, why }));
    let looking = look(Arc::clone(&pulse), followers.freshness.clone());
    let mut following = Following { cluster, followers, pulse, last: revision };
    tokio::join!(following.run(), looking);
}

/// Says when the pulse is too old.
async fn look(pulse: Arc<Mutex<Pulse>>, freshness: watch::Sender<Freshness>) {
    let mut looks = interval(LOOK);
    loop {
        looks.tick().await;
        let pulse = pulse.lock().unwrap_or_else(PoisonError::into_inner);
        let now = if pulse.confirmed.elapsed() < OLD {
            Freshness::Current
        } else {
            Freshness::Behind { since: pulse.confirmed, why: pulse.why.clone() }
        };
        drop(pulse);
        let was = freshness.borrow().clone();
        if was != now {
            match (&was, &now) {
                (Freshness::Current, Freshness::Behind { why, .. }) => {
                    tracing::warn!(why, "etcd cannot be followed; what it has is not known");
                }
                (Freshness::Behind { .. }, Freshness::Current) => {
                    tracing::info!("etcd is followed again, and nothing was missed");
                }
                _ => {}
            }
            freshness.send_replace(now);
        }
    }
}

struct Following {
    cluster: Arc<Cluster>,
    followers: Followers,
    pulse: Arc<Mutex<Pulse>>,
    /// The last revision that was told.
    last: u64,
}

impl Following {
    async fn run(&mut self) {
        let (mut member, mut pause) = (some_number(), Duration::ZERO);
        loop {
            let before = self.last;
            match self.watch(member % self.cluster.count()).await {
                End::Fault(why) => {
                    tracing::debug!(why, "a watch of etcd ended");
                    self.note(format!("etcd cannot be followed: {why}"));
                }
                End::Lost => self.begin_anew().await,
            }
            pause = if self.last > before { Duration::ZERO } else { (pause * 2 + Duration::from_millis(50)).min(LONGEST_PAUSE) };
            sleep(pause).await;
            member += 1;
        }
    }

    /// Watches at one member until that ends.
    async fn watch(&mut self, member: usize) -> End {
        let name = self.cluster.name(member).to_owned();
        let begun = timeout(self.cluster.patience(), self.begin(member)).await;
        let (mut asking, mut answers) = match begun {
            Ok(Ok(both)) => both,
            Ok(Err(why)) => return End::Fault(why),
            Err(_) => return End::Fault(format!("{name}: it does not answer")),
        };
        let mut ticks = interval(ASK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut heard, mut reached) = (Instant::now(), self.last);
        // When a majority was asked, and how far the store was then.
        let mut goal: Option<(Instant, u64)> = None;
        let mut question = Either::Left(pending());
        loop {
            tokio::select! {
                answer = answers.message() => {
                    let answer = match answer {
                        Ok(Some(answer)) => answer,
                        Ok(None) => return End::Fault(format!("{name}: it ended the watch")),
                        Err(error) => return End::Fault(said(&judge(&error, &name, &self.cluster.settings))),
                    };
                    heard = Instant::now();
                    if answer.compact_revision() > 0 {
                        return End::Lost;
                    }
                    if answer.canceled() {
                        return End::Fault(format!("{name}: {}", answer.cancel_reason()));
                    }
                    reached = reached.max(self.tell(&answer));
                }
                _ = ticks.tick() => {
                    if heard.elapsed() >= OLD {
                        return End::Fault(format!("{name}: it says nothing any more"));
                    }
                    if matches!(question, Either::Left(_)) {
                        question = Either::Right(Box::pin(ask(Arc::clone(&self.cluster), self.last)));
                    }
                    if asking.request_progress().await.is_err() {
                        return End::Fault(format!("{name}: the connection is gone"));
                    }
                }
                (asked, told, revision) = &mut question => {
                    question = Either::Left(pending());
                    match revision {
                        // Set back to something older than was told before: what it says from there on is another story.
                        Ok(revision) if revision < told => return End::Lost,
                        Ok(revision) => {
                            goal = Some((asked, revision));
                            if reached < revision && asking.request_progress().await.is_err() {
                                return End::Fault(format!("{name}: the connection is gone"));
                            }
                        }
                        Err(trouble) => self.note(in_words(trouble)),
                    }
                }
            }
            if let Some((asked, revision)) = goal
                && reached >= revision
            {
                goal = None;
                self.confirm(asked);
            }
        }
    }

    async fn begin(&self, member: usize) -> Result<(WatchRequestSender, WatchResponseStream), String> {
        let client = self.cluster.connect(member).await.map_err(|fault| said(&fault))?;
        let prefix = self.cluster.full("");
        let options =
            WatchOptions::new().with_range(behind(prefix.clone().into_bytes())).with_start_revision(signed(self.last + 1));
        let stream = watching(&client).watch(prefix, Some(options.with_progress_notify())).await;
        let stream = stream.map_err(|error| said(&judge(&error, self.cluster.name(member), &self.cluster.settings)))?;
        Ok(stream.split())
    }

    /// Tells what an answer holds. How far it reaches.
    fn tell(&mut self, answer: &WatchResponse) -> u64 {
        if answer.events().is_empty() {
            // Of one that only says that it was begun nothing follows.
            let is_progress = !answer.created();
            return answer.header().filter(|_| is_progress).map_or(0, |header| unsigned(header.revision()));
        }
        let mut commits: Vec<(u64, Vec<Changed>)> = Vec::new();
        for event in answer.events() {
            let Some(found) = event.kv() else { continue };
            let revision = unsigned(found.mod_revision());
            if revision <= self.last {
                // It was told on another connection.
                continue;
            }
            let now = (event.event_type() == EventType::Put).then(|| (revision, found.value().to_vec()));
            let changed = Changed { key: self.cluster.short(found.key()), now };
            match commits.last_mut() {
                Some((last, changes)) if *last == revision => changes.push(changed),
                _ => commits.push((revision, vec![changed])),
            }
        }
        for (revision, changes) in commits {
            self.last = revision;
            // Nobody listening is no fault.
            let _ = self.followers.told.send(Told::Commit { revision, changes });
        }
        self.last
    }

    /// What comes next is gone: everybody loads, and the watch goes on from a revision that no load is behind.
    async fn begin_anew(&mut self) {
        loop {
            let asked = Instant::now();
            match self.cluster.revision().await {
                Ok(revision) => {
                    tracing::warn!(
                        from = self.last,
                        to = revision,
                        "etcd no longer has the changes in between: everything is loaded again"
                    );
                    self.last = revision;
                    let _ = self.followers.told.send(Told::LoadAgain);
                    return self.confirm(asked);
                }
                Err(trouble) => self.note(in_words(trouble)),
            }
            sleep(ASK).await;
        }
    }

    fn confirm(&self, moment: Instant) {
        let mut pulse = self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        pulse.confirmed = pulse.confirmed.max(moment);
    }

    fn note(&self, why: String) {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner).why = why;
    }
}

/// How far the store is; with when that was asked, and what was told by then.
async fn ask(cluster: Arc<Cluster>, told: u64) -> (Instant, u64, Result<u64, Trouble>) {
    (Instant::now(), told, cluster.revision().await)
}

fn in_words(trouble: Trouble) -> String {
    match trouble {
        Trouble::Unanswered(why) | Trouble::Refused(why) => why,
        Trouble::Compacted => "it was compacted away".to_owned(),
    }
}

fn said(fault: &Fault) -> String {
    match fault {
        Fault::Away(why) | Fault::NotDone(why) | Fault::Lost(why) | Fault::Unwelcome(why) | Fault::Refused(why) => why.clone(),
        Fault::Compacted => "it was compacted away".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_ends_by_a_fault_is_behind() {
        let freshness = watch::Sender::new(Freshness::Current);
        let ended = Ended(freshness.clone());
        let faulty = tokio::spawn(async move {
            let _ended = ended;
            panic!("a fault of this program");
        });
        assert!(faulty.await.is_err());
        let now = freshness.borrow().clone();
        assert!(matches!(&now, Freshness::Behind { why, .. } if why.contains("restart subrosa")), "{now:?}");
    }
}
