//! `subrosa secret`: store and manage secrets. No command shows a value.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value};

use super::Place;
use super::client::{Answer, Api, Call, of};
use super::error::CliError;
use super::out;
use super::value::ValueArguments;
use crate::secret::{OrganizationName, SecretName, Surfaces};

/// What to do with secrets.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Store a new secret.
    Create(Create),
    /// List the secrets of an organization.
    List {
        #[command(flatten)]
        of: Of,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what is known about a secret, and where it was last used.
    Show {
        /// The secret's name.
        name: SecretName,
        #[command(flatten)]
        of: Of,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Change a secret. Without a new value the stored one stays.
    Edit(Edit),
    /// Delete a secret. Requests that refer to it are refused from then on.
    Delete {
        /// The secret's name.
        name: SecretName,
        #[command(flatten)]
        of: Of,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// Whose it is.
#[derive(Args)]
pub(super) struct Of {
    /// The organization.
    #[arg(long, short = 'O', default_value = "default", value_name = "NAME")]
    pub(super) organization: OrganizationName,
}

/// Limits that change only with a new value.
#[derive(Args)]
struct LimitArguments {
    /// The only surfaces it may stand on, with commas: path, query, header, authentication, body.
    #[arg(long, value_name = "SURFACES", value_parser = Surfaces::parse)]
    surfaces: Option<Surfaces>,
    /// The only field it may stand in; may be repeated.
    #[arg(long = "header", value_name = "NAME")]
    headers: Vec<String>,
    /// The value is percent-encoded already: it goes into a path or query as it is.
    #[arg(long)]
    url_encoded: bool,
}

/// A new secret.
#[derive(Args)]
pub(super) struct Create {
    /// Its name: a letter, then letters, digits, `_`, `-`, `.`.
    name: SecretName,
    #[command(flatten)]
    value: ValueArguments,
    /// Notes for the team.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A domain it may be sent to, as in api.example.com or *.example.com; may be repeated. Without, any.
    #[arg(long, value_name = "DOMAIN")]
    allow: Vec<String>,
    #[command(flatten)]
    limits: LimitArguments,
    #[command(flatten)]
    of: Of,
}

/// What to change.
#[derive(Args)]
pub(super) struct Edit {
    /// The secret's name.
    name: SecretName,
    /// A new name. References to the old one are refused from then on.
    #[arg(long, value_name = "NAME")]
    rename: Option<SecretName>,
    /// New notes; an empty text removes them.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    value: ValueArguments,
    /// Ask for a new value on the terminal.
    #[arg(long, conflicts_with_all = ["value_stdin", "value_file"])]
    value_prompt: bool,
    /// A domain it may be sent to instead of the present ones; may be repeated. Needs a new value.
    #[arg(long, value_name = "DOMAIN", conflicts_with = "allow_any")]
    allow: Vec<String>,
    /// Let it be sent to any domain. Needs a new value.
    #[arg(long)]
    allow_any: bool,
    #[command(flatten)]
    limits: LimitArguments,
    /// Take its limits away: any surface, any field, percent-encoded like any other. Needs a new value.
    #[arg(long, conflicts_with_all = ["surfaces", "headers", "url_encoded"])]
    no_limits: bool,
    #[command(flatten)]
    of: Of,
}

/// Carries the command out.
pub(super) async fn run(place: &Place, command: Command) -> Result<(), CliError> {
    match command {
        Command::Create(create) => create.run(place).await,
        Command::List { of, json } => list(place, &of, json).await,
        Command::Show { name, of, json } => show(place, &name, &of, json).await,
        Command::Edit(edit) => edit.run(place).await,
        Command::Delete { name, of, yes } => delete(place, &name, &of, yes).await,
    }
}

impl LimitArguments {
    fn is_empty(&self) -> bool {
        self.surfaces.is_none() && self.headers.is_empty() && !self.url_encoded
    }

    /// The limits that were named, and those of `present` for the rest.
    fn put(&self, present: &Value, members: &mut Map<String, Value>) {
        if self.is_empty() {
            return;
        }
        let mut limits = present.as_object().cloned().unwrap_or_default();
        if let Some(surfaces) = self.surfaces {
            let surfaces: Vec<&str> = surfaces.iter().map(crate::secret::Surface::as_str).collect();
            limits.insert("surfaces".to_owned(), surfaces.into());
        }
        if !self.headers.is_empty() {
            limits.insert("headers".to_owned(), self.headers.clone().into());
        }
        if self.url_encoded {
            limits.insert("url_encoded".to_owned(), true.into());
        }
        members.insert("limits".to_owned(), limits.into());
    }
}

impl Create {
    async fn run(self, place: &Place) -> Result<(), CliError> {
        let mut members = Map::new();
        members.insert("name".to_owned(), self.name.as_str().into());
        members.insert("description".to_owned(), self.description.unwrap_or_default().into());
        members.insert("allowed_domains".to_owned(), self.allow.into());
        self.limits.put(&Value::Null, &mut members);
        let body = self.value.given_or_asked(self.name.as_str())?.into_body(&members)?;
        let path = of(&self.of.organization, "secrets");
        Api::open(place).await?.send(Call::new(Method::POST, path).with_body(body)).await?;
        out::note(&format!("Stored. Write {{secrets.{}}} where the value belongs.", self.name));
        Ok(())
    }
}

impl Edit {
    async fn run(self, place: &Place) -> Result<(), CliError> {
        let mut members = Map::new();
        if let Some(name) = &self.rename {
            members.insert("name".to_owned(), name.as_str().into());
        }
        if let Some(description) = self.description {
            members.insert("description".to_owned(), description.into());
        }
        if !self.allow.is_empty() || self.allow_any {
            members.insert("allowed_domains".to_owned(), self.allow.into());
        }
        let given = if self.value_prompt { Some(self.value.given_or_asked(self.name.as_str())?) } else { self.value.given()? };
        if self.no_limits {
            let all: Vec<&str> = Surfaces::ALL.iter().map(crate::secret::Surface::as_str).collect();
            members.insert("limits".to_owned(), serde_json::json!({ "surfaces": all, "headers": [], "url_encoded": false }));
        }
        if given.is_none() && members.is_empty() && self.limits.is_empty() {
            return Err(CliError::usage("say what to change; see `subrosa secret edit --help`"));
        }
        let api = Api::open_present(place).await?;
        let present = api.send(Call::new(Method::GET, one(&self.of, &self.name))).await?;
        self.limits.put(&present.content["limits"], &mut members);
        let call = Call::new(Method::PATCH, one(&self.of, &self.name));
        let call = match given {
            Some(given) => call.with_body(given.into_body(&members)?),
            None => call.with_json(&Value::Object(members)),
        };
        api.send(call.if_match(present.revision)).await?;
        out::note("Changed.");
        Ok(())
    }
}

async fn list(place: &Place, whose: &Of, json: bool) -> Result<(), CliError> {
    let api = Api::open_present(place).await?;
    let secrets = Value::Array(api.all(&of(&whose.organization, "secrets"), "secrets").await?);
    if json {
        return out::line(&format!("{secrets:#}"));
    }
    let rows: Vec<Vec<String>> = secrets.as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        out::note("No secrets yet; `subrosa secret create NAME` stores one.");
        return Ok(());
    }
    out::line(&out::table(&["NAME", "VALUE", "ALLOWED DOMAINS", "DESCRIPTION"], &rows))
}

/// A record that does not open says why in the place of what it cannot tell.
fn row(secret: &Value) -> Vec<String> {
    if secret["fault"].is_string() {
        return vec![text(&secret["name"]), "CANNOT BE USED".to_owned(), String::new(), text(&secret["fault"])];
    }
    vec![text(&secret["name"]), text(&secret["value"]), domains(secret), text(&secret["description"])]
}

/// Texts of an answer as they go to a terminal.
pub(super) fn text(value: &Value) -> String {
    out::plain(value.as_str().unwrap_or_default())
}

/// A list of texts in one cell.
pub(super) fn texts(value: &Value, when_empty: &str) -> String {
    let entries: Vec<String> = value.as_array().into_iter().flatten().map(text).collect();
    if entries.is_empty() { when_empty.to_owned() } else { entries.join(", ") }
}

fn domains(secret: &Value) -> String {
    texts(&secret["allowed_domains"], "any")
}

async fn show(place: &Place, name: &SecretName, whose: &Of, json: bool) -> Result<(), CliError> {
    let Answer { content, .. } = Api::open_present(place).await?.send(Call::new(Method::GET, one(whose, name))).await?;
    if json {
        return out::line(&format!("{content:#}"));
    }
    let limits = &content["limits"];
    let headers = texts(&limits["headers"], "any");
    let encoded = if limits["url_encoded"] == true { "yes" } else { "no" };
    let rows = [
        ("Name", text(&content["name"])),
        ("Value", text(&content["value"])),
        ("State", if content["fault"].is_string() { text(&content["fault"]) } else { "sound".to_owned() }),
        ("Description", text(&content["description"])),
        ("Allowed domains", domains(&content)),
        ("Surfaces", texts(&limits["surfaces"], "none")),
        ("Fields", headers),
        ("URL-encoded", encoded.to_owned()),
        ("Revision", content["revision"].to_string()),
        ("Declared in the config", if content["declared"] == true { "yes" } else { "no" }.to_owned()),
        (
            "Taken out of answers",
            if content["redacted"] == false { "no, it is too short to be safe to look for" } else { "yes" }.to_owned(),
        ),
        ("Last use", last_use(&content["last_use"])),
    ];
    let lines: Vec<String> = rows.iter().map(|(label, value)| format!("{label:24}{value}").trim_end().to_owned()).collect();
    out::line(&lines.join("\n"))
}

/// `2026-01-01T00:00:00Z by billing towards api.example.com on header`.
fn last_use(last: &Value) -> String {
    if last.is_null() {
        return "none known".to_owned();
    }
    let runner = if last["runner"].is_string() { text(&last["runner"]) } else { "an unauthenticated client".to_owned() };
    format!("{} by {runner} towards {} on {}", text(&last["at"]), text(&last["host"]), text(&last["surface"]))
}

async fn delete(place: &Place, name: &SecretName, whose: &Of, yes: bool) -> Result<(), CliError> {
    let api = Api::open_present(place).await?;
    let Answer { content, revision } = api.send(Call::new(Method::GET, one(whose, name))).await?;
    if !yes {
        out::note(&format!("Last use of {name}: {}.", last_use(&content["last_use"])));
        match out::confirm(&format!("Delete {name}? Requests that refer to it will be refused.")) {
            Some(true) => {}
            Some(false) => return Err(CliError::failed("nothing was deleted")),
            None => return Err(CliError::usage("nobody can be asked here; add --yes to delete without asking")),
        }
    }
    api.send(Call::new(Method::DELETE, one(whose, name)).if_match(revision)).await?;
    out::note(&format!("Deleted {name}. Last use: {}.", last_use(&content["last_use"])));
    Ok(())
}

fn one(whose: &Of, name: &SecretName) -> String {
    of(&whose.organization, &format!("secrets/{name}"))
}
