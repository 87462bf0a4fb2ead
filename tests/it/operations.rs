//! What whoever operates the server is told: figures and readiness.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::support::client::{Response, exchange, read_response};
use super::support::{CRM, EVIL, Proxy, World, reply, soon};

/// One GET to the port for people.
pub async fn get(proxy: &Proxy, path: &str) -> Response {
    let mut stream = soon(TcpStream::connect(proxy.admin_address().await)).await.expect("it listens");
    exchange(&mut stream, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await
}

/// The figures of a proxy, as text.
pub async fn metrics(proxy: &Proxy) -> String {
    get(proxy, "/metrics").await.text()
}

/// The value of the series that is written exactly so.
pub fn figure(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().expect("a number")
}

/// Waits until nothing is open, held or kept any more.
pub async fn until_idle(proxy: &Proxy) {
    let gauges = ["subrosa_client_connections", "subrosa_tunnels", "subrosa_held_bytes", "subrosa_upstream_resting"];
    let mut figures = String::new();
    let idle = tokio::time::timeout(super::support::PATIENCE, async {
        loop {
            figures = metrics(proxy).await;
            if gauges.iter().all(|gauge| figure(&figures, gauge) < 0.5) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    assert!(idle.await.is_ok(), "{figures}");
}

#[tokio::test]
async fn the_figures_are_those_of_the_requests_that_were_made() {
    let world = World::with("", reply("200 OK", "", "ok")).await;
    let commits = figure(&get(&world.proxy, "/metrics").await.text(), "subrosa_store_commits_total");
    world.proxy.create_secret("other.key", "x", &[]).await;

    let mut stream = world.connect().await;
    let plain = "GET http://plain.crm.example.com/?k={secrets.crm.apiKey} HTTP/1.1\r\nHost: x\r\nX: {secrets.crm.apiKey}\r\n\r\n";
    for _ in 0..3 {
        assert_eq!(exchange(&mut stream, plain).await.status(), 200);
    }
    let restricted = format!("GET https://{EVIL}/{{secrets.crm.apiKey}} HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(exchange(&mut stream, &restricted).await.status(), 403);
    let missing = "GET http://plain.crm.example.com/{secrets.nobody} HTTP/1.1\r\nHost: x\r\n\r\n";
    for _ in 0..2 {
        assert_eq!(exchange(&mut stream, missing).await.status(), 422);
    }
    let mut inside = world.tls(CRM).await;
    assert_eq!(exchange(&mut inside, &format!("GET / HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await.status(), 200);
    assert_eq!(world.send_tls(CRM, &format!("GET / HTTP/1.1\r\nHost: {CRM}\r\n\r\n")).await.status(), 200);

    let answer = get(&world.proxy, "/metrics").await;
    let text = answer.text();
    assert!(answer.fields("content-type")[0].starts_with("application/openmetrics-text"), "{}", answer.head);
    for (series, expected) in [
        ("subrosa_exchanges_total{outcome=\"forwarded\",code=\"none\"}", 5.0),
        ("subrosa_exchanges_total{outcome=\"refused\",code=\"domain_restricted\"}", 1.0),
        ("subrosa_exchanges_total{outcome=\"refused\",code=\"secret_not_found\"}", 2.0),
        ("subrosa_exchanges_total{outcome=\"refused\",code=\"overloaded\"}", 0.0),
        ("subrosa_responses_total{class=\"2xx\"}", 5.0),
        ("subrosa_responses_total{class=\"4xx\"}", 3.0),
        ("subrosa_injections_total{surface=\"query\"}", 3.0),
        ("subrosa_injections_total{surface=\"header\"}", 3.0),
        ("subrosa_injections_total{surface=\"body\"}", 0.0),
        ("subrosa_exchange_seconds_count", 8.0),
        ("subrosa_added_seconds_count", 5.0),
        ("subrosa_tunnels_opened_total{kind=\"intercepted\"}", 2.0),
        ("subrosa_tunnels_opened_total{kind=\"passed_through\"}", 0.0),
        ("subrosa_leaf_minted_total", 1.0),
        ("subrosa_leaf_hits_total", 1.0),
        ("subrosa_leaf_kept", 1.0),
        ("subrosa_store_failures_total", 0.0),
        ("subrosa_audit_recorded_total", 8.0),
        ("subrosa_audit_dropped_total", 0.0),
        ("subrosa_held_bytes", 0.0),
        (concat!("subrosa_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
    ] {
        assert!((figure(&text, series) - expected).abs() < 0.01, "{series} is not {expected} in\n{text}");
    }
    // What was recorded is committed too, in as many batches as it takes.
    assert!(figure(&text, "subrosa_store_commits_total") > commits, "{text}");
    assert!(figure(&text, "subrosa_store_commit_seconds_count") > commits, "{text}");
    // Each worker has connections of its own, and which one serves a client is the system's choice.
    let (dialled, reused) = (figure(&text, "subrosa_upstream_dialled_total"), figure(&text, "subrosa_upstream_reused_total"));
    assert!((dialled + reused - 5.0).abs() < 0.01 && reused >= 2.0, "{dialled} and {reused}");
    assert!(figure(&text, "subrosa_client_connections") >= 2.0, "{text}");
    assert!(figure(&text, "subrosa_tunnels") >= 1.0, "{text}");
    assert!(figure(&text, "subrosa_upstream_resting") >= 1.0, "{text}");
    assert!(figure(&text, "process_resident_memory_bytes") > 1e6 && figure(&text, "process_cpu_seconds_total") > 0.0, "{text}");
    for private in ["crm", "nobody", "example", "default"] {
        assert!(!text.contains(private), "{private} in\n{text}");
    }
}

#[tokio::test]
async fn an_independent_parser_reads_the_figures_and_knows_every_code() {
    let world = World::new().await;
    world.send("GET http://plain.crm.example.com/{secrets.nobody} HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let text = get(&world.proxy, "/metrics").await.text();
    let script = "import sys\nfrom prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
                  print(*(s.name + str(sorted(s.labels.items())) for f in parse(sys.stdin.read()) for s in f.samples), sep='\\n')";
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-tools/python/bin/python");
    let mut child = tokio::process::Command::new(python)
        .args(["-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("scripts/test-tools has run");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).await.expect("it reads");
    let output = soon(child.wait_with_output()).await.expect("it ends");
    let read = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && read.lines().count() > 60, "{read}\n{text}");
    let refusals = include_str!("../../docs/refusals.md");
    let codes: Vec<&str> = refusals.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(codes.len() >= 19, "{codes:?}");
    for code in codes {
        assert!(read.contains(&format!("[('code', '{code}'), ('outcome', 'refused')]")), "{code} in {read}");
    }
}

#[tokio::test]
async fn figures_are_open_on_loopback_and_nowhere_behind_somebody_elses_tls() {
    let open = World::new().await;
    assert_eq!(get(&open.proxy, "/metrics").await.status(), 200);
    let fronted =
        World::with("[admin]\nlisten = [\"127.0.0.1:0\"]\ntls = \"terminated-elsewhere\"\n", reply("200 OK", "", "ok")).await;
    let refused = get(&fronted.proxy, "/metrics").await;
    assert_eq!((refused.status(), refused.json()["code"].as_str()), (401, Some("unauthenticated")));
    assert_eq!(get(&fronted.proxy, "/readyz").await.text(), "ready\n");
}

#[tokio::test]
async fn readiness_ends_with_the_order_to_stop_while_exchanges_finish() {
    let world = World::new().await;
    assert_eq!((get(&world.proxy, "/readyz").await.status(), get(&world.proxy, "/livez").await.status()), (200, 200));
    // A request whose content has not come keeps the server busy.
    let mut stream = world.connect().await;
    let head = "POST http://plain.crm.example.com/ HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("it can be sent");
    soon(async {
        while figure(&get(&world.proxy, "/metrics").await.text(), "subrosa_client_connections") < 1.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.proxy.signal("-TERM").await;
    world.proxy.logged("stopping").await;
    let answer = get(&world.proxy, "/readyz").await;
    assert_eq!((answer.status(), answer.text().as_str()), (503, "server: it is stopping\n"));
    stream.write_all(b"ok").await.expect("it can be sent");
    assert_eq!(read_response(&mut stream, false).await.status(), 200);
}

/// The names of figures in a text.
fn figures(text: &str) -> std::collections::BTreeSet<String> {
    let words = text.split(|char: char| !(char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_'));
    words.filter(|word| word.starts_with("subrosa_") || word.starts_with("process_")).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_dashboard_asks_for_figures_that_there_are_and_the_documentation_names_them_all() {
    let world = World::new().await;
    let exported = figures(&get(&world.proxy, "/metrics").await.text());
    let dashboard: serde_json::Value = serde_json::from_str(include_str!("../../config/grafana-dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let asked: Vec<&str> = targets.filter_map(|target| target["expr"].as_str()).collect();
    assert!(asked.len() > 20, "{asked:?}");
    for expression in asked {
        let named = figures(expression);
        assert!(!named.is_empty() && named.is_subset(&exported), "{expression}: {named:?} in {exported:?}");
    }
    let documented = figures(include_str!("../../docs/operations.md"));
    for figure in &exported {
        let family =
            ["_bucket", "_count", "_sum"].iter().fold(figure.as_str(), |name, end| name.strip_suffix(end).unwrap_or(name));
        let known = [family.to_owned(), format!("{family}_total"), format!("{family}_info")];
        assert!(known.iter().any(|name| documented.contains(name)), "docs/operations.md does not name {figure}");
    }
}
