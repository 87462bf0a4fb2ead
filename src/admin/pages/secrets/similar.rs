//! Names that look alike: a duplicate with another spelling is worth a word, not a refusal.

use crate::admin::State;
use crate::secret::{OrganizationName, SecretName};

/// The most that are told.
const MOST: usize = 3;

/// Names of the organization that look like `typed`, without `own`.
pub(super) fn to(state: &State, organization: &OrganizationName, typed: &str, own: Option<&SecretName>) -> Vec<SecretName> {
    let names = state.vault.list(organization).into_iter().map(|secret| secret.name);
    names.filter(|name| Some(name) != own && name.as_str() != typed && alike(name.as_str(), typed)).take(MOST).collect()
}

/// Whether two names differ in case, separators or one letter only. Names that differ in a digit are
/// a series (`key1`, `key2`), and meant so.
fn alike(one: &str, other: &str) -> bool {
    let (one, other) = (folded(one), folded(other));
    one == other || one_letter_apart(&one, &other)
}

fn folded(name: &str) -> Vec<u8> {
    name.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_lowercase()).collect()
}

/// Shorter names are one letter apart by chance.
const LEAST: usize = 6;

fn one_letter_apart(one: &[u8], other: &[u8]) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    if short.len() < LEAST || long.len() - short.len() > 1 {
        return false;
    }
    let same = short.iter().zip(long).take_while(|(short, long)| short == long).count();
    let rest = if short.len() == long.len() { same + 1 } else { same };
    let differs_in_a_digit =
        long[same..].first().is_some_and(u8::is_ascii_digit) || short[same..].first().is_some_and(u8::is_ascii_digit);
    !differs_in_a_digit && short.get(rest..).unwrap_or_default() == &long[(same + 1).min(long.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_is_told_and_series_are_not() {
        for (one, other, expected) in [
            ("crm.apiKey", "crm.api_key", true),
            ("crm.apiKey", "CRM.APIKEY", true),
            ("crm.apiKey", "crm.apiKeys", true),
            ("crm.apiKey", "crm.aplKey", true),
            ("crm.apiKey1", "crm.apiKey2", false),
            ("crm.apiKey", "crm.apiKey2", false),
            ("crm.apiKey", "erp.apiKey", false),
            ("a", "b", false),
        ] {
            assert_eq!((alike(one, other), alike(other, one)), (expected, expected), "{one} {other}");
        }
    }
}
