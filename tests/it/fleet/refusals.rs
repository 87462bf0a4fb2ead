//! What stands in the way of talking to a cluster is said in one sentence, with its cure.

use std::time::Duration;

use etcd_client::{PermissionType, RoleAddResponse};
use subrosa::ledger::Ledger;
use subrosa::seal::{KeyEncryptionKey, Sealer};
use subrosa::store::{EtcdSettings, Expect};

use super::cluster::{Cluster, Tls};
use super::relay::Relay;
use super::{becomes, open, open_at, put};
use crate::support::{Ca, soon};

/// What opening says.
async fn refusal(settings: EtcdSettings) -> String {
    match soon(open_at(settings)).await {
        Ok(_) => panic!("it opened"),
        Err(fault) => fault.to_string(),
    }
}

#[tokio::test]
async fn tls_that_does_not_fit_is_told_apart_and_certificates_are_read_anew() {
    let tls = Tls { ca: Ca::new(), clients: Ca::new() };
    let cluster = Cluster::secure(&tls, |_| {});
    let good = EtcdSettings { is_patient: true, ..cluster.settings("/s/") };
    let store = soon(open_at(good.clone())).await.expect("opens once it is there");
    store.commit(vec![put("a", Expect::Absent, b"1")]).await.expect("commits");
    cluster.write("other.pem", Ca::new().pem());
    let wrong_authority = refusal(EtcdSettings { ca_file: Some(cluster.path("other.pem")), ..good.clone() }).await;
    assert!(wrong_authority.contains("store.etcd.ca_file is not who signed it"), "{wrong_authority}");
    let named = good.endpoints[0].replace("127.0.0.1", "localhost");
    let wrong_name = refusal(EtcdSettings { endpoints: vec![named], ..good.clone() }).await;
    assert!(wrong_name.contains("as its certificate does"), "{wrong_name}");
    let missing = refusal(EtcdSettings { key_file: Some(cluster.path("nowhere.pem")), ..good.clone() }).await;
    assert!(missing.contains("nowhere.pem cannot be read") && missing.contains("store.etcd.key_file"), "{missing}");
    let unsure = EtcdSettings { is_patient: false, timeout: Duration::from_secs(1), ..good.clone() };
    let none = refusal(EtcdSettings { certificate_file: None, key_file: None, ..unsure.clone() }).await;
    assert!(none.contains("store.etcd.certificate_file"), "{none}");
    // One by somebody else.
    Ca::new().pair_files(cluster.path("").as_path(), "stranger", &["node.example"]);
    let (certificate_file, key_file) = (Some(cluster.path("stranger.pem")), Some(cluster.path("stranger-key.pem")));
    let stranger = refusal(EtcdSettings { certificate_file, key_file, ..unsure.clone() }).await;
    assert!(stranger.contains("store.etcd.certificate_file"), "{stranger}");
    let plain = unsure.endpoints[0].replace("https", "http");
    let plain =
        refusal(EtcdSettings { endpoints: vec![plain], ca_file: None, certificate_file: None, key_file: None, ..unsure }).await;
    assert!(plain.contains("etcd does not answer") && plain.contains("https://"), "{plain}");
    // A certificate that was renewed in its place is the one that is shown next.
    tls.clients.pair_files(cluster.path("").as_path(), "client", &["other.example"]);
    soon(open_at(good)).await.expect("opens");
}

#[tokio::test]
async fn certificates_that_have_run_out_are_called_so() {
    let tls = Tls { ca: Ca::new(), clients: Ca::new() };
    let cluster = Cluster::secure(&tls, |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let settings = EtcdSettings { is_patient: true, ..cluster.settings("/s/") };
    let expired = refusal(settings).await;
    assert!(expired.contains("expired") && expired.contains("renew the certificate"), "{expired}");
}

#[tokio::test]
async fn who_asks_is_let_in_by_user_and_password_or_told_why_not() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    cluster.write("password", "right\n");
    cluster.write("wrong", "wrong");
    let as_user = |user: &str, file: &str| EtcdSettings {
        user: Some(user.to_owned()),
        password_file: Some(cluster.path(file)),
        ..cluster.settings("/s/")
    };
    let not_enabled = refusal(as_user("node", "password")).await;
    assert!(not_enabled.contains("remove store.etcd.user"), "{not_enabled}");
    for (user, password) in [("root", "root"), ("node", "right"), ("other", "right")] {
        client.user_add(user, password, None).await.expect("added");
    }
    let _: RoleAddResponse = client.role_add("fleet").await.expect("added");
    let range = etcd_client::Permission::new(PermissionType::Readwrite, "/s/").with_prefix();
    client.role_grant_permission("fleet", range).await.expect("granted");
    client.user_grant_role("node", "fleet").await.expect("granted");
    client.user_grant_role("root", "root").await.expect("granted");
    client.auth_enable().await.expect("enabled");
    let store = open_at(as_user("node", "password")).await.expect("opens");
    let mut told = store.watch();
    store.commit(vec![put("a", Expect::Absent, b"1")]).await.expect("commits");
    soon(told.recv()).await.expect("told");
    becomes(&*store, true).await;
    let wrong = refusal(as_user("node", "wrong")).await;
    assert!(wrong.contains("does not let the user `node` in") && wrong.contains("store.etcd.password_file"), "{wrong}");
    let nobody = refusal(cluster.settings("/s/")).await;
    assert!(nobody.contains("store.etcd.user"), "{nobody}");
    let other = refusal(as_user("other", "password")).await;
    assert!(other.contains("the user `other`") && other.contains("grant-permission"), "{other}");
    let elsewhere = refusal(EtcdSettings { prefix: "/t/".to_owned(), ..as_user("node", "password") }).await;
    assert!(elsewhere.contains("below /t/"), "{elsewhere}");
}

#[tokio::test]
async fn a_member_of_another_cluster_is_asked_for_nothing() {
    let (mut cluster, other) = (Cluster::start(1).await, Cluster::start(1).await);
    let relay = Relay::to(other.address(0)).await;
    relay.close();
    let endpoints = vec![cluster.endpoint(0), relay.endpoint()];
    let store = open_at(EtcdSettings { endpoints, ..cluster.settings("/s/") }).await.expect("opens");
    store.commit(vec![put("a", Expect::Absent, b"1")]).await.expect("commits");
    cluster.kill(0);
    relay.open();
    // The first may have been on its way to the one that is gone.
    soon(store.commit(vec![put("b", Expect::Absent, b"1")])).await.expect_err("nobody has a say");
    let refused = soon(store.commit(vec![put("b", Expect::Absent, b"1")])).await.expect_err("the other has none").to_string();
    assert!(refused.contains("another cluster") && refused.contains(&relay.endpoint()), "{refused}");
    let why = becomes(&*store, false).await;
    assert!(!why.is_empty());
    assert!(other.dump().await.is_empty());
}

#[tokio::test]
async fn a_start_waits_until_somebody_answers() {
    let mut cluster = Cluster::start(1).await;
    cluster.kill(0);
    let settings = cluster.settings("/s/");
    let fault = refusal(settings.clone()).await;
    assert!(fault.contains(&settings.endpoints[0]) && fault.contains("store.etcd.endpoints"), "{fault}");
    let waiting = tokio::spawn(open_at(EtcdSettings { is_patient: true, ..settings }));
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    cluster.run(0);
    let store = soon(waiting).await.expect("no panic").expect("opens");
    store.commit(vec![put("a", Expect::Absent, b"1")]).await.expect("commits");
}

#[tokio::test]
async fn a_prefix_of_somebody_else_is_refused_and_nothing_is_written() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    client.put("/kv/feature-flags", "{\"on\": true}", None).await.expect("written");
    let before = cluster.dump().await;
    let sealer = Sealer::new(KeyEncryptionKey::from_bytes(&[42; 32]));
    let fault = Ledger::open(open(&cluster, "/kv/").await, sealer.clone()).await.err().expect("it is not ours").to_string();
    assert!(fault.contains("feature-flags") && fault.contains("nothing was changed"), "{fault}");
    assert_eq!(cluster.dump().await, before);
    // Two fleets with different keys on one prefix.
    Ledger::open(open(&cluster, "/fleet/").await, sealer).await.expect("opens");
    let other = Sealer::new(KeyEncryptionKey::from_bytes(&[7; 32]));
    let fault = Ledger::open(open(&cluster, "/fleet/").await, other).await.err().expect("another key").to_string();
    assert!(fault.contains("is sealed with the key") && fault.contains("nothing was changed"), "{fault}");
}
