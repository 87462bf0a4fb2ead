//! What is peculiar about a client, each shown by running it.

use std::process::Output;

use super::{drive, origins, run, said, world};
use crate::support::{CRM, VALUE, World};

/// One sentence for the document; the test that shows it stands beside it.
#[derive(Clone, Copy)]
pub(super) struct Quirk(pub(super) &'static str);

/// A shell's line through `subrosa run`.
async fn shell(world: &World, changes: &[&str], line: &str) -> Output {
    run(world, changes, &["sh".to_owned(), "-c".to_owned(), line.to_owned()]).await
}

/// Node, as the tests have it, on a line of a module.
async fn node(world: &World, changes: &[&str], module: &str) -> Output {
    std::fs::write(world.proxy.path("quirk.mjs"), module).expect("written");
    drive(world, &["$TOOLS/bin/node"], "quirk.mjs", &[], changes).await
}

async fn python(world: &World, script: &str) -> Output {
    std::fs::write(world.proxy.path("quirk.py"), script).expect("written");
    drive(world, &["$TOOLS/python/bin/python"], "quirk.py", &[], &[]).await
}

pub(super) const CURL_GLOBS: Quirk = Quirk(
    "Takes braces in a URL for a list of its own and leaves them out: write `-g`, or `%7Bsecrets.NAME%7D`. Without, the answer's `Subrosa-Hint` and the audit line say so.",
);

#[tokio::test]
async fn curl_leaves_braces_in_a_url_out_without_g() {
    let (world, _place) = world(true, origins::ok).await;
    let output = shell(&world, &[], &format!("curl -sS -i 'https://{CRM}/v1?k={{secrets.crm.apiKey}}'")).await;
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(world.crm.only().line(), "GET /v1?k=secrets.crm.apiKey HTTP/1.1");
    let hint = "secrets.crm.apiKey stands in the target without its braces";
    assert!(said(&output).contains(&format!("subrosa-hint: {hint}")), "{}", said(&output));
    let line = world.proxy.logged("\"message\":\"exchange\"").await;
    assert!(line.contains(hint) && line.contains("\"outcome\":\"forwarded\""), "{line}");
}

pub(super) const CURL_HIDES: Quirk =
    Quirk("Shows what a refusal says unless it is told `-f`; `--fail-with-body` fails and shows it.");

#[tokio::test]
async fn curl_hides_a_refusal_with_f() {
    let (world, _place) = world(true, origins::ok).await;
    let line = |option: &str| format!("curl -sS {option} https://{CRM}/ -H 'X: {{secrets.nobody}}'");
    assert!(!said(&shell(&world, &[], &line("-f")).await).contains("secret_not_found"));
    assert!(said(&shell(&world, &[], &line("--fail-with-body")).await).contains("secret_not_found"));
}

pub(super) const CURL_AND_407: Quirk = Quirk(
    "Of a 407 it shows the number only (`CONNECT tunnel failed, response 407`); `-v` shows the `Proxy-Status` that says why.",
);

#[tokio::test]
async fn curl_shows_of_a_407_its_number_and_why_with_v() {
    let (world, _place) = world(true, origins::ok).await;
    let line = |option: &str| format!("curl -sS {option} -x http://{} https://{CRM}/", world.proxy.address);
    let quiet = said(&shell(&world, &[], &line("")).await);
    assert!(quiet.contains("response 407") && !quiet.contains("runner"), "{quiet}");
    assert!(said(&shell(&world, &[], &line("-v")).await).contains("runner_unauthenticated"));
}

pub(super) const WGET_HIDES: Quirk = Quirk(
    "Shows what a refusal says only with `--content-on-error`, and sends Basic credentials at once only with `--auth-no-challenge`.",
);

#[tokio::test]
async fn wget_hides_a_refusal_and_waits_for_a_question() {
    let (world, _place) = world(true, origins::ok).await;
    let refused = said(&shell(&world, &[], &format!("wget -nv -O - https://{CRM}/ --header 'X: {{secrets.nobody}}'")).await);
    assert!(refused.contains("422") && !refused.contains("secret_not_found"), "{refused}");
    shell(&world, &[], &format!("wget -q -O - --user me --password '{{secrets.crm.apiKey}}' https://{CRM}/")).await;
    assert!(world.crm.only().fields("authorization").is_empty());
}

pub(super) const WGET_TRUST: Quirk =
    Quirk("Reads no variable for its CA; `subrosa run` sets `SYSTEM_WGETRC` to a copy of the system's settings with it.");

#[tokio::test]
async fn wget_trusts_by_its_settings_only() {
    let (world, _place) = world(true, origins::ok).await;
    let line = format!("wget -q -O - https://{CRM}/");
    assert_eq!(shell(&world, &["SYSTEM_WGETRC"], &line).await.status.code(), Some(5), "the code for TLS");
    assert!(shell(&world, &[], &line).await.status.success());
}

pub(super) const AIOHTTP_ENVIRONMENT: Quirk = Quirk("Without `trust_env=True` it goes past the proxy.");

#[tokio::test]
async fn aiohttp_goes_past_the_proxy_without_trust_env() {
    let (world, _place) = world(true, origins::ok).await;
    let script = "
import asyncio, aiohttp, sys
async def main():
    async with aiohttp.ClientSession() as client:
        await client.get(sys.argv[1])
asyncio.run(main())
";
    let output = python(&world, script).await;
    assert!(said(&output).contains("Cannot connect to host api.crm.example.com"), "{}", said(&output));
    assert_eq!(world.crm.connections(), 0);
}

pub(super) const AIOHTTP_COOKIES: Quirk = Quirk(
    "Puts quotes around a cookie's value that holds braces, so the value arrives in quotes; a `Cookie` field of your own arrives as it is.",
);

#[tokio::test]
async fn aiohttp_quotes_cookies_with_braces() {
    let (world, _place) = world(true, origins::ok).await;
    let script = "
import asyncio, aiohttp, sys
async def main():
    async with aiohttp.ClientSession(trust_env=True, cookies={'s': '{secrets.crm.apiKey}'}) as client:
        await client.get(sys.argv[1])
asyncio.run(main())
";
    let output = python(&world, script).await;
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(world.crm.only().field("cookie"), format!("s=\"{VALUE}\""));
}

pub(super) const NODE_ENVIRONMENT: Quirk = Quirk(
    "Reads the proxy variables only with `NODE_USE_ENV_PROXY=1`, which `subrosa run` sets; otherwise it goes past the proxy.",
);

#[tokio::test]
async fn node_goes_past_the_proxy_without_its_variable() {
    let (world, _place) = world(true, origins::ok).await;
    let output = node(&world, &["NODE_USE_ENV_PROXY"], "await fetch(process.argv[2]);").await;
    assert!(said(&output).contains("ENOTFOUND api.crm.example.com") || said(&output).contains("EAI_AGAIN"), "{}", said(&output));
    assert_eq!(world.crm.connections(), 0);
}

pub(super) const AXIOS_ABSOLUTE: Quirk = Quirk(
    "Versions before 1.17 send `https` targets in absolute form instead of CONNECT; the proxy then does the TLS to the origin.",
);

#[tokio::test]
async fn axios_of_old_sends_https_in_absolute_form() {
    let (world, _place) = world(true, origins::ok).await;
    let script =
        "import axios from 'axios-1.13'; await axios.get(process.argv[2], { headers: { 'X-Api-Key': '{secrets.crm.apiKey}' } });";
    let output = node(&world, &["NODE_USE_ENV_PROXY"], script).await;
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(world.crm.only().field("x-api-key"), VALUE);
    let line = world.proxy.logged("\"message\":\"exchange\"").await;
    assert!(line.contains("\"url\":\"https://api.crm.example.com/v1\""), "{line}");
}

pub(super) const AXIOS_AND_NODE: Quirk = Quirk(
    "Those versions do not go together with `NODE_USE_ENV_PROXY` (both want to do the proxying): unset it, say `proxy: false`, or update axios.",
);

#[tokio::test]
async fn axios_of_old_needs_node_not_to_do_the_same() {
    let (world, _place) = world(true, origins::ok).await;
    let script = |more: &str| format!("import axios from 'axios-1.13'; await axios.get(process.argv[2], {{ {more} }});");
    let output = node(&world, &[], &script("")).await;
    assert!(said(&output).contains("ERR_INVALID_ARG_VALUE"), "{}", said(&output));
    let output = node(&world, &[], &script("proxy: false")).await;
    assert!(output.status.success(), "{}", said(&output));
}

pub(super) const GOT_ENVIRONMENT: Quirk =
    Quirk("Knows of no proxy itself; Node does it for it from 24.5 on, with `NODE_USE_ENV_PROXY=1`.");

#[tokio::test]
async fn got_goes_past_the_proxy_without_nodes_variable() {
    let (world, _place) = world(true, origins::ok).await;
    let script = "import got from 'got'; await got(process.argv[2], { retry: { limit: 0 } });";
    let output = node(&world, &["NODE_USE_ENV_PROXY"], script).await;
    assert!(!output.status.success());
    assert_eq!(world.crm.connections(), 0);
    assert!(node(&world, &[], script).await.status.success());
}

pub(super) const CHROMIUM_ENVIRONMENT: Quirk = Quirk(
    "Reads neither the trust variables nor credentials in the proxy's address; where runners exist it asks for a token in a window.",
);

#[tokio::test]
async fn chromium_sends_no_token_by_itself() {
    let (world, _place) = world(true, origins::page).await;
    let output = drive(&world, &["sh"], "chromium.sh", &["$PROXY"], &[]).await;
    assert!(!output.status.success());
    assert!(world.proxy.log().contains("runner_unauthenticated"));
    assert_eq!(world.crm.connections(), 0);
}

pub(super) const JAVA_BRACES: Quirk = Quirk("`URI` takes no braces: percent-encode the reference in a path or query.");
pub(super) const JAVA_AUTHENTICATOR: Quirk = Quirk(
    "With an `Authenticator`, which could send the token too, it drops every `Authorization` of the request; a `Proxy-Authorization` field goes to the proxy only.",
);

#[tokio::test]
#[ignore = "`make clients` installs and runs it"]
async fn java_takes_no_braces_and_drops_authorization_beside_an_authenticator() {
    let (world, _place) = world(true, origins::ok).await;
    let script = r#"
import java.net.*;
import java.net.http.*;
class Quirk {
    public static void main(String[] arguments) throws Exception {
        try { URI.create(arguments[0] + "/{secrets.crm.apiKey}"); } catch (IllegalArgumentException fault) { System.out.println("no braces"); }
        String[] pair = URI.create(System.getenv("HTTPS_PROXY")).getUserInfo().split(":");
        var client = HttpClient.newBuilder().authenticator(new Authenticator() {
            protected PasswordAuthentication getPasswordAuthentication() { return new PasswordAuthentication(pair[0], pair[1].toCharArray()); }
        }).build();
        var request = HttpRequest.newBuilder(URI.create(arguments[0])).header("Authorization", "Bearer {secrets.crm.apiKey}").build();
        System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode());
    }
}
"#;
    std::fs::write(world.proxy.path("quirk.java"), script).expect("written");
    let output = drive(&world, &["java"], "quirk.java", &[], &[]).await;
    assert!(said(&output).contains("no braces\n200"), "{}", said(&output));
    assert!(world.crm.only().fields("authorization").is_empty());
}

pub(super) const GO_LOOPBACK: Quirk = Quirk("Sends requests for `localhost` and loopback addresses past every proxy.");

#[tokio::test]
#[ignore = "`make clients` installs and runs it"]
async fn go_sends_loopback_past_the_proxy() {
    let (world, _place) = world(true, origins::ok).await;
    let script = "package main
import (\"net/http\"; \"os\")
func main() { if _, err := http.Get(os.Args[3]); err != nil { println(err.Error()) } }
";
    std::fs::write(world.proxy.path("quirk.go"), script).expect("written");
    let output = drive(&world, &["go", "run"], "quirk.go", &[], &[]).await;
    // It met the origin itself, whose certificate it does not trust.
    assert!(said(&output).contains("certificate"), "{}", said(&output));
    assert!(!world.proxy.log().contains("127.0.0.1:443"));
}

pub(super) const RUBY_BRACES: Quirk = Quirk("`URI` takes no braces: percent-encode the reference in a path or query.");

#[tokio::test]
#[ignore = "`make clients` installs and runs it"]
async fn ruby_takes_no_braces() {
    let (world, _place) = world(true, origins::ok).await;
    let output = shell(&world, &[], "ruby -ruri -e \"URI('https://a.example/{secrets.x}')\"").await;
    assert!(said(&output).contains("InvalidURIError") || said(&output).contains("bad URI"), "{}", said(&output));
}

pub(super) const PERL_ENVIRONMENT: Quirk = Quirk(
    "Reads the proxy variables only with `PERL_LWP_ENV_PROXY=1` and its CA from `PERL_LWP_SSL_CA_FILE`; `subrosa run` sets both.",
);

#[tokio::test]
#[ignore = "`make clients` installs and runs it"]
async fn perl_needs_both_of_its_variables() {
    let (world, _place) = world(true, origins::ok).await;
    let line = format!("perl -MLWP::UserAgent -e 'print LWP::UserAgent->new->get(\"https://{CRM}/\")->status_line'");
    assert!(said(&shell(&world, &["PERL_LWP_ENV_PROXY"], &line).await).contains("Can't connect"));
    assert!(said(&shell(&world, &["PERL_LWP_SSL_CA_FILE"], &line).await).contains("certificate verify failed"));
    assert!(said(&shell(&world, &[], &line).await).contains("200 OK"));
}
