//! One thing that is wrong in services.toml, and how it is shown.

use std::ops::Range;
use std::path::Path;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet, normalize_untrusted_str};

use super::Source;
use crate::model::UnitName;

/// The stable codes of faults: scripts and documentation may rely on them.
pub mod code {
    /// The text is not TOML.
    pub const SYNTAX: &str = "CFG001";
    /// A key or table that does not exist here.
    pub const UNKNOWN_KEY: &str = "CFG002";
    /// A value of another type than is wanted.
    pub const WRONG_TYPE: &str = "CFG003";
    /// Something that has to be there is not.
    pub const MISSING: &str = "CFG004";
    /// A text that does not have the wanted form.
    pub const BAD_FORM: &str = "CFG005";
    /// A value outside its bounds.
    pub const OUT_OF_BOUNDS: &str = "CFG006";
    /// Two values that exclude each other.
    pub const CONFLICT: &str = "CFG007";
    /// A name that cannot be one, or is there twice.
    pub const NAME: &str = "CFG008";
    /// `after` names something that cannot be waited for.
    pub const AFTER: &str = "CFG009";
    /// Services that wait for each other.
    pub const CYCLE: &str = "CFG010";
    /// Two services that want the same port.
    pub const PORT: &str = "CFG011";
    /// A path that is not absolute, or a variable that is not set.
    pub const PATH: &str = "CFG012";
    /// An address that is malformed or not on this machine.
    pub const ADDRESS: &str = "CFG013";
    /// A calendar entry that cannot be read or never comes true.
    pub const CALENDAR: &str = "CFG014";
}

/// One fault with its place, its reason and its remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// One of [`code`].
    pub code: &'static str,
    /// The service or task it makes unusable; `None` for the rest of the file.
    pub unit: Option<UnitName>,
    /// What is wrong, with the key's full name.
    pub message: String,
    /// The few words that stand at the caret.
    pub label: String,
    /// What to type instead.
    pub help: Option<String>,
    /// Bytes of the text; always within it and on character boundaries.
    pub span: Range<usize>,
    /// Of the span's beginning, from 1.
    pub line: usize,
    /// Of the span's beginning in characters, from 1.
    pub column: usize,
}

impl Fault {
    /// `services.toml:12:5: CFG006: ...`, on one line.
    pub fn one_line(&self, path: &Path) -> String {
        let text = format!("{}:{}:{}: {}: {}", path.display(), self.line, self.column, self.code, self.message);
        normalize_untrusted_str(&text).replace('\n', " ")
    }
}

/// All `faults` as rustc shows errors: message, place, the line with a caret, help. Ends with a newline; empty when there
/// is no fault.
pub fn render(faults: &[Fault], source: &Source, color: bool) -> String {
    let text = masked(&source.text);
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii);
    let path = source.path.display().to_string();
    let mut shown = String::new();
    for fault in faults {
        let place = AnnotationKind::Primary.span(fault.span.clone()).label(normalize_untrusted_str(&fault.label));
        let snippet = Snippet::source(text.as_str()).path(path.as_str()).annotation(place);
        let mut group =
            Level::ERROR.primary_title(normalize_untrusted_str(&fault.message)).id(fault.code).element(snippet);
        if let Some(help) = &fault.help {
            group = group.element(Level::HELP.message(normalize_untrusted_str(help)));
        }
        shown.push_str(&renderer.render(&[group]));
        shown.push_str("\n\n");
    }
    if shown.ends_with("\n\n") {
        shown.pop();
    }
    shown
}

/// The text with a star for each byte of a password that stands in an address: what is printed ends up in logs.
fn masked(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        masked.push_str(before);
        let authority = after.find(|c: char| "/?#\"' \t\r\n".contains(c)).map_or(after, |end| &after[..end]);
        let secret = authority.rfind('@').and_then(|at| Some((authority[..at].find(':')? + 1, at)));
        rest = match secret {
            Some((from, to)) => {
                masked.push_str(&after[..from]);
                masked.extend(std::iter::repeat_n('*', to - from));
                &after[to..]
            }
            None => after,
        };
    }
    masked + rest
}

/// Where the lines of a text begin, to turn an offset into line and column.
pub(super) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let after_newlines = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    /// `span` taken into the text and onto character boundaries: the TOML parser points one past the end at times.
    pub(super) fn clamp(&self, span: &Range<usize>) -> Range<usize> {
        let boundary = |at: usize| (0..=at.min(self.text.len())).rev().find(|at| self.text.is_char_boundary(*at));
        let start = boundary(span.start).unwrap_or(0);
        let end = boundary(span.end).unwrap_or(0);
        start..end.max(start)
    }

    /// What stands there; nothing where that is not within the text.
    pub(super) fn get(&self, span: &Range<usize>) -> Option<&'a str> {
        self.text.get(span.clone())
    }

    /// Line and column of `offset` (clamped), both from 1.
    pub(super) fn place(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count());
        (line, column + 1)
    }
}

#[cfg(test)]
mod tests {
    // masked
    use super::*;

    #[test]
    fn places_count_characters_from_one() {
        let text = "a\näb = 1\r\n\n";
        let lines = Lines::new(text);
        assert_eq!(lines.place(0), (1, 1));
        assert_eq!(lines.place(2), (2, 1));
        assert_eq!(lines.place(4), (2, 2));
        assert_eq!(lines.place(text.len()), (4, 1));
        assert_eq!(lines.clamp(&(3..900)), 2..text.len());
        assert_eq!(lines.clamp(&(900..901)), text.len()..text.len());
        assert_eq!(lines.clamp(&(4..5)), 4..5);
    }
}
