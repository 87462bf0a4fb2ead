//! Activity: what happened, in pages, as a file, and as it happens; and what is used.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::documents::{LastUse, SurfaceSchema, timestamp};
use super::secrets::sentence;
use super::{State, live, organization, runners, secrets};
use crate::activity::{Cursor, Filter, Found, Usage, Walk};
use crate::admin::extract::{Path, Query};
use crate::admin::principal::Standing;
use crate::admin::problem::Problem;
use crate::audit::{self, Outcome, What};
use crate::secret::{OrganizationName, RunnerName, SecretName, Surface};
use crate::store::StoreError;
use crate::vault::VaultError;

/// Entries of a page unless it is said how many, and at most.
const USUAL: usize = 50;
const MOST: usize = 500;
/// About how many bytes of a file are made at a time.
const PIECE: usize = 16 * 1024;

pub(super) fn routes() -> OpenApiRouter<State> {
    let activity = OpenApiRouter::new().routes(routes!(list)).routes(routes!(follow)).routes(routes!(export));
    activity.routes(routes!(secret_usage)).routes(routes!(runner_usage))
}

/// One entry of the audit trail: an exchange or a change.
#[derive(Serialize, ToSchema)]
#[schema(as = ActivityEntry)]
pub(in crate::admin) struct Entry {
    /// Names the entry; null of one that was logged and could not be kept.
    pub(in crate::admin) id: Option<String>,
    /// The node that wrote it.
    pub(in crate::admin) node: String,
    /// When, RFC 3339.
    pub(in crate::admin) at: Option<String>,
    /// A request that held a reference or was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::admin) exchange: Option<Exchange>,
    /// Something that somebody changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::admin) change: Option<Change>,
}

/// A request that held a reference or was refused.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Exchange {
    /// The `request_id` of the answer and the log.
    pub(in crate::admin) request_id: String,
    /// Whose request; null for a client without a name.
    #[schema(value_type = Option<String>)]
    pub(in crate::admin) runner: Option<RunnerName>,
    pub(in crate::admin) method: String,
    /// As the runner sent it, references included; cut beyond 2 KB.
    pub(in crate::admin) url: String,
    /// `scheme://host[:port]`, once that was known.
    pub(in crate::admin) origin: Option<String>,
    pub(in crate::admin) secrets: Vec<UseOfSecret>,
    /// Secrets whose values stood in the answer: this API echoes them. They were taken out.
    pub(in crate::admin) redacted: Vec<EchoOfSecret>,
    #[schema(value_type = OutcomeSchema)]
    pub(in crate::admin) outcome: Outcome,
    /// The code of the refusal.
    pub(in crate::admin) code: Option<String>,
    /// The sentence of the refusal.
    pub(in crate::admin) detail: Option<String>,
    /// What the request probably did not mean.
    pub(in crate::admin) hint: Option<String>,
    /// The status that the runner got.
    pub(in crate::admin) status: Option<u16>,
    pub(in crate::admin) duration_us: u64,
}

/// A secret, and where it stood.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct UseOfSecret {
    #[schema(value_type = String)]
    pub(in crate::admin) name: SecretName,
    #[schema(value_type = SurfaceSchema)]
    pub(in crate::admin) surface: Surface,
}

/// A secret whose value stood in an answer, and where: `head`, `body` or `message` (of a WebSocket).
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct EchoOfSecret {
    #[schema(value_type = String)]
    pub(in crate::admin) name: SecretName,
    #[schema(example = "body")]
    pub(in crate::admin) part: &'static str,
}

/// Something that somebody changed: `actor` `action` the `object` called `name`.
#[derive(Serialize, ToSchema)]
#[schema(as = RecordedChange)]
pub(in crate::admin) struct Change {
    #[schema(example = "alice")]
    pub(in crate::admin) actor: String,
    #[schema(example = "edited")]
    pub(in crate::admin) action: String,
    #[schema(example = "secret")]
    pub(in crate::admin) object: String,
    #[schema(example = "crm.apiKey")]
    pub(in crate::admin) name: String,
    /// The name it has from now on.
    pub(in crate::admin) renamed_to: Option<String>,
    pub(in crate::admin) detail: Option<String>,
}

/// How an exchange ended.
#[derive(ToSchema)]
#[schema(as = Outcome, rename_all = "lowercase")]
#[expect(dead_code, reason = "describes `audit::Outcome`")]
enum OutcomeSchema {
    Forwarded,
    Refused,
    Aborted,
}

/// A page of activity, newest first.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct ActivityList {
    pub(in crate::admin) entries: Vec<Entry>,
    /// The cursor of the next page; null where there is nothing more.
    pub(in crate::admin) next: Option<String>,
    /// Enough was looked at before the page was full; go on with `next`.
    pub(in crate::admin) stopped_early: bool,
    /// What cannot be read or is missing, in sentences.
    pub(in crate::admin) notices: Vec<String>,
}

/// Which entries are wanted.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::admin) struct Wanted {
    /// That concern this secret.
    pub(in crate::admin) secret: Option<String>,
    /// Of this runner.
    pub(in crate::admin) runner: Option<String>,
    /// Towards this host; `*.example.com`: every host below it.
    pub(in crate::admin) host: Option<String>,
    /// Exchanges that ended so.
    #[param(value_type = Option<OutcomeSchema>)]
    pub(in crate::admin) outcome: Option<Outcome>,
    /// `true`: exchanges whose answer held a value that was sent; `false`: everything else.
    pub(in crate::admin) echoed: Option<bool>,
    /// Exchanges refused with this code.
    pub(in crate::admin) code: Option<String>,
    /// `exchange` or `change`.
    pub(in crate::admin) kind: Option<Kind>,
    /// Not before this, RFC 3339.
    pub(in crate::admin) from: Option<String>,
    /// Before this, RFC 3339.
    pub(in crate::admin) to: Option<String>,
    /// That hold this text, whatever its case.
    pub(in crate::admin) search: Option<String>,
    /// Entries of a page, 1 to 500; 50 unless said.
    pub(in crate::admin) limit: Option<usize>,
    /// Where to go on: `next` of the page before.
    pub(in crate::admin) cursor: Option<String>,
}

/// What sort of entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ActivityKind)]
pub(in crate::admin) enum Kind {
    /// A request.
    Exchange,
    /// Something that somebody changed.
    Change,
}

/// What came of a secret, or of a runner's requests, lately.
#[derive(Serialize, ToSchema)]
#[schema(as = Usage)]
struct UsageDocument {
    /// The newest use for each runner, host and surface, newest first; 20 at most.
    last_uses: Vec<LastUse>,
    /// The last request that was refused or broken off.
    last_refusal: Option<Refusal>,
    /// Requests by day (UTC), of the last 90 days on which there were any.
    days: BTreeMap<String, DayDocument>,
    /// Hosts that were meant, the newest first; 50 at most.
    hosts: Vec<HostDocument>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = LastRefusal)]
struct Refusal {
    /// When, RFC 3339.
    at: Option<String>,
    code: String,
    #[schema(value_type = Option<String>)]
    runner: Option<RunnerName>,
    host: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = UsageOfDay)]
struct DayDocument {
    forwarded: u32,
    /// Refused or broken off.
    refused: u32,
}

#[derive(Serialize, ToSchema)]
#[schema(as = HostSeen)]
struct HostDocument {
    host: String,
    /// When last, RFC 3339.
    at: Option<String>,
    /// A request towards it went out; of others somebody only asked.
    forwarded: bool,
}

/// Lists what happened, newest first.
#[utoipa::path(
    get, path = "/organizations/{organization}/activity", tag = "activity",
    params(("organization" = String, Path), Wanted),
    responses((status = 200, body = ActivityList)),
)]
async fn list(
    Path(of): Path<String>,
    Shared(state): Shared<State>,
    Query(wanted): Query<Wanted>,
) -> Result<axum::Json<ActivityList>, Problem> {
    page(&state, &organization(&of)?, &wanted).await.map(axum::Json)
}

/// The page that `wanted` means.
pub(in crate::admin) async fn page(state: &State, of: &OrganizationName, wanted: &Wanted) -> Result<ActivityList, Problem> {
    let limit = wanted.limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::invalid("limit", format!("a page has 1 to {MOST} entries")));
    }
    let cursor = wanted.cursor.as_deref().map(Cursor::parse).transpose().map_err(|fault| Problem::invalid("cursor", fault))?;
    let page = state.activity.page(of, filter(wanted)?, cursor.as_ref(), limit).await.map_err(|fault| unreadable(&fault))?;
    Ok(ActivityList {
        entries: page.entries.iter().map(shown).collect(),
        next: page.next.map(|next| next.to_string()),
        stopped_early: page.stopped_early,
        notices: page.notices,
    })
}

/// Answers everything that is wanted, newest first, one JSON object a line. What cannot be read is told in
/// lines with `notice`.
#[utoipa::path(
    get, path = "/organizations/{organization}/activity/export", tag = "activity",
    params(("organization" = String, Path), Wanted),
    responses((status = 200, content_type = "application/x-ndjson", body = String)),
)]
async fn export(Path(of): Path<String>, Shared(state): Shared<State>, Query(wanted): Query<Wanted>) -> Result<Response, Problem> {
    let of = organization(&of)?;
    no_page(&wanted)?;
    let walk = state.activity.walk(&of, filter(&wanted)?);
    let name = format!("attachment; filename=\"activity-{of}.ndjson\"");
    let fields = [(CONTENT_TYPE, "application/x-ndjson".to_owned()), (CONTENT_DISPOSITION, name)];
    Ok((fields, Body::from_stream(lines(walk))).into_response())
}

/// Tells what is wanted as it happens, as server-sent events: `entry`, `lagged` (with how many were missed)
/// and `end`. `Last-Event-ID` goes on behind an entry.
#[utoipa::path(
    get, path = "/organizations/{organization}/activity/stream", tag = "activity",
    params(("organization" = String, Path), Wanted, ("last-event-id" = Option<String>, Header)),
    responses((status = 200, content_type = "text/event-stream", body = String)),
)]
async fn follow(
    Path(of): Path<String>,
    Shared(state): Shared<State>,
    standing: Standing,
    fields: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let of = organization(&of)?;
    no_page(&wanted)?;
    let filter = filter(&wanted)?;
    let last = fields.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let Some(entries) = state.activity.follow() else {
        let detail = "Too many follow the activity at the moment. Try again in a moment.";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail));
    };
    live::response(live::Following { activity: state.activity.clone(), entries, organization: of, filter, standing }, last)
        .await
        .map_err(|fault| unreadable(&fault))
}

/// Tells what came of a secret lately.
#[utoipa::path(
    get, path = "/organizations/{organization}/secrets/{name}/usage", tag = "secrets",
    params(("organization" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = UsageDocument)),
)]
async fn secret_usage(
    Path((of, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
) -> Result<axum::Json<UsageDocument>, Problem> {
    let (of, name) = (organization(&of)?, secrets::name(&called)?);
    let usage = state.activity.usage(&of, &name);
    state.vault.get(&of, &name).ok_or(VaultError::NotFound { name })?;
    Ok(axum::Json(usage.unwrap_or_default().into()))
}

/// Tells what came lately of those of a runner's requests that held a reference or were refused.
#[utoipa::path(
    get, path = "/organizations/{organization}/runners/{name}/usage", tag = "runners",
    params(("organization" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = UsageDocument)),
)]
async fn runner_usage(
    Path((of, called)): Path<(String, String)>,
    Shared(state): Shared<State>,
) -> Result<axum::Json<UsageDocument>, Problem> {
    let (of, name) = (organization(&of)?, runners::name(&called)?);
    runners::existing(&state, &of, &name)?;
    Ok(axum::Json(state.activity.runner_usage(&of, &name).unwrap_or_default().into()))
}

/// An entry as every door shows it.
pub(in crate::admin) fn shown(found: &Found) -> Entry {
    let (exchange, change) = match &found.entry.what {
        What::Exchange(exchange) => (Some(shown_exchange(exchange)), None),
        What::Change(change) => (None, Some(shown_change(change))),
    };
    Entry { id: found.id(), node: found.node.to_string(), at: moment(found.entry.at), exchange, change }
}

fn shown_exchange(exchange: &audit::Exchange) -> Exchange {
    let secrets = exchange.secrets.iter().map(|(name, surface)| UseOfSecret { name: name.clone(), surface: *surface });
    let redacted = exchange.redacted.iter().map(|(name, part)| EchoOfSecret { name: name.clone(), part: part.as_str() });
    Exchange {
        request_id: exchange.request_id.clone(),
        runner: exchange.runner.clone(),
        method: exchange.method.clone(),
        url: exchange.url.clone(),
        origin: exchange.origin.clone(),
        secrets: secrets.collect(),
        redacted: redacted.collect(),
        outcome: exchange.outcome,
        code: exchange.code.as_deref().map(str::to_owned),
        detail: exchange.detail.clone(),
        hint: exchange.hint.clone(),
        status: exchange.status,
        duration_us: exchange.duration_us,
    }
}

fn shown_change(change: &audit::Change) -> Change {
    Change {
        actor: change.actor.clone(),
        action: change.action.to_string(),
        object: change.object.to_string(),
        name: change.name.clone(),
        renamed_to: change.renamed_to.clone(),
        detail: change.detail.clone(),
    }
}

impl From<Usage> for UsageDocument {
    fn from(usage: Usage) -> Self {
        let refusal =
            usage.last_refusal.map(|last| Refusal { at: moment(last.at), code: last.code, runner: last.runner, host: last.host });
        let days = usage
            .days
            .into_iter()
            .map(|(day, counts)| (date(day), DayDocument { forwarded: counts.forwarded, refused: counts.refused }));
        let hosts = usage.hosts.into_iter();
        Self {
            last_uses: usage.last_uses.into_iter().map(LastUse::from).collect(),
            last_refusal: refusal,
            days: days.collect(),
            hosts: hosts.map(|seen| HostDocument { at: moment(seen.at), host: seen.host, forwarded: seen.forwarded }).collect(),
        }
    }
}

/// What is wanted, parsed; each member at fault is told.
fn filter(wanted: &Wanted) -> Result<Filter, Problem> {
    Ok(Filter {
        secret: wanted
            .secret
            .as_deref()
            .map(|text| SecretName::parse(text).map_err(|fault| Problem::invalid("secret", fault)))
            .transpose()?,
        runner: wanted
            .runner
            .as_deref()
            .map(|text| RunnerName::parse(text).map_err(|fault| Problem::invalid("runner", fault)))
            .transpose()?,
        host: wanted.host.as_deref().map(str::to_ascii_lowercase),
        outcome: wanted.outcome,
        echoed: wanted.echoed,
        code: wanted.code.clone(),
        changes: wanted.kind.map(|kind| kind == Kind::Change),
        from: wanted.from.as_deref().map(|text| instant(text, "from")).transpose()?,
        to: wanted.to.as_deref().map(|text| instant(text, "to")).transpose()?,
        text: wanted.search.clone(),
    })
}

/// A way through everything has no pages.
fn no_page(wanted: &Wanted) -> Result<(), Problem> {
    match (wanted.limit, &wanted.cursor) {
        (None, None) => Ok(()),
        (Some(_), _) => Err(Problem::invalid("limit", "this has no pages; leave it out")),
        (None, Some(_)) => Err(Problem::invalid("cursor", "this has no pages; leave it out")),
    }
}

fn instant(text: &str, field: &'static str) -> Result<i64, Problem> {
    let fault = || Problem::invalid(field, "this is no time as in RFC 3339: 2026-01-31T12:00:00Z");
    let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| fault())?;
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).map_err(|_| fault())
}

/// Unix milliseconds as RFC 3339.
fn moment(millis: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).ok()?.format(&Rfc3339).ok()
}

/// A day since 1970-01-01 as its date.
fn date(day: i64) -> String {
    let text = timestamp(day.saturating_mul(86_400)).unwrap_or_default();
    text.split('T').next().unwrap_or_default().to_owned()
}

fn unreadable(fault: &StoreError) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", sentence(fault))
}

/// The entries of a walk as lines, some at a time: what is in memory is one batch of each node.
fn lines(walk: Walk) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(Some(walk), |walk| async {
        let mut walk = walk?;
        let mut piece = Vec::with_capacity(PIECE);
        while piece.len() < PIECE {
            match walk.next().await {
                Ok(Some(found)) => line(&mut piece, &shown(&found)),
                Ok(None) => {
                    walk.notices().iter().for_each(|notice| line(&mut piece, &Notice { notice }));
                    return Some((Ok(piece.into()), None));
                }
                Err(fault) => {
                    line(&mut piece, &Notice { notice: &sentence(&fault) });
                    return Some((Ok(piece.into()), None));
                }
            }
        }
        Some((Ok(piece.into()), Some(walk)))
    })
}

#[derive(Serialize)]
struct Notice<'a> {
    notice: &'a str,
}

fn line(piece: &mut Vec<u8>, what: &impl Serialize) {
    serde_json::to_writer(&mut *piece, what).expect("an entry has text keys only, and memory takes it");
    piece.push(b'\n');
}
