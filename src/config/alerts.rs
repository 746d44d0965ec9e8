//! `[alerts]`: when crashes become an alert, and where alerts go.
//!
//! Decision: a faulty rule counts with its default and a faulty sink is left out, the rest stands as written. Context: an
//! alert that goes to the wrong place helps nobody, but one misspelt sink must not silence the others. Cost: the file has
//! a fault, and is refused by `check` and at reload, while alerts still work in part.

use std::collections::BTreeMap;

use super::bounds;
use super::expand;
use super::fault::code;
use super::fields::Fields;
use super::reader::{Ctx, Field};
use super::units::{Wrong, quoted};
use crate::model::{AlertSpec, CrashWindow, SecretSpec, SinkKind, SinkSpec};

pub(super) const KEYS: &[&str] = &["crash_loop", "storm", "slow_loop", "sink"];
pub(super) const WINDOW_KEYS: &[&str] = &["count", "within"];
pub(super) const SINK_KEYS: &[&str] = &["type", "command", "url", "headers", "secret_file"];

const WINDOW_EXAMPLE: &str = "{ count = 3, within = \"5m\" }";
const SINK_EXAMPLE: &str = "{ type = \"desktop\" }";

const SINKS: &[(&str, SinkKind)] = &[
    ("command", SinkKind::Command),
    ("webhook", SinkKind::Webhook),
    ("slack", SinkKind::Slack),
    ("desktop", SinkKind::Desktop),
    ("log", SinkKind::Log),
    ("ntfy", SinkKind::Ntfy),
    ("email", SinkKind::Email),
];

pub(super) fn read(ctx: &mut Ctx<'_>, f: &Fields<'_>) -> AlertSpec {
    let default = AlertSpec::default();
    let one = |ctx: &mut Ctx<'_>, key: &str| {
        let rule = f.inner(ctx, key, WINDOW_KEYS, WINDOW_EXAMPLE)?;
        window(ctx, &rule)
    };
    let crash_loop = one(ctx, "crash_loop").unwrap_or(default.crash_loop);
    let storm = one(ctx, "storm").unwrap_or(default.storm);
    let slow_loop = match f.get("slow_loop") {
        None => default.slow_loop,
        Some(field) => {
            let rules = f.inner_list(ctx, "slow_loop", WINDOW_KEYS, WINDOW_EXAMPLE);
            let read: Vec<_> = rules.iter().map(|rule| window(ctx, rule)).collect();
            let written = field.value().as_array().map(|array| array.len());
            let whole: Option<Vec<_>> = read.into_iter().collect();
            // An empty list is taken at its word: no such rule.
            whole.filter(|rules| Some(rules.len()) == written).unwrap_or(default.slow_loop)
        }
    };
    let sinks = f.inner_list(ctx, "sink", SINK_KEYS, SINK_EXAMPLE);
    let read: Vec<_> = sinks.iter().filter_map(|sink| self::sink(ctx, sink)).collect();
    let sinks = if sinks.is_empty() { default.sinks } else { read };
    AlertSpec { crash_loop, storm, slow_loop, sinks, ..default }
}

fn window(ctx: &mut Ctx<'_>, f: &Fields<'_>) -> Option<CrashWindow> {
    for key in WINDOW_KEYS {
        if f.get(key).is_none() {
            f.missing(ctx, &format!("`{key}`"), &format!("write {WINDOW_EXAMPLE}"));
        }
    }
    let count = f.get("count").and_then(|field| field.number(ctx, 1..=1000, "3"));
    let within = f.get("within").and_then(|field| field.duration(ctx, &bounds::CRASH_WINDOW));
    Some(CrashWindow { count: u32::try_from(count?).ok()?, within: within? })
}

/// Which of the optional keys a kind of sink has, and which of them it needs.
fn keys_of(kind: SinkKind) -> (&'static [&'static str], &'static str) {
    match kind {
        SinkKind::Command => (&["command"], "command = [\"/usr/local/bin/on-alert\"]"),
        SinkKind::Webhook => (&["url", "headers", "secret_file"], "url = \"https://example.org/hook\""),
        SinkKind::Slack => (&["url", "secret_file"], "url = \"https://hooks.slack.com/services/...\""),
        SinkKind::Ntfy => (&["url", "secret_file"], "url = \"https://ntfy.sh/my-topic\""),
        SinkKind::Email => (&["url", "secret_file"], "url = \"smtps://user@mail.example.org/?to=me@example.org\""),
        SinkKind::Desktop | SinkKind::Log => (&[], ""),
    }
}

fn sink(ctx: &mut Ctx<'_>, f: &Fields<'_>) -> Option<SinkSpec> {
    let kind = f.get("type");
    if kind.is_none() {
        let help = "write type = \"command\", \"webhook\", \"slack\", \"desktop\", \"log\", \"ntfy\" or \"email\"";
        f.missing(ctx, "`type`", help);
    }
    // Everything in the sink is read even when one part is faulty, so that all faults are told.
    let kind = kind.and_then(|field| field.choice(ctx, SINKS));
    let command = f.get("command").map(|field| field.argv(ctx, "[\"/usr/local/bin/on-alert\"]"));
    let url = f.get("url").map(|field| url(ctx, &field, kind));
    let headers = f.get("headers").map(|field| headers(ctx, &field));
    let secret_file = f.get("secret_file").map(|field| field.path(ctx));
    let kind = kind?;
    let (allowed, needed) = keys_of(kind);
    let word = SINKS.iter().find(|(_, k)| *k == kind).map_or("", |(word, _)| word);
    let mut misplaced = false;
    for key in ["command", "url", "headers", "secret_file"] {
        if f.get(key).is_some() && !allowed.contains(&key) {
            misplaced = true;
            let message = format!("a sink of type \"{word}\" has no `{key}`");
            f.conflict(ctx, key, message, "not for this type", "take it out, or write another `type`");
        }
    }
    // The address of a Slack webhook is itself the secret, and may be kept in the file.
    let in_secret = kind == SinkKind::Slack && f.get("secret_file").is_some();
    let needs = allowed.first().copied().filter(|key| f.get(key).is_none() && !in_secret);
    if let Some(key) = needs {
        f.missing(ctx, &format!("`{key}`"), &format!("write {needed}"));
    }
    if misplaced || needs.is_some() {
        return None;
    }
    // An inner `None` is a value that was written and is faulty.
    Some(SinkSpec {
        command: command.map_or(Some(Vec::new()), |argv| argv)?,
        url: url.map_or(Some(None), |url| url.map(Some))?,
        headers: headers.map_or(Some(BTreeMap::new()), |headers| headers)?,
        secret: secret_file.map_or(Some(None), |path| path.map(|path| Some(SecretSpec::File(path))))?,
        ..SinkSpec::new(kind)
    })
}

fn url(ctx: &mut Ctx<'_>, field: &Field<'_>, kind: Option<SinkKind>) -> Option<String> {
    let needed = kind.map_or("", |kind| keys_of(kind).1).trim_start_matches("url = ");
    let example = if needed.starts_with('"') { needed } else { "\"https://example.org/hook\"" };
    let text = field.text(ctx, "an address in quotes", example)?;
    let schemes: &[&str] = match kind {
        Some(SinkKind::Email) => &["smtps://", "smtp://"],
        _ => &["https://", "http://"],
    };
    let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or(rest));
    let well = host.is_some_and(|host| !host.is_empty()) && text.chars().all(|c| c.is_ascii_graphic());
    if !well {
        let message = format!("{} is not an address that begins with {}", quoted(text), schemes.join(" or "));
        field.wrong(ctx, Wrong::new(code::ADDRESS, message, "not such a URL").help(format!("write e.g. {example}")));
        return None;
    }
    Some(text.to_owned())
}

fn headers(ctx: &mut Ctx<'_>, field: &Field<'_>) -> Option<BTreeMap<String, String>> {
    let pairs = field.strings(ctx, "{ X-Source = \"supervisor\" }")?;
    // RFC 9110: a name is a token, and a value is visible text.
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let mut headers = BTreeMap::new();
    let mut well = field.value().as_table().is_some_and(|table| table.len() == pairs.len());
    for (member, name, text) in pairs {
        let checked = expand::expand(text, ctx.around).and_then(|value| {
            if name.is_empty() || !name.chars().all(is_token) {
                let message = format!("{} cannot be the name of a header", quoted(name));
                return Err(Wrong::new(code::BAD_FORM, message, "badly named").help("use letters, digits and dashes"));
            }
            if value.chars().any(char::is_control) {
                let wrong =
                    Wrong::new(code::BAD_FORM, "the value of a header is one line", "holds a control character");
                return Err(wrong.help("take out line ends and other control characters"));
            }
            Ok(value)
        });
        match checked {
            Ok(value) => _ = headers.insert(name.to_owned(), value),
            Err(wrong) => {
                well = false;
                member.wrong(ctx, wrong);
            }
        }
    }
    well.then_some(headers)
}
