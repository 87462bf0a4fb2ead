//! Two writers of one record never silently overwrite each other: a change names the revision it
//! was made from, as an entity tag (RFC 9110, 8.8.3) in `If-Match`, or as `revision` in the content.

use http::header::IF_MATCH;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::problem::Problem;

/// A revision as an entity tag.
pub(super) fn etag(revision: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{revision}\"")).expect("digits in quotes are a field value")
}

/// The revision that a change was made from. `*` means whichever there is: a deliberate overwrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MadeFrom {
    /// Exactly this one.
    Revision(u64),
    /// Any.
    Any,
}

impl MadeFrom {
    /// Reads the precondition; without one the change is not carried out (RFC 6585, 428).
    pub(super) fn read(fields: &HeaderMap, in_content: Option<u64>) -> Result<Self, Problem> {
        let in_field = fields.get(IF_MATCH).map(parse).transpose()?;
        match (in_field, in_content) {
            (Some(Self::Revision(field)), Some(content)) if field != content => {
                Err(Problem::malformed("If-Match and `revision` differ; send one of them."))
            }
            (Some(made_from), _) => Ok(made_from),
            (None, Some(revision)) => Ok(Self::Revision(revision)),
            (None, None) => {
                let detail = "Say which revision the change was made from: If-Match with the ETag, or `revision`.";
                Err(Problem::new(StatusCode::PRECONDITION_REQUIRED, "revision_required", detail))
            }
        }
    }

    /// The revision that must be there; `None`: any.
    pub(super) fn revision(self) -> Option<u64> {
        match self {
            Self::Revision(revision) => Some(revision),
            Self::Any => None,
        }
    }
}

/// Somebody else was faster.
pub(super) fn stale() -> Problem {
    let detail = "Somebody changed it meanwhile; read it again, and make the change from its present revision.";
    Problem::new(StatusCode::PRECONDITION_FAILED, "revision_stale", detail)
}

fn parse(field: &HeaderValue) -> Result<MadeFrom, Problem> {
    let text = field.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(MadeFrom::Any);
    }
    let digits = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    // Anything else is no tag of ours, so it matches nothing.
    digits.and_then(|digits| digits.parse().ok()).map(MadeFrom::Revision).ok_or_else(stale)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(field: Option<&'static str>, content: Option<u64>) -> Result<MadeFrom, Problem> {
        let fields = field.map(|text| (IF_MATCH, HeaderValue::from_static(text))).into_iter().collect();
        MadeFrom::read(&fields, content)
    }

    #[test]
    fn a_change_names_its_revision() {
        assert_eq!(read(Some("\"3\""), None), Ok(MadeFrom::Revision(3)));
        assert_eq!(read(None, Some(3)), Ok(MadeFrom::Revision(3)));
        assert_eq!(read(Some("\"3\""), Some(3)), Ok(MadeFrom::Revision(3)));
        assert_eq!(read(Some("*"), None), Ok(MadeFrom::Any));
        assert!(read(Some("\"3\""), Some(4)).is_err());
        assert_eq!(read(Some("W/\"3\""), None), Err(stale()));
        assert!(read(None, None).is_err_and(|problem| problem != stale()));
    }
}
