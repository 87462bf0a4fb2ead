//! Request tests: what would happen to a request, without sending it.
//!
//! The very core that injects on the road is asked, with what the runner may use; what it would
//! send is thrown away. What is answered instead is the same request with a mask for every value.

use axum::extract::{Path, State as Shared};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method};
use serde::Deserialize;
use serde_json::{Value, json};

use super::resolvers::{Assume, Masked, OnlyOne};
use super::trial::{Sent, Trial};
use super::{State, organization, runners, trial};
use crate::admin::body::Json;
use crate::admin::problem::Problem;
use crate::inject::{Code, Injection, Refusal, Resolver, Secrets};
use crate::origin::Scheme;
use crate::secret::{OrganizationName, SecretName, Surface, Surfaces};

/// References that are judged one by one; a request with more of them is judged as a whole.
const MOST_JUDGED: usize = 100;

/// A request, as it is sent here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewBody {
    url: String,
    #[serde(default = "get")]
    method: String,
    #[serde(default)]
    headers: Fields,
    body: Option<String>,
    body_base64: Option<String>,
    runner: Option<String>,
}

/// Fields as pairs, or as an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum Fields {
    Pairs(Vec<(String, String)>),
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

/// `POST /request-tests`
pub(super) async fn create(
    Path(of): Path<String>,
    Shared(state): Shared<State>,
    Json(body): Json<NewBody>,
) -> Result<Response, Problem> {
    let organization = organization(&of)?;
    let runner = body.runner.as_deref().map(runners::name).transpose()?;
    let runner = runner.map(|name| runners::present(&state, &organization, &name)).transpose()?;
    let names = runner.as_ref().and_then(|runner| runner.secrets.clone()).map(Into::into);
    let resolver = state.vault.resolver(&organization, names);
    let findings = match parsed(body)? {
        Err(refusal) => Findings::refused(None, refusal),
        Ok(trial) => {
            let reach = runner.as_ref().map_or(Ok(()), |runner| trial::may_reach(runner, &trial.origin.host));
            match reach {
                Err(refusal) => Findings::refused(Some(trial.origin.to_string()), refusal),
                Ok(()) => judged(&state, &trial, resolver.as_ref()),
            }
        }
    };
    let runner = runner.map(|runner| runner.name.to_string());
    Ok(axum::Json(findings.into_content(&organization, runner.as_deref())).into_response())
}

/// The request as the road would see it; the inner error is what the road would refuse it with.
fn parsed(body: NewBody) -> Result<Result<Trial, Refusal>, Problem> {
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
    outcome: Result<Option<Value>, Refusal>,
    notes: Vec<&'static str>,
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
    let mut notes = vec!["Whether the egress rules permit the target's address is not tested: no name is resolved."];
    if trial.origin.scheme == Scheme::Http && !references.is_empty() {
        notes.push("Over plain http a secret goes out only where egress.allow and egress.cleartext_secrets permit it.");
    }
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

/// The request as it would be sent, a mask in the place of every value. `None` where a mask cannot
/// stand (a bare number in JSON): what is not shown cannot mislead.
fn masked(trial: &Trial, surfaces: Surfaces, resolver: &dyn Resolver) -> Option<Value> {
    let sent = inject(trial, surfaces, &Masked { resolver }).ok()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let content = sent.content.as_deref().unwrap_or(&trial.content);
    Some(json!({
        "method": trial.method.as_str(),
        "target": text(sent.target.as_deref().unwrap_or(&trial.target)),
        "headers": pairs(sent.fields.as_ref().unwrap_or(&trial.fields)),
        "body": (!content.is_empty()).then(|| text(content)),
    }))
}

fn pairs(fields: &HeaderMap) -> Vec<Value> {
    let sent = fields.iter().filter(|(name, _)| !name.as_str().starts_with("subrosa-") && *name != "proxy-authorization");
    sent.map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())])).collect()
}

impl Findings {
    fn refused(origin: Option<String>, refusal: Refusal) -> Self {
        Self { origin, references: Vec::new(), outcome: Err(refusal), notes: Vec::new() }
    }

    fn into_content(self, organization: &OrganizationName, runner: Option<&str>) -> Value {
        let references: Vec<Value> =
            self.references.iter().map(|(name, surface, refusal)| judgement(name, *surface, refusal.as_ref())).collect();
        let (outcome, request, refusal) = match self.outcome {
            Ok(request) => ("forwarded", request, None),
            Err(refusal) => ("refused", None, Some(refused(&refusal))),
        };
        json!({
            "organization": organization,
            "runner": runner,
            "origin": self.origin,
            "outcome": outcome,
            "references": references,
            "refusal": refusal,
            "request": request,
            "notes": self.notes,
        })
    }
}

fn judgement(name: &SecretName, surface: Surface, refusal: Option<&Refusal>) -> Value {
    json!({
        "secret": name,
        "surface": surface,
        "permitted": refusal.is_none(),
        "code": refusal.map(|refusal| refusal.code.as_str()),
        "detail": refusal.map(|refusal| refusal.detail.as_str()),
    })
}

fn refused(refusal: &Refusal) -> Value {
    json!({
        "code": refusal.code.as_str(),
        "status": refusal.code.status().as_u16(),
        "title": refusal.code.title(),
        "detail": refusal.detail,
        "secret": refusal.secret,
        "surface": refusal.surface,
    })
}
