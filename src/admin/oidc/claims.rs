//! What a token says of a person, and the roles that follow from it.

use std::collections::HashMap;

use openidconnect::core::CoreGenderClaim;
use openidconnect::{AdditionalClaims, IdTokenClaims};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ProviderError, Settings};
use crate::members::{Login, Role, Roles, Subject};
use crate::secret::OrganizationName;

/// Claims that the library does not know.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Extra(HashMap<String, Value>);

impl AdditionalClaims for Extra {}

/// A role that a group of the provider gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRole {
    /// The group, as the provider writes it.
    pub group: String,
    /// In which organization.
    pub organization: OrganizationName,
    /// What its members may do there.
    pub role: Role,
}

/// Whom the provider vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::admin) struct Vouched {
    /// Who it is there.
    pub(in crate::admin) subject: Subject,
    /// What they are called here.
    pub(in crate::admin) login: Login,
    /// Whether the provider verified that the login is theirs.
    pub(in crate::admin) verified: bool,
    /// What their groups give; `None` where groups decide nothing.
    pub(in crate::admin) roles: Option<Roles>,
}

/// Reads claims that were verified.
pub(super) fn vouched(settings: &Settings, claims: &IdTokenClaims<Extra, CoreGenderClaim>) -> Result<Vouched, ProviderError> {
    let from_groups = !settings.groups.is_empty();
    let subject = Subject {
        issuer: claims.issuer().as_str().to_owned(),
        subject: claims.subject().as_str().to_owned(),
        roles_from_groups: from_groups,
    };
    // An address that the provider knows not to be theirs names nobody.
    let email = claims.email().filter(|_| claims.email_verified() != Some(false)).map(|email| email.as_str());
    let name = claims.preferred_username().map(|name| name.as_str());
    let login = email.into_iter().chain(name).find_map(|text| Login::parse(text).ok());
    let login = login.ok_or_else(|| ProviderError::Token("it has neither an e-mail address nor a user name".to_owned()))?;
    let verified = claims.email_verified() == Some(true) && email.is_some_and(|email| Login::parse(email).as_ref() == Ok(&login));
    let groups = claims.additional_claims().0.get(&settings.groups_claim);
    let roles = from_groups.then(|| roles(&settings.groups, groups.unwrap_or(&Value::Null)));
    Ok(Vouched { subject, login, verified, roles })
}

/// The highest role that any of `groups` gives in each organization.
fn roles(rules: &[GroupRole], groups: &Value) -> Roles {
    let is_in = |group: &str| match groups {
        Value::Array(groups) => groups.iter().any(|known| known == group),
        Value::String(only) => only == group,
        _ => false,
    };
    let mut roles = Roles::new();
    for rule in rules.iter().filter(|rule| is_in(&rule.group)) {
        let role = roles.entry(rule.organization.clone()).or_insert(rule.role);
        *role = rule.role.max(*role);
    }
    roles
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_highest_role_of_all_groups_counts() {
        let organization = |name| OrganizationName::parse(name).expect("a name");
        let rule = |group: &str, of, role| GroupRole { group: group.to_owned(), organization: organization(of), role };
        let rules = [
            rule("staff", "default", Role::Viewer),
            rule("leads", "default", Role::Administrator),
            rule("crm", "acme", Role::Editor),
        ];
        let default = |role| Roles::from([(organization("default"), role)]);
        for (groups, expected) in [
            (json!(["leads", "staff"]), default(Role::Administrator)),
            (json!(["staff", "other"]), default(Role::Viewer)),
            (json!("staff"), default(Role::Viewer)),
            (json!(["Staff", "staff "]), Roles::new()),
            (json!({ "staff": true }), Roles::new()),
            (Value::Null, Roles::new()),
        ] {
            assert_eq!(roles(&rules, &groups), expected, "{groups}");
        }
        assert_eq!(roles(&rules, &json!(["crm", "staff"])).len(), 2);
    }
}
