//! A name that stands in a target without its braces: some clients take braces for syntax of their own
//! and leave them out (curl without `-g`). Such a request goes out as it came, and whoever sent it is
//! told; only of names that they may use, so that nothing can be probed.

use super::Resolver;
use crate::secret::{SecretName, is_name_byte};

/// What stands before a name.
const KEYWORD: &[u8] = b"secrets.";
/// How many places of one target are looked at, and how many names at each: what follows a name may
/// look like more of it (`secrets.a.json`).
const PLACES: usize = 4;
const NAMES: usize = 4;

/// The first secret named so in `target`.
pub(super) fn name(resolver: &dyn Resolver, target: &[u8]) -> Option<SecretName> {
    let places = memchr::memmem::find_iter(target, KEYWORD).take(PLACES);
    places.filter(|&at| stands_alone(target, at)).find_map(|at| {
        let rest = &target[at + KEYWORD.len()..];
        let length = rest.iter().take_while(|&&byte| is_name_byte(byte)).count();
        candidates(&rest[..length]).find(|name| resolver.find(name).is_ok())
    })
}

/// Nothing before it makes it part of another word, or a reference that was not finished.
fn stands_alone(target: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).map(|before| target[before]);
    let encoded_brace = target[..at].len() >= 3 && target[at - 3..at].eq_ignore_ascii_case(b"%7b");
    !encoded_brace && before.is_none_or(|byte| byte != b'{' && !is_name_byte(byte))
}

/// The whole of `text`, and shorter beginnings of it that end before a dot, a hyphen or an underscore.
fn candidates(text: &[u8]) -> impl Iterator<Item = SecretName> {
    let ends = text.iter().enumerate().rev().filter(|(_, byte)| !byte.is_ascii_alphanumeric()).map(|(end, _)| end);
    let names = std::iter::once(text.len()).chain(ends).map(|end| &text[..end]).take(NAMES);
    names.filter_map(|name| SecretName::parse(std::str::from_utf8(name).ok()?).ok())
}

/// What is said about it; visible ASCII, so that it can stand in a field.
pub fn bare_hint(name: &SecretName) -> String {
    format!(
        "secrets.{name} stands in the target without its braces, so it is ordinary text. Clients may leave them out (curl without -g): write %7Bsecrets.{name}%7D"
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::inject::{Absence, Secret};
    use crate::secret::{AllowedDomains, Limits, SecretValue};

    /// Knows `crm.apiKey`; `hidden` is not for this runner.
    struct Known;

    struct Sealed(AllowedDomains, Limits);

    impl Resolver for Known {
        fn find(&self, name: &SecretName) -> Result<Arc<dyn Secret>, Absence> {
            match name.as_str() {
                "crm.apiKey" => Ok(Arc::new(Sealed(AllowedDomains::default(), Limits::default()))),
                "hidden" => Err(Absence::NotPermitted),
                _ => Err(Absence::NotFound),
            }
        }
    }

    impl Secret for Sealed {
        fn allowed_domains(&self) -> &AllowedDomains {
            &self.0
        }
        fn limits(&self) -> &Limits {
            &self.1
        }
        fn open(&self) -> Result<SecretValue, crate::inject::Unavailable> {
            panic!("a hint opens nothing")
        }
    }

    #[test]
    fn only_a_known_name_that_stands_alone_is_found() {
        for (target, found) in [
            ("/v1?k=secrets.crm.apiKey", true),
            ("/v1/secrets.crm.apiKey/x", true),
            ("/v1/secrets.crm.apiKey.json", true),
            ("/v1/secrets.other/secrets.crm.apiKey-2", true),
            ("/v1?k=secrets.crm", false),
            ("/v1?k=secrets.hidden", false),
            ("/v1?k=mysecrets.crm.apiKey", false),
            ("/v1?k={secrets.crm.apiKey", false),
            ("/v1?k=%7bsecrets.crm.apiKey", false),
            ("/v1?k=secrets.", false),
            ("/v1?k=secrets.crm.apiKey2", false),
            ("/v1", false),
        ] {
            assert_eq!(name(&Known, target.as_bytes()).is_some(), found, "{target}");
        }
    }

    #[test]
    fn a_target_full_of_them_is_looked_at_in_few_places() {
        let target = "/secrets.nobody".repeat(1000) + "/secrets.crm.apiKey";
        assert_eq!(name(&Known, target.as_bytes()), None);
    }

    #[test]
    fn the_sentence_can_stand_in_a_field() {
        let name = SecretName::parse("crm.apiKey").expect("a good name");
        assert!(bare_hint(&name).bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    }
}
