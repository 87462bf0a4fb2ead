//! Where a reference may stand, and the limits one secret may carry beyond its allowed domains.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// Where a reference may stand in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Surface {
    /// The path of the target.
    Path,
    /// The query of the target.
    Query,
    /// A field, cookies included.
    Header,
    /// The Authorization field, and the decoded pair of any Basic credentials.
    Authentication,
    /// The content.
    Body,
}

impl Surface {
    /// Every surface, in the order in which a request is searched.
    pub const ALL: [Self; 5] = [Self::Path, Self::Query, Self::Header, Self::Authentication, Self::Body];

    /// The word for it, in `Subrosa-Surfaces`, configs, refusals and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
            Self::Authentication => "authentication",
            Self::Body => "body",
        }
    }
}

impl fmt::Display for Surface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of surfaces. `header` includes `authentication`, which is a field too; `authentication`
/// alone means only that.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<Surface>", into = "Vec<Surface>")]
pub struct Surfaces(u8);

/// A word that names no surface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no surface; say any of path, query, header, authentication, body, or none")]
pub struct UnknownSurface(pub String);

impl Surfaces {
    /// All of them.
    pub const ALL: Self = Self(0b1_1111);
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Parses a list as it stands in `Subrosa-Surfaces`: words and commas, or `none`.
    pub fn parse(text: &str) -> Result<Self, UnknownSurface> {
        let text = text.trim_matches([' ', '\t']);
        if text.eq_ignore_ascii_case("none") {
            return Ok(Self::NONE);
        }
        text.split(',').try_fold(Self::NONE, |set, word| {
            let word = word.trim_matches([' ', '\t']);
            let surface = Surface::ALL.into_iter().find(|surface| word.eq_ignore_ascii_case(surface.as_str()));
            surface.map(|surface| set.with(surface)).ok_or_else(|| UnknownSurface(word.to_owned()))
        })
    }

    /// This set and `surface`.
    #[must_use]
    pub fn with(self, surface: Surface) -> Self {
        let also = if surface == Surface::Header { 1 << Surface::Authentication as u8 } else { 0 };
        Self(self.0 | 1 << surface as u8 | also)
    }

    /// What is in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether `surface` is in the set.
    pub fn contains(self, surface: Surface) -> bool {
        self.0 & 1 << surface as u8 != 0
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members, in the order in which a request is searched.
    pub fn iter(self) -> impl Iterator<Item = Surface> {
        Surface::ALL.into_iter().filter(move |surface| self.contains(*surface))
    }
}

impl Default for Surfaces {
    fn default() -> Self {
        Self::ALL
    }
}

impl FromIterator<Surface> for Surfaces {
    fn from_iter<T: IntoIterator<Item = Surface>>(surfaces: T) -> Self {
        surfaces.into_iter().fold(Self::NONE, Self::with)
    }
}

impl From<Vec<Surface>> for Surfaces {
    fn from(surfaces: Vec<Surface>) -> Self {
        surfaces.into_iter().collect()
    }
}

impl From<Surfaces> for Vec<Surface> {
    fn from(surfaces: Surfaces) -> Self {
        surfaces.iter().collect()
    }
}

impl fmt::Display for Surfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (index, surface) in self.iter().enumerate() {
            write!(f, "{}{surface}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Surfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Limits of one secret beyond its allowed domains. Like those they change only with a new value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The surfaces it may stand on; all unless said.
    pub surfaces: Surfaces,
    /// Lower-case names of the only fields it may stand in; empty means any. Says nothing about
    /// the other surfaces.
    #[serde(deserialize_with = "field_names")]
    pub headers: Vec<String>,
    /// The value is percent-encoded already, or holds meaningful `/`: it goes into a path or
    /// query as it is.
    pub url_encoded: bool,
}

/// Names of fields count without case; they are kept in lower case.
fn field_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    let parsed = names.into_iter().map(|name| match http::HeaderName::from_bytes(name.as_bytes()) {
        Ok(parsed) => Ok(parsed.as_str().to_owned()),
        Err(_) => Err(serde::de::Error::custom(format!("`{name}` is no field name"))),
    });
    parsed.collect()
}

impl Limits {
    /// Whether nothing is limited.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists_as_runners_write_them() {
        let set = Surfaces::parse(" Header ,query").expect("known words");
        assert!(set.contains(Surface::Header) && set.contains(Surface::Authentication) && set.contains(Surface::Query));
        assert!(!set.contains(Surface::Body) && !set.contains(Surface::Path));
        assert_eq!(Surfaces::parse("none"), Ok(Surfaces::NONE));
        assert_eq!(Surfaces::parse("authentication").map(|set| set.to_string()), Ok("authentication".to_owned()));
        for bad in ["", "header,", "none, query", "headers"] {
            assert!(Surfaces::parse(bad).is_err(), "{bad}");
        }
    }
}
