//! What several resources send and answer: limits, last uses, problems.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use crate::activity;
use crate::secret::{RunnerName, Surface};

/// Where a reference may stand in a request.
#[derive(ToSchema)]
#[schema(as = Surface, rename_all = "lowercase")]
#[expect(dead_code, reason = "describes `secret::Surface`")]
pub(super) enum SurfaceSchema {
    Path,
    Query,
    Header,
    Authentication,
    Body,
}

/// Limits of a secret beyond its allowed domains; they change only together with a new value.
#[derive(ToSchema)]
#[schema(as = Limits)]
#[expect(dead_code, reason = "describes `secret::Limits`")]
pub(super) struct LimitsSchema {
    /// The surfaces it may stand on; all unless said. `header` includes `authentication`.
    #[schema(value_type = Option<Vec<SurfaceSchema>>, max_items = 5)]
    surfaces: (),
    /// The only fields it may stand in, lower case; empty: any.
    #[schema(value_type = Option<Vec<String>>)]
    headers: (),
    /// The value is percent-encoded already and goes into a path or query as it is.
    #[schema(value_type = Option<bool>)]
    url_encoded: (),
}

/// Why a request was not carried out (RFC 9457).
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "describes `problem::Problem`")]
pub(super) struct ProblemSchema {
    /// `urn:subrosa:CODE`.
    r#type: String,
    /// The status in words.
    title: String,
    /// The status.
    status: u16,
    /// One sentence that a person can act on.
    detail: String,
    /// The word for it, for scripts.
    code: String,
    /// The member of the request that is at fault, where it is one.
    field: Option<String>,
}

/// When and how a secret was used last.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct LastUse {
    /// When, RFC 3339.
    pub(in crate::admin) at: Option<String>,
    /// By whom; null for a client without a name.
    #[schema(value_type = Option<String>)]
    pub(in crate::admin) runner: Option<RunnerName>,
    /// Towards which host.
    pub(in crate::admin) host: String,
    /// On which surface; null where a runner's request held none.
    #[schema(value_type = Option<SurfaceSchema>)]
    pub(in crate::admin) surface: Option<Surface>,
}

impl From<activity::LastUse> for LastUse {
    fn from(last: activity::LastUse) -> Self {
        Self { at: timestamp(last.at.div_euclid(1000)), runner: last.runner, host: last.host, surface: last.surface }
    }
}

/// Unix seconds as RFC 3339; what no calendar holds is null.
pub(in crate::admin) fn timestamp(seconds: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc3339).ok()
}
