//! Values as people hand them over: from standard input, a file or a hidden prompt, never from an
//! argument, which every user of the machine could read.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use zeroize::Zeroizing;

use super::error::CliError;
use super::out;
use crate::secret::{MAX_VALUE, line_end};

/// The longest input that can be a value: with its line end.
const LONGEST: usize = MAX_VALUE + 2;

/// Where the value comes from.
#[derive(Args, Default)]
pub(super) struct ValueArguments {
    /// Read the value from standard input.
    #[arg(long, conflicts_with = "value_file")]
    value_stdin: bool,
    /// Read the value from a file.
    #[arg(long, value_name = "PATH")]
    value_file: Option<PathBuf>,
    /// Keep a line end at the end of the value.
    #[arg(long)]
    exact: bool,
}

/// A value that was handed over; wiped when dropped.
pub(super) struct Given(Zeroizing<Vec<u8>>);

impl ValueArguments {
    /// The value, if the arguments say where it is.
    pub(super) fn given(&self) -> Result<Option<Given>, CliError> {
        let bytes = if let Some(path) = &self.value_file {
            let file = std::fs::File::open(path)
                .map_err(|fault| CliError::failed(format!("the value file {} cannot be read: {fault}", path.display())))?;
            read(file)?
        } else if self.value_stdin {
            read(std::io::stdin().lock())?
        } else {
            return Ok(None);
        };
        self.accept(bytes).map(Some)
    }

    /// The value, asked for on the terminal if the arguments do not say where it is.
    pub(super) fn given_or_asked(&self, name: &str) -> Result<Given, CliError> {
        match self.given()? {
            Some(given) => Ok(given),
            None => ask(name),
        }
    }

    fn accept(&self, mut bytes: Zeroizing<Vec<u8>>) -> Result<Given, CliError> {
        let cut = if self.exact { 0 } else { line_end(&bytes) };
        if cut > 0 {
            let kept = bytes.len() - cut;
            bytes.truncate(kept);
            out::note("One line end at the end of the value was removed; --exact keeps it.");
        }
        Given::new(bytes)
    }
}

impl Given {
    fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, CliError> {
        match bytes.len() {
            0 => Err(CliError::failed("the value is empty; a value has at least one byte")),
            1..=MAX_VALUE => Ok(Self(bytes)),
            _ => Err(CliError::failed("the value is too long; a value may have 64 KiB at most")),
        }
    }

    /// The members of a JSON object, with the value as one more: `value` where it is text,
    /// `value_base64` where it is not.
    pub(super) fn into_body(self, members: &serde_json::Map<String, serde_json::Value>) -> Result<Zeroizing<Vec<u8>>, CliError> {
        // Room for the worst of escapes (`\u0000`), so that no copy is left behind by growing.
        let mut body = Zeroizing::new(Vec::with_capacity(8 * self.0.len() + 64 * 1024));
        serde_json::to_writer(&mut *body, members).map_err(CliError::failed)?;
        body.pop();
        let comma = if members.is_empty() { "" } else { "," };
        if let Ok(text) = std::str::from_utf8(&self.0) {
            body.extend_from_slice(format!("{comma}\"value\":").as_bytes());
            serde_json::to_writer(&mut *body, text).map_err(CliError::failed)?;
        } else {
            let encoded = Zeroizing::new(STANDARD.encode(&*self.0));
            body.extend_from_slice(format!("{comma}\"value_base64\":\"").as_bytes());
            body.extend_from_slice(encoded.as_bytes());
            body.push(b'"');
        }
        body.push(b'}');
        Ok(body)
    }
}

fn read(source: impl Read) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
    let limit = u64::try_from(LONGEST + 1).unwrap_or(u64::MAX);
    source.take(limit).read_to_end(&mut bytes).map_err(|fault| CliError::failed(format!("the value cannot be read: {fault}")))?;
    Ok(bytes)
}

fn ask(name: &str) -> Result<Given, CliError> {
    if !std::io::stdin().is_terminal() {
        return Err(CliError::usage("say where the value is: --value-stdin or --value-file PATH"));
    }
    let typed = rpassword::prompt_password(format!("Value of {name} (not shown): "))
        .map_err(|fault| CliError::failed(format!("the value cannot be asked for: {fault}; use --value-stdin")))?;
    Given::new(Zeroizing::new(typed.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(bytes: &[u8], exact: bool) -> Vec<u8> {
        let arguments = ValueArguments { exact, ..ValueArguments::default() };
        arguments.accept(Zeroizing::new(bytes.to_vec())).map(|given| given.0.to_vec()).expect("a value")
    }

    #[test]
    fn one_line_end_goes_unless_it_is_to_stay() {
        assert_eq!(accepted(b"a\n\n", false), b"a\n");
        assert_eq!(accepted(b"a\r\n", false), b"a");
        assert_eq!(accepted(b"a\n", true), b"a\n");
    }

    #[test]
    fn no_value_is_empty_or_too_long() {
        for bad in [vec![], vec![b'\n'], vec![0; MAX_VALUE + 1]] {
            assert!(ValueArguments::default().accept(Zeroizing::new(bad)).is_err());
        }
        assert_eq!(read(&vec![7; LONGEST + 9][..]).map(|bytes| bytes.len()).ok(), Some(LONGEST + 1));
    }

    #[test]
    fn a_body_holds_any_bytes() {
        let members = serde_json::json!({ "name": "a" });
        let members = members.as_object().expect("an object");
        let body = |bytes: &[u8]| Given(Zeroizing::new(bytes.to_vec())).into_body(members).expect("a body").to_vec();
        assert_eq!(body(b"q\"\n"), br#"{"name":"a","value":"q\"\n"}"#);
        assert_eq!(body(&[0xFF]), br#"{"name":"a","value_base64":"/w=="}"#);
        let alone = Given(Zeroizing::new(b"x".to_vec())).into_body(&serde_json::Map::new()).expect("a body");
        assert_eq!(*alone, br#"{"value":"x"}"#.to_vec());
    }
}
