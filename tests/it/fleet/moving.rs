//! From one engine to the other and back, by the command line: all of it, as it is sealed, and never over something.

use std::fs;

use subrosa::store::{self, Backend, Engine, Stored};

use super::cluster::Cluster;
use super::open;
use crate::support::{Proxy, VALUE, World};

const GET: &str = "GET http://plain.crm.example.com/{secrets.crm.apiKey} HTTP/1.1\r\nHost: x\r\n\r\n";

/// Changes the config of a server that is stopped.
fn change(proxy: &Proxy, from: &str, to: &str) {
    let file = proxy.path("subrosa.toml");
    let text = fs::read_to_string(&file).expect("readable");
    assert!(text.contains(from), "{text}");
    fs::write(file, text.replacen(from, to, 1)).expect("written");
}

/// What is stored, by key: bytes alone, for versions are each engine's own.
async fn stored(store: &dyn Backend) -> Vec<(String, Vec<u8>)> {
    let all = store.load(&[""]).await.expect("loads").stored;
    all.into_iter().map(|Stored { key, bytes, .. }| (key, bytes)).collect()
}

async fn in_files(proxy: &Proxy, directory: &str) -> Vec<(String, Vec<u8>)> {
    stored(&*store::open(Engine::Sled { directory: proxy.path(directory) }).await.expect("opens")).await
}

fn section(cluster: &Cluster, prefix: &str) -> String {
    format!("[store]\nengine = \"sled\"\n[store.etcd]\nendpoints = [{:?}]\nprefix = \"{prefix}\"\n", cluster.endpoint(0))
}

#[tokio::test]
async fn a_store_goes_from_files_to_etcd_and_back_byte_for_byte() {
    let cluster = Cluster::start(1).await;
    let mut world = World::with(&section(&cluster, "/s/"), crate::support::reply("200 OK", "", "ok")).await;
    let proxy = &mut world.proxy;
    let held = proxy.must_fail(&["store", "copy", "--from", "sled", "--to", "etcd"], "").await;
    assert!(held.contains("in use by another process"), "{held}");
    proxy.stop().await;
    let before = in_files(proxy, "data").await;
    let said = proxy.must(&["store", "copy", "--from", "sled", "--to", "etcd", "--json"], "").await;
    let told: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(told["entries"].as_u64(), Some(before.len() as u64));
    assert_eq!((told["records"].as_u64(), told["keys"].as_array().map(Vec::len)), (Some(1), Some(1)));
    assert_eq!(stored(&*open(&cluster, "/s/").await).await, before);
    assert_eq!(in_files(proxy, "data").await, before, "what was copied stays");
    let again = proxy.must_fail(&["store", "copy", "--from", "sled", "--to", "etcd"], "").await;
    assert!(again.contains("not empty") && again.contains("store.etcd.prefix"), "{again}");
    let over = proxy.must_fail(&["store", "copy", "--from", "etcd", "--to", "sled"], "").await;
    assert!(over.contains("there is a store at"), "{over}");

    // What was moved works, and the same key opens it.
    change(proxy, "engine = \"sled\"", "engine = \"etcd\"");
    proxy.start_again().await;
    assert_eq!(world.send(GET).await.status(), 200);
    let proxy = &mut world.proxy;
    proxy.create_secret("later", "later-value", &[]).await;
    proxy.stop().await;

    // And back, into another directory.
    change(proxy, "engine = \"etcd\"", "engine = \"sled\"");
    let text = fs::read_to_string(proxy.path("subrosa.toml")).expect("readable");
    fs::write(proxy.path("subrosa.toml"), format!("data_dir = \"back\"\n{text}")).expect("written");
    proxy.must(&["store", "copy", "--from", "etcd", "--to", "sled"], "").await;
    assert_eq!(in_files(proxy, "back").await, stored(&*open(&cluster, "/s/").await).await);
    proxy.start_again().await;
    assert_eq!(world.send(GET).await.status(), 200);
    assert!(world.proxy.must(&["secret", "list"], "").await.contains("later"));
    let seen = world.crm_plain.received();
    assert!(seen.len() == 2 && seen.iter().all(|request| !request.head.contains("secrets.crm")), "{VALUE} was put in");
}

#[tokio::test]
async fn a_backup_of_either_engine_is_restored_into_the_other() {
    let cluster = Cluster::start(1).await;
    let mut world = World::with(&section(&cluster, "/s/"), crate::support::reply("200 OK", "", "ok")).await;
    let proxy = &mut world.proxy;
    proxy.must(&["backup", "of-files"], "").await;
    proxy.stop().await;
    change(proxy, "engine = \"sled\"", "engine = \"etcd\"");
    proxy.must(&["restore", "of-files"], "").await;
    let again = proxy.must_fail(&["restore", "of-files"], "").await;
    assert!(again.contains("not empty"), "{again}");
    proxy.start_again().await;
    assert_eq!(world.send(GET).await.status(), 200);
    let proxy = &mut world.proxy;
    proxy.create_secret("later", "later-value", &[]).await;
    proxy.must(&["backup", "of-etcd"], "").await;
    proxy.stop().await;
    change(proxy, "engine = \"etcd\"", "engine = \"sled\"");
    proxy.must(&["restore", "of-etcd"], "").await;
    proxy.start_again().await;
    assert_eq!(world.send(GET).await.status(), 200);
    assert!(world.proxy.must(&["secret", "list"], "").await.contains("later"));
}
