//! The command line: one file per command, one way to the secrets.
//!
//! Whatever reads or changes secrets and runners speaks the REST API, with a running server
//! through its socket and with a stopped one through the same routes in this process
//! (`client`). Only this room reads the process's environment and prints.

mod backup;
mod ca;
mod client;
mod completions;
mod config;
mod demo;
mod doctor;
mod env;
mod error;
mod exec;
mod health;
mod java;
mod json_lines;
mod key;
mod lines;
mod logs;
mod member;
mod organization;
mod out;
mod reload;
mod remote;
mod restore;
mod runner;
mod sandbox;
mod secret;
mod serve;
mod service_manager;
mod shield;
mod store;
mod test;
mod token;
mod trust_files;
mod value;

pub use json_lines::JsonLines;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::error::CliError;
use self::remote::{Remote, RemoteArguments};
use crate::app;
use crate::config::Config;

/// A forward HTTP proxy that injects secrets.
///
/// Runners write {secrets.NAME} where a credential belongs; the proxy puts the value in place on
/// the way out, if the target is allowed for it, and refuses the request if it is not.
#[derive(Parser)]
#[command(name = "subrosa", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    /// The config file. Without it `SUBROSA_CONFIG` names one, and otherwise the defaults hold.
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    #[command(flatten)]
    remote: RemoteArguments,
    #[command(subcommand)]
    command: Command,
}

/// Where a command is carried out: by the server that the config describes, or by one elsewhere.
struct Place {
    config: Config,
    remote: Option<Remote>,
}

#[derive(Subcommand)]
enum Command {
    /// Start the proxy.
    Serve(serve::Arguments),
    /// See it at work: an origin, a secret, one request, side by side, in a directory that goes away.
    Demo,
    /// Store and manage secrets.
    #[command(subcommand)]
    Secret(secret::Command),
    /// Create and revoke runners.
    #[command(subcommand)]
    Runner(runner::Command),
    /// Invite people, and say what they may do.
    #[command(subcommand)]
    Member(member::Command),
    /// API tokens for automation.
    #[command(subcommand)]
    Token(token::Command),
    /// What secrets, runners and members belong to.
    #[command(subcommand)]
    Organization(organization::Command),
    /// The key-encryption keys, and their rotation.
    #[command(subcommand)]
    Key(key::Command),
    /// Write everything that is stored into one file, while the server runs. It is sealed, and holds no key.
    Backup(backup::Arguments),
    /// Put a backup in the place of the store, with the server stopped.
    Restore(restore::Arguments),
    /// Move what is stored from one engine to the other.
    #[command(subcommand)]
    Store(store::Command),
    /// Say what would happen to a request, without sending it (or with --send, for real).
    Test(test::Arguments),
    /// Print the environment that sends a runner through the proxy.
    Env(env::Arguments),
    /// Try what is installed here: which runtimes get through the proxy, and at which step the others fail.
    Doctor(doctor::Arguments),
    /// Run a command whose requests go through the proxy.
    Run(exec::Arguments),
    /// The certificate authority that runners trust.
    #[command(subcommand)]
    Ca(ca::Command),
    /// The configuration.
    #[command(subcommand)]
    Config(config::Command),
    /// Have a running server read its configuration anew, and say what changed and what takes a restart.
    Reload(reload::Arguments),
    /// Exit with 0 if the server is alive, and with 1 if not.
    Health,
    /// Print a completion script for a shell.
    Completions(completions::Arguments),
}

/// Parses the arguments, runs the command, and answers with its exit code: 0 when it was done, 1
/// when it was not, 2 when it was not understood.
pub fn run() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().on_thread_park(crate::stack::sweep).build();
    let outcome = match (Cli::parse(), runtime) {
        (cli, Ok(runtime)) => runtime.block_on(cli.dispatch()),
        (_, Err(fault)) => Err(CliError::failed(format!("no runtime can be started: {fault}"))),
    };
    logs::flush();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let (sentence, code) = error.into_parts();
            if let Some(sentence) = sentence {
                out::note(&format!("subrosa: {sentence}"));
            }
            ExitCode::from(code)
        }
    }
}

impl Cli {
    async fn dispatch(self) -> Result<(), CliError> {
        let remote = self.remote.resolve()?;
        if remote.is_some() && !self.command.speaks_the_api() {
            return Err(CliError::usage(
                "--server is for commands about secrets, runners, members, tokens, organizations, keys and tests, and for `reload`",
            ));
        }
        // What needs no configuration must work beside a broken one.
        match self.command {
            Command::Completions(arguments) => return completions::run(&arguments),
            Command::Demo => {
                logs::start_quiet();
                shield::keep_memory();
                return demo::run().await;
            }
            // A signal to read the configuration anew must not end a server that has not read it yet.
            Command::Serve(arguments) => return serve::run(self.config, &arguments, app::Hangups::listen()?).await,
            _ => {}
        }
        let config = Config::load(self.config.as_deref(), std::env::vars_os())?;
        logs::start_quiet();
        if self.command.holds_values() {
            shield::keep_memory();
        }
        let place = Place { config, remote };
        let config = &place.config;
        match self.command {
            Command::Secret(command) => secret::run(&place, command).await,
            Command::Runner(command) => runner::run(&place, command).await,
            Command::Member(command) => member::run(&place, command).await,
            Command::Token(command) => token::run(&place, command).await,
            Command::Organization(command) => organization::run(&place, command).await,
            Command::Key(command) => key::run(&place, command).await,
            Command::Backup(arguments) => backup::run(&place, &arguments).await,
            Command::Restore(arguments) => restore::run(config, &arguments).await,
            Command::Store(command) => store::run(config, &command).await,
            Command::Test(arguments) => test::run(&place, &arguments).await,
            Command::Env(arguments) => env::run(config, &arguments),
            Command::Doctor(arguments) => doctor::run(config, &arguments).await,
            Command::Run(arguments) => exec::run(config, &arguments),
            Command::Ca(command) => ca::run(config, &command),
            Command::Config(command) => config::run(config, &command),
            Command::Reload(arguments) => reload::run(&place, &arguments).await,
            Command::Health => health::run(config).await,
            Command::Completions(_) | Command::Demo | Command::Serve(_) => Ok(()),
        }
    }
}

impl Command {
    /// Whether keys or values come into this process. `run` becomes another program, whose limits are
    /// its own.
    fn holds_values(&self) -> bool {
        matches!(self, Self::Doctor(_) | Self::Backup(_) | Self::Restore(_)) || self.speaks_the_api()
    }

    /// Whether it is carried out by whoever holds the store, here or elsewhere.
    fn speaks_the_api(&self) -> bool {
        matches!(
            self,
            Self::Secret(_)
                | Self::Runner(_)
                | Self::Member(_)
                | Self::Token(_)
                | Self::Organization(_)
                | Self::Key(_)
                | Self::Test(_)
                | Self::Reload(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_value_is_no_argument() {
        for arguments in [["secret", "create", "a", "hunter2"], ["secret", "edit", "a", "hunter2"]] {
            assert!(Cli::try_parse_from(["subrosa"].into_iter().chain(arguments)).is_err(), "{arguments:?}");
        }
    }
}
