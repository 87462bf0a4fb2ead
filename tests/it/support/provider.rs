//! A small identity provider (`OpenID` Connect): it tells of itself, and answers a code with an ID token
//! that says what a test wants.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{PublicKeyData, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::origin::{find, until};

/// What a code stands for.
struct Grant {
    claims: Value,
    challenge: String,
}

struct Inner {
    issuer: String,
    key: rcgen::KeyPair,
    others: rcgen::KeyPair,
    grants: Mutex<HashMap<String, Grant>>,
}

pub struct Provider {
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Provider {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address: SocketAddr = listener.local_addr().expect("bound");
        let key = || rcgen::KeyPair::generate().expect("a key");
        let issuer = format!("http://{address}");
        let inner = Arc::new(Inner { issuer, key: key(), others: key(), grants: Mutex::default() });
        let serving = Arc::clone(&inner);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(Arc::clone(&serving), stream));
            }
        });
        Self { inner, task }
    }

    pub fn issuer(&self) -> &str {
        &self.inner.issuer
    }

    /// What the browser would be sent back to, after whoever `claims` describes had signed in there.
    pub fn authorize(&self, location: &str, claims: &Value) -> String {
        let url = url::Url::parse(location).expect("a URL");
        assert_eq!(url.origin().ascii_serialization(), self.inner.issuer);
        let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!((query["response_type"].as_str(), query["client_id"].as_str()), ("code", "subrosa"));
        assert_eq!(query["code_challenge_method"], "S256");
        assert!(query["scope"].split(' ').any(|scope| scope == "openid"), "{query:?}");
        let redirect = url::Url::parse(&query["redirect_uri"]).expect("a URL");
        assert_eq!(redirect.path(), "/sign-in/callback");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let mut all =
            json!({ "iss": self.inner.issuer, "aud": "subrosa", "nonce": query["nonce"], "iat": now, "exp": now + 300 });
        for (name, value) in claims.as_object().expect("an object") {
            all[name] = value.clone();
        }
        let mut grants = self.inner.grants.lock().expect("no test panics with it");
        let code = format!("code-{}", grants.len());
        grants.insert(code.clone(), Grant { claims: all, challenge: query["code_challenge"].clone() });
        format!("/sign-in/callback?code={code}&state={}", query["state"])
    }
}

async fn serve(inner: Arc<Inner>, mut stream: TcpStream) {
    let mut buffer = Vec::new();
    let Some(head) = until(&mut stream, &mut buffer, |bytes| find(bytes, b"\r\n\r\n").map(|at| at + 4)).await else { return };
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut content = buffer.clone();
    content.resize(length.unwrap_or(0), 0);
    if content.len() > buffer.len() {
        let at = buffer.len();
        stream.read_exact(&mut content[at..]).await.expect("the content is whole");
    }
    let (status, answer) = inner.answer(&head, &content);
    let text = answer.to_string();
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    let _ = stream.write_all(response.as_bytes()).await;
}

impl Inner {
    fn answer(&self, head: &str, content: &[u8]) -> (&'static str, Value) {
        match head.split(' ').nth(1) {
            Some("/.well-known/openid-configuration") => ("200 OK", self.about()),
            Some("/keys") => ("200 OK", json!({ "keys": [jwk(&self.key)] })),
            Some("/token") => self.exchange(head, content),
            _ => ("404 Not Found", json!({})),
        }
    }

    fn about(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer);
        json!({
            "issuer": self.issuer,
            "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"),
            "jwks_uri": at("/keys"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    fn exchange(&self, head: &str, content: &[u8]) -> (&'static str, Value) {
        let refused = ("400 Bad Request", json!({ "error": "invalid_grant" }));
        let form: HashMap<String, String> = url::form_urlencoded::parse(content).into_owned().collect();
        let credentials = format!("basic {}", STANDARD.encode("subrosa:hush-hush-hush").to_ascii_lowercase());
        assert!(head.to_ascii_lowercase().contains(&credentials), "who asks shows its secret");
        let Some(grant) = self.grants.lock().expect("no test panics with it").get_mut(&form["code"]).map(std::mem::take) else {
            return refused;
        };
        let verifier = form.get("code_verifier").map(String::as_str).unwrap_or_default();
        if grant.challenge != URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) {
            return refused;
        }
        let token = self.sign(grant.claims);
        ("200 OK", json!({ "access_token": "a", "token_type": "Bearer", "expires_in": 300, "id_token": token }))
    }

    fn sign(&self, mut claims: Value) -> String {
        let take = |claims: &mut Value, name: &str| claims.as_object_mut().expect("an object").remove(name).is_some();
        let (forged, unsigned) = (take(&mut claims, "forged"), take(&mut claims, "unsigned"));
        let algorithm = if unsigned { "none" } else { "ES256" };
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({ "alg": algorithm, "kid": "k" })), part(&claims));
        let key = if forged { &self.others } else { &self.key };
        let signature = if unsigned { Vec::new() } else { fixed(&key.sign(signed.as_bytes()).expect("signs")) };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

impl Default for Grant {
    /// What is left of one that was used: nobody's challenge.
    fn default() -> Self {
        Self { claims: Value::Null, challenge: String::new() }
    }
}

/// A P-256 key as RFC 7517 writes it; `der_bytes` is the uncompressed point.
fn jwk(key: &rcgen::KeyPair) -> Value {
    let point = key.der_bytes();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..65]));
    json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k", "x": x, "y": y })
}

/// An ECDSA signature as RFC 7518 (3.4) wants it: two numbers of 32 bytes, from the DER of X9.62.
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut at = 2;
    let mut whole = Vec::with_capacity(64);
    for _ in 0..2 {
        let length = usize::from(der[at + 1]);
        let number = &der[at + 2..at + 2 + length];
        let number = &number[number.len().saturating_sub(32)..];
        whole.extend(std::iter::repeat_n(0, 32 - number.len()));
        whole.extend_from_slice(number);
        at += 2 + length;
    }
    whole
}
