//! A property list with all of its keys in order, those that stand there twice too: [`::plist::Value`] keeps one of each.

use std::fmt;
use std::io::Cursor;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Bool(bool),
    Int(i128),
    Real(f64),
    /// Dates come as this too; no key of a job takes either.
    Text(String),
    Data,
    Array(Vec<Node>),
    Dict(Vec<(String, Node)>),
}

impl Node {
    /// For people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Bool(true) => "<true/>",
            Self::Bool(false) => "<false/>",
            Self::Int(_) => "an <integer>",
            Self::Real(_) => "a <real>",
            Self::Text(_) => "a <string>",
            Self::Data => "<data>",
            Self::Array(_) => "an <array>",
            Self::Dict(_) => "a <dict>",
        }
    }

    /// The number, if it is one.
    pub(super) fn int(&self) -> Option<i128> {
        if let Self::Int(n) = self { Some(*n) } else { None }
    }

    /// The string, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

/// Reads XML and binary property lists.
pub(super) fn read(bytes: &[u8]) -> Result<Node, String> {
    let binary = bytes.starts_with(b"bplist");
    if !binary {
        let text =
            std::str::from_utf8(bytes).map_err(|_| "is neither a binary property list nor UTF-8 text".to_owned())?;
        if !text.trim_start_matches('\u{feff}').trim_start().starts_with('<') {
            return Err("is neither an XML nor a binary property list".into());
        }
        pairs(text)?;
    }
    ::plist::from_reader(Cursor::new(bytes)).map_err(|e| format!("is no property list: {e}"))
}

/// Nobody nests deeper; reading goes by recursion.
const DEEPEST: usize = 64;

/// Whether each `dict` is `key`, value, `key`, value. The reader takes any string as a key, and so pairs them wrongly when one is
/// missing; launchd's refuses the file.
fn pairs(text: &str) -> Result<(), String> {
    // For each open element whether it is a <dict>, and whether a value is due in it.
    let mut open: Vec<(&str, bool)> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        let end = match rest {
            _ if rest.starts_with("<!--") => "-->",
            _ if rest.starts_with("<![CDATA[") => {
                return Err("holds a CDATA section, which not every reader takes; write &lt; and &amp;".into());
            }
            _ if rest.starts_with("<?") => "?>",
            _ => ">",
        };
        let Some(length) = rest.find(end) else { return Err("ends in the middle of a tag".into()) };
        let tag = &rest[1..length];
        rest = &rest[length + end.len()..];
        if tag.starts_with(['!', '?']) {
            continue;
        }
        if tag.starts_with('/') {
            if let Some(("dict", true)) = open.pop() {
                return Err("has a <key> without a value".into());
            }
            continue;
        }
        let name = tag.split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or_default();
        if let Some(("dict", due)) = open.last_mut() {
            match (name == "key", *due) {
                (true, true) => return Err("has a <key> without a value".into()),
                (false, false) => return Err(format!("has a <{name}> in a <dict> without a <key> before it")),
                (is_key, _) => *due = is_key,
            }
        } else if name == "key" {
            return Err("has a <key> that is in no <dict>".into());
        }
        if !tag.ends_with('/') {
            open.push((name, false));
            if open.len() > DEEPEST {
                return Err(format!("is nested more than {DEEPEST} deep"));
            }
        }
    }
    if open.is_empty() { Ok(()) } else { Err("ends before all of its elements do".into()) }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reading)
    }
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of a property list")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Int(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Real(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Node, E> {
        Ok(Node::Data)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        Ok(Node::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            all.push(entry);
        }
        Ok(Node::Dict(all))
    }
}
