//! How TLS is done with upstreams, from the files that the config names.

use super::AppError;
use crate::config::Config;
use crate::tls::{CertifiedPair, Roots};
use crate::upstream::{ClientCertificate, ClientTls, HostRoots};

/// Every file is read now: one that cannot be used stops the start.
pub(super) fn client_tls(config: &Config) -> Result<ClientTls, AppError> {
    let egress = &config.egress;
    let certificate = |(index, entry): (usize, &crate::config::ClientCertificate)| {
        let pair = CertifiedPair::load(&entry.certificate, &entry.key);
        let pair = pair.map_err(|fault| config.fault(&format!("egress.client_certificate[{index}]"), fault.to_string()))?;
        Ok::<_, AppError>(ClientCertificate { hosts: entry.hosts.clone(), pair })
    };
    let roots = |(index, entry): (usize, &crate::config::HostRoots)| {
        let roots = Roots::none().with_files(&entry.files, "egress.roots");
        let roots = roots.map_err(|fault| config.fault(&format!("egress.roots[{index}].files"), fault.to_string()))?;
        Ok::<_, AppError>(HostRoots { hosts: entry.hosts.clone(), roots, only: entry.only })
    };
    let usual = Roots::usual().with_files(&egress.extra_roots, "egress.extra_roots");
    let usual = usual.map_err(|fault| config.fault("egress.extra_roots", fault.to_string()))?;
    let certificates = egress.client_certificate.iter().enumerate().map(certificate).collect::<Result<_, _>>()?;
    let roots = egress.roots.iter().enumerate().map(roots).collect::<Result<_, _>>()?;
    Ok(ClientTls::new(usual, certificates, roots)?)
}
