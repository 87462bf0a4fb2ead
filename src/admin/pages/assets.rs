//! The files that pages are made of, inside the binary: each under a name that changes with its
//! content, so that browsers may keep it for good and never show an old one beside a new page.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use crate::admin::problem::Problem;

/// A file, and the hash of its content.
pub(super) struct Asset {
    name: &'static str,
    media_type: &'static str,
    content: &'static [u8],
    hash: u64,
}

/// The stylesheet.
pub(super) const STYLE: Asset = Asset::new("pages.css", "text/css; charset=utf-8", include_bytes!("../assets/pages.css"));
/// What makes pages handier where scripts run. Nothing needs it.
pub(super) const SCRIPT: Asset = Asset::new("pages.js", "text/javascript; charset=utf-8", include_bytes!("../assets/pages.js"));
/// The logo, and the icon of the pages.
pub(super) const LOGO: Asset = Asset::new("logo.svg", "image/svg+xml", include_bytes!("../assets/logo.svg"));

const ALL: [&Asset; 3] = [&STYLE, &SCRIPT, &LOGO];

impl Asset {
    const fn new(name: &'static str, media_type: &'static str, content: &'static [u8]) -> Self {
        Self { name, media_type, content, hash: fnv1a(content) }
    }

    /// Where it lies.
    pub(super) fn path(&self) -> String {
        format!("/assets/{:016x}-{}", self.hash, self.name)
    }
}

/// `GET /assets/{file}`
pub(super) async fn serve(Path(file): Path<String>) -> Response {
    let wanted = ALL.into_iter().find(|asset| asset.path().strip_prefix("/assets/") == Some(&file));
    match wanted {
        Some(asset) => {
            // A year is what caches take for always (RFC 9111 names no longer one; RFC 8246: immutable).
            let fields = [(CONTENT_TYPE, asset.media_type), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
            (fields, asset.content).into_response()
        }
        None => Problem::new(StatusCode::NOT_FOUND, "not_found", "There is no such file; reload the page.").into_response(),
    }
}

/// FNV-1a, 64 bit: tells contents apart that nobody chose to look alike.
const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}
