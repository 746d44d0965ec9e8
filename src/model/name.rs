//! Names of services and tasks.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The checked name of a service or task: 1 to 64 ASCII letters, digits, `-`, `_` and `.`, beginning with a letter or
/// digit. It is safe as a file name and as the last part of a launchd label.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnitName(Box<str>);

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Nothing between the quotes.
    #[error("a name may not be empty")]
    Empty,
    /// Longer than 64 characters.
    #[error("a name has at most 64 characters, this one has {0}")]
    TooLong(usize),
    /// A character that is not allowed, or not at the beginning.
    #[error("a name is made of letters, digits, '-', '_' and '.', and begins with a letter or digit; found {0:?}")]
    BadChar(char),
}

impl UnitName {
    /// Longest name, in characters.
    pub const MAX: usize = 64;

    /// Checks `text`.
    pub fn new(text: &str) -> Result<Self, BadName> {
        let first = text.chars().next().ok_or(BadName::Empty)?;
        let bad = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if let Some(c) = text.chars().find(|c| bad(*c)) {
            return Err(BadName::BadChar(c));
        }
        if !first.is_ascii_alphanumeric() {
            return Err(BadName::BadChar(first));
        }
        if text.len() > Self::MAX {
            return Err(BadName::TooLong(text.len()));
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UnitName {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        Self::new(&text)
    }
}

impl std::str::FromStr for UnitName {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        Self::new(text)
    }
}

impl From<UnitName> for String {
    fn from(name: UnitName) -> Self {
        name.0.into()
    }
}

impl AsRef<Path> for UnitName {
    fn as_ref(&self) -> &Path {
        Path::new(&*self.0)
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_as_file_names() {
        for good in ["gateway", "a", "0", "Svc_1.b-c", &"x".repeat(64)] {
            assert_eq!(UnitName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", ".x", "-x", "_x", "a/b", "a b", "ä", "a\n", "a\0", &"x".repeat(65)] {
            assert!(UnitName::new(bad).is_err(), "{bad:?}");
        }
    }
}
