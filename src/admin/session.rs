//! The session's cookie, and the token that proves a change was asked for by one of our own pages.
//!
//! Under TLS the cookie is `__Host-subrosa`, which no other host and no plain connection can set; on
//! loopback without TLS, where browsers take no `__Host-`, it is `subrosa-session`. The CSRF token is
//! derived from the session's own token: nothing more has to be kept, and nobody can tell the one
//! from the other.

use axum::extract::FromRequestParts;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{COOKIE, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use super::problem::Problem;
use crate::members::Token;
use crate::token::TokenHash;

const CSRF_LABEL: &[u8] = b"subrosa csrf v1\0";

/// How visitors of this door reach it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Over TLS, ended here or by somebody in front.
    pub secure: bool,
    /// Through somebody in front, who names the visitor's address in X-Forwarded-For.
    pub fronted: bool,
}

impl Way {
    /// What the session's cookie is called.
    const fn cookie(self) -> &'static str {
        if self.secure { "__Host-subrosa" } else { "subrosa-session" }
    }

    /// The session's token in a request. Two of them are none: nobody knows which is meant.
    pub(super) fn session(self, fields: &HeaderMap) -> Option<&str> {
        cookie(fields, self.cookie())
    }

    /// The field that begins a session in the browser.
    pub(super) fn begin(self, token: &Token) -> (HeaderName, HeaderValue) {
        self.set(token.show_once(), "")
    }

    /// The field that ends it there.
    pub(super) fn end(self) -> (HeaderName, HeaderValue) {
        self.set("", "; Max-Age=0")
    }

    /// What the cookie of a sign-in under way is called.
    pub(super) const fn flow_cookie(self) -> &'static str {
        if self.secure { "__Host-subrosa-flow" } else { "subrosa-flow" }
    }

    /// The field that begins a sign-in with a provider. Lax: the provider sends the browser back with it.
    pub(super) fn begin_flow(self, value: &str) -> (HeaderName, HeaderValue) {
        self.field(self.flow_cookie(), value, "SameSite=Lax", "; Max-Age=900")
    }

    /// The field that ends it.
    pub(super) fn end_flow(self) -> (HeaderName, HeaderValue) {
        self.field(self.flow_cookie(), "", "SameSite=Lax", "; Max-Age=0")
    }

    fn set(self, value: &str, more: &str) -> (HeaderName, HeaderValue) {
        self.field(self.cookie(), value, "SameSite=Strict", more)
    }

    fn field(self, name: &str, value: &str, same_site: &str, more: &str) -> (HeaderName, HeaderValue) {
        let secure = if self.secure { "; Secure" } else { "" };
        let text = format!("{name}={value}; Path=/; HttpOnly; {same_site}{secure}{more}");
        let mut field = HeaderValue::from_str(&text).expect("a token is URL-safe base64");
        field.set_sensitive(true);
        (SET_COOKIE, field)
    }
}

/// The one cookie of this name.
pub(super) fn cookie<'a>(fields: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = fields.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(known, _)| *known == name).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (Some(value), None) if !value.is_empty() => Some(value),
        _ => None,
    }
}

/// What a form sends as `csrf`, or a script as X-CSRF-Token, so that a change is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Csrf(String);

impl Csrf {
    /// The token of a session.
    pub(super) fn of(session: &str) -> Self {
        let hash = Sha256::new().chain_update(CSRF_LABEL).chain_update(session).finalize();
        Self(URL_SAFE_NO_PAD.encode(hash))
    }

    /// That of somebody who has no session, and needs none.
    pub(super) fn none() -> Self {
        Self(String::new())
    }

    /// The token, for a form.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `sent` is it. Hashes are compared, so that the time tells nothing.
    pub(super) fn is(&self, sent: &str) -> bool {
        !self.0.is_empty() && TokenHash::of(self.0.as_bytes()) == TokenHash::of(sent.as_bytes())
    }
}

/// The CSRF token of whoever asks; empty for those who have no session and need none.
impl<S: Send + Sync> FromRequestParts<S> for Csrf {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(Self::none))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECURE: Way = Way { secure: true, fronted: false };

    #[test]
    fn the_cookie_is_out_of_reach_of_scripts_other_sites_and_plain_connections() {
        let token = Token::random("").expect("random");
        let (name, field) = SECURE.begin(&token);
        let expected = format!("__Host-subrosa={}; Path=/; HttpOnly; SameSite=Strict; Secure", token.show_once());
        assert_eq!((name, field.to_str().expect("text")), (SET_COOKIE, expected.as_str()));
        let (_, field) = Way::default().begin(&token);
        assert!(
            field.to_str().expect("text").starts_with("subrosa-session=") && !field.to_str().expect("text").contains("Secure")
        );
        assert!(SECURE.end().1.to_str().expect("text").contains("Max-Age=0"));
    }

    #[test]
    fn one_cookie_counts_and_two_are_none() {
        for (lines, found) in [
            (vec!["__Host-subrosa=a"], Some("a")),
            (vec!["x=1; __Host-subrosa=a; y=2"], Some("a")),
            (vec!["x=1", "__Host-subrosa=a"], Some("a")),
            (vec!["__Host-subrosa=a; __Host-subrosa=b"], None),
            (vec!["__Host-subrosa=a", "__Host-subrosa=a"], None),
            (vec!["__Host-subrosa="], None),
            (vec!["subrosa-session=a"], None),
            (vec!["x__Host-subrosa=a"], None),
        ] {
            let mut map = HeaderMap::new();
            for line in &lines {
                map.append(COOKIE, HeaderValue::from_static(line));
            }
            assert_eq!(SECURE.session(&map), found, "{lines:?}");
        }
    }

    #[test]
    fn a_csrf_token_is_of_one_session() {
        assert!(Csrf::of("a").is(Csrf::of("a").as_str()));
        assert!(!Csrf::of("a").is(Csrf::of("b").as_str()) && !Csrf::of("a").is("") && !Csrf::of("a").is("a"));
    }
}
