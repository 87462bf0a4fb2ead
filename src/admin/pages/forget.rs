//! A value that was typed is not to come back: neither when somebody goes back to the form that was sent, nor from what
//! the browser writes down to open its pages again after a restart.
//!
//! Chromium keeps pages for the way back as they stood, inputs included, even those that are `no-store`; it
//! lets go of them when a cookie changes that scripts cannot read, so every form that is sent changes one. And it writes down what
//! was posted to the page that it shows, unless a password is among it: so the form of a secret has an input that makes it
//! so, for the answers that are no redirect (`drafts`). Both say nothing and work without scripts.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::header::SET_COOKIE;
use http::{HeaderValue, Method};
use maud::{Markup, html};
use time::OffsetDateTime;

use crate::admin::session::Way;

/// Has the browser let go of the page that a form was sent from.
pub(super) async fn sent_pages(request: Request, next: Next) -> Response {
    let sent = *request.method() == Method::POST;
    let secure = request.extensions().get::<Way>().is_some_and(|way| way.secure);
    let mut response = next.run(request).await;
    if sent {
        response.headers_mut().append(SET_COOKIE, changed(secure));
    }
    response
}

/// Another text each time, or nothing would have changed.
fn changed(secure: bool) -> HeaderValue {
    let now = OffsetDateTime::now_utc().unix_timestamp_nanos();
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("subrosa-sent={now}; Path=/; HttpOnly; SameSite=Strict; Max-Age=1{secure}");
    HeaderValue::from_str(&text).expect("digits and letters")
}

/// Has the browser treat what a form sends as it treats passwords. It has to hold something; as a one-time code it is nothing that
/// a password manager would keep.
pub(super) fn posted() -> Markup {
    html! { input type="password" name="forget" value="yes" autocomplete="one-time-code" hidden; }
}
