//! `subrosa runner`: create and revoke runners.

use clap::Subcommand;
use http::Method;
use serde_json::{Map, Value, json};

use super::Place;
use super::client::{Api, Call, of};
use super::error::CliError;
use super::out;
use super::secret::{Of, text, texts};
use crate::secret::RunnerName;
use crate::tls::CertificateName;

/// What to do with runners.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Create a runner and print its token, this once.
    Create {
        /// Its name: a letter, then letters, digits, `_`, `-`, `.`.
        name: RunnerName,
        /// A secret it may use, or a beginning and `*`, as in crm.*; may be repeated. Without, all.
        #[arg(long = "secret", value_name = "PATTERN")]
        secrets: Vec<String>,
        /// A host it may reach, as in api.example.com or *.example.com; may be repeated. Without, all.
        #[arg(long = "host", value_name = "DOMAIN")]
        hosts: Vec<String>,
        /// The certificate it may show instead of its token: dns:NAME, uri:URI or spki:BASE64.
        #[arg(long, value_name = "NAME")]
        certificate: Option<CertificateName>,
        #[command(flatten)]
        of: Of,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the runners of an organization.
    List {
        #[command(flatten)]
        of: Of,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Change what a runner may use; connections that are open feel it too.
    Edit {
        /// The runner's name.
        name: RunnerName,
        /// A secret it may use instead of the present ones, by name or beginning (`crm.*`); may be repeated.
        #[arg(long = "secret", value_name = "PATTERN", conflicts_with = "all_secrets")]
        secrets: Vec<String>,
        /// Let it use every secret of its organization.
        #[arg(long)]
        all_secrets: bool,
        /// A host it may reach instead of the present ones; may be repeated.
        #[arg(long = "host", value_name = "DOMAIN", conflicts_with = "any_host")]
        hosts: Vec<String>,
        /// Let it reach every host.
        #[arg(long)]
        any_host: bool,
        /// The certificate it may show instead of its token, in the place of the present one.
        #[arg(long, value_name = "NAME", conflicts_with = "no_certificate")]
        certificate: Option<CertificateName>,
        /// Let it be known by its token alone.
        #[arg(long)]
        no_certificate: bool,
        #[command(flatten)]
        of: Of,
    },
    /// Give a runner a new token, which is printed once; the old one is refused from then on.
    RotateToken {
        /// The runner's name.
        name: RunnerName,
        #[command(flatten)]
        of: Of,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a runner: its next request is refused, also on a connection that is open.
    Revoke {
        /// The runner's name.
        name: RunnerName,
        #[command(flatten)]
        of: Of,
    },
}

/// Carries the command out.
pub(super) async fn run(place: &Place, command: Command) -> Result<(), CliError> {
    let api = match command {
        Command::Create { .. } => Api::open(place).await?,
        _ => Api::open_present(place).await?,
    };
    match command {
        Command::Create { name, secrets, hosts, certificate, of: whose, json } => {
            // No pattern at all means every name; an empty list would mean none.
            let secrets = if secrets.is_empty() { Value::Null } else { secrets.into() };
            let content = json!({ "name": name.as_str(), "secrets": secrets, "hosts": hosts, "certificate": certificate });
            let call = Call::new(Method::POST, of(&whose.organization, "runners")).with_json(&content);
            created(&api.send(call).await?.content, json)
        }
        Command::List { of: whose, json } => {
            list(&api.send(Call::new(Method::GET, of(&whose.organization, "runners"))).await?.content["runners"], json)
        }
        Command::Edit { name, secrets, all_secrets, hosts, any_host, certificate, no_certificate, of: whose } => {
            let mut change = Map::new();
            if all_secrets || !secrets.is_empty() {
                change.insert("secrets".to_owned(), if all_secrets { Value::Null } else { secrets.into() });
            }
            if any_host || !hosts.is_empty() {
                change.insert("hosts".to_owned(), hosts.into());
            }
            if no_certificate || certificate.is_some() {
                change.insert("certificate".to_owned(), json!(certificate));
            }
            if change.is_empty() {
                return Err(CliError::usage("say what to change; see `subrosa runner edit --help`"));
            }
            let path = one(&whose, &name);
            let present = api.send(Call::new(Method::GET, path.clone())).await?;
            let call = Call::new(Method::PATCH, path).with_json(&Value::Object(change));
            api.send(call.if_match(present.revision)).await?;
            out::note("Changed.");
            Ok(())
        }
        Command::RotateToken { name, of: whose, json } => {
            let path = one(&whose, &name);
            let present = api.send(Call::new(Method::GET, path.clone())).await?;
            let call = Call::new(Method::POST, format!("{path}/token")).if_match(present.revision);
            created(&api.send(call).await?.content, json)
        }
        Command::Revoke { name, of: whose } => {
            let path = one(&whose, &name);
            let present = api.send(Call::new(Method::GET, path.clone())).await?;
            api.send(Call::new(Method::DELETE, path).if_match(present.revision)).await?;
            out::note(&format!("Revoked {name}."));
            Ok(())
        }
    }
}

fn one(whose: &Of, name: &RunnerName) -> String {
    of(&whose.organization, &format!("runners/{name}"))
}

fn created(content: &Value, json: bool) -> Result<(), CliError> {
    if json {
        return out::line(&format!("{content:#}"));
    }
    out::note("The runner's token, shown this once; clients send it as the password of the proxy's URL:");
    out::line(content["token"].as_str().unwrap_or_default())
}

fn list(runners: &Value, json: bool) -> Result<(), CliError> {
    if json {
        return out::line(&format!("{runners:#}"));
    }
    let row = |runner: &Value| {
        if runner["fault"].is_string() {
            let fault = text(&runner["fault"]);
            return vec![text(&runner["name"]), "CANNOT BE USED".to_owned(), fault, String::new(), String::new()];
        }
        let declared = if runner["declared"] == true { "config" } else { "" };
        let secrets = if runner["secrets"].is_null() { "all".to_owned() } else { texts(&runner["secrets"], "none") };
        vec![text(&runner["name"]), secrets, texts(&runner["hosts"], "all"), text(&runner["certificate"]), declared.to_owned()]
    };
    let rows: Vec<Vec<String>> = runners.as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        out::note("No runners yet; `subrosa runner create NAME` creates one.");
        return Ok(());
    }
    out::line(&out::table(&["NAME", "SECRETS", "HOSTS", "CERTIFICATE", "DECLARED"], &rows))
}
