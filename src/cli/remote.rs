//! A server elsewhere, spoken to over the network with an API token.
//!
//! The token comes from `SUBROSA_TOKEN` or a file, never from an argument, which everybody on the
//! machine can read. It goes over https with a verified certificate, or to this machine.

use std::path::PathBuf;

use clap::Args;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::Full;
use url::Url;
use zeroize::Zeroizing;

use super::client::{Call, MAX_ANSWER};
use super::error::CliError;
use crate::fetch::{Fetch, Target};
use crate::secret::line_end;
use crate::tls::Roots;

/// Where the token comes from without `--token-file`.
const VARIABLE: &str = "SUBROSA_TOKEN";
/// The longest file that is taken for a token.
const MAX_TOKEN: u64 = 4096;

/// Which server, if it is not the one of this directory.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct RemoteArguments {
    /// A server elsewhere, as in <https://subrosa.example.com:8081>; needs an API token.
    #[arg(long, global = true, value_name = "URL")]
    server: Option<Url>,
    /// A PEM file of certificates that the server's may be signed by, beside the system's.
    #[arg(long, global = true, value_name = "FILE", requires = "server")]
    server_ca: Option<PathBuf>,
    /// A file that holds the API token; without it, `SUBROSA_TOKEN` does.
    #[arg(long, global = true, value_name = "FILE", requires = "server")]
    token_file: Option<PathBuf>,
}

/// A server elsewhere.
#[derive(Clone)]
pub(super) struct Remote {
    target: Target,
    fetch: Fetch,
    authorization: HeaderValue,
}

impl RemoteArguments {
    /// The server that is meant, if one is.
    pub(super) fn resolve(self) -> Result<Option<Remote>, CliError> {
        let Some(url) = &self.server else { return Ok(None) };
        let target = Target::of(url).map_err(|fault| CliError::usage(format!("--server: {fault}")))?;
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(CliError::usage("--server is https://HOST or https://HOST:PORT, with nothing behind it"));
        }
        let roots = Roots::usual().with_files(self.server_ca.as_slice(), "--server-ca").map_err(CliError::failed)?;
        let fetch = Fetch::new(roots.client_config(None).map_err(CliError::failed)?);
        let token = token(self.token_file.as_ref())?;
        let text = Zeroizing::new(format!("Bearer {}", token.as_str()));
        let mut authorization = HeaderValue::from_str(&text)
            .map_err(|_| CliError::failed("what is given as the token is none: it holds blanks or controls"))?;
        authorization.set_sensitive(true);
        Ok(Some(Remote { target, fetch, authorization }))
    }
}

impl Remote {
    /// One call.
    pub(super) async fn exchange(&self, call: Call) -> Result<(StatusCode, HeaderMap, bytes::Bytes), CliError> {
        let mut request = call.into_request("localhost", Full::new)?;
        request.headers_mut().insert(AUTHORIZATION, self.authorization.clone());
        let response = self.fetch.send(&self.target, request, MAX_ANSWER).await.map_err(CliError::failed)?;
        let (head, content) = response.into_parts();
        Ok((head.status, head.headers, content))
    }
}

fn token(file: Option<&PathBuf>) -> Result<Zeroizing<String>, CliError> {
    let text = match file {
        Some(path) => {
            let unreadable = |fault| CliError::failed(format!("the token in {} cannot be read: {fault}", path.display()));
            if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_TOKEN {
                return Err(CliError::failed(format!("{} is no token: it is too long", path.display())));
            }
            Zeroizing::new(std::fs::read_to_string(path).map_err(unreadable)?)
        }
        None => Zeroizing::new(std::env::var(VARIABLE).map_err(|_| {
            CliError::usage(format!("--server needs an API token: put it into {VARIABLE}, or name a file with --token-file"))
        })?),
    };
    let token = Zeroizing::new(text[..text.len() - line_end(text.as_bytes())].to_owned());
    match token.as_str() {
        "" => Err(CliError::failed("the token is empty")),
        runner if runner.starts_with("srt_") => Err(CliError::failed(
            "this is a runner's token, which opens the proxy; an API token (`subrosa token create`) begins with sat_",
        )),
        _ => Ok(token),
    }
}
