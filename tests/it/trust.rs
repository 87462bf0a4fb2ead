//! The leaf is good enough for the strictest: OpenSSL's strict mode here, for a name and an address, and the
//! clients of `clients` in their own.

use super::support::{CRM, World, reply};

#[tokio::test]
async fn openssl_verifies_name_and_address() {
    let world = World::with("allow = [\"127.0.0.0/8\"]\n", reply("200 OK", "", "ok")).await;
    let (proxy, ca) = (world.proxy.address.to_string(), world.ca().display().to_string());
    for (target, check) in [
        (format!("{CRM}:443"), ["-verify_hostname", CRM]),
        (format!("127.0.0.1:{}", world.crm.address.port()), ["-verify_ip", "127.0.0.1"]),
    ] {
        let mut command = tokio::process::Command::new("openssl");
        command.args(["s_client", "-proxy", &proxy, "-connect", &target, "-CAfile", &ca, "-no-CApath", "-no-CAstore"]);
        command.args(["-x509_strict", "-verify_return_error", "-brief"]).args(check);
        command.stdin(std::process::Stdio::null()).kill_on_drop(true);
        let output = super::support::soon(command.output()).await.expect("openssl is there");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.contains("Verification: OK"), "{target}: {said}");
    }
}
