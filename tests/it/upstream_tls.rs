//! TLS towards upstreams, host by host: which certificate is shown, and who is trusted.

use super::support::{CRM, Ca, EVIL, Origin, Proxy, VALUE, World, reply};

/// [`CRM`] wants a certificate of `clients`; [`EVIL`] is signed by an authority of its own.
async fn strict(egress: &str) -> World {
    let (ca, clients, other) = (Ca::new(), Ca::new(), Ca::new());
    let dir = tempfile::tempdir().expect("a directory");
    let script = reply("200 OK", "", "ok");
    let crm = Origin::accepting(ca.acceptor_for(&[CRM, "other.crm.example.com"], Some(&clients)), script.clone()).await;
    let evil = Origin::tls(&other, &[EVIL], script.clone()).await;
    std::fs::write(dir.path().join("ca.pem"), ca.pem()).expect("written");
    std::fs::write(dir.path().join("other-ca.pem"), other.pem()).expect("written");
    clients.pair_files(dir.path(), "client", &["us.example"]);
    other.pair_files(dir.path(), "wrong", &["us.example"]);
    let config = format!(
        "[egress]\nextra_roots = [\"ca.pem\"]\n[egress.resolve]\n\"{CRM}\" = \"{crm}\"\n\"other.crm.example.com\" = \"{crm}\"\n\"{EVIL}\" = \"{evil}\"\n{egress}",
        crm = crm.address,
        evil = evil.address
    );
    let proxy = Proxy::start(dir, &config).await;
    proxy.create_secret("crm.apiKey", VALUE, &["*.crm.example.com"]).await;
    World { crm_plain: Origin::plain(script).await, crm, evil, proxy }
}

async fn get(world: &World, host: &str) -> super::support::client::Response {
    world.send(&format!("GET https://{host}/ HTTP/1.1\r\nHost: x\r\n\r\n")).await
}

const SHOWN: &str =
    "[[egress.client_certificate]]\nhosts = [\"api.crm.example.com\"]\ncertificate = \"client.pem\"\nkey = \"client-key.pem\"\n";

#[tokio::test]
async fn a_certificate_is_shown_to_its_hosts_and_to_no_other() {
    let world = strict(SHOWN).await;
    assert_eq!(get(&world, CRM).await.text(), "ok");
    // The same server under another name: without a certificate, and without the other's session.
    for _ in 0..2 {
        let response = get(&world, "other.crm.example.com").await;
        assert!(matches!(response.refusal().as_str(), "upstream_tls" | "upstream_protocol"), "{}", response.text());
    }
    assert_eq!(world.crm.received().len(), 1);
}

#[tokio::test]
async fn a_certificate_that_the_upstream_does_not_accept_is_an_upstream_fault() {
    let wrong = SHOWN.replace("client", "wrong").replace("egress.wrong_certificate", "egress.client_certificate");
    let world = strict(&wrong).await;
    let response = get(&world, CRM).await;
    assert!(matches!(response.refusal().as_str(), "upstream_tls" | "upstream_protocol"), "{}", response.text());
    assert_eq!(world.crm.received().len(), 0);
}

#[tokio::test]
async fn roots_are_trusted_for_their_hosts_alone() {
    let roots = format!("[[egress.roots]]\nhosts = [\"{EVIL}\"]\nfiles = [\"other-ca.pem\"]\n");
    let world = strict(&format!("{SHOWN}{roots}")).await;
    assert_eq!(get(&world, EVIL).await.text(), "ok");
    assert_eq!(get(&world, CRM).await.text(), "ok", "beside the usual ones");
    let elsewhere = roots.replace(EVIL, "else.example");
    assert_eq!(get(&strict(&elsewhere).await, EVIL).await.refusal(), "upstream_tls");
    // `only`: the usual roots no longer count for this host.
    let only = format!("{SHOWN}[[egress.roots]]\nhosts = [\"{CRM}\"]\nfiles = [\"other-ca.pem\"]\nonly = true\n");
    let world = strict(&only).await;
    assert_eq!(get(&world, CRM).await.refusal(), "upstream_tls");
    assert_eq!(world.crm.received().len(), 0);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_stops_the_start() {
    let (dir, ca) = (tempfile::tempdir().expect("a directory"), Ca::new());
    ca.pair_files(dir.path(), "one", &["a.example"]);
    ca.pair_files(dir.path(), "two", &["a.example"]);
    std::fs::write(dir.path().join("empty.pem"), "").expect("written");
    let pair = |certificate: &str, key: &str| {
        format!("[[egress.client_certificate]]\nhosts = [\"a.example\"]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n")
    };
    for (egress, sentence) in [
        (pair("absent.pem", "one-key.pem"), "`egress.client_certificate[0]`: the file absent.pem cannot be read"),
        (pair("one.pem", "two-key.pem"), "two-key.pem does not belong to the first certificate in one.pem"),
        (pair("one.pem", "one.pem"), "one.pem may be read or changed by others"),
        (
            "[[egress.roots]]\nhosts = [\"a.example\"]\nfiles = [\"empty.pem\"]\n".to_owned(),
            "named by egress.roots is not a list of certificates",
        ),
    ] {
        std::fs::write(dir.path().join("s.toml"), egress).expect("written");
        for command in [&["config", "check"][..], &["serve"]] {
            let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_subrosa"))
                .args(command)
                .args(["--config", "s.toml"])
                .current_dir(dir.path())
                .env_clear()
                .kill_on_drop(true)
                .output();
            let output = super::support::soon(output).await.expect("it starts and ends");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.contains(sentence), "{command:?}: {said}");
        }
    }
}
