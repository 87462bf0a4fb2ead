//! `subrosa member`: invite people, and say what they may do.

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use super::Place;
use super::client::{Api, Call, of};
use super::error::CliError;
use super::out;
use super::secret::{Of, text};
use crate::members::{Login, Role};

/// What to do with members.
#[derive(Subcommand)]
pub(super) enum Command {
    /// List the members of an organization, and who is invited.
    List {
        #[command(flatten)]
        of: Of,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Invite somebody, and print the link for them: it works once, within 7 days.
    Invite {
        /// An e-mail address or a word; case does not count.
        login: Login,
        /// What they may do: viewer, editor or administrator.
        #[arg(long, value_name = "ROLE", value_parser = Role::parse)]
        role: Role,
        #[command(flatten)]
        of: Of,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Give a member another role.
    Role {
        /// The member's login.
        login: Login,
        /// What they may do: viewer, editor or administrator.
        #[arg(value_name = "ROLE", value_parser = Role::parse)]
        role: Role,
        #[command(flatten)]
        of: Of,
    },
    /// Remove a member, or take an invitation back: what they do next is refused.
    Remove {
        /// The member's login.
        login: Login,
        #[command(flatten)]
        of: Of,
    },
}

/// Carries the command out.
pub(super) async fn run(place: &Place, command: Command) -> Result<(), CliError> {
    let api = match &command {
        Command::Invite { .. } => Api::open(place).await?,
        _ => Api::open_present(place).await?,
    };
    match command {
        Command::List { of, json } => list(&api, &of, json).await,
        Command::Invite { login, role, of: whose, json } => {
            let call = Call::new(Method::POST, of(&whose.organization, "invitations"));
            let made = api.send(call.with_json(&json!({ "login": login, "role": role }))).await?.content;
            out::note(&format!("Hand this link to {login}. It works once, within 7 days."));
            if json { out::line(&format!("{made:#}")) } else { out::line(&text(&made["link"])) }
        }
        Command::Role { login, role, of } => {
            let path = one(&of, &login);
            let present = api.send(Call::new(Method::GET, path.clone())).await?;
            let call = Call::new(Method::PATCH, path).with_json(&json!({ "role": role }));
            api.send(call.if_match(present.revision)).await?;
            out::note(&format!("{login} is {role} from the next request on."));
            Ok(())
        }
        Command::Remove { login, of } => remove(&api, &of, &login).await,
    }
}

async fn list(api: &Api, whose: &Of, json: bool) -> Result<(), CliError> {
    let get = async |what: &str| api.send(Call::new(Method::GET, of(&whose.organization, what))).await;
    let mut content = get("members").await?.content;
    // Who may not see invitations sees members all the same.
    if let Ok(invited) = get("invitations").await {
        content["invitations"] = invited.content["invitations"].clone();
    }
    if json {
        return out::line(&format!("{content:#}"));
    }
    let members = content["members"].as_array().into_iter().flatten().map(|member| row(member, &member["seen_at"], "seen"));
    let invited = content["invitations"].as_array().into_iter().flatten();
    let invited = invited.map(|invited| row(invited, &invited["expires_at"], "invited until"));
    let rows: Vec<_> = members.chain(invited).collect();
    if rows.is_empty() {
        out::note("No members yet; `subrosa member invite LOGIN --role ROLE` makes a link for one.");
        return Ok(());
    }
    out::line(&out::table(&["LOGIN", "ROLE", ""], &rows))
}

fn row(member: &Value, when: &Value, what: &str) -> Vec<String> {
    let told = match (&member["fault"], when) {
        (Value::String(fault), _) => format!("cannot be used: {fault}"),
        (_, Value::String(when)) => format!("{what} {when}"),
        _ => String::new(),
    };
    vec![text(&member["login"]), text(&member["role"]), told]
}

async fn remove(api: &Api, whose: &Of, login: &Login) -> Result<(), CliError> {
    let path = one(whose, login);
    match api.send(Call::new(Method::GET, path.clone())).await {
        Ok(present) => {
            api.send(Call::new(Method::DELETE, path).if_match(present.revision)).await?;
        }
        Err(fault) => {
            let invited = api.send(Call::new(Method::GET, of(&whose.organization, "invitations"))).await?.content;
            let mut invited = invited["invitations"].as_array().into_iter().flatten();
            if !invited.any(|invited| invited["login"] == login.as_str()) {
                return Err(fault);
            }
            api.send(Call::new(Method::DELETE, of(&whose.organization, &format!("invitations/{login}")))).await?;
        }
    }
    out::note(&format!("{login} is no member any more."));
    Ok(())
}

fn one(whose: &Of, login: &Login) -> String {
    of(&whose.organization, &format!("members/{login}"))
}
