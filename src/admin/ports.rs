//! What every mounting answers without asking who is there.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderValue;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

/// The server lives: it accepts and answers.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Fields that keep answers out of caches and pages out of other pages. An answer that says more of
/// itself (a page, a file that may be kept) is left as it is.
pub(super) async fn careful(request: Request, next: Next) -> Response {
    const CAREFUL: [(HeaderName, &str); 5] = [
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"),
        // To nobody else; without any, browsers say of a form that it comes from nowhere.
        (REFERRER_POLICY, "same-origin"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
    ];
    let mut response = next.run(request).await;
    for (name, value) in CAREFUL {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
