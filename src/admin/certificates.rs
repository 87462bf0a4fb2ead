//! The CA's certificate as runtimes take it: PEM, DER, and PKCS#12 for Java. All of it is public.

use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use sha2::{Digest, Sha256};
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, Tag};

use super::State;
use super::problem::Problem;

/// `GET /ca.pem`
pub(super) async fn pem(Shared(state): Shared<State>) -> Result<impl IntoResponse, Problem> {
    if state.ca.is_empty() {
        return Err(none_yet());
    }
    Ok(([(CONTENT_TYPE, "application/x-pem-file")], state.ca.to_string()))
}

/// `GET /ca.der`
pub(super) async fn der(Shared(state): Shared<State>) -> Result<Response, Problem> {
    let certificate = certificates(&state.ca).into_iter().next().ok_or_else(none_yet)?;
    Ok(([(CONTENT_TYPE, "application/pkix-cert")], certificate).into_response())
}

/// `GET /ca.p12`
pub(super) async fn pkcs12(Shared(state): Shared<State>) -> Result<Response, Problem> {
    let certificates = certificates(&state.ca);
    if certificates.is_empty() {
        return Err(none_yet());
    }
    Ok(([(CONTENT_TYPE, "application/x-pkcs12")], truststore(&certificates)).into_response())
}

/// The SHA-256 of the certificate, as tools show it.
pub(super) fn fingerprint(pem: &str) -> Option<String> {
    let certificate = certificates(pem).into_iter().next()?;
    let bytes = Sha256::digest(certificate);
    Some(bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":"))
}

fn none_yet() -> Problem {
    let detail = "There is no CA certificate yet; `subrosa serve` makes it on its first start.";
    Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
}

/// The certificates of a PEM file, DER, the CA's own first.
fn certificates(pem: &str) -> Vec<Vec<u8>> {
    let bodies = pem.split("-----BEGIN CERTIFICATE-----").skip(1).filter_map(|rest| rest.split("-----END").next());
    bodies.filter_map(|body| STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).ok()).collect()
}

/// A PKCS#12 file (RFC 7292) that holds certificates to trust, without a password: nothing in it is secret, so nothing
/// is encrypted, and without a password Java checks no digest.
fn truststore(certificates: &[Vec<u8>]) -> Vec<u8> {
    let bags = yasna::construct_der(|writer| {
        writer.write_sequence(|bags| certificates.iter().enumerate().for_each(|(index, der)| bag(bags.next(), index, der)));
    });
    let safe = yasna::construct_der(|writer| writer.write_sequence(|contents| data(contents.next(), &bags)));
    yasna::construct_der(|writer| {
        writer.write_sequence(|pfx| {
            pfx.next().write_u8(3);
            data(pfx.next(), &safe);
        });
    })
}

/// `ContentInfo` of the type `data` (RFC 5652, 4).
fn data(writer: DERWriter<'_>, content: &[u8]) {
    writer.write_sequence(|info| {
        info.next().write_oid(&oid(&[1, 2, 840, 113_549, 1, 7, 1]));
        info.next().write_tagged(Tag::context(0), |content_of| content_of.write_bytes(content));
    });
}

/// A `SafeBag` with one certificate, its name, and the mark by which Java takes it for one to trust.
fn bag(writer: DERWriter<'_>, index: usize, der: &[u8]) {
    writer.write_sequence(|bag| {
        bag.next().write_oid(&oid(&[1, 2, 840, 113_549, 1, 12, 10, 1, 3]));
        bag.next().write_tagged(Tag::context(0), |value| {
            value.write_sequence(|certificate| {
                certificate.next().write_oid(&oid(&[1, 2, 840, 113_549, 1, 9, 22, 1]));
                certificate.next().write_tagged(Tag::context(0), |value| value.write_bytes(der));
            });
        });
        bag.next().write_set(|attributes| {
            attributes.next().write_sequence(|name| {
                name.next().write_oid(&oid(&[1, 2, 840, 113_549, 1, 9, 20]));
                name.next().write_set(|value| value.next().write_bmp_string(&format!("subrosa-{index}")));
            });
            attributes.next().write_sequence(|trusted| {
                trusted.next().write_oid(&oid(&[2, 16, 840, 1, 113_894, 746_875, 1, 1]));
                // anyExtendedKeyUsage
                trusted.next().write_set(|value| value.next().write_oid(&oid(&[2, 5, 29, 37, 0])));
            });
        });
    });
}

fn oid(numbers: &[u64]) -> ObjectIdentifier {
    ObjectIdentifier::from_slice(numbers)
}
