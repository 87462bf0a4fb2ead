//! `subrosa run -- COMMAND`: a command whose requests go through the proxy.
//!
//! The command takes the place of this process, so that signals, terminal and exit code are its
//! own. It inherits the environment but for what could hold a value: the variables that the
//! config reads one from, our own, and the credentials directory of the service manager.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;

use super::env::Route;
use super::error::CliError;
use crate::config::Config;

/// The command, and how it reaches the proxy.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    route: Route,
    /// The command with its arguments, after `--`.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Becomes the command. Returns only if that failed.
pub(super) fn run(config: &Config, arguments: &Arguments) -> Result<(), CliError> {
    let variables = arguments.route.variables(config)?;
    let (program, rest) = arguments.command.split_first().ok_or_else(|| CliError::usage("name a command after `--`"))?;
    let mut command = Command::new(program);
    command.args(rest);
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_withheld(config, name)) {
        command.env_remove(name);
    }
    for (name, value) in variables {
        command.env(name, merged(name, value, std::env::var_os(name)));
    }
    let fault = command.exec();
    let cure = if fault.kind() == ErrorKind::NotFound { "check its name and PATH" } else { "check its permissions" };
    Err(CliError::failed(format!("{} cannot be run: {fault}; {cure}", program.display())))
}

/// Whether a child may not have this variable.
pub(super) fn is_withheld(config: &Config, name: &OsStr) -> bool {
    let text = name.to_string_lossy();
    text.starts_with("SUBROSA_")
        || text == "CREDENTIALS_DIRECTORY"
        || config.variables_read().any(|variable| name == variable.as_str())
}

/// What the caller had set in variables that take more than one thing is kept.
pub(super) fn merged(name: &str, value: String, present: Option<OsString>) -> OsString {
    let Some(mut present) = present.filter(|present| !present.is_empty()) else { return value.into() };
    match name {
        "JAVA_TOOL_OPTIONS" => present.push(" "),
        // `value` begins with the colon that separates.
        "PHP_INI_SCAN_DIR" => {}
        _ => return value.into(),
    }
    present.push(value);
    present
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_could_hold_a_value_is_inherited() {
        let text = "[keys]\nenv = \"MY_KEK\"\n[[secrets]]\nname = \"a\"\nvalue = { env = \"CRM_API_KEY\" }\n\
                    [[runners]]\nname = \"b\"\ntoken = { env = \"BILLING_TOKEN\" }\n";
        let config: Config = toml::from_str(text).expect("it is right");
        for name in ["MY_KEK", "CRM_API_KEY", "BILLING_TOKEN", "SUBROSA_TOKEN", "SUBROSA_X", "CREDENTIALS_DIRECTORY"] {
            assert!(is_withheld(&config, name.as_ref()), "{name}");
        }
        for name in ["PATH", "HOME", "CRM_API_KEY_2", "HTTP_PROXY"] {
            assert!(!is_withheld(&config, name.as_ref()), "{name}");
        }
    }

    #[test]
    fn options_of_the_caller_are_kept_beside_ours() {
        assert_eq!(merged("JAVA_TOOL_OPTIONS", "-Da=b".into(), Some("-Xmx1g".into())), "-Xmx1g -Da=b");
        assert_eq!(merged("PHP_INI_SCAN_DIR", ":/c".into(), Some("/etc/php".into())), "/etc/php:/c");
        assert_eq!(merged("HTTP_PROXY", "http://new".into(), Some("http://old".into())), "http://new");
        assert_eq!(merged("PHP_INI_SCAN_DIR", ":/c".into(), None), ":/c");
    }
}
