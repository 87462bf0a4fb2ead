//! How TLS is done with each host: whom to trust, and which certificate to show. Hosts that differ in
//! either never share a session, so what was shown to one host cannot be resumed with another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;

use crate::origin::Host;
use crate::secret::DomainPattern;
use crate::tls::{CertifiedPair, Roots, TrustError};

/// The configurations of all hosts, each made at its first use.
pub struct ClientTls {
    usual: Arc<ClientConfig>,
    usual_roots: Roots,
    certificates: Vec<ClientCertificate>,
    roots: Vec<HostRoots>,
    made: Mutex<HashMap<Choice, Arc<ClientConfig>>>,
}

/// `[[egress.client_certificate]]`: what is shown to some hosts that ask for a certificate.
pub struct ClientCertificate {
    /// The hosts.
    pub hosts: Vec<DomainPattern>,
    /// The certificate with its key.
    pub pair: CertifiedPair,
}

/// `[[egress.roots]]`: whom to trust for some hosts.
pub struct HostRoots {
    /// The hosts.
    pub hosts: Vec<DomainPattern>,
    /// Who is trusted.
    pub roots: Roots,
    /// These alone, and not beside the usual ones.
    pub only: bool,
}

/// What makes a host's configuration different from another's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Choice {
    certificate: Option<usize>,
    roots: Vec<usize>,
}

impl ClientTls {
    /// For hosts that no entry names: `usual_roots` and no certificate. Of `certificates` the first
    /// that names a host counts, of `roots` all that do.
    pub fn new(usual_roots: Roots, certificates: Vec<ClientCertificate>, roots: Vec<HostRoots>) -> Result<Self, TrustError> {
        let usual = usual_roots.client_config(None)?;
        Ok(Self { usual, usual_roots, certificates, roots, made: Mutex::default() })
    }

    /// Whether both trust the same for hosts that no entry names: the system's roots may have changed meanwhile.
    pub fn trusts_like(&self, other: &Self) -> bool {
        self.usual_roots == other.usual_roots
    }

    /// The configuration for `host`.
    pub fn of(&self, host: &Host) -> Arc<ClientConfig> {
        let choice = self.choice(host);
        if choice == Choice::default() {
            return Arc::clone(&self.usual);
        }
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = made.get(&choice) {
            return Arc::clone(config);
        }
        let config = self.make(&choice);
        made.insert(choice, Arc::clone(&config));
        config
    }

    fn choice(&self, host: &Host) -> Choice {
        let named = |hosts: &[DomainPattern]| hosts.iter().any(|pattern| pattern.matches(host));
        let roots = self.roots.iter().enumerate().filter(|(_, entry)| named(&entry.hosts));
        Choice {
            certificate: self.certificates.iter().position(|entry| named(&entry.hosts)),
            roots: roots.map(|(index, _)| index).collect(),
        }
    }

    fn make(&self, choice: &Choice) -> Arc<ClientConfig> {
        let entries = || choice.roots.iter().map(|index| &self.roots[*index]);
        let beginning = if entries().any(|entry| entry.only) { Roots::none() } else { self.usual_roots.clone() };
        let roots = entries().fold(beginning, |roots, entry| roots.with(&entry.roots));
        let pair = choice.certificate.map(|index| &self.certificates[index].pair);
        roots.client_config(pair).expect("the usual one was made in the same way")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<DomainPattern> {
        texts.iter().map(|text| DomainPattern::parse(text).expect("a pattern")).collect()
    }

    fn entry(hosts: &[&str], only: bool) -> HostRoots {
        HostRoots { hosts: patterns(hosts), roots: Roots::none(), only }
    }

    #[test]
    fn hosts_share_a_configuration_only_where_the_same_entries_name_them() {
        let roots = vec![entry(&["*.corp.example"], false), entry(&["a.corp.example", "b.example"], true)];
        let tls = ClientTls::new(Roots::usual(), Vec::new(), roots).expect("made");
        let of = |name: &str| tls.of(&Host::parse(name).expect("a host"));
        for (one, other, same) in [
            ("x.example", "y.example", true),
            ("x.example", "x.corp.example", false),
            ("x.corp.example", "y.corp.example", true),
            ("x.corp.example", "a.corp.example", false),
            ("a.corp.example", "b.example", false),
            ("a.corp.example", "a.corp.example", true),
        ] {
            assert_eq!(Arc::ptr_eq(&of(one), &of(other)), same, "{one} {other}");
        }
    }
}
