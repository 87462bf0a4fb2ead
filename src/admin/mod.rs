//! The door for people: a REST API over the vault and the runners, on two mountings.
//!
//! Both mountings offer the same routes. Whoever opens the socket in the data directory (0600) is the
//! server's own user and acts as `local`; whoever comes through the TCP port shows a session or a token
//! (`authenticate`). What each may do is decided in one place (`access`). Every no is a problem document (RFC 9457); no
//! answer holds a value.

mod access;
mod api;
mod authenticate;
mod body;
mod certificates;
mod entrance;
mod errand;
mod extract;
mod host;
mod oidc;
mod operations;
mod pages;
mod paging;
mod ports;
mod precondition;
mod principal;
mod problem;
mod reload;
mod session;

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use axum::{Extension, Router};
use http::StatusCode;

use self::authenticate::Gatekeeper;
pub use self::authenticate::Peer;
pub use self::errand::{Answered, Errand, Pending, Road, Undone};
pub use self::oidc::{GroupRole, Provider, Settings as ProviderSettings, SharedProvider};
use self::operations::OpenFigures;
pub use self::operations::Operations;
pub use self::pages::Drafts;
use self::principal::Principal;
use self::problem::Problem;
pub use self::reload::{NeedsRestart, NotReloaded, Reload, Reloading, Report};
pub use self::session::Way;
use crate::activity::Activity;
use crate::backup::Backups;
use crate::custody::Custody;
use crate::identity::Identity;
use crate::members::Members;
use crate::origin::Host;
use crate::secret::{DomainPattern, Surfaces};
use crate::vault::Vault;

/// What the door asks.
#[derive(Clone)]
pub struct State {
    /// The secrets.
    pub vault: Arc<Vault>,
    /// The runners.
    pub identity: Arc<Identity>,
    /// The people.
    pub members: Arc<Members>,
    /// What the configuration says about this door, as it is in force.
    pub settings: SharedSettings,
    /// What happened, and the last uses.
    pub activity: Arc<Activity>,
    /// The keys.
    pub custody: Arc<Custody>,
    /// What backups are made of.
    pub backups: Backups,
    /// The CA's certificate, PEM; empty while there is none.
    pub ca: Arc<str>,
    /// How requests are sent for real; `None` where no proxy runs.
    pub road: Option<Arc<dyn Road>>,
    /// How the configuration is read anew; `None` where no proxy runs.
    pub reload: Option<Arc<dyn Reload>>,
    /// Forms that were not carried out, shown again.
    pub drafts: Arc<Drafts>,
    /// How runners reach the proxy, as far as the server knows.
    pub reach: Reach,
    /// How the server does.
    pub operations: Operations,
}

/// What the configuration says about the door for people. It is replaced as a whole.
pub struct Settings {
    /// The names that the port answers to.
    pub hosts: Vec<Host>,
    /// Where people reach the port, without a path, as links begin: `https://admin.example.com`.
    pub base: String,
    /// The identity provider, where there is one.
    pub provider: SharedProvider,
    /// `injection.narrow`: for these hosts these surfaces only.
    pub narrow: Vec<(Vec<DomainPattern>, Surfaces)>,
}

/// The settings in force, for all that ask.
pub type SharedSettings = Arc<ArcSwap<Settings>>;

/// Where runners find the proxy and the certificates, seen from the server's own machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Host and port of the proxy.
    pub proxy: (String, u16),
    /// The directory of the CA's certificate, absolute.
    pub certificates: std::path::PathBuf,
}

impl State {
    /// A link for a person.
    pub fn link(&self, path: &str) -> String {
        format!("{}{path}", self.settings.load().base)
    }

    /// What is in force at this moment.
    fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// The surfaces that are on for requests to `host`.
    fn surfaces_for(&self, host: &Host) -> Surfaces {
        let settings = self.settings.load();
        let meant = settings.narrow.iter().filter(|(hosts, _)| hosts.iter().any(|pattern| pattern.matches(host)));
        meant.fold(Surfaces::ALL, |surfaces, (_, narrowed)| surfaces.and(*narrowed))
    }
}

/// For the socket, whose owner is the authority.
pub fn socket_router(state: State) -> Router {
    finished(routes(&state).layer(Extension(Principal::local())), &state).with_state(state)
}

/// For an address of the TCP port, which answers to its own names only and is reached in this `way`. With `open_figures` whoever asks there
/// is told the figures of `/metrics`.
pub fn port_router(state: State, way: Way, open_figures: bool) -> Router {
    let settings = Arc::clone(&state.settings);
    let gatekeeper = Gatekeeper { members: Arc::clone(&state.members), way };
    let routes = routes(&state).layer(from_fn_with_state(gatekeeper, authenticate::authenticate));
    // What is refused before it is known who asks is a page for a browser too.
    let routes = routes.layer(from_fn(pages::as_pages));
    let routes = if open_figures { routes.layer(Extension(OpenFigures)) } else { routes };
    finished(routes, &state).layer(from_fn_with_state(settings, host::check)).with_state(state)
}

/// Everything that there is, behind the table of rights.
fn routes(state: &State) -> Router<State> {
    let public = Router::new().route("/livez", get(ports::livez));
    let certificates = Router::new()
        .route("/ca.pem", get(certificates::pem))
        .route("/ca.der", get(certificates::der))
        .route("/ca.p12", get(certificates::pkcs12));
    let public = public.merge(certificates).route("/readyz", get(operations::readyz)).route("/metrics", get(operations::metrics));
    public
        .merge(entrance::routes())
        .merge(pages::routes())
        .merge(api::routes())
        .route_layer(from_fn_with_state(state.clone(), access::enforce))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "not_found", "There is nothing here."))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This cannot be done here.")
        })
        .layer(from_fn(pages::as_pages))
}

fn finished(routes: Router<State>, state: &State) -> Router<State> {
    routes
        // Whoever stands before the routes says no too.
        .layer(from_fn(pages::as_pages))
        .layer(Extension(Arc::clone(&state.drafts)))
        // What reads content bounds it itself, and says so in our words.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn(ports::careful))
}

#[cfg(test)]
mod fleet_tests;
#[cfg(test)]
mod rights_tests;
#[cfg(test)]
mod tests;
