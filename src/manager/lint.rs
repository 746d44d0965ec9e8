//! Is a property list one that launchd takes, and does it mean what it looks like? Strict where launchd is not: it passes over a key
//! that it does not know without a word. Pure; the table of keys was made by hand from launchd.plist(5).

use std::collections::BTreeSet;
use std::fmt;

use super::lint_keys::{self as keys, Form};
use super::lint_read::{self as read, Node};

/// One thing that is wrong, or not as it looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// The key, with those above it: `KeepAlive.SuccessfulExit`. Empty for the file as a whole.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub what: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It works, and other than most people think.
    Warning,
    /// launchd refuses it, ignores it, or does something else than is written.
    Error,
}

impl Finding {
    /// Whether the file should not be used as it is.
    pub fn is_error(&self) -> bool {
        self.level == Level::Error
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => f.write_str(&self.what),
            key => write!(f, "{key}: {}", self.what),
        }
    }
}

/// What is to be said of a property list, in the order of its keys.
pub fn lint(bytes: &[u8]) -> Vec<Finding> {
    Linter::of(bytes, None)
}

/// The same, of a file with this name.
pub fn lint_file(bytes: &[u8], file_name: &str) -> Vec<Finding> {
    Linter::of(bytes, Some(file_name))
}

struct Linter {
    found: Vec<Finding>,
}

impl Linter {
    fn of(bytes: &[u8], file_name: Option<&str>) -> Vec<Finding> {
        let mut linter = Self { found: Vec::new() };
        match read::read(bytes) {
            Ok(Node::Dict(entries)) => linter.job(&entries, file_name),
            Ok(other) => linter.error("", format!("it holds {} where a <dict> of keys is due", other.kind())),
            Err(why) => linter.error("", why),
        }
        linter.found
    }

    fn error(&mut self, key: &str, what: impl Into<String>) {
        self.found.push(Finding { level: Level::Error, key: key.to_owned(), what: what.into() });
    }

    fn warn(&mut self, key: &str, what: impl Into<String>) {
        self.found.push(Finding { level: Level::Warning, key: key.to_owned(), what: what.into() });
    }

    fn job(&mut self, entries: &[(String, Node)], file_name: Option<&str>) {
        self.duplicates("", entries);
        for (key, value) in entries {
            if let Some((_, instead)) = keys::DEAD.iter().find(|(dead, _)| dead == key) {
                self.error(key, format!("launchd no longer knows it; {instead}"));
                continue;
            }
            match keys::KEYS.iter().find(|(known, _)| known == key) {
                Some((_, form)) => self.value(key, value, form),
                None => self.unknown(key, key, keys::KEYS.iter().map(|(known, _)| *known)),
            }
        }
        let get = |key: &str| entries.iter().find(|(known, _)| known == key).map(|(_, value)| value);
        self.label(get("Label"), file_name);
        self.program(get("Program"), get("ProgramArguments"));
        if get("ExitTimeOut").is_none() {
            self.warn("ExitTimeOut", "not written, so launchd waits 5 s from SIGTERM to SIGKILL; write it");
        }
        if get("Disabled").is_some() {
            self.warn(
                "Disabled",
                "counts only until somebody says `launchctl enable` or `disable`, and never again; leave it out",
            );
        }
        if get("StartCalendarInterval").is_some() {
            if get("KeepAlive").is_some_and(|value| !matches!(value, Node::Bool(false))) {
                self.warn("KeepAlive", "with StartCalendarInterval: it runs all the time, not at these times only");
            } else if matches!(get("RunAtLoad"), Some(Node::Bool(true))) {
                self.warn("RunAtLoad", "with StartCalendarInterval: it also runs at each login");
            }
        }
    }

    fn duplicates(&mut self, above: &str, entries: &[(String, Node)]) {
        let mut seen = BTreeSet::new();
        for (key, value) in entries {
            if !seen.insert(key) {
                self.error(&below(above, key), "stands there twice; readers do not agree on which one counts");
            }
            self.duplicates_within(&below(above, key), value);
        }
    }

    fn duplicates_within(&mut self, key: &str, value: &Node) {
        match value {
            Node::Dict(entries) => self.duplicates(key, entries),
            Node::Array(items) => items.iter().for_each(|item| self.duplicates_within(key, item)),
            _ => {}
        }
    }

    fn unknown<'a>(&mut self, path: &str, key: &str, known: impl Iterator<Item = &'a str> + Clone) {
        let what = match known.clone().find(|known| known.eq_ignore_ascii_case(key)) {
            // This one is all over the web.
            Some("ExitTimeOut") => {
                "launchd does not know it, and waits 5 s only; the key is ExitTimeOut, with a capital O".into()
            }
            Some(right) => format!("launchd does not know it; capitals count, write {right}"),
            None => {
                let near = known.map(|known| (strsim::osa_distance(known, key), known)).min();
                match near.filter(|(distance, known)| *distance <= (known.len() / 4).max(1)) {
                    Some((_, right)) => format!("launchd does not know it; did you mean {right}?"),
                    None => "launchd does not know it, and passes over it".into(),
                }
            }
        };
        self.error(path, what);
    }

    fn value(&mut self, key: &str, value: &Node, form: &Form) {
        match (form, value) {
            (Form::Bool, Node::Bool(_)) | (Form::Dict, Node::Dict(_)) => {}
            (Form::Int(range), Node::Int(n)) => self.number(key, *n, range),
            (Form::Text, Node::Text(text)) => self.filled(key, text),
            (Form::Path, Node::Text(text)) => self.path(key, text),
            (Form::OneOf(words), Node::Text(text)) => self.word(key, text, words),
            (Form::OneOf(words), Node::Array(items)) if *key == *"LimitLoadToSessionType" => {
                for text in self.texts(key, items) {
                    self.word(key, &text, words);
                }
            }
            (Form::Texts | Form::TextOrTexts, Node::Array(items)) => {
                self.texts(key, items);
            }
            (Form::Paths, Node::Array(items)) => {
                for text in self.texts(key, items) {
                    self.path(key, &text);
                }
            }
            (Form::TextOrTexts, Node::Text(text)) => self.filled(key, text),
            (Form::TextMap, Node::Dict(entries)) => self.environment(key, entries),
            (Form::BoolMap, Node::Dict(entries)) => {
                for (name, value) in entries.iter().filter(|(_, value)| !matches!(value, Node::Bool(_))) {
                    self.wrong_type(&below(key, name), value, "<true/> or <false/>");
                }
            }
            (Form::KeepAlive, Node::Bool(_)) => {}
            (Form::KeepAlive, Node::Dict(entries)) => self.keep_alive(key, entries),
            (Form::Calendar, Node::Dict(entries)) => self.calendar(key, &[entries]),
            (Form::Calendar, Node::Array(items)) => self.calendars(key, items),
            (Form::Limits, Node::Dict(entries)) => self.limits(key, entries),
            (Form::Umask, Node::Int(mask)) => self.umask_number(key, *mask),
            (Form::Umask, Node::Text(mask)) => self.umask_text(key, mask),
            (form, value) => self.wrong_type(key, value, form.wanted()),
        }
    }

    fn wrong_type(&mut self, key: &str, value: &Node, wanted: &str) {
        self.error(key, format!("is {}, and has to be {wanted}", value.kind()));
    }

    fn number(&mut self, key: &str, n: i128, (least, most, why): &(i64, i64, &str)) {
        if n < i128::from(*least) || n > i128::from(*most) {
            self.error(key, format!("{n} is not from {least} to {most}{why}"));
        }
    }

    fn filled(&mut self, key: &str, text: &str) {
        if text.is_empty() {
            self.error(key, "is empty");
        }
    }

    fn path(&mut self, key: &str, text: &str) {
        if text.starts_with('~') || text.contains("$") {
            self.error(key, format!("{text:?}: launchd expands neither ~ nor variables; write the absolute path"));
        } else if !text.starts_with('/') {
            self.error(key, format!("{text:?} is no absolute path"));
        }
    }

    fn word(&mut self, key: &str, text: &str, words: &[&str]) {
        if words.contains(&text) {
            return;
        }
        let right = words.iter().find(|word| word.eq_ignore_ascii_case(text));
        self.error(
            key,
            match right {
                Some(right) => format!("{text:?} is written {right}"),
                None => format!("{text:?} is none of {}", words.join(", ")),
            },
        );
    }

    /// The strings among `items`; what is none is told.
    fn texts(&mut self, key: &str, items: &[Node]) -> Vec<String> {
        if items.is_empty() {
            self.error(key, "is empty");
        }
        let mut texts = Vec::new();
        for item in items {
            match item {
                Node::Text(text) => texts.push(text.clone()),
                other => self.wrong_type(key, other, "made of <string>s only"),
            }
        }
        texts
    }

    fn environment(&mut self, key: &str, entries: &[(String, Node)]) {
        for (name, value) in entries {
            let path = below(key, name);
            match value {
                Node::Text(text) if text.contains("$") || text.starts_with("~/") => {
                    self.warn(
                        &path,
                        format!("{text:?}: launchd expands neither ~ nor variables; the program gets it as it stands"),
                    );
                }
                Node::Text(_) => {}
                other => self.wrong_type(&path, other, "a <string>; launchd ignores anything else"),
            }
            if name.is_empty() || name.contains('=') {
                self.error(&path, "is no name of a variable");
            }
        }
    }

    fn keep_alive(&mut self, key: &str, entries: &[(String, Node)]) {
        if entries.is_empty() {
            self.error(key, "has no condition; write <true/>, or SuccessfulExit");
        }
        for (name, value) in entries {
            let path = below(key, name);
            match keys::KEEP_ALIVE.iter().find(|(known, _)| known == name) {
                Some((_, form)) => self.value(&path, value, form),
                None => self.unknown(&path, name, keys::KEEP_ALIVE.iter().map(|(known, _)| *known)),
            }
            match (name.as_str(), value) {
                ("NetworkState", _) => self.warn(&path, "launchd no longer implements it"),
                ("Crashed", Node::Bool(true)) => {
                    self.warn(&path, "a process that is killed (SIGKILL, too little memory) stays dead; SuccessfulExit = false covers all");
                }
                ("Crashed", Node::Bool(false)) => {
                    self.warn(&path, "starts it again after every end that is no crash, good ones too")
                }
                _ => {}
            }
        }
    }

    fn calendars(&mut self, key: &str, items: &[Node]) {
        if items.is_empty() {
            self.error(key, "is empty");
        }
        let mut tables = Vec::new();
        for item in items {
            match item {
                Node::Dict(entries) => tables.push(entries.as_slice()),
                other => self.wrong_type(key, other, "made of <dict>s only"),
            }
        }
        self.calendar(key, &tables);
    }

    /// Each kind of trouble once, with the first entry that has it: a schedule can have hundreds.
    fn calendar(&mut self, key: &str, tables: &[&[(String, Node)]]) {
        let mut told = BTreeSet::new();
        for (number, table) in tables.iter().enumerate() {
            let place = if tables.len() == 1 { key.to_owned() } else { format!("{key}[{number}]") };
            let has = |name: &str| table.iter().any(|(key, _)| key == name);
            let number = |name: &str| table.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.int());
            for (name, value) in *table {
                match keys::CALENDAR.iter().find(|(known, _)| known == name) {
                    Some((_, form)) => self.value(&below(&place, name), value, form),
                    None => self.unknown(&below(&place, name), name, keys::CALENDAR.iter().map(|(known, _)| *known)),
                }
            }
            let mut once = |level, which: &'static str, what: String| {
                if told.insert(which) {
                    self.found.push(Finding { level, key: place.clone(), what });
                }
            };
            for (field, each) in [("Minute", "minute"), ("Hour", "hour")] {
                if !has(field) {
                    once(
                        Level::Error,
                        field,
                        format!("without {field} it is started every {each} that fits; write {field}"),
                    );
                }
            }
            if has("Weekday") && has("Month") {
                once(
                    Level::Error,
                    "month",
                    "launchd is known to ignore Month beside Weekday; write one of them".into(),
                );
            }
            if has("Weekday") && has("Day") {
                once(Level::Warning, "either", "Day beside Weekday: started when either of them fits".into());
            }
            if let Some(day) = number("Day").filter(|day| *day > 28) {
                once(
                    Level::Warning,
                    "day",
                    format!("Day {day} is not in every month; it may be the first of the next one then"),
                );
            }
            if let Some(hour) = number("Hour").filter(|hour| (1..=3).contains(hour)) {
                once(
                    Level::Warning,
                    "dst",
                    format!("Hour {hour}: when the clock is changed it may start late, twice or not at all"),
                );
            }
        }
    }

    fn limits(&mut self, key: &str, entries: &[(String, Node)]) {
        for (name, value) in entries {
            let path = below(key, name);
            match value {
                _ if !keys::LIMITS.contains(&name.as_str()) => self.unknown(&path, name, keys::LIMITS.iter().copied()),
                Node::Int(n) if *n >= 0 => {}
                other => self.wrong_type(&path, other, "an <integer> from 0"),
            }
        }
    }

    fn umask_number(&mut self, key: &str, mask: i128) {
        if !(0..=0o777).contains(&mask) {
            return self.error(key, format!("{mask} is not from 0 to 511 (octal 777)"));
        }
        // 22, 27, 77, 177: somebody thought in octal.
        let octal = u32::from_str_radix(&mask.to_string(), 8).ok().filter(|octal| i128::from(*octal) != mask);
        if let Some(octal) = octal.filter(|octal| [0o22, 0o26, 0o27, 0o37, 0o77, 0o177].contains(octal)) {
            self.error(
                key,
                format!("an <integer> is decimal: {mask} is octal {mask:o}; for octal {octal:o} write <integer>{octal}</integer>"),
            );
        }
    }

    fn umask_text(&mut self, key: &str, mask: &str) {
        if mask.is_empty() || !mask.chars().all(|c| c.is_digit(8)) {
            self.error(key, format!("{mask:?} is no octal number"));
        } else if !mask.starts_with('0') {
            self.warn(
                key,
                format!("a <string> is read as octal: this is octal {mask}; write 0{mask}, or an <integer>"),
            );
        }
    }

    fn label(&mut self, label: Option<&Node>, file_name: Option<&str>) {
        match label {
            None => self.error("Label", "is missing"),
            Some(Node::Text(label)) => {
                let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
                if label.is_empty() || !label.chars().all(good) {
                    self.error("Label", format!("{label:?}: keep to letters, digits, '.', '_' and '-'"));
                } else if let Some(name) = file_name.filter(|name| *name != super::plist::file_name(label)) {
                    self.error("Label", format!("the file of {label:?} has to be called {label}.plist, not {name}"));
                }
            }
            // Told already.
            Some(_) => {}
        }
    }

    fn program(&mut self, program: Option<&Node>, arguments: Option<&Node>) {
        let words: Vec<&str> = match arguments {
            Some(Node::Array(items)) => items.iter().filter_map(Node::text).collect(),
            _ => Vec::new(),
        };
        if program.is_none() && arguments.is_none() {
            self.error("ProgramArguments", "is missing, and so is Program: nothing is started");
        }
        if let (None, Some(first)) = (program, words.first()) {
            self.path("ProgramArguments", first);
        }
        for word in words.iter().skip(1).filter(|word| word.starts_with("~/") || word.starts_with("$")) {
            self.warn(
                "ProgramArguments",
                format!("{word:?}: launchd expands neither ~ nor variables; the program gets it as it stands"),
            );
        }
    }
}

fn below(above: &str, key: &str) -> String {
    if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") }
}

#[cfg(test)]
#[path = "lint_tests.rs"]
mod tests;
