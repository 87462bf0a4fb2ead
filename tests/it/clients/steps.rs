//! The surfaces as steps of a driver: what is sent, and what must have been received.

use base64::Engine;

use crate::support::VALUE;
use crate::support::origin::Received;

/// [`VALUE`] as it stands in a path, a query or a form.
pub(super) const ENCODED: &str = "abc123-Zx%2F9%2B%3Dsecret";

/// One request of a driver, with a reference on one surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Header,
    Bearer,
    Basic,
    Cookie,
    Query,
    Path,
    Json,
    Form,
    Multipart,
    /// A header, towards an address instead of a name.
    Address,
    /// The upgrade to a WebSocket: path, query and header in one request.
    WebSocket,
    /// Basic credentials, in requests that are the client's own idea.
    OwnBasic,
    /// gRPC's metadata, in calls of every kind; proved by `grpc`.
    Metadata,
    /// A token, likewise.
    OwnBearer,
    /// A header, likewise.
    OwnHeader,
}

/// What a client for HTTP in general can send.
pub(super) const ALL: &[Step] = &[
    Step::Header,
    Step::Bearer,
    Step::Basic,
    Step::Cookie,
    Step::Query,
    Step::Path,
    Step::Json,
    Step::Form,
    Step::Multipart,
    Step::Address,
];

impl Step {
    /// As the document calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Header | Self::OwnHeader => "header",
            Self::Bearer | Self::OwnBearer => "bearer",
            Self::Basic | Self::OwnBasic => "basic",
            Self::Cookie => "cookie",
            Self::Query => "query",
            Self::Path => "path",
            Self::Json => "json",
            Self::Form => "form",
            Self::Multipart => "multipart",
            Self::Address => "address",
            Self::WebSocket => "upgrade",
            Self::Metadata => "metadata",
        }
    }

    /// That the value came where the reference stood, exactly once.
    pub(super) fn check(self, received: &[Received]) -> Result<(), String> {
        let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("me:{VALUE}")));
        let any = |name: &str, value: &str| {
            let holds = received.iter().any(|request| request.fields(name) == [value]);
            if holds { Ok(()) } else { Err(format!("no request has {name}: {value}")) }
        };
        match self {
            Self::OwnBasic => return any("authorization", &basic),
            Self::OwnBearer => return any("authorization", &format!("Bearer {VALUE}")),
            Self::OwnHeader => return any("x-api-key", VALUE),
            _ => {}
        }
        let request = self.find(received)?;
        let text = request.text();
        let right = match self {
            Self::Header | Self::Address => request.fields("x-api-key") == [VALUE],
            Self::Bearer => request.fields("authorization") == [format!("Bearer {VALUE}")],
            Self::Basic => request.fields("authorization") == [basic],
            Self::Cookie => request.fields("cookie") == [format!("s={VALUE}")],
            Self::Query => request.line().starts_with(&format!("GET /v1/query?k={ENCODED} ")),
            Self::Path => request.line().starts_with(&format!("GET /v1/path/{ENCODED}/x ")),
            Self::Json => serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|json| json["k"] == VALUE),
            Self::Form => text == format!("k={ENCODED}"),
            Self::Multipart => text.contains(&format!("\r\n\r\n{VALUE}\r\n--")),
            Self::WebSocket => {
                request.line().starts_with(&format!("GET /v1/ws/{ENCODED}/x?k={ENCODED} "))
                    && request.fields("x-api-key") == [VALUE]
            }
            Self::OwnBasic | Self::OwnBearer | Self::OwnHeader | Self::Metadata => unreachable!("looked at elsewhere"),
        };
        if right { Ok(()) } else { Err(format!("this came:\n{}{text}", request.head)) }
    }

    /// The request of this step.
    fn find(self, received: &[Received]) -> Result<&Received, String> {
        let beginning = match self {
            Self::Address => "/address".to_owned(),
            Self::WebSocket => "/v1/ws/".to_owned(),
            _ => format!("/v1/{}", self.name()),
        };
        let of_it = |request: &&Received| request.line().split(' ').nth(1).is_some_and(|target| target.starts_with(&beginning));
        let mut found = received.iter().filter(of_it);
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(format!("no request for {beginning} came")),
            (Some(_), Some(_)) => Err(format!("more than one request for {beginning} came")),
        }
    }
}
