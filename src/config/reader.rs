//! The walk over a TOML document: single values with their places, and the list of faults found so far.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::fault::{Fault, Lines, code};
use super::units::{Wrong, quoted, show_duration};
use super::{Surroundings, expand, units};
use crate::model::{Signal, UnitName};

/// Bytes of the text.
pub(super) type Span = Range<usize>;

/// What all readers share: the surroundings, the faults so far, and which service or task is being read.
pub(super) struct Ctx<'a> {
    pub(super) around: &'a Surroundings,
    lines: Lines<'a>,
    /// Index and name of the unit that faults are put down to.
    unit: Option<(usize, Option<UnitName>)>,
    faults: Vec<(Option<usize>, Fault)>,
}

impl<'a> Ctx<'a> {
    pub(super) fn new(text: &'a str, around: &'a Surroundings) -> Self {
        Self { around, lines: Lines::new(text), unit: None, faults: Vec::new() }
    }

    /// From here on faults belong to this unit, or to the file. A unit whose name is none has no name here.
    pub(super) fn enter(&mut self, unit: Option<(usize, Option<UnitName>)>) {
        self.unit = unit;
    }

    /// Records what is wrong at `span`.
    pub(super) fn report(&mut self, span: &Span, wrong: Wrong) {
        let span = self.lines.clamp(span);
        let (line, column) = self.lines.place(span.start);
        let Wrong { code, message, label, help } = wrong;
        let (owner, unit) = self.unit.clone().map_or((None, None), |(index, name)| (Some(index), name));
        self.faults.push((owner, Fault { code, unit, message, label, help, span, line, column }));
    }

    /// Whether something is wrong in there.
    pub(super) fn is_faulty(&self, span: &Span) -> bool {
        self.faults.iter().any(|(_, fault)| span.start <= fault.span.start && fault.span.end <= span.end)
    }

    /// The line of an offset, for messages that name a second place.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.lines.place(self.lines.clamp(&(offset..offset)).start).0
    }

    /// The first fault of each unit, and all faults in the order of the text.
    pub(super) fn into_faults(mut self) -> (Vec<(usize, Fault)>, Vec<Fault>) {
        self.faults.sort_by_key(|(_, fault)| (fault.span.start, fault.span.end));
        let mut first: Vec<(usize, Fault)> = Vec::new();
        for (owner, fault) in &self.faults {
            if let Some(index) = owner
                && first.iter().all(|(seen, _)| seen != index)
            {
                first.push((*index, fault.clone()));
            }
        }
        (first, self.faults.into_iter().map(|(_, fault)| fault).collect())
    }
}

/// A value with its place and its full name.
#[derive(Clone)]
pub(super) struct Field<'t> {
    /// `service.gateway.health.timeout`.
    pub(super) name: String,
    /// Of the value.
    pub(super) span: Span,
    value: &'t DeValue<'t>,
}

impl<'t> Field<'t> {
    pub(super) fn new(name: String, value: &'t Spanned<DeValue<'t>>) -> Self {
        Self { name, span: value.span(), value: value.get_ref() }
    }

    pub(super) fn value(&self) -> &'t DeValue<'t> {
        self.value
    }

    /// The last part of the name: what the person typed.
    fn key(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }

    /// A fault of this value.
    pub(super) fn wrong(&self, ctx: &mut Ctx<'_>, wrong: Wrong) {
        let message = format!("`{}`: {}", self.name, wrong.message);
        ctx.report(&self.span, Wrong { message, ..wrong });
    }

    /// A fault of some bytes of a text: a caret at those, where the text stands in the file as it is.
    pub(super) fn wrong_part(&self, ctx: &mut Ctx<'_>, part: &Span, wrong: Wrong) {
        let begin = self.span.start + 1;
        let inner = begin..self.span.end.saturating_sub(1);
        let is_plain = matches!(self.value, DeValue::String(text) if ctx.lines.get(&inner) == Some(text));
        let span = if is_plain { begin + part.start..begin + part.end } else { self.span.clone() };
        let message = format!("`{}`: {}", self.name, wrong.message);
        ctx.report(&span, Wrong { message, ..wrong });
    }

    /// A fault of the value's type; `wanted` and `example` say what to type.
    pub(super) fn wrong_type(&self, ctx: &mut Ctx<'_>, wanted: &str, example: &str) {
        let found = match self.value {
            DeValue::Integer(number) => format!("the number {number}"),
            DeValue::Float(number) => format!("the number {number}"),
            DeValue::Boolean(truth) => truth.to_string(),
            DeValue::String(text) => format!("the text {}", quoted(text)),
            DeValue::Datetime(_) => "a date".into(),
            DeValue::Array(_) => "a list".into(),
            DeValue::Table(_) => "a table".into(),
        };
        // The name of a list's member ends with its place in the list, and cannot be typed.
        let help = match self.key().split_once('[') {
            Some(_) => format!("write {example}"),
            None => format!("write {} = {example}", self.key()),
        };
        let wrong = Wrong::new(code::WRONG_TYPE, format!("wanted is {wanted}, not {found}"), format!("not {wanted}"));
        self.wrong(ctx, wrong.help(help));
    }

    fn checked<T>(&self, ctx: &mut Ctx<'_>, result: Result<T, Wrong>) -> Option<T> {
        result.map_err(|wrong| self.wrong(ctx, wrong)).ok()
    }

    pub(super) fn text(&self, ctx: &mut Ctx<'_>, wanted: &str, example: &str) -> Option<&'t str> {
        if let DeValue::String(text) = self.value {
            return Some(text);
        }
        self.wrong_type(ctx, wanted, example);
        None
    }

    pub(super) fn boolean(&self, ctx: &mut Ctx<'_>) -> Option<bool> {
        if let DeValue::Boolean(truth) = self.value {
            return Some(*truth);
        }
        let example = match self.value {
            DeValue::String(text) if matches!(&**text, "no" | "off" | "false" | "0") => "false",
            DeValue::Integer(number) if integer(number) == Some(0) => "false",
            _ => "true",
        };
        self.wrong_type(ctx, "true or false", example);
        None
    }

    /// A whole number within `bounds`; `what` names the bounds in words where they are not just numbers.
    pub(super) fn number(&self, ctx: &mut Ctx<'_>, bounds: RangeInclusive<i64>, example: &str) -> Option<i64> {
        let DeValue::Integer(number) = self.value else {
            self.wrong_type(ctx, "a whole number", example);
            return None;
        };
        let value = integer(number).filter(|n| bounds.contains(n));
        if value.is_none() {
            self.out_of_bounds(ctx, number, bounds.start(), bounds.end());
        }
        value
    }

    fn out_of_bounds(&self, ctx: &mut Ctx<'_>, value: &dyn Display, low: &dyn Display, high: &dyn Display) {
        self.wrong(ctx, units::outside(value, low, high));
    }

    pub(super) fn duration(&self, ctx: &mut Ctx<'_>, bounds: &RangeInclusive<Duration>) -> Option<Duration> {
        let example = match self.value {
            DeValue::Integer(number) => format!("\"{number}s\""),
            _ => format!("\"{}\"", show_duration((*bounds.start()).max(Duration::from_secs(10)).min(*bounds.end()))),
        };
        let text = self.text(ctx, "a duration in quotes", &example)?;
        self.checked(ctx, units::duration_within(text, bounds))
    }

    /// A size within `bounds`, which are shown as they are written here.
    pub(super) fn size(&self, ctx: &mut Ctx<'_>, (low, high): (&str, &str), example: &str) -> Option<u64> {
        let text = self.text(ctx, "a size in quotes", example)?;
        self.checked(ctx, units::size_within(text, (low, high)))
    }

    /// Growth an hour.
    pub(super) fn rate(&self, ctx: &mut Ctx<'_>) -> Option<u64> {
        let text = self.text(ctx, "a rate in quotes", "\"10MB/h\"")?;
        self.checked(ctx, units::growth(text))
    }

    /// One of the given words.
    pub(super) fn choice<T: Copy>(&self, ctx: &mut Ctx<'_>, words: &[(&str, T)]) -> Option<T> {
        self.choice_beside(ctx, words, None)
    }

    /// The same; `other` is what may stand there too and is no word.
    pub(super) fn choice_beside<T: Copy>(
        &self,
        ctx: &mut Ctx<'_>,
        words: &[(&str, T)],
        other: Option<&str>,
    ) -> Option<T> {
        let all = words.iter().map(|(word, _)| format!("\"{word}\"")).chain(other.map(str::to_owned));
        let all: Vec<String> = all.collect();
        let example = all.first().map_or("", String::as_str);
        let text = self.text(ctx, "one of the known words, in quotes", example)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let near = super::fields::nearest(text, words.iter().map(|(word, _)| *word));
            let help = near.map_or_else(
                || format!("write one of {}", all.join(", ")),
                |word| format!("did you mean \"{word}\"? Possible are {}", all.join(", ")),
            );
            let wrong = Wrong::new(code::BAD_FORM, format!("{} is none of the known words", quoted(text)), "not known");
            self.wrong(ctx, wrong.help(help));
        }
        found
    }

    /// A signal by its name, with or without SIG.
    pub(super) fn signal(&self, ctx: &mut Ctx<'_>, example: &str) -> Option<Signal> {
        let text = self.text(ctx, "a signal's name in quotes", example)?;
        let signal = Signal::parse(text);
        if signal.is_none() {
            let near = Signal::parse(&text.to_ascii_uppercase()).map(|s| s.to_string());
            let help = match near.as_deref().and_then(|name| name.strip_prefix("SIG")) {
                Some(name) => format!("write \"{name}\""),
                None => format!("write one of {}", Signal::names().collect::<Vec<_>>().join(", ")),
            };
            let message = format!("no signal is called {}", quoted(text));
            self.wrong(ctx, Wrong::new(code::BAD_FORM, message, "no signal").help(help));
        }
        signal
    }

    pub(super) fn path(&self, ctx: &mut Ctx<'_>) -> Option<PathBuf> {
        let text = self.text(ctx, "a path in quotes", "\"~/some/path\"")?;
        let result = expand::path(text, ctx.around);
        self.checked(ctx, result)
    }

    /// The members of a list.
    pub(super) fn list(&self, ctx: &mut Ctx<'_>, wanted: &str, example: &str) -> Option<Vec<Field<'t>>> {
        let DeValue::Array(array) = self.value else {
            self.wrong_type(ctx, wanted, example);
            return None;
        };
        let member = |(i, value)| Field::new(format!("{}[{i}]", self.name), value);
        Some(array.iter().enumerate().map(member).collect())
    }

    /// A program and its arguments. There is no shell, and only the program's own path is expanded.
    pub(super) fn argv(&self, ctx: &mut Ctx<'_>, example: &str) -> Option<Vec<String>> {
        let split = match self.value {
            DeValue::String(text) => {
                let words: Vec<String> = text.split_whitespace().map(quoted).collect();
                format!("[{}]", words.join(", "))
            }
            _ => example.to_owned(),
        };
        let members = self.list(ctx, "a list of texts (program and arguments, no shell)", &split)?;
        if members.is_empty() {
            let wrong = Wrong::new(code::MISSING, "the list is empty, so there is no program", "empty");
            self.wrong(ctx, wrong.help(format!("write {example}")));
            return None;
        }
        let mut argv = Vec::with_capacity(members.len());
        for (i, member) in members.iter().enumerate() {
            let number = matches!(member.value, DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_));
            let as_text = if number { format!("{} in quotes", show_scalar(member.value)) } else { "\"text\"".into() };
            let Some(text) = member.text(ctx, "a text in quotes", &as_text) else { continue };
            let result = match i {
                0 => expand::program(text, ctx.around),
                _ => expand::nul_free(text).map(|()| text.to_owned()),
            };
            argv.extend(member.checked(ctx, result));
        }
        (argv.len() == members.len()).then_some(argv)
    }

    /// The table itself.
    pub(super) fn table(&self, ctx: &mut Ctx<'_>, example: &str) -> Option<&'t DeTable<'t>> {
        if let DeValue::Table(table) = self.value {
            return Some(table);
        }
        self.wrong_type(ctx, "a table", example);
        None
    }

    /// Names and texts in a table, such as an environment, in the order of the text.
    pub(super) fn strings(&self, ctx: &mut Ctx<'_>, example: &str) -> Option<Vec<(Field<'t>, &'t str, &'t str)>> {
        let table = self.table(ctx, example)?;
        let mut found = Vec::with_capacity(table.len());
        for (key, value) in table.iter() {
            let field = Field::new(format!("{}.{}", self.name, key.get_ref()), value);
            let scalar = show_scalar(field.value);
            let as_text = if scalar.is_empty() { "\"text\"".into() } else { format!("\"{scalar}\"") };
            if let Some(text) = field.text(ctx, "a text in quotes", &as_text) {
                found.push((field, &**key.get_ref(), text));
            }
        }
        found.sort_by_key(|(field, ..)| field.span.start);
        Some(found)
    }
}

/// A number or truth value as it would stand in the file; empty for anything else.
fn show_scalar(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::String(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => String::new(),
    }
}

/// A TOML integer as a number; `None` beyond 64 bits.
pub(super) fn integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}
