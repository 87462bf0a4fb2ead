//! The key-encryption keys: which there are and what needs them, and their rotation.

use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::State;
use super::secrets::sentence;
use crate::admin::principal::Principal;
use crate::admin::problem::Problem;
use crate::custody::{self, CustodyError, Status};

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(rotate))
}

/// The key-encryption keys. Never a key itself: an id is 8 bytes of a hash.
#[derive(Serialize, ToSchema)]
#[schema(as = Keys)]
struct KeyList {
    /// Those that are held, and those that something stored is sealed under.
    keys: Vec<Key>,
    /// How much of what is stored needs a former key.
    needed: u64,
    rotation: Rotation,
}

/// A key-encryption key.
#[derive(Serialize, ToSchema)]
struct Key {
    /// Names it without showing it.
    #[schema(example = "5f1d0c9a7b3e2468")]
    id: String,
    /// Everything that is written is sealed under it.
    current: bool,
    /// It is at hand, so that what is sealed under it opens.
    held: bool,
    /// How much of what is stored is sealed under it.
    sealed: u64,
}

/// Whether a rotation is under way, or how the last one since the start ended.
#[derive(Serialize, ToSchema)]
struct Rotation {
    #[schema(value_type = RotationStateSchema)]
    state: &'static str,
    /// How much was sealed anew.
    done: u64,
    /// How much there was to be.
    total: u64,
    /// What there is to say once it has ended.
    said: Option<String>,
}

/// How a rotation stands.
#[derive(ToSchema)]
#[schema(as = RotationState, rename_all = "lowercase")]
#[expect(dead_code, reason = "describes `custody::State`")]
enum RotationStateSchema {
    Idle,
    Running,
    Done,
    Failed,
}

/// A rotation that was begun.
#[derive(Serialize, ToSchema)]
struct Begun {
    /// A new key was made for it. Otherwise one that is given is taken up, or one that was interrupted goes on.
    new_key: bool,
}

/// Lists the key-encryption keys by their ids, and says how a rotation stands.
#[utoipa::path(get, path = "/keys", tag = "keys", responses((status = 200, body = KeyList)))]
async fn show(Shared(state): Shared<State>) -> Result<axum::Json<KeyList>, Problem> {
    let status = state.custody.status().await.map_err(CustodyError::from)?;
    Ok(axum::Json(shown(&status)))
}

/// Begins a rotation, or goes on with one. It runs by itself; `GET /keys` says how it stands.
#[utoipa::path(post, path = "/keys/rotation", tag = "keys", responses((status = 202, body = Begun)))]
async fn rotate(principal: Principal, Shared(state): Shared<State>) -> Result<Response, Problem> {
    let new_key = state.custody.rotate(principal.name()).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(Begun { new_key })).into_response())
}

fn shown(status: &Status) -> KeyList {
    let mut ids = vec![status.current];
    ids.extend(&status.former);
    ids.extend(status.sealed.keys().filter(|id| **id != status.current && !status.former.contains(id)));
    let key = |id: &crate::seal::KeyId| Key {
        id: id.to_string(),
        current: *id == status.current,
        held: *id == status.current || status.former.contains(id),
        sealed: status.sealed.get(id).copied().unwrap_or_default(),
    };
    let custody::Progress { state, done, total, said } = status.rotation.clone();
    let state = match state {
        custody::State::Idle => "idle",
        custody::State::Running => "running",
        custody::State::Done => "done",
        custody::State::Failed => "failed",
    };
    KeyList { keys: ids.iter().map(key).collect(), needed: status.needed, rotation: Rotation { state, done, total, said } }
}

impl From<CustodyError> for Problem {
    fn from(error: CustodyError) -> Self {
        let (status, code) = match &error {
            CustodyError::UnderWay => (StatusCode::CONFLICT, "rotation_under_way"),
            CustodyError::NothingKept | CustodyError::NotGiven { .. } | CustodyError::OthersRun(_) | CustodyError::Sources(_) => {
                (StatusCode::CONFLICT, "key_unavailable")
            }
            CustodyError::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable"),
        };
        Self::new(status, code, sentence(&error))
    }
}
