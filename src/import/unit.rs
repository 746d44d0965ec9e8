//! A service or task on its way into services.toml: its keys, and what is to be said about them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Note, secret, write};
use crate::config::Surroundings;

/// A value as it will be written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Truth(bool),
    List(Vec<Value>),
    Table(Vec<(&'static str, Value)>),
}

impl Value {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        Self::List(texts.into_iter().map(Self::text).collect())
    }
}

/// A comment that stands above a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remark {
    /// `""` for the unit as a whole.
    pub(super) key: &'static str,
    /// Whether a person has to look at it.
    pub(super) attention: bool,
    pub(super) text: String,
}

/// Where a file stands, and what its text may refer to.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) shown: &'a str,
    pub(super) path: &'a Path,
    pub(super) around: &'a Surroundings,
}

impl Place<'_> {
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// The home directory, if it is text.
    pub(super) fn home(&self) -> &str {
        self.around.home.to_str().unwrap_or("~")
    }
}

/// A service or task.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    /// The file it comes from, as it was named.
    pub(super) file: String,
    /// What it is called where it comes from; [`names::settle`](super::names::settle) makes `name` of it.
    pub(super) wanted: String,
    /// Its name in services.toml.
    pub(super) name: String,
    /// launchd's label.
    pub(super) label: Option<String>,
    pub(super) is_task: bool,
    pub(super) keys: BTreeMap<&'static str, Value>,
    /// As it will be written: `${` that means nothing is `$${` here.
    pub(super) env: BTreeMap<String, String>,
    /// Variables that are not printed, and why.
    secrets: Vec<(String, &'static str)>,
    pub(super) remarks: Vec<Remark>,
    /// Why it is not enabled.
    pub(super) off: Vec<String>,
    /// Why it cannot be declared at all: then it stands there as a comment.
    pub(super) void: Option<String>,
    /// What it is started after, in the words of where it comes from.
    pub(super) after: Vec<String>,
    /// What it is when a systemd timer starts it.
    pub(super) as_task: Option<Box<Unit>>,
    /// Whether one does.
    pub(super) by_timer: bool,
}

impl Unit {
    pub(super) fn new(place: &Place<'_>, wanted: &str) -> Self {
        Self {
            file: place.shown.to_owned(),
            wanted: wanted.to_owned(),
            name: String::new(),
            label: None,
            is_task: false,
            keys: BTreeMap::new(),
            env: BTreeMap::new(),
            secrets: Vec::new(),
            remarks: Vec::new(),
            off: Vec::new(),
            void: None,
            after: Vec::new(),
            as_task: None,
            by_timer: false,
        }
    }

    pub(super) fn set(&mut self, key: &'static str, value: Value) {
        self.keys.insert(key, value);
    }

    pub(super) fn set_text(&mut self, key: &'static str, text: impl Into<String>) {
        self.set(key, Value::text(text));
    }

    /// A comment above `key`.
    pub(super) fn say(&mut self, key: &'static str, text: impl Into<String>) {
        self.remark(key, false, text.into());
    }

    /// A comment above `key` that a person has to look at.
    pub(super) fn warn(&mut self, key: &'static str, text: impl Into<String>) {
        self.remark(key, true, text.into());
    }

    /// A comment that may need a person.
    pub(super) fn say_or_warn(&mut self, attention: bool, key: &'static str, text: String) {
        self.remark(key, attention, text);
    }

    fn remark(&mut self, key: &'static str, attention: bool, text: String) {
        let remark = Remark { key, attention, text: write::plain(&text) };
        if !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }

    /// Switches it off: as it stands it would not be what it was.
    pub(super) fn turn_off(&mut self, why: impl Into<String>) {
        self.off.push(write::plain(&why.into()));
    }

    /// Makes a comment of all of it.
    pub(super) fn void(&mut self, why: impl Into<String>) {
        self.void.get_or_insert(write::plain(&why.into()));
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.off.is_empty() && self.void.is_none()
    }

    /// `cwd`, once it is set.
    pub(super) fn cwd(&self) -> Option<PathBuf> {
        match self.keys.get("cwd") {
            Some(Value::Text(text)) if text.starts_with('/') => Some(text.replace("$${", "${").into()),
            _ => None,
        }
    }

    /// A variable with its literal value, unless that is a secret.
    pub(super) fn variable(&mut self, name: &str, value: &str) {
        if let Some(reason) = secret::is_one(name, value) {
            return self.hide(name, reason);
        }
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return self.turn_off(format!("the variable {name:?} cannot be given to any program, and is left out"));
        }
        match literal(value) {
            Some(text) => {
                if text.starts_with('~') {
                    self.say("env", format!("the ~ in {name} now stands for the home directory"));
                }
                self.env.insert(name.to_owned(), text);
            }
            None => self.turn_off(format!(
                "{name} is left out: its value begins with ~ and a name, which services.toml cannot say; write the path"
            )),
        }
    }

    /// Keeps in mind that there is a secret, and not what it is.
    pub(super) fn hide(&mut self, name: &str, reason: &'static str) {
        self.secrets.push((name.to_owned(), reason));
    }

    /// Says where its secrets go, once its name is there.
    pub(super) fn tell_secrets(&mut self) {
        let file = match self.keys.contains_key("env_file") {
            true => "its env_file".to_owned(),
            false => format!("a file with mode 0600, and name it here: env_file = \"~/.openclaw/{}.env\"", self.name),
        };
        for (name, reason) in std::mem::take(&mut self.secrets) {
            self.warn(
                "env_file",
                format!("{name} {reason}, and is not printed: write the line {name}=... into {file}"),
            );
        }
    }

    /// A path that has to be absolute in services.toml; a relative one is taken from `base`.
    pub(super) fn path(&mut self, key: &'static str, text: &str, base: &Path) {
        if text.contains('\0') || text.is_empty() {
            return self.turn_off(format!("{key} {text:?} is no path, and is left out"));
        }
        let text = if text == "~" || text.starts_with("~/") {
            text.to_owned()
        } else if let Some(path) = base.join(text).to_str() {
            path.to_owned()
        } else {
            return self.turn_off(format!("{key} {text:?} is relative to a folder that is not UTF-8, and is left out"));
        };
        self.set_text(key, text.replace("${", "$${"));
    }

    /// All that is said of it, for people.
    pub(super) fn notes(&self) -> Vec<Note> {
        let note = |key: &str, attention, text: String| Note {
            file: self.file.clone(),
            unit: Some(self.name.clone()),
            key: (!key.is_empty()).then(|| key.to_owned()),
            attention,
            text,
        };
        let void = self.void.iter().map(|why| note("", true, format!("it is commented out: {why}")));
        let off = self.off.iter().map(|why| note("enabled", true, format!("it is switched off: {why}")));
        let remarks = self.remarks.iter().map(|r| note(r.key, r.attention, r.text.clone()));
        void.chain(off).chain(remarks).collect()
    }
}

/// `text` so that services.toml means just that by it. `None` when it cannot: `~name` is refused there.
pub(super) fn literal(text: &str) -> Option<String> {
    let home = text == "~" || text.starts_with("~/");
    (home || !text.starts_with('~')).then(|| text.replace("${", "$${"))
}
