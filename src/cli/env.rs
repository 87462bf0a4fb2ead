//! `subrosa env`: the environment that sends a runner through the proxy.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use super::error::CliError;
use super::out;
use super::trust_files;
use crate::config::Config;
use crate::origin::{Authority, Host};
use crate::runtimes::{Format, ProxyAddress, Variables, render, variables};
use crate::serve::reachable;

/// The variable by which a caller hands over a runner's token.
const TOKEN: &str = "SUBROSA_TOKEN";

/// Where the proxy and the certificates are, as the runner sees them.
#[derive(Args)]
pub(super) struct Route {
    /// Where the runner reaches the proxy, if not at the address it listens on.
    #[arg(long, value_name = "HOST:PORT")]
    proxy: Option<String>,
    /// A file with the runner's token; without it `SUBROSA_TOKEN` is read, if set.
    #[arg(long, value_name = "PATH")]
    token_file: Option<PathBuf>,
    /// Where the runner finds the directory of the CA certificate, as in a container that mounts it.
    #[arg(long, value_name = "DIRECTORY")]
    certificates: Option<PathBuf>,
    /// Hosts that go past the proxy, with commas; a reference to a secret is not replaced there.
    #[arg(long, value_name = "HOSTS", default_value = "")]
    no_proxy: String,
}

/// How the environment is printed.
#[derive(Args)]
pub(super) struct Arguments {
    /// How the variables are written.
    #[arg(long, value_enum, default_value = "sh")]
    format: Format,
    #[command(flatten)]
    route: Route,
}

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Sh, Self::Fish, Self::Dotenv, Self::Docker, Self::Compose, Self::Kubernetes, Self::Json]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (word, help) = match self {
            Self::Sh => ("sh", "`export NAME='value'`, for `eval \"$(subrosa env)\"`"),
            Self::Fish => ("fish", "`set -gx NAME 'value'`, for `subrosa env --format fish | source`"),
            Self::Dotenv => ("dotenv", "`NAME=\"value\"`, for .env files"),
            Self::Docker => ("docker", "`NAME=value`, for `docker run --env-file`"),
            Self::Compose => ("compose", "`environment:` beneath a service of a compose file"),
            Self::Kubernetes => ("kubernetes", "`env:` beneath a container of a manifest"),
            Self::Json => ("json", "One object"),
        };
        Some(PossibleValue::new(word).help(help))
    }
}

/// Prints the variables.
pub(super) fn run(config: &Config, arguments: &Arguments) -> Result<(), CliError> {
    out::line(&render(&arguments.route.variables(config)?, arguments.format))
}

impl Route {
    /// The variables for this route; the files they name are made where they are missing.
    pub(super) fn variables(&self, config: &Config) -> Result<Variables, CliError> {
        let files = trust_files::prepare(config, self.certificates.as_deref())?;
        Ok(variables(&self.proxy_address(config)?, &files, &self.no_proxy))
    }

    /// Where the proxy is, with the token.
    pub(super) fn proxy_address(&self, config: &Config) -> Result<ProxyAddress, CliError> {
        let (host, port) = self.address(config)?;
        Ok(ProxyAddress { host, port, token: self.token()? })
    }

    fn address(&self, config: &Config) -> Result<(String, u16), CliError> {
        let Some(text) = &self.proxy else { return listening(config) };
        match Authority::parse(text) {
            Ok(Authority { host, port: Some(port) }) => Ok((host.to_string(), port)),
            Ok(_) => Err(CliError::usage(format!("--proxy {text} names no port; write HOST:PORT"))),
            Err(fault) => Err(CliError::usage(format!("--proxy {text}: {fault}; write HOST:PORT"))),
        }
    }

    fn token(&self) -> Result<Option<String>, CliError> {
        let token = match &self.token_file {
            Some(path) => Some(read_token(path)?),
            None => std::env::var(TOKEN).ok(),
        };
        Ok(token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()))
    }
}

fn read_token(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path)
        .map_err(|fault| CliError::failed(format!("the token file {} cannot be read: {fault}", path.display())))
}

/// The first address the proxy listens on.
fn listening(config: &Config) -> Result<(String, u16), CliError> {
    match config.proxy.listen.first() {
        Some(address) if address.port() != 0 => Ok((Host::Ip(reachable(*address).ip()).to_string(), address.port())),
        _ => Err(CliError::usage("proxy.listen asks for any free port; say which it got with --proxy HOST:PORT")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_reached_on_loopback() {
        for (listen, host) in [("0.0.0.0:1", "127.0.0.1"), ("[::]:1", "[::1]"), ("10.0.0.1:1", "10.0.0.1")] {
            let mut config = Config::default();
            config.proxy.listen = vec![listen.parse().expect("an address")];
            assert_eq!(listening(&config).ok(), Some((host.to_owned(), 1)));
        }
    }
}
