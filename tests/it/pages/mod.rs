//! The pages, as people and their tools meet them: through the port, with the real binary.

mod apart;
mod browser;
mod everybody;
mod guide;
mod nowhere;
mod routes;
mod stage;
mod tap;
mod the_guide;

use std::process::Command;

use super::support::Proxy;

/// The CA's certificate, downloaded from the port in each of its forms.
#[tokio::test]
async fn java_and_openssl_read_the_certificate_in_every_form() {
    let proxy = Proxy::start(tempfile::tempdir().expect("a directory"), "").await;
    let port = proxy.admin_address().await;
    for file in ["ca.pem", "ca.der", "ca.p12"] {
        run(&proxy, "curl", &["-sf", "-o", file, &format!("http://{port}/{file}")]);
    }
    let fingerprint = |arguments: &[&str]| {
        let printed = run(&proxy, "openssl", &[arguments, &["-noout", "-fingerprint", "-sha256"]].concat());
        printed.split('=').nth(1).map(|text| text.trim().to_owned()).expect("it is printed")
    };
    let own = fingerprint(&["x509", "-in", "certs/ca.pem"]);
    assert_eq!(fingerprint(&["x509", "-in", "ca.pem"]), own);
    assert_eq!(fingerprint(&["x509", "-inform", "der", "-in", "ca.der"]), own);
    run(&proxy, "openssl", &["pkcs12", "-in", "ca.p12", "-nokeys", "-passin", "pass:", "-nomacver", "-out", "from-p12.pem"]);
    assert_eq!(fingerprint(&["x509", "-in", "from-p12.pem"]), own);
    let listed = run(&proxy, "keytool", &["-list", "-keystore", "ca.p12", "-storetype", "PKCS12", "-storepass", "any"]);
    assert!(listed.contains("trustedCertEntry") && listed.contains(&own), "{listed}");
}

/// What a command prints, in the proxy's directory; it must succeed.
fn run(proxy: &Proxy, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(proxy.path(".")).output().expect("it is installed");
    let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {printed}{said}");
    printed.into_owned()
}
