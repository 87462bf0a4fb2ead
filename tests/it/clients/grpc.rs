//! gRPC by grpcio: metadata takes the value, messages stay as they are, in every kind of call.

use http::Uri;

use super::{Row, drive, prepare, said};
use crate::support::VALUE;
use crate::support::http2::{Does, Http2World};

/// Runs the row, with an origin that sends every message back.
pub(super) async fn prove(row: &Row) {
    let Http2World { world, h2, .. } = Http2World::new(|_: &Uri| Does::Calls).await;
    prepare(&world, row.sends_token).await;
    let output = drive(&world, row.command, row.driver, row.more, &[]).await;
    let said = said(&output);
    assert!(output.status.success() && said.contains(row.shows) && !said.contains(VALUE), "{}: {said}", row.client);
    let received = h2.ended(4).await;
    let calls: Vec<&str> = received.iter().map(|call| call.uri.path()).collect();
    assert_eq!(calls, ["/subrosa.test/Unary", "/subrosa.test/Down", "/subrosa.test/Up", "/subrosa.test/Both"], "{said}");
    for call in &received {
        assert_eq!((call.field("x-api-key"), call.field("te")), (VALUE.to_owned(), "trailers".to_owned()), "{call:?}");
        assert!(call.text().contains("{secrets.crm.apiKey}"), "messages are not touched: {call:?}");
        assert!(call.fields.contains_key("grpc-timeout"), "{call:?}");
    }
    assert_eq!(received[3].text().matches("{secrets.crm.apiKey}").count(), 3);
    assert_eq!(world.evil.connections(), 0);
}
