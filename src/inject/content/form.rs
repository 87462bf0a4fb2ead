//! `application/x-www-form-urlencoded`: values go in percent-encoded. `curl -d` calls everything a
//! form; what begins like JSON is JSON.

use super::charset::Charset;
use super::json::Json;
use super::machine::Machine;
use super::window::{Context, Sink, Window};
use crate::inject::reference::Coding;
use crate::inject::splice::{Encoded, Splicer, Unfit};
use crate::inject::{Refusal, encode};

/// So many blanks after a first brace are waited through; no serialiser writes as many.
const MOST_BLANKS: usize = 4096;

/// A form, or what is called one.
pub(super) struct Form {
    charset: Charset,
    kind: Kind,
}

/// What a content that is called a form turned out to be.
enum Kind {
    /// Blanks so far, and here what came since a first brace.
    Unknown(Vec<u8>),
    Form(Window<Pairs>),
    Json(Window<Json>),
}

impl Form {
    pub(super) fn new(charset: Charset) -> Self {
        Self { charset, kind: Kind::Unknown(Vec::new()) }
    }

    fn decided(&self, is_json: bool) -> Kind {
        if is_json {
            Kind::Json(Window::new(Coding::Raw, Json::new(self.charset)))
        } else {
            Kind::Form(Window::new(Coding::Percent, Pairs(self.charset)))
        }
    }

    fn forward(&mut self, splicer: &mut Splicer<'_>, piece: &[u8], is_last: bool, sink: Sink<'_>) -> Result<(), Refusal> {
        match &mut self.kind {
            Kind::Form(window) => window.push(splicer, piece, is_last, sink),
            Kind::Json(window) => window.push(splicer, piece, is_last, sink),
            Kind::Unknown(_) => Ok(()),
        }
    }
}

impl Machine for Form {
    fn push(&mut self, splicer: &mut Splicer<'_>, piece: &[u8], is_last: bool, sink: Sink<'_>) -> Result<(), Refusal> {
        let Kind::Unknown(held) = &mut self.kind else { return self.forward(splicer, piece, is_last, sink) };
        let mut rest = piece;
        if held.is_empty() {
            let blanks = rest.len() - rest.trim_ascii_start().len();
            sink(&rest[..blanks])?;
            rest = &rest[blanks..];
            if let Some(after) = rest.strip_prefix(b"{") {
                held.push(b'{');
                rest = after;
            }
        }
        let mut is_json = rest.first() == Some(&b'[');
        if !held.is_empty() {
            let blanks = (rest.len() - rest.trim_ascii_start().len()).min(MOST_BLANKS + 1 - held.len());
            held.extend_from_slice(&rest[..blanks]);
            rest = &rest[blanks..];
            is_json = rest.first() == Some(&b'"') && held.len() <= MOST_BLANKS;
        }
        if rest.is_empty() && !is_last && held.len() <= MOST_BLANKS {
            return Ok(());
        }
        let held = std::mem::take(held);
        self.kind = self.decided(is_json);
        self.forward(splicer, &held, false, sink)?;
        self.forward(splicer, rest, is_last, sink)
    }
}

/// The pairs of a form.
struct Pairs(Charset);

impl Context for Pairs {
    fn pass(&mut self, _: &[u8]) {}

    fn encode(&mut self, value: &[u8], _: &[u8]) -> Result<Encoded, Unfit> {
        Ok(encode::percent(&self.value(value)?))
    }
}

impl Pairs {
    /// Any bytes can be percent-encoded; what is said to be text in another charset is written in it.
    fn value(&self, value: &[u8]) -> Result<Encoded, Unfit> {
        if self.0.is_utf8() { Ok(encode::raw(value)) } else { self.0.encode(value) }
    }
}
