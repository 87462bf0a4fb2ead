//! The configuration that is in force, and how another takes its place: whole, or not at all.
//!
//! Everything that a new one names is read, made and checked before anything is put in force; after that nothing can fail.
//! What takes a restart stays as it is and is told. Requests under way finish by what they began with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Mutex;

use super::followed::{self, Lasting};
use super::prints::{Printer, Prints};
use super::{AppError, Rooms, doors, front, keys, organizations, placed_runner, placed_secret};
use crate::admin::{self, NeedsRestart, NotReloaded, Reloading, Report, SharedSettings};
use crate::audit::Change;
use crate::config::{Config, ConfigError, Held};
use crate::drain::Drain;
use crate::identity::DeclaredRunner;
use crate::metrics::{Counter, Registry};
use crate::proxy::{self, Limits, Shared};
use crate::secret::OrganizationName;
use crate::stack;
use crate::tls::{CertifiedPair, Presented};
use crate::vault::NewSecret;

/// What only the roof can do for a running server.
pub struct Roof {
    /// Reads the configuration from where it came from at the start.
    pub read: Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>,
    /// Follows what a configuration says about the process: what is logged, and the descriptors it may need.
    pub follow: Box<dyn Fn(&Config) + Send + Sync>,
    /// Tells whoever started the server where it stands.
    pub tell: Box<dyn Fn(Phase) + Send + Sync>,
    /// Within which time that one wants a sign of life.
    pub watchdog: Option<Duration>,
}

/// Where a server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It serves.
    Ready,
    /// It serves, and reads its configuration anew.
    Reloading,
    /// It serves still.
    Alive,
    /// It finishes what is under way.
    Stopping,
}

/// What follows a configuration.
pub(super) struct Parts {
    pub(super) rooms: Arc<Rooms>,
    pub(super) shared: Arc<Shared>,
    /// What the doors for people are told, what the port shows where it speaks TLS, and where it is.
    pub(super) doors: (SharedSettings, Option<Arc<Presented>>, Option<SocketAddr>),
    pub(super) lasting: Lasting,
    pub(super) drain: Drain,
}

/// A running server, as far as it follows its configuration.
pub(super) struct Running {
    roof: Roof,
    parts: Parts,
    printer: Printer,
    /// Locked by the one reload at work.
    in_force: Mutex<Arc<InForce>>,
    measures: Measures,
}

struct InForce {
    config: Config,
    prints: Prints,
    revision: u64,
    /// In unix seconds.
    since: i64,
}

/// Everything that a configuration changes, made and not yet in force.
struct Prepared {
    config: Config,
    prints: Prints,
    held: Vec<Held>,
    changed: Vec<String>,
    secrets: Vec<(OrganizationName, NewSecret)>,
    runners: Vec<DeclaredRunner>,
    settings: proxy::Settings,
    limits: Limits,
    doors: admin::Settings,
    pair: Option<CertifiedPair>,
}

impl Running {
    /// The server that was started with `config`, whose files had these prints.
    pub(super) fn new((config, prints): (Config, Prints), (roof, printer): (Roof, Printer), parts: Parts) -> Arc<Self> {
        let measures = Measures::new(&parts.rooms.registry);
        let in_force = Mutex::new(Arc::new(InForce { config, prints, revision: 1, since: now() }));
        Arc::new(Self { roof, parts, printer, in_force, measures })
    }

    async fn carry_out(self: Arc<Self>, by: String) -> Result<Report, NotReloaded> {
        let mut in_force = self.in_force.lock().await;
        if self.parts.drain.has_begun() {
            return Err(NotReloaded::Stopping);
        }
        (self.roof.tell)(Phase::Reloading);
        let outcome = self.exchange(&mut in_force).await;
        (self.roof.tell)(Phase::Ready);
        self.write_down(&by, &outcome, in_force.config.file.as_ref());
        outcome.map_err(|fault| NotReloaded::Faulty(fault.to_string()))
    }

    /// Puts what the configuration says now in the place of what is in force.
    async fn exchange(self: &Arc<Self>, in_force: &mut Arc<InForce>) -> Result<Report, AppError> {
        let (running, before) = (Arc::clone(self), Arc::clone(in_force));
        let prepared = tokio::task::spawn_blocking(move || {
            let prepared = running.prepare(&before);
            // This thread never parks as a worker does.
            stack::sweep();
            prepared
        })
        .await;
        let prepared = prepared.map_err(|fault| AppError::Start(format!("the reload broke off: {fault}")))??;
        let Prepared { config, prints, held, mut changed, secrets, runners, settings, limits, doors, pair } = prepared;
        let Parts { rooms, shared, doors: (doors_in_force, presented, _), .. } = &self.parts;
        let secrets = rooms.vault.redeclare(secrets).await.map_err(|fault| placed_secret(&config, fault))?;
        let runners = rooms.identity.redeclare(runners).await.map_err(|fault| placed_runner(&config, fault))?;
        changed.extend(secrets.changed().iter().map(|(of, name)| named("secrets", of, name.as_str())));
        changed.extend(runners.changed().iter().map(|(of, name)| named("runners", of, name.as_str())));

        // From here on nothing fails. Who is nobody any more goes first.
        runners.put_in_force();
        secrets.put_in_force();
        shared.put_in_force(settings, limits);
        doors_in_force.store(Arc::new(doors));
        if let (Some(presented), Some(pair)) = (presented, &pair) {
            presented.replace(pair);
        }
        keys::withhold(&rooms.withheld, &config);
        rooms.members.set_always(organizations(&config));
        rooms.ledger.staleness().trust_for(config.store.stale_for.0);
        rooms.activity.set_bounds(config.activity.keep.0, config.activity.entries);
        (self.roof.follow)(&config);

        let InForce { revision, since, .. } = **in_force;
        let (revision, since) = if changed.is_empty() { (revision, since) } else { (revision + 1, now()) };
        *in_force = Arc::new(InForce { config, prints, revision, since });
        let needs_restart =
            held.into_iter().map(|Held { key, in_force, configured }| NeedsRestart { key: key.to_owned(), in_force, configured });
        Ok(Report { changed, needs_restart: needs_restart.collect(), revision, in_force_since: since })
    }

    /// Reads and makes everything that a configuration names. Nothing is changed.
    fn prepare(&self, before: &InForce) -> Result<Prepared, AppError> {
        let (config, held) = (self.roof.read)()?.following(&before.config)?;
        let prints = self.printer.take(&config);
        let mut changed = config.differences(&before.config);
        for key in prints.differences(&before.prints) {
            if !changed.iter().any(|known| known == key) {
                changed.push(key.to_owned());
            }
        }
        let (secrets, runners) = super::declared(&config)?;
        let is_held = |key: &str| held.iter().any(|held| held.key == key);
        let in_force = self.parts.shared.settings.load_full();
        // The files of what is held may have gone already.
        let tls = if is_held("proxy.tls") { in_force.tls.clone() } else { front::listener_tls(&config)? };
        let pair = if is_held("admin.tls") { None } else { doors::pair(&config)? };
        let made = followed::way_out(&config, &self.parts.rooms, &self.parts.lasting, in_force.way_out.generation + 1)?;
        let trust_stays = made.client_tls.trusts_like(&in_force.way_out.client_tls);
        let way_out_stays = trust_stays && !changed.iter().any(|key| key.starts_with("egress.") || key.starts_with("timeouts."));
        // Connections that rest need not be made again for nothing.
        let way_out = if way_out_stays { Arc::clone(&in_force.way_out) } else { Arc::new(made) };
        let (doors_in_force, _, bound) = &self.parts.doors;
        let provider = if trust_stays && !changed.iter().any(|key| key == "admin.oidc" || key == "egress.extra_roots") {
            doors_in_force.load().provider.clone()
        } else {
            super::provider::provider(&config)?
        };
        let doors = doors::settings(&config, *bound, provider);
        let (settings, limits) = (followed::settings(&config, way_out, tls), followed::limits(&config));
        if self.printer.take(&config) != prints {
            return Err(AppError::Start(
                "files that the configuration names were changed while they were read; reload once more".to_owned(),
            ));
        }
        Ok(Prepared { config, prints, held, changed, secrets, runners, settings, limits, doors, pair })
    }

    fn write_down(&self, by: &str, outcome: &Result<Report, AppError>, file: Option<&std::path::PathBuf>) {
        let name = file.map_or_else(|| "environment".to_owned(), |file| file.display().to_string());
        let (action, told) = match outcome {
            Ok(report) => ("reloaded", told(report)),
            Err(fault) => ("failed to reload", fault.to_string()),
        };
        let change = Change::new(by, action, "configuration", &name).saying(&told);
        self.parts.rooms.audit.record_change(&OrganizationName::default(), change);
        match outcome {
            Ok(report) => {
                self.measures.done(!report.changed.is_empty());
                tracing::info!(
                    by,
                    revision = report.revision,
                    changed = report.changed.join(" "),
                    "the configuration was reloaded"
                );
                if !report.needs_restart.is_empty() {
                    tracing::warn!(
                        keys = names(&report.needs_restart),
                        "these settings differ from what is in force and take a restart"
                    );
                }
            }
            Err(fault) => {
                self.measures.failed.add(1);
                tracing::error!(by, %fault, "the configuration was not reloaded; what was in force before still is");
            }
        }
    }
}

/// The same for whoever asks for it, at any door.
#[derive(Clone)]
pub(super) struct Reloader(pub(super) Arc<Running>);

impl Reloader {
    pub(super) fn roof(&self) -> &Roof {
        &self.0.roof
    }
}

impl admin::Reload for Reloader {
    /// In a task of its own: who no longer waits has not ended it.
    fn reload(&self, by: &str) -> Reloading {
        let task = tokio::spawn(Arc::clone(&self.0).carry_out(by.to_owned()));
        Box::pin(
            async move { task.await.unwrap_or_else(|fault| Err(NotReloaded::Faulty(format!("the reload broke off: {fault}")))) },
        )
    }
}

/// What is declared, by its name; with its organization where that is not `default`.
fn named(section: &str, organization: &OrganizationName, name: &str) -> String {
    if *organization == OrganizationName::default() {
        format!("{section}[{name}]")
    } else {
        format!("{section}[{organization}/{name}]")
    }
}

fn names(held: &[NeedsRestart]) -> String {
    held.iter().map(|held| held.key.as_str()).collect::<Vec<_>>().join(" ")
}

fn told(report: &Report) -> String {
    let changed = if report.changed.is_empty() { "nothing changed".to_owned() } else { report.changed.join(" ") };
    let told = format!("revision {}: {changed}", report.revision);
    match names(&report.needs_restart).as_str() {
        "" => told,
        held => format!("{told}; takes a restart: {held}"),
    }
}

/// In unix seconds.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// What is counted.
struct Measures {
    changed: Counter,
    unchanged: Counter,
    failed: Counter,
    read: Arc<AtomicI64>,
}

impl Measures {
    #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 are exact up to 2^53")]
    fn new(registry: &Registry) -> Self {
        let outcomes = ["changed", "unchanged", "failed"].map(|outcome| vec![("outcome", outcome)]);
        let counters =
            registry.counters("subrosa_config_reloads", "Reloads of the configuration, by what became of them", outcomes);
        let read = Arc::new(AtomicI64::new(now()));
        let observed = Arc::clone(&read);
        registry.observe(
            "subrosa_config_read_timestamp_seconds",
            "When the configuration was last read and put in force, at the start or since",
            move || observed.load(Ordering::Relaxed) as f64,
        );
        let mut counters = counters.into_iter();
        let mut next = || counters.next().unwrap_or_default();
        Self { changed: next(), unchanged: next(), failed: next(), read }
    }

    fn done(&self, has_changed: bool) {
        let counter = if has_changed { &self.changed } else { &self.unchanged };
        counter.add(1);
        self.read.store(now(), Ordering::Relaxed);
    }
}
