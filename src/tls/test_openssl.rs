//! For tests: the `openssl` command, as a judge that shares no code with this room.

use std::process::Command;

/// Runs `openssl` and returns what it printed.
pub(super) fn openssl(arguments: &[&str]) -> String {
    try_openssl(arguments).unwrap_or_else(|said| panic!("openssl {arguments:?}: {said}"))
}

/// The same, with what it said when it failed.
pub(super) fn try_openssl(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("openssl").args(arguments).output().expect("openssl is installed");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(printed) } else { Err(printed + &String::from_utf8_lossy(&output.stderr)) }
}
