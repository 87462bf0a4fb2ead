//! `subrosa serve`: start the proxy, and tell a person at a terminal what to type next.

use super::error::CliError;
use super::{logs, out};
use crate::app;
use crate::config::Config;

/// Serves until told to stop.
pub(super) async fn run(config: Config) -> Result<(), CliError> {
    // Among JSON lines nobody looks for advice.
    let next = logs::are_for_people(&config.log).then(|| next_steps(&config));
    let ready = move || next.iter().for_each(|next| out::note(next));
    Ok(app::serve(config, ready).await?)
}

/// The three commands from a running proxy to a first injected request.
fn next_steps(config: &Config) -> String {
    let named = config.file.as_ref().map(|path| format!(" --config {}", path.display())).unwrap_or_default();
    format!(
        "\nReady. Next, in another terminal in this directory:\n\n  \
         subrosa secret create crm.apiKey --allow api.crm.example.com{named}\n  \
         eval \"$(subrosa env{named})\"\n  \
         curl -H 'Authorization: Bearer {{secrets.crm.apiKey}}' https://api.crm.example.com/\n"
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_next_steps_name_the_same_config() {
        let config = Config { file: Some(PathBuf::from("a/b.toml")), ..Config::default() };
        let steps = next_steps(&config);
        assert_eq!(steps.matches(" --config a/b.toml").count(), 2);
        assert!(steps.contains("\n  curl -H 'Authorization: Bearer {secrets.crm.apiKey}' https"), "{steps}");
        assert!(!next_steps(&Config::default()).contains("--config"));
    }
}
