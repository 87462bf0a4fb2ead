//! `subrosa reload`: have a running server read its configuration anew.

use clap::Args;
use http::Method;
use serde_json::Value;

use super::Place;
use super::client::{Api, Call};
use super::error::CliError;
use super::out;
use super::secret::text;

/// How to say what became of it.
#[derive(Args)]
pub(super) struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Asks the server, and prints its report. What takes a restart is no failure.
pub(super) async fn run(place: &Place, arguments: &Arguments) -> Result<(), CliError> {
    let report = Api::open_running(place).await?.send(Call::new(Method::POST, "/reload")).await?.content;
    out::line(&if arguments.json { format!("{report:#}") } else { told(&report) })
}

fn told(report: &Value) -> String {
    let mut lines = Vec::new();
    let changed: Vec<_> = report["changed"].as_array().into_iter().flatten().map(text).collect();
    if changed.is_empty() {
        lines.push("Nothing changed.".to_owned());
    } else {
        lines.push("Changed, and in force:".to_owned());
        lines.extend(changed.iter().map(|key| format!("  {key}")));
    }
    let held: Vec<_> = report["needs_restart"].as_array().into_iter().flatten().collect();
    if !held.is_empty() {
        lines.push("Takes a restart:".to_owned());
        let setting = |held: &&Value| {
            format!("  {}: {} is in force, {} is configured", text(&held["key"]), held["in_force"], held["configured"])
        };
        lines.extend(held.iter().map(setting));
    }
    lines.iter().map(|line| out::plain(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_report_is_told_in_lines() {
        let nothing = json!({ "unchanged": true, "changed": [], "needs_restart": [], "revision": 1, "in_force_since": 5 });
        assert_eq!(told(&nothing), "Nothing changed.");
        let held = json!([{ "key": "proxy.listen", "in_force": ["127.0.0.1:1"], "configured": ["127.0.0.1:2"] }]);
        let report = json!({ "changed": ["egress.allow", "secrets[crm.apiKey]"], "needs_restart": held });
        assert_eq!(
            told(&report),
            "Changed, and in force:\n  egress.allow\n  secrets[crm.apiKey]\nTakes a restart:\n  proxy.listen: [\"127.0.0.1:1\"] is in force, [\"127.0.0.1:2\"] is configured"
        );
    }
}
