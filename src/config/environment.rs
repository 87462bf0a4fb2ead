//! The environment, as far as the configuration goes: `SUBROSA_SECTION__KEY` overrides, and the
//! variables that hold values. It is handed in; nothing here asks the process for it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::LazyLock;

use zeroize::Zeroizing;

use super::error::nearest;
use super::words::VariableName;

/// What every variable of ours begins with.
const PREFIX: &str = "SUBROSA_";

/// Variables of ours that are no setting: the config file's path, and the token of a runner that
/// calls the command line.
const OTHER_USES: [&str; 2] = ["SUBROSA_CONFIG", "SUBROSA_TOKEN"];

/// Where systemd says that credentials lie (systemd.exec(5), `LoadCredential=`).
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// A snapshot of the environment; what it holds is wiped when dropped and shown nowhere. With the names of all variables that
/// begin like ours, whatever else it is cut down to.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, Zeroizing<Vec<u8>>>, Vec<String>);

impl Environment {
    /// Takes a snapshot over; names that are no UTF-8 cannot be named in a config and are left out.
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let named = variables.into_iter().filter_map(|(name, value)| {
            let value = Zeroizing::new(value.into_encoded_bytes());
            Some((name.into_string().ok()?, value))
        });
        let variables: BTreeMap<_, _> = named.collect();
        let ours = variables.keys().filter(|name| name.starts_with(PREFIX)).cloned().collect();
        Self(variables, ours)
    }

    /// The names of all variables that begin like ours: the token of a caller is one.
    pub(super) fn ours(&self) -> impl Iterator<Item = &str> {
        self.1.iter().map(String::as_str)
    }

    /// What `variable` holds.
    pub fn value(&self, variable: &VariableName) -> Option<Zeroizing<Vec<u8>>> {
        self.0.get(variable.as_str()).cloned()
    }

    /// Where credentials lie, if the service manager said so.
    pub fn credentials_directory(&self) -> Option<PathBuf> {
        self.text(CREDENTIALS_DIRECTORY).map(PathBuf::from)
    }

    /// The config file that `SUBROSA_CONFIG` names.
    pub(super) fn config_path(&self) -> Option<PathBuf> {
        self.text("SUBROSA_CONFIG").map(PathBuf::from)
    }

    /// The settings among the variables, in the order of their names.
    pub(super) fn overrides(&self) -> Vec<Override> {
        let ours = self.0.iter().filter_map(|(name, value)| {
            let rest = name.strip_prefix(PREFIX)?;
            let is_setting = !OTHER_USES.contains(&name.as_str()) && !is_service_link(rest) && !is_somebody_elses(rest);
            let text = String::from_utf8_lossy(value).into_owned();
            is_setting.then(|| Override { variable: name.clone(), key: rest.to_ascii_lowercase().replace("__", "."), text })
        });
        ours.collect()
    }

    /// The variables that begin like ours and can be no setting: they are left alone, and that is said.
    pub(super) fn left_alone(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str).filter(|name| {
            let rest = name.strip_prefix(PREFIX).unwrap_or_default();
            !OTHER_USES.contains(name) && !is_service_link(rest) && !rest.is_empty() && is_somebody_elses(rest)
        })
    }

    /// Only the variables that `wanted` names, and where credentials lie.
    pub(super) fn only(mut self, wanted: &[&VariableName]) -> Self {
        self.0.retain(|name, _| name == CREDENTIALS_DIRECTORY || wanted.iter().any(|wanted| wanted.as_str() == name));
        self
    }

    fn text(&self, name: &str) -> Option<String> {
        let bytes = self.0.get(name).filter(|bytes| !bytes.is_empty())?;
        String::from_utf8(bytes.to_vec()).ok()
    }
}

/// Images and scripts name their own things after us (`SUBROSA_VERSION`, `SUBROSA_BIN`). What stands in no
/// section, resembles nothing that does and names no section is none of ours.
fn is_somebody_elses(rest: &str) -> bool {
    let name = rest.to_ascii_lowercase();
    let begins_like_a_section = at_the_top().iter().any(|top| name.strip_prefix(top).is_some_and(|rest| rest.starts_with('_')));
    !rest.contains("__") && !begins_like_a_section && nearest(&name, &at_the_top()).is_none()
}

/// Every name that a setting without a section, or a section, has.
fn at_the_top() -> Vec<&'static str> {
    static NAMES: LazyLock<Vec<String>> =
        LazyLock::new(|| toml::Table::try_from(super::Config::default()).unwrap_or_default().keys().cloned().collect());
    NAMES.iter().map(String::as_str).collect()
}

/// Kubernetes puts `SUBROSA_SERVICE_HOST`, `SUBROSA_PORT_8080_TCP` and the like into every pod
/// beside a Service called `subrosa`. No setting is called that.
fn is_service_link(rest: &str) -> bool {
    let part = |needle: &str| rest == needle || rest.ends_with(&format!("_{needle}"));
    let numbered = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
    !rest.contains("__")
        && (part("SERVICE_HOST") || part("PORT") || rest.contains("SERVICE_PORT") || rest.split("PORT_").skip(1).any(numbered))
}

impl PartialEq for Environment {
    /// By names: two configurations are the same whatever the values are.
    fn eq(&self, other: &Self) -> bool {
        self.0.keys().eq(other.0.keys())
    }
}

impl Eq for Environment {}

impl fmt::Debug for Environment {
    /// The names only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// One `SUBROSA_SECTION__KEY`.
pub(super) struct Override {
    /// The variable's name.
    pub(super) variable: String,
    /// The key meant, dotted.
    pub(super) key: String,
    text: String,
}

impl Override {
    /// What the variable holds.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What the text may mean, the likeliest first: a TOML value, the text itself, or a list with
    /// commas between its entries.
    pub(super) fn readings(&self) -> Vec<toml::Value> {
        let parsed = toml::from_str::<toml::Table>(&format!("value = {}", self.text));
        let entry = |text: &str| toml::Value::String(text.trim().to_owned());
        let entries = self.text.split(',').filter(|text| !text.trim().is_empty());
        let parsed = parsed.ok().and_then(|mut table| table.remove("value").filter(|_| table.is_empty()));
        parsed
            .into_iter()
            .chain([toml::Value::String(self.text.clone()), toml::Value::Array(entries.map(entry).collect())])
            .collect()
    }

    /// Puts `value` where the key says; `None` when a key on the way is no table.
    pub(super) fn put(&self, table: &mut toml::Table, value: toml::Value) -> Option<()> {
        let mut table = table;
        let mut parts: Vec<&str> = self.key.split('.').collect();
        let last = parts.pop()?;
        for part in parts {
            let next = table.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            table = next.as_table_mut()?;
        }
        table.insert(last.to_owned(), value);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_links_of_kubernetes_are_no_settings() {
        for link in ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_8080_TCP", "PROXY_PORT_80_TCP_ADDR"] {
            assert!(is_service_link(link), "{link}");
        }
        for other in ["PROXY__LISTEN", "DATA_DIR", "KEYS__FILE", "PORTAL", "PROXY__PORT"] {
            assert!(!is_service_link(other), "{other}");
        }
    }

    #[test]
    fn debug_shows_names_only() {
        let environment = Environment::new([("CRM".into(), "hunter2".into())]);
        assert_eq!(format!("{environment:?}"), r#"{"CRM"}"#);
    }
}
