//! Who is asking? Proxy-Authorization or a client certificate names a runner, or the request is
//! answered 407.
//!
//! Wrong credentials are never taken for none. Without credentials a client acts for an
//! organization only where `proxy.anonymous` says so, or on loopback as long as no runner exists.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::PROXY_AUTHORIZATION;
use zeroize::Zeroizing;

use super::context::Shared;
use super::front::Client;
use super::transparent::Role;
use crate::identity::{Identity, Runner};
use crate::inject::{Code, Refusal};
use crate::origin::Host;
use crate::secret::{NamePattern, OrganizationName, RunnerName};
use crate::staleness::Stale;
use crate::upstream::Tenant;

/// Whoever a request acts for.
#[derive(Clone)]
pub(super) struct Caller {
    runner: Option<Arc<Runner>>,
    pub(super) organization: OrganizationName,
    /// Whose upstream connections may be used.
    pub(super) tenant: Tenant,
    standing: Standing,
}

/// What lets somebody act.
#[derive(Clone, Debug)]
enum Standing {
    /// A token that this client showed, or the port it was redirected to; without either, the rules for
    /// anonymous clients.
    Client(Arc<Client>),
    /// The certificate that this client showed.
    Certificate(Arc<Client>),
    /// A person whose right another door has seen to.
    VouchedFor,
}

impl Caller {
    fn runner(runner: Arc<Runner>, standing: Standing) -> Self {
        let organization = runner.organization.clone();
        // A runner's id, not its name: a name can be given to another runner later.
        let tenant = Tenant(format!("{organization}/{}", runner.id).into());
        Self { runner: Some(runner), organization, tenant, standing }
    }

    fn anonymous(organization: OrganizationName, standing: Standing) -> Self {
        let tenant = Tenant(format!("{organization}/").into());
        Self { runner: None, organization, tenant, standing }
    }

    /// Whoever a person who tries a request lets it act for; `None` if there is no such runner.
    pub(super) fn vouched_for(shared: &Shared, organization: &OrganizationName, runner: Option<&RunnerName>) -> Option<Self> {
        match runner {
            Some(name) => {
                let runner = shared.identity.named(organization, name)?;
                Some(Self::runner(runner, Standing::VouchedFor))
            }
            None => Some(Self::anonymous(organization.clone(), Standing::VouchedFor)),
        }
    }

    /// Whoever a listener for redirected connections acts for; `None` if there is no such runner.
    pub(super) fn redirected(shared: &Shared, role: &Role, client: &Arc<Client>) -> Option<Self> {
        let runner = shared.identity.named(&role.organization, &role.runner)?;
        Some(Self::runner(runner, Standing::Client(Arc::clone(client))))
    }

    /// Where this caller is; unknown of a person at another door.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match &self.standing {
            Standing::Client(client) | Standing::Certificate(client) => Some(client.address),
            Standing::VouchedFor => None,
        }
    }

    /// The runner's name; `None` for an anonymous client.
    pub(super) fn runner_name(&self) -> Option<&RunnerName> {
        self.runner.as_ref().map(|runner| &runner.name)
    }

    /// The names of secrets this caller is limited to, if it is.
    pub(super) fn names(&self) -> Option<Arc<[NamePattern]>> {
        self.runner.as_ref().and_then(|runner| runner.secrets.clone())
    }

    /// Whether this caller may send requests to `host` at all.
    pub(super) fn may_reach(&self, host: &Host) -> Result<(), Refusal> {
        match &self.runner {
            Some(runner) if !runner.hosts.permits(host) => Err(Refusal::new(
                Code::RunnerNotPermitted,
                format!(
                    "The runner `{}` may not send requests to `{host}`: it is limited to {}. Use one of these hosts, or ask an administrator for another runner.",
                    runner.name, runner.hosts
                ),
            )),
            _ => Ok(()),
        }
    }

    /// This caller with its rights as they are now: a revoked runner loses its open tunnels too, and
    /// one that was limited further is limited there as well.
    pub(super) fn refreshed(&self, shared: &Shared) -> Result<Self, Refusal> {
        let current = match (&self.runner, &self.standing) {
            (None, Standing::VouchedFor) => return Ok(self.clone()),
            (None, Standing::Client(client) | Standing::Certificate(client)) => return anonymous(shared, client),
            (Some(runner), Standing::Certificate(client)) => certified(shared, client).filter(|now| now.id == runner.id),
            (Some(runner), _) => shared.identity.current(runner),
        };
        match current {
            Some(current) => {
                trusted(shared, &current)?;
                Ok(Self { runner: Some(current), ..self.clone() })
            }
            None => Err(unauthenticated("The runner of this tunnel was revoked, or is known by something else now.")),
        }
    }
}

/// Finds out for whom a request with `fields` acts.
pub(super) fn identify(shared: &Shared, fields: &HeaderMap, client: &Arc<Client>) -> Result<Caller, Refusal> {
    let mut credentials = fields.get_all(PROXY_AUTHORIZATION).iter();
    let Some(credential) = credentials.next() else { return without_token(shared, client) };
    if credentials.next().is_some() {
        return Err(Refusal::malformed("Proxy-Authorization stands twice. Send it once."));
    }
    let token = token(credential.as_bytes());
    with_token(shared, token.as_deref().map_or(&[], Vec::as_slice), client)
}

/// Whoever shows nothing but, perhaps, a certificate.
pub(super) fn without_token(shared: &Shared, client: &Arc<Client>) -> Result<Caller, Refusal> {
    if client.certificate.is_none() {
        return anonymous(shared, client);
    }
    match certified(shared, client) {
        Some(runner) => {
            trusted(shared, &runner)?;
            Ok(Caller::runner(runner, Standing::Certificate(Arc::clone(client))))
        }
        None => Err(unknown(
            shared,
            &format!(
                "The client's certificate ({}) belongs to no runner, or to more than one; `subrosa runner edit NAME --certificate` gives one to a runner.",
                names(client)
            ),
        )),
    }
}

/// Whoever shows a token. A certificate beside it must not be another runner's, nor may a runner that
/// has a certificate come with a stranger's.
pub(super) fn with_token(shared: &Shared, token: &[u8], client: &Arc<Client>) -> Result<Caller, Refusal> {
    let Some(runner) = known(&shared.identity, token) else {
        return Err(unknown(shared, "The token belongs to no runner; it may have been revoked or mistyped."));
    };
    trusted(shared, &runner)?;
    let disagree = client.certificate.is_some()
        && match certified(shared, client) {
            Some(other) => other.id != runner.id,
            None => runner.certificate.is_some(),
        };
    if disagree {
        return Err(unauthenticated(&format!(
            "The token and the client's certificate ({}) belong to different runners, or the certificate to none.",
            names(client)
        )));
    }
    Ok(Caller::runner(runner, Standing::Client(Arc::clone(client))))
}

fn certified(shared: &Shared, client: &Client) -> Option<Arc<Runner>> {
    shared.identity.by_certificate(client.certificate.as_deref()?)
}

fn names(client: &Client) -> String {
    let names = client.certificate.iter().flat_map(|names| names.iter());
    names.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn known(identity: &Identity, token: &[u8]) -> Option<Arc<Runner>> {
    identity.authenticate(token)
}

fn anonymous(shared: &Shared, client: &Arc<Client>) -> Result<Caller, Refusal> {
    let standing = Standing::Client(Arc::clone(client));
    if let Some(organization) = &shared.settings.load().anonymous {
        return Ok(Caller::anonymous(organization.clone(), standing));
    }
    // Whether runners exist is stored.
    shared.identity.check_trusted().map_err(|fault| stale(&fault))?;
    match (client.is_loopback, shared.identity.has_runners()) {
        (true, false) => Ok(Caller::anonymous(OrganizationName::default(), standing)),
        (true, true) => Err(unauthenticated("Runners exist, so clients without a token are no longer served.")),
        (false, _) => Err(unauthenticated(
            "Clients from other machines need a token (or `proxy.anonymous` in the config, which names an organization for all of them).",
        )),
    }
}

/// Nobody is let in by what was known of them too long ago.
fn trusted(shared: &Shared, runner: &Runner) -> Result<(), Refusal> {
    shared.identity.check_trust_in(runner).map_err(|fault| stale(&fault))
}

/// Who is not known may have become a runner meanwhile, where that would not be heard of.
fn unknown(shared: &Shared, what: &str) -> Refusal {
    shared.identity.check_trusted().map_or_else(|fault| stale(&fault), |()| unauthenticated(what))
}

fn stale(stale: &Stale) -> Refusal {
    Refusal::new(Code::StoreUnavailable, stale.to_string())
}

fn unauthenticated(what: &str) -> Refusal {
    let cure = "Create a runner with `subrosa runner create NAME` and put its token into the proxy URL as password: http://NAME:TOKEN@HOST:PORT.";
    Refusal::new(Code::RunnerUnauthenticated, format!("{what} {cure}"))
}

/// The token in a credential: Bearer, or the password of Basic (the user name where no password is).
fn token(credential: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let space = credential.iter().position(|&byte| byte == b' ')?;
    let (scheme, rest) = credential.split_at(space);
    let rest = rest.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(Zeroizing::new(rest.to_vec()));
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let pair = Zeroizing::new(STANDARD.decode(rest).ok()?);
    let (user, password) = match pair.iter().position(|&byte| byte == b':') {
        Some(colon) => (&pair[..colon], &pair[colon + 1..]),
        None => (&pair[..], &[][..]),
    };
    Some(Zeroizing::new(if password.is_empty() { user } else { password }.to_vec()))
}
