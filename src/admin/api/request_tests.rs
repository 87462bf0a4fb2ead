//! Request tests: what would happen to a request; on demand it is sent for real, too.
//!
//! The very core that injects on the road is asked, with what the runner may use; what it would
//! send is thrown away. What is answered instead is the same request with a mask for every value.

use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::documents::SurfaceSchema;
use super::resolvers::{Assume, Masked, OnlyOne};
use super::trial::{Sent, Trial};
use super::{State, organization, runners, trial};
use crate::admin::body::Json;
use crate::admin::errand::Errand;
use crate::admin::extract::Path;
use crate::admin::problem::Problem;
use crate::identity::RunnerView;
use crate::inject::{Code, Injection, Refusal, Resolver, Secrets, Unsearched, bare_hint};
use crate::origin::Scheme;
use crate::secret::{OrganizationName, RunnerName, SecretName, Surface, Surfaces};

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(create))
}

/// References that are judged one by one; a request with more of them is judged as a whole.
const MOST_JUDGED: usize = 100;

/// A request to be tried.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewRequestTest)]
pub(in crate::admin) struct New {
    /// The target, with its references.
    #[schema(example = "https://api.crm.example.com/v1/contacts?key={secrets.crm.apiKey}")]
    pub(in crate::admin) url: String,
    /// The method.
    #[serde(default = "get")]
    #[schema(default = "GET")]
    pub(in crate::admin) method: String,
    /// Its fields, as pairs or as an object.
    #[serde(default)]
    pub(in crate::admin) headers: Fields,
    /// Its content, as text. Either this or `body_base64`.
    pub(in crate::admin) body: Option<String>,
    /// Its content in base64.
    pub(in crate::admin) body_base64: Option<String>,
    /// The runner that would send it; without, what any runner of the organization may do.
    pub(in crate::admin) runner: Option<String>,
    /// Send it for real, unless it would be refused.
    #[serde(default)]
    pub(in crate::admin) send: bool,
}

/// Fields as pairs, or as an object.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(in crate::admin) enum Fields {
    /// Pairs of name and value.
    #[schema(value_type = Vec<Vec<String>>)]
    Pairs(Vec<(String, String)>),
    /// Name to value.
    Object(std::collections::BTreeMap<String, String>),
}

impl Default for Fields {
    fn default() -> Self {
        Self::Pairs(Vec::new())
    }
}

fn get() -> String {
    "GET".to_owned()
}

/// What would happen to a request.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct RequestTest {
    /// For which organization.
    #[schema(value_type = String)]
    pub(in crate::admin) organization: OrganizationName,
    /// As which runner.
    #[schema(value_type = Option<String>)]
    pub(in crate::admin) runner: Option<RunnerName>,
    /// The origin, normalised; null if the target cannot be read.
    pub(in crate::admin) origin: Option<String>,
    /// `forwarded` or `refused`.
    pub(in crate::admin) outcome: Outcome,
    /// Every reference found.
    pub(in crate::admin) references: Vec<Judgement>,
    /// Why it would be refused.
    pub(in crate::admin) refusal: Option<Refused>,
    /// The request as it would go out, a mask in the place of every value; null where a mask cannot stand.
    pub(in crate::admin) request: Option<MaskedRequest>,
    /// What came back, where it was sent.
    pub(in crate::admin) answer: Option<Answer>,
    /// What was not tested.
    pub(in crate::admin) notes: Vec<String>,
}

/// What came back of a request that was sent for real. Never its content, which may hold the value.
#[derive(Serialize, ToSchema)]
#[schema(as = RequestTestAnswer)]
pub(in crate::admin) struct Answer {
    /// The status.
    pub(in crate::admin) status: u16,
    /// Until the response's head, in milliseconds.
    pub(in crate::admin) milliseconds: u64,
    /// The code of the proxy's refusal; null if the upstream answered.
    pub(in crate::admin) code: Option<String>,
}

/// How a request would end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = RequestTestOutcome)]
pub(in crate::admin) enum Outcome {
    /// It would be sent.
    Forwarded,
    /// It would not.
    Refused,
}

/// One reference.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Judgement {
    /// The secret.
    #[schema(value_type = String)]
    pub(in crate::admin) secret: SecretName,
    /// Where the reference stands.
    #[schema(value_type = SurfaceSchema)]
    pub(in crate::admin) surface: Surface,
    /// Whether the value may stand there.
    pub(in crate::admin) permitted: bool,
    /// The code of the refusal.
    pub(in crate::admin) code: Option<&'static str>,
    /// Its sentence.
    pub(in crate::admin) detail: Option<String>,
}

/// A refusal, as the runner would get it.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Refused {
    /// The code.
    pub(in crate::admin) code: &'static str,
    /// The status.
    pub(in crate::admin) status: u16,
    /// The code in words.
    pub(in crate::admin) title: &'static str,
    /// What to do.
    pub(in crate::admin) detail: String,
    /// The secret, where it is about one.
    #[schema(value_type = Option<String>)]
    pub(in crate::admin) secret: Option<SecretName>,
    /// The surface, where it is about one.
    #[schema(value_type = Option<SurfaceSchema>)]
    pub(in crate::admin) surface: Option<Surface>,
}

/// A request with a mask in the place of every value.
#[derive(Serialize, ToSchema)]
#[schema(as = MaskedRequest)]
pub(in crate::admin) struct MaskedRequest {
    /// The method.
    pub(in crate::admin) method: String,
    /// Path and query.
    pub(in crate::admin) target: String,
    /// Pairs of name and value.
    #[schema(value_type = Vec<Vec<String>>)]
    pub(in crate::admin) headers: Vec<(String, String)>,
    /// The content, as text.
    pub(in crate::admin) body: Option<String>,
}

/// Tries a request: without sending it, or for real.
#[utoipa::path(
    post, path = "/organizations/{organization}/request-tests", tag = "request tests",
    params(("organization" = String, Path)),
    request_body = New,
    responses((status = 200, body = RequestTest)),
)]
async fn create(Path(of): Path<String>, Shared(state): Shared<State>, Json(body): Json<New>) -> Result<Response, Problem> {
    Ok(axum::Json(tried(&state, &organization(&of)?, body).await?).into_response())
}

/// What would happen to the request, and what did if it was to be sent.
pub(in crate::admin) async fn tried(state: &State, organization: &OrganizationName, body: New) -> Result<RequestTest, Problem> {
    let runner = body.runner.as_deref().map(runners::name).transpose()?;
    let runner = runner.map(|name| runners::existing(state, organization, &name)).transpose()?;
    let send = body.send;
    let trial = parsed(body)?;
    let findings = found(state, organization, runner.as_ref(), &trial);
    let runner = runner.map(|runner| runner.name);
    let answer = match (trial, &findings.outcome) {
        (Ok(trial), Ok(_)) if send => Some(sent(state, organization, runner.clone(), trial).await?),
        _ => None,
    };
    Ok(findings.into_document(organization, runner, answer))
}

fn found(
    state: &State,
    organization: &OrganizationName,
    runner: Option<&RunnerView>,
    trial: &Result<Trial, Refusal>,
) -> Findings {
    let names = runner.and_then(|runner| runner.secrets.clone()).map(Into::into);
    let resolver = state.vault.resolver(organization, names);
    match trial {
        Err(refusal) => Findings::refused(None, refusal.clone()),
        Ok(trial) => match runner.map_or(Ok(()), |runner| trial::may_reach(runner, &trial.origin.host)) {
            Err(refusal) => Findings::refused(Some(trial.origin.to_string()), refusal),
            Ok(()) => judged(state, trial, resolver.as_ref()),
        },
    }
}

/// Sends the request the way a runner's goes.
async fn sent(
    state: &State,
    organization: &OrganizationName,
    runner: Option<RunnerName>,
    trial: Trial,
) -> Result<Answer, Problem> {
    let unavailable = |detail: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_sent", detail);
    let road = state.road.as_ref().ok_or_else(|| {
        unavailable("No proxy runs here, so nothing can be sent. Start `subrosa serve`, or test without sending.".to_owned())
    })?;
    let origin = trial.origin.clone();
    let request = trial.into_request()?;
    let errand = Errand { organization: organization.clone(), runner, origin, request };
    let answered = road.send(errand).await.map_err(|fault| unavailable(fault.to_string()))?;
    Ok(Answer {
        status: answered.status.as_u16(),
        milliseconds: u64::try_from(answered.took.as_millis()).unwrap_or(u64::MAX),
        code: answered.refusal,
    })
}

/// The request as the road would see it; the inner error is what the road would refuse it with.
fn parsed(body: New) -> Result<Result<Trial, Refusal>, Problem> {
    let method = Method::from_bytes(body.method.as_bytes()).map_err(|_| Problem::invalid("method", "this is no method"))?;
    let content = match (body.body, body.body_base64) {
        (Some(_), Some(_)) => return Err(Problem::invalid("body", "send `body` or `body_base64`, not both")),
        (Some(text), None) => text.into_bytes(),
        (None, Some(text)) => STANDARD.decode(text).map_err(|fault| Problem::invalid("body_base64", fault))?,
        (None, None) => Vec::new(),
    };
    let pairs = match body.headers {
        Fields::Pairs(pairs) => pairs,
        Fields::Object(object) => object.into_iter().collect(),
    };
    let fields = trial::fields(&pairs)?;
    Ok(Trial::new(method, &body.url, fields, content))
}

/// What was found.
struct Findings {
    origin: Option<String>,
    references: Vec<(SecretName, Surface, Option<Refusal>)>,
    outcome: Result<Option<MaskedRequest>, Refusal>,
    notes: Vec<String>,
}

fn judged(state: &State, trial: &Trial, resolver: &dyn Resolver) -> Findings {
    let surfaces = trial.surfaces.and(state.surfaces_for(&trial.origin.host));
    let references = references(trial, surfaces, resolver);
    let mut outcome = inject(trial, surfaces, resolver).map(drop);
    if trial.method == Method::TRACE && !references.is_empty() && outcome.is_ok() {
        outcome = Err(Refusal::new(
            Code::MalformedRequest,
            "A TRACE request holds a secret reference; the upstream would send the value back.",
        ));
    }
    let mut notes = vec!["Whether the egress rules permit the target's address is not tested: no name is resolved.".to_owned()];
    if trial.origin.scheme == Scheme::Http && !references.is_empty() {
        notes
            .push("Over plain http a secret goes out only where egress.allow and egress.cleartext_secrets permit it.".to_owned());
    }
    let injection = Injection::new(resolver, &trial.origin.host, surfaces);
    notes.extend(injection.bare_name(&trial.target).iter().map(bare_hint));
    notes.extend(unsearched(trial, surfaces).map(|reason| note(reason).to_owned()));
    let outcome = outcome.map(|()| masked(trial, surfaces, resolver));
    Findings { origin: Some(trial.origin.to_string()), references, outcome, notes }
}

/// Runs the core over the whole request.
fn inject(trial: &Trial, surfaces: Surfaces, resolver: &dyn Resolver) -> Result<Sent, Refusal> {
    let mut injection = Injection::new(resolver, &trial.origin.host, surfaces);
    Ok(Sent {
        target: injection.target(&trial.target)?,
        fields: injection.fields(&trial.fields)?,
        content: injection.content(&trial.fields, &trial.content)?,
    })
}

/// Every reference with its surface, and why it would be refused, if it would be.
fn references(trial: &Trial, surfaces: Surfaces, resolver: &dyn Resolver) -> Vec<(SecretName, Surface, Option<Refusal>)> {
    // Every name is taken to be permitted anywhere, so that nothing hides what comes after it.
    let mut injection = Injection::new(&Assume, &trial.origin.host, surfaces);
    let _ = injection.target(&trial.target);
    let _ = injection.fields(&trial.fields);
    let _ = injection.content(&trial.fields, &trial.content);
    let found = injection.finish().injected.into_iter().take(MOST_JUDGED);
    let judged = found.map(|(name, surface)| {
        let one = OnlyOne { name: &name, resolver };
        let alone = surfaces.and(Surfaces::NONE.with(surface));
        let refusal = inject(trial, alone, &one).err().filter(|refusal| refusal.secret.is_some());
        (name, surface, refusal)
    });
    judged.collect()
}

/// Why the content, or a part of it, is not searched.
fn unsearched(trial: &Trial, surfaces: Surfaces) -> impl Iterator<Item = Unsearched> {
    let mut injection = Injection::new(&Assume, &trial.origin.host, surfaces);
    if !trial.content.is_empty() {
        let _ = injection.content(&trial.fields, &trial.content);
    }
    injection.finish().unsearched.iter()
}

fn note(reason: Unsearched) -> &'static str {
    match reason {
        Unsearched::Binary => "The content, or a part of it, is not searched: its type is binary.",
        Unsearched::NotText => "The content, or a part of it, is not searched: it names no type and is no UTF-8 text.",
        Unsearched::Charset => "The content, or a part of it, is not searched: its charset does not hold ASCII as it is.",
        Unsearched::Coding => "The content is not searched: its coding is not known.",
        Unsearched::EncodedPart => "A part of the content is not searched: it has a transfer encoding of its own.",
    }
}

/// The request as it would be sent, a mask in the place of every value. `None` where a mask cannot
/// stand (a bare number in JSON): what is not shown cannot mislead.
fn masked(trial: &Trial, surfaces: Surfaces, resolver: &dyn Resolver) -> Option<MaskedRequest> {
    let sent = inject(trial, surfaces, &Masked { resolver }).ok()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let content = sent.content.as_deref().unwrap_or(&trial.content);
    Some(MaskedRequest {
        method: trial.method.to_string(),
        target: text(sent.target.as_deref().unwrap_or(&trial.target)),
        headers: pairs(sent.fields.as_ref().unwrap_or(&trial.fields)),
        body: (!content.is_empty()).then(|| text(content)),
    })
}

fn pairs(fields: &HeaderMap) -> Vec<(String, String)> {
    let sent = fields.iter().filter(|(name, _)| !name.as_str().starts_with("subrosa-") && *name != "proxy-authorization");
    sent.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect()
}

impl Findings {
    fn refused(origin: Option<String>, refusal: Refusal) -> Self {
        Self { origin, references: Vec::new(), outcome: Err(refusal), notes: Vec::new() }
    }

    fn into_document(self, organization: &OrganizationName, runner: Option<RunnerName>, answer: Option<Answer>) -> RequestTest {
        let references = self.references.into_iter().map(|(name, surface, refusal)| judgement(name, surface, refusal));
        let (outcome, request, refusal) = match self.outcome {
            Ok(request) => (Outcome::Forwarded, request, None),
            Err(refusal) => (Outcome::Refused, None, Some(refused(refusal))),
        };
        RequestTest {
            organization: organization.clone(),
            runner,
            origin: self.origin,
            outcome,
            references: references.collect(),
            refusal,
            request,
            answer,
            notes: self.notes,
        }
    }
}

fn judgement(secret: SecretName, surface: Surface, refusal: Option<Refusal>) -> Judgement {
    let code = refusal.as_ref().map(|refusal| refusal.code.as_str());
    Judgement { secret, surface, permitted: refusal.is_none(), code, detail: refusal.map(|refusal| refusal.detail) }
}

fn refused(refusal: Refusal) -> Refused {
    Refused {
        code: refusal.code.as_str(),
        status: refusal.code.status().as_u16(),
        title: refusal.code.title(),
        detail: refusal.detail,
        secret: refusal.secret,
        surface: refusal.surface,
    }
}
