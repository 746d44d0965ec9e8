//! One table of the file: its keys by name, with defaults; and what to say of a key that does not belong there.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::fault::code;
use super::reader::{Ctx, Field, Span};
use super::units::{Wrong, quoted};

/// A table with the keys that may stand in it. A getter answers with the default where the key is missing or faulty; a
/// fault is on record then, and makes the whole unit unusable, so the default never counts.
pub(super) struct Fields<'t> {
    /// `service.gateway.health`; empty for the file itself.
    name: String,
    /// Where to point when a key is missing.
    pub(super) span: Span,
    table: &'t DeTable<'t>,
    keys: &'static [&'static str],
}

impl<'t> Fields<'t> {
    /// Reports every key that is not one of `keys`.
    pub(super) fn open(
        ctx: &mut Ctx<'_>,
        field: &Field<'t>,
        table: &'t DeTable<'t>,
        keys: &'static [&'static str],
    ) -> Self {
        Self::open_beside(ctx, field, table, keys, &[])
    }

    /// The same, where something has been said of the keys in `told` already.
    pub(super) fn open_beside(
        ctx: &mut Ctx<'_>,
        field: &Field<'t>,
        table: &'t DeTable<'t>,
        keys: &'static [&'static str],
        told: &[&str],
    ) -> Self {
        let fields = Self { name: field.name.clone(), span: field.span.clone(), table, keys };
        for (key, _) in table.iter() {
            if !keys.contains(&&**key.get_ref()) && !told.contains(&&**key.get_ref()) {
                ctx.report(&key.span(), unknown_key(&fields.name, key.get_ref(), keys));
            }
        }
        fields
    }

    /// Opens the table at `key`, if it is there.
    pub(super) fn inner(
        &self,
        ctx: &mut Ctx<'_>,
        key: &str,
        keys: &'static [&'static str],
        example: &str,
    ) -> Option<Fields<'t>> {
        let field = self.get(key)?;
        let table = field.table(ctx, example)?;
        Some(Fields::open(ctx, &field, table, keys))
    }

    /// Opens the member tables of the list at `key`; empty when it is not there.
    pub(super) fn inner_list(
        &self,
        ctx: &mut Ctx<'_>,
        key: &str,
        keys: &'static [&'static str],
        example: &str,
    ) -> Vec<Fields<'t>> {
        let list = format!("[{example}]");
        let members = self.get(key).and_then(|field| field.list(ctx, "a list of tables", &list)).unwrap_or_default();
        let open = |member: Field<'t>| {
            let table = member.table(ctx, example)?;
            Some(Fields::open(ctx, &member, table, keys))
        };
        members.into_iter().filter_map(open).collect()
    }

    /// The value at `key`.
    pub(super) fn get(&self, key: &str) -> Option<Field<'t>> {
        debug_assert!(self.keys.contains(&key), "`{key}` is read but not among the keys of {}", self.name);
        self.table.get(key).map(|value| Field::new(self.full(key), value))
    }

    /// Whether `key` may stand here.
    pub(super) fn has_key(&self, key: &str) -> bool {
        self.keys.contains(&key)
    }

    /// Full name of a key.
    pub(super) fn full(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// Says that something has to be here.
    pub(super) fn missing(&self, ctx: &mut Ctx<'_>, what: &str, help: &str) {
        let message = format!("`{}`: {what} is missing", self.name);
        ctx.report(&self.span, Wrong::new(code::MISSING, message, format!("{what} is missing")).help(help));
    }

    /// Says that what stands at `key` does not go with the rest.
    pub(super) fn conflict(&self, ctx: &mut Ctx<'_>, key: &str, message: String, label: &str, help: &str) {
        let wrong = Wrong::new(code::CONFLICT, message, label).help(help);
        match self.get(key) {
            Some(field) => field.wrong(ctx, wrong),
            None => {
                ctx.report(&self.span, Wrong { message: format!("`{}`: {}", self.full(key), wrong.message), ..wrong })
            }
        }
    }

    pub(super) fn boolean(&self, ctx: &mut Ctx<'_>, key: &str, default: bool) -> bool {
        self.get(key).and_then(|f| f.boolean(ctx)).unwrap_or(default)
    }

    pub(super) fn duration(
        &self,
        ctx: &mut Ctx<'_>,
        key: &str,
        default: Duration,
        bounds: &RangeInclusive<Duration>,
    ) -> Duration {
        self.get(key).and_then(|f| f.duration(ctx, bounds)).unwrap_or(default)
    }

    /// A whole number that fits 32 bits.
    pub(super) fn number(&self, ctx: &mut Ctx<'_>, key: &str, default: u32, bounds: RangeInclusive<u32>) -> u32 {
        let wide = i64::from(*bounds.start())..=i64::from(*bounds.end());
        let found = self.get(key).and_then(|f| f.number(ctx, wide, &default.to_string()));
        found.and_then(|n| u32::try_from(n).ok()).unwrap_or(default)
    }

    pub(super) fn choice<T: Copy>(&self, ctx: &mut Ctx<'_>, key: &str, default: T, words: &[(&str, T)]) -> T {
        self.get(key).and_then(|f| f.choice(ctx, words)).unwrap_or(default)
    }

    pub(super) fn path(&self, ctx: &mut Ctx<'_>, key: &str) -> Option<PathBuf> {
        self.get(key)?.path(ctx)
    }

    /// The same, where a single member may also stand there by itself, which is one of the types that `is_one` knows.
    pub(super) fn list_or_one<T>(
        &self,
        ctx: &mut Ctx<'_>,
        key: &str,
        wanted: (&str, &str),
        is_one: impl FnOnce(&DeValue<'_>) -> bool,
        mut read: impl FnMut(&mut Ctx<'_>, &Field<'t>) -> Option<T>,
    ) -> Vec<T> {
        match self.get(key).filter(|field| is_one(field.value())) {
            Some(one) => read(ctx, &one).into_iter().collect(),
            None => self.list(ctx, key, wanted, read),
        }
    }

    /// The members of a list, each read by `read`; empty when the key is missing.
    pub(super) fn list<T>(
        &self,
        ctx: &mut Ctx<'_>,
        key: &str,
        (wanted, example): (&str, &str),
        mut read: impl FnMut(&mut Ctx<'_>, &Field<'t>) -> Option<T>,
    ) -> Vec<T> {
        let members = self.get(key).and_then(|f| f.list(ctx, wanted, example)).unwrap_or_default();
        members.iter().filter_map(|member| read(ctx, member)).collect()
    }
}

/// What other tools call our keys: the person knows what is meant, only not what it is called here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("args", "command"),
    ("autorestart", "restart"),
    ("autostart", "enabled"),
    ("cmd", "command"),
    ("cron", "calendar"),
    ("depends_on", "after"),
    ("directory", "cwd"),
    ("disabled", "enabled"),
    ("environment", "env"),
    ("environment_file", "env_file"),
    ("exec", "command"),
    ("exit_timeout", "stop_timeout"),
    ("kill_timeout", "stop_timeout"),
    ("liveness", "health"),
    ("max_memory", "limit"),
    ("port", "ports"),
    ("program", "command"),
    ("requires", "after"),
    ("retries", "failures"),
    ("schedule", "calendar"),
    ("script", "command"),
    ("throttle_interval", "throttle"),
    ("tz", "timezone"),
    ("url", "http"),
    ("working_directory", "cwd"),
    ("workdir", "cwd"),
];

fn unknown_key(table: &str, key: &str, keys: &[&str]) -> Wrong {
    let place = if table.is_empty() { "this file".to_owned() } else { format!("[{table}]") };
    let message = format!("{place} has no key {}", quoted(key));
    let elsewhere =
        ELSEWHERE.iter().find(|(theirs, ours)| *theirs == key && keys.contains(ours)).map(|(_, ours)| *ours);
    let help = match nearest(key, keys.iter().copied()).or(elsewhere) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("possible here: {}", keys.join(", ")),
    };
    Wrong::new(code::UNKNOWN_KEY, message, "not known here").help(help)
}

/// The word that was probably meant: the same but for case, blanks and dashes, or a slip or two away.
pub(super) fn nearest<'k>(typed: &str, words: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    if typed.len() > 64 {
        // Nobody meant one of our words by that, and the distance costs the product of both lengths.
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', ' '], "_");
    let typed = plain(typed);
    let most = (typed.chars().count() / 3).clamp(1, 3);
    words
        .map(|word| (strsim::damerau_levenshtein(&typed, &plain(word)), word))
        .filter(|(distance, word)| *distance <= most && *distance < word.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_seen_and_another_word_is_not() {
        let words = ["throttle", "stop_timeout", "cwd", "env", "on-failure"];
        for (typed, want) in [
            ("throtle", Some("throttle")),
            ("Stop-Timeout", Some("stop_timeout")),
            ("stoptimeout", Some("stop_timeout")),
            ("cdw", Some("cwd")),
            ("on_failure", Some("on-failure")),
            ("banana", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, words.into_iter()), want, "{typed}");
        }
    }
}
