//! `subrosa serve`: start the proxy, and tell a person at a terminal what to type next.

use std::path::PathBuf;

use super::error::CliError;
use super::service_manager::{self, ServiceManager};
use super::{logs, out, shield};
use crate::app::{self, Hangups, Roof, Start};
use crate::config::{Config, LogFormat};

/// How to start.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Take the place of the server that runs on this data directory, without losing a request: it hands over its sockets and
    /// its store, and finishes what it has under way.
    #[arg(long)]
    take_over: bool,
}

/// Serves until told to stop. `path` is the config file as it was named, and SIGHUP is listened for already.
pub(super) async fn run(path: Option<PathBuf>, arguments: &Arguments, hangups: Hangups) -> Result<(), CliError> {
    let inherited = service_manager::sockets()?;
    let manager = ServiceManager::of_this_process();
    let read = move || Config::load(path.as_deref(), std::env::vars_os());
    let config = read()?;
    let level = logs::start(&config.log);
    shield::keep_memory();
    shield::keep_memory_out_of_swap();
    // Who wrote a config knows what to do next, and who collects JSON looks for no advice. Logs go to
    // standard error; this does not.
    let is_first_start = config.file.is_none() && config.log.format == LogFormat::Auto;
    let next = (is_first_start || logs::are_for_people(&config.log)).then(|| next_steps(&program(), &config));
    // Nobody may be listening.
    let ready = move || next.iter().for_each(|next| drop(out::line(next)));
    shield::raise_descriptors(&config);
    config.remarks.iter().for_each(|remark| tracing::warn!("{remark}"));
    let follow = move |config: &Config| {
        level.follow(&config.log);
        shield::raise_descriptors(config);
    };
    let watchdog = manager.watchdog();
    let tell = move |phase| manager.tell(phase);
    let roof = Roof { read: Box::new(read), follow: Box::new(follow), tell: Box::new(tell), watchdog };
    Ok(app::serve(config, roof, hangups, Start { inherited, take_over: arguments.take_over }, ready).await?)
}

/// The three commands from a running proxy to a first injected request, for `program` as it was
/// called. The host is a public one that lets in whoever shows the value; the value is nobody's.
fn next_steps(program: &str, config: &Config) -> String {
    let named = config.file.as_ref().map(|path| format!(" --config {}", path.display())).unwrap_or_default();
    format!(
        "\nReady. Next, in another terminal in this directory:\n\n  \
         echo not-a-real-key | {program} secret create demo.apiKey --value-stdin --allow httpbin.org{named}\n  \
         eval \"$({program} env{named})\"\n  \
         curl -u 'me:{{secrets.demo.apiKey}}' https://httpbin.org/basic-auth/me/not-a-real-key\n"
    )
}

/// What was typed to start this program.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "subrosa".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_steps_name_the_same_config() {
        let config = Config { file: Some(PathBuf::from("a/b.toml")), ..Config::default() };
        let steps = next_steps("subrosa", &config);
        assert_eq!(steps.matches(" --config a/b.toml").count(), 2);
        assert!(
            steps.contains("\n  curl -u 'me:{secrets.demo.apiKey}' https://httpbin.org/basic-auth/me/not-a-real-key\n"),
            "{steps}"
        );
        assert!(!next_steps("subrosa", &Config::default()).contains("--config"));
    }
}
