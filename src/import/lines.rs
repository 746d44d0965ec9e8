//! The lines of INI-like files: sections, and `key = value` with values that go on over several lines.

use super::Wrong;

/// A key with its value, in the order of the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: String,
}

/// `[name]` and what is below it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) entries: Vec<Entry>,
}

impl Section {
    /// All values of `key`, in the order of the text.
    pub(super) fn all<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a str> {
        self.entries.iter().filter(move |entry| entry.key == key).map(|entry| entry.value.as_str())
    }

    /// The last value of `key`, which is the one that counts.
    pub(super) fn last<'a>(&'a self, key: &str) -> Option<&'a str> {
        self.all(key).last()
    }
}

/// The header in a line.
fn header(line: &str) -> Option<&str> {
    line.strip_prefix('[')?.strip_suffix(']')
}

/// The line itself is not shown: it may hold anything.
fn stray(number: usize) -> Wrong {
    Wrong::new("the line is neither [SECTION] nor KEY=VALUE below one", "mend that line").at(number)
}

/// As systemd reads units: a `\` at the end goes on with the next line, comments in between are passed over.
pub(super) fn systemd(text: &str) -> (Vec<Section>, Vec<Wrong>) {
    let (mut sections, mut wrong): (Vec<Section>, Vec<Wrong>) = (Vec::new(), Vec::new());
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let mut whole = line.to_owned();
        while let Some(before) = whole.strip_suffix('\\') {
            let before = before.to_owned();
            let next = lines.by_ref().map(|(_, next)| next.trim()).find(|next| !next.starts_with(['#', ';']));
            whole = format!("{before} {}", next.unwrap_or_default());
            if next.is_none() {
                break;
            }
        }
        let whole = whole.trim();
        match (header(whole), whole.split_once('='), sections.last_mut()) {
            (Some(name), ..) => sections.push(Section { name: name.to_owned(), entries: Vec::new() }),
            (None, Some((key, value)), Some(section)) => {
                section.entries.push(Entry { key: key.trim().to_owned(), value: value.trim().to_owned() });
            }
            _ => wrong.push(stray(at + 1)),
        }
    }
    (sections, wrong)
}

/// As supervisord reads its configuration: a line that begins with a blank goes on with the value before, and `;` after a
/// blank begins a comment.
pub(super) fn supervisord(text: &str) -> (Vec<Section>, Vec<Wrong>) {
    let (mut sections, mut wrong): (Vec<Section>, Vec<Wrong>) = (Vec::new(), Vec::new());
    for (at, line) in text.lines().enumerate() {
        let goes_on = line.starts_with([' ', '\t']);
        let line = line.find(" ;").or_else(|| line.find("\t;")).map_or(line, |end| &line[..end]).trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let last = sections.last_mut();
        if goes_on && let Some(entry) = last.and_then(|section| section.entries.last_mut()) {
            entry.value.push(' ');
            entry.value.push_str(line);
            continue;
        }
        let pair = line.find(['=', ':']).map(|end| (line[..end].trim(), line[end + 1..].trim()));
        match (header(line), pair, sections.last_mut()) {
            (Some(name), ..) => sections.push(Section { name: name.trim().to_owned(), entries: Vec::new() }),
            (None, Some((key, value)), Some(section)) => {
                section.entries.push(Entry { key: key.to_lowercase(), value: value.trim().to_owned() });
            }
            _ => wrong.push(stray(at + 1)),
        }
    }
    (sections, wrong)
}
