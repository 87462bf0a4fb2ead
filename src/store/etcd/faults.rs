//! What went wrong between here and etcd, judged by what it means for whoever asked: try elsewhere, look first, or give up.

use std::error::Error as _;

use etcd_client::Error;
use tonic::{Code, ConnectError, Status};

use super::EtcdSettings;

/// Why a member did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It cannot be reached.
    Away(String),
    /// It did nothing; another member may, or this one later.
    NotDone(String),
    /// It may have done it.
    Lost(String),
    /// It does nothing as long as it is shown this, and others may.
    Unwelcome(String),
    /// The cluster does not do it, in one sentence.
    Refused(String),
    /// What was asked for is compacted away.
    Compacted,
}

/// What the client's fault means, of which `member` it says so.
pub(super) fn judge(error: &Error, member: &str, settings: &EtcdSettings) -> Fault {
    match error {
        Error::GRpcStatus(status) => answered(status, member, settings),
        Error::InvalidArgs(_) | Error::InvalidUri(_) => Fault::Refused(format!("etcd cannot be asked at {member}: {error}")),
        Error::TransportError(fault) => Fault::Unwelcome(format!("etcd cannot be asked at {member}: {}", root(fault))),
        other => Fault::Lost(format!("{member}: {other}")),
    }
}

fn answered(status: &Status, member: &str, settings: &EtcdSettings) -> Fault {
    if let Some(why) = not_connected(status) {
        return unconnected(&why, member);
    }
    let says = status.message().trim_start_matches("etcdserver: ");
    let user = settings.user.as_deref().unwrap_or_default();
    let prefix = &settings.prefix;
    match status.code() {
        Code::InvalidArgument if says.contains("authentication failed") => Fault::Refused(format!(
            "etcd does not let the user `{user}` in: it knows another password or no such user; see to store.etcd.user and the file that \
             store.etcd.password_file names"
        )),
        Code::InvalidArgument if says.contains("user name is empty") => Fault::Refused(
            "etcd wants to know who asks; name a user and its password with store.etcd.user and store.etcd.password_file".to_owned(),
        ),
        Code::FailedPrecondition if says.contains("authentication is not enabled") => {
            Fault::Refused(format!("etcd knows no users, so nobody can sign in as `{user}`; remove store.etcd.user, or enable its authentication"))
        }
        Code::PermissionDenied => Fault::Refused(format!(
            "etcd does not let {} read and write below {prefix}; grant that to a role of it (etcdctl role grant-permission ROLE readwrite \
             --prefix {prefix})",
            if user.is_empty() { "whoever shows this certificate".to_owned() } else { format!("the user `{user}`") }
        )),
        // The token has run out, or users were changed: it is asked for anew with the next connection.
        Code::Unauthenticated | Code::InvalidArgument if status.code() == Code::Unauthenticated || says.contains("auth store is old") => {
            Fault::NotDone(format!("{member}: {says}"))
        }
        Code::ResourceExhausted if says.contains("database space exceeded") => Fault::Refused(
            "etcd's database is full (its --quota-backend-bytes), so nothing can be changed; compact and defragment it, then `etcdctl alarm \
             disarm`"
                .to_owned(),
        ),
        Code::InvalidArgument | Code::ResourceExhausted if says.contains("too large") || says.contains("larger than max") => {
            Fault::Refused("the change is larger than etcd takes in one request (its --max-request-bytes, 1.5 MiB unless set); nothing was changed".to_owned())
        }
        // Too many at once.
        Code::ResourceExhausted => Fault::NotDone(format!("{member}: it is busy ({says})")),
        Code::InvalidArgument | Code::FailedPrecondition | Code::NotFound | Code::Unimplemented | Code::DataLoss => {
            Fault::Refused(format!("etcd does not do it: {says}"))
        }
        Code::OutOfRange if says.contains("compacted") => Fault::Compacted,
        Code::Unavailable if says == "no leader" => {
            Fault::NotDone(format!("{member}: it knows no leader, so a majority of the members is missing"))
        }
        _ => Fault::Lost(format!("{member}: {}", ended(&root(status), settings))),
    }
}

/// Over TLS 1.3 whoever is not let in hears nothing but that.
fn ended(why: &str, settings: &EtcdSettings) -> String {
    if !["closed", "broken pipe", "reset", "alert"].iter().any(|word| why.contains(word)) {
        return why.to_owned();
    }
    let perhaps = match (&settings.ca_file, &settings.certificate_file) {
        (None, _) => "it may want to be spoken to in TLS: https://",
        (Some(_), None) => "it may want a certificate: store.etcd.certificate_file",
        (Some(_), Some(_)) => "it may not accept the certificate in store.etcd.certificate_file",
    };
    format!("{why}; {perhaps}")
}

/// A connection that was not made: nothing was asked.
fn unconnected(why: &str, member: &str) -> Fault {
    let is_tls = ["certificate", "corrupt message", "fatal alert", "tls", "TLS"].iter().any(|word| why.contains(word));
    if !is_tls {
        return Fault::Away(format!("{member}: {why}"));
    }
    let cure = if why.contains("expired") {
        "renew the certificate, or set the clock right"
    } else if why.contains("UnknownIssuer") || why.contains("BadSignature") {
        "store.etcd.ca_file is not who signed it"
    } else if why.contains("not valid for name") || why.contains("NotValidForName") {
        "name the member in store.etcd.endpoints as its certificate does"
    } else if why.contains("corrupt message") {
        "it does not speak TLS there; say http:// in store.etcd.endpoints, or give it a certificate"
    } else {
        "see to store.etcd.ca_file, store.etcd.certificate_file and store.etcd.key_file"
    };
    Fault::Unwelcome(format!("etcd at {member} and this node do not come to terms about TLS ({why}); {cure}"))
}

/// Why there was no connection, if that was it.
fn not_connected(status: &Status) -> Option<String> {
    let mut source = status.source();
    while let Some(fault) = source {
        if let Some(connect) = fault.downcast_ref::<ConnectError>() {
            return Some(root(connect));
        }
        source = fault.source();
    }
    None
}

/// What lies at the bottom of it.
fn root(fault: &dyn std::error::Error) -> String {
    let mut fault = fault;
    while let Some(source) = fault.source() {
        fault = source;
    }
    fault.to_string()
}
