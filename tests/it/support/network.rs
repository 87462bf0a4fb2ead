//! A network namespace of the test's own: it is root there, and nothing of the machine's is touched.

use tokio::process::Command;

use super::soon;

/// Runs the ignored test of this name (`module::function`) where it is root of a network that nobody else
/// sees.
pub async fn in_a_network_of_its_own(test: &str) {
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--net", "--mount", "--"])
        .arg(std::env::current_exe().expect("this binary"))
        .args(["--exact", test, "--ignored", "--nocapture"])
        .kill_on_drop(true);
    let output = soon(command.output()).await.expect("unshare is there");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// Runs a program, which must succeed.
pub async fn must(program: &str, arguments: &[&str]) {
    let output = soon(Command::new(program).args(arguments).env("PATH", path()).output()).await.expect("it is there");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Debian keeps `ip` and `nft` where only root looks.
pub fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}
