//! `[[alerts.sink]]`: one place alerts go to, and where its secret is kept.
//!
//! Nothing that is told here quotes an address or a secret: faults are logged, too.

use std::collections::BTreeMap;

use super::address::Address;
use super::bounds;
use super::expand;
use super::fault::code;
use super::fields::Fields;
use super::reader::{Ctx, Field};
use super::units::{Wrong, quoted};
use crate::model::{SecretSpec, Severity, SinkKind, SinkSpec};

pub(super) const KEYS: &[&str] = &[
    "type",
    "name",
    "min_severity",
    "timeout",
    "command",
    "url",
    "headers",
    "secret_file",
    "secret_env",
    "secret_keychain",
];
pub(super) const SECRET_KEYS: [&str; 3] = ["secret_file", "secret_env", "secret_keychain"];

const EXAMPLE: &str = "{ type = \"desktop\" }";

const KINDS: &[(&str, SinkKind)] = &[
    ("command", SinkKind::Command),
    ("webhook", SinkKind::Webhook),
    ("slack", SinkKind::Slack),
    ("desktop", SinkKind::Desktop),
    ("log", SinkKind::Log),
    ("ntfy", SinkKind::Ntfy),
    ("email", SinkKind::Email),
];

const SEVERITIES: &[(&str, Severity)] =
    &[("info", Severity::Info), ("warning", Severity::Warning), ("critical", Severity::Critical)];

/// Those that can be used; `None` where there are none.
pub(super) fn read_all(ctx: &mut Ctx<'_>, alerts: &Fields<'_>) -> Option<Vec<SinkSpec>> {
    let tables = alerts.inner_list(ctx, "sink", KEYS, EXAMPLE);
    let written = names(ctx, &tables);
    let mut taken: Vec<String> = written.iter().flatten().cloned().collect();
    let mut read = Vec::with_capacity(tables.len());
    for (f, name) in tables.iter().zip(written) {
        let kind = kind(ctx, f);
        // A faulty sink has its name all the same, so that those after it do not take over what is on its way there.
        let name = name.or_else(|| {
            let name = free_name(kind?, &taken);
            taken.push(name.clone());
            Some(name)
        });
        let faultless = sink(ctx, f, kind);
        read.extend(name.zip(faultless).map(|(name, sink)| SinkSpec { name, ..sink }));
    }
    // With a way out that nobody asked for somebody hears of it; with none nobody does.
    (!read.is_empty()).then_some(read)
}

/// The kind as its name, with a number from the second on.
fn free_name(kind: SinkKind, taken: &[String]) -> String {
    let plain = kind.as_str();
    let numbered = (2..=taken.len() + 1).map(|n| format!("{plain}-{n}"));
    std::iter::once(plain.to_owned()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or_default()
}

/// The names that are written, as far as they can be used.
fn names(ctx: &mut Ctx<'_>, tables: &[Fields<'_>]) -> Vec<Option<String>> {
    const LONGEST: usize = 64;
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let mut seen: Vec<(&str, usize)> = Vec::new();
    let mut names = Vec::with_capacity(tables.len());
    for f in tables {
        let field = f.get("name");
        let name = field.as_ref().and_then(|field| field.text(ctx, "a name in quotes", "\"ops\""));
        let (Some(field), Some(name)) = (field, name) else {
            names.push(None);
            continue;
        };
        let first = seen.iter().find(|(other, _)| *other == name);
        let wrong = if name.is_empty() || name.len() > LONGEST || !name.chars().all(is_letter) {
            let message = format!("{} cannot be the name of a sink", quoted(name));
            let help = format!("use letters, digits, `-` and `_`, at most {LONGEST} characters");
            Some(Wrong::new(code::NAME, message, "not a name").help(help))
        } else {
            first.map(|(_, at)| {
                let message = format!("there is a sink {} already (line {})", quoted(name), ctx.line(*at));
                Wrong::new(code::NAME, message, "a second one of this name").help("give it another name")
            })
        };
        match wrong {
            Some(wrong) => {
                field.wrong(ctx, wrong);
                names.push(None);
            }
            None => {
                seen.push((name, field.span.start));
                names.push(Some(name.to_owned()));
            }
        }
    }
    names
}

fn kind(ctx: &mut Ctx<'_>, f: &Fields<'_>) -> Option<SinkKind> {
    let Some(field) = f.get("type") else {
        let help = "write type = \"command\", \"webhook\", \"slack\", \"desktop\", \"log\", \"ntfy\" or \"email\"";
        f.missing(ctx, "`type`", help);
        return None;
    };
    field.choice(ctx, KINDS)
}

/// Which of the optional keys a kind of sink has, and which of them it needs.
fn keys_of(kind: SinkKind) -> (&'static [&'static str], &'static str) {
    const ADDRESS_AND_SECRET: &[&str] = &["url", "secret_file", "secret_env", "secret_keychain"];
    match kind {
        SinkKind::Command => (&["command"], "command = [\"/usr/local/bin/on-alert\"]"),
        SinkKind::Webhook => {
            (&["url", "headers", "secret_file", "secret_env", "secret_keychain"], "url = \"https://example.org/hook\"")
        }
        SinkKind::Slack => (ADDRESS_AND_SECRET, "secret_file = \"~/.openclaw/slack-url\""),
        SinkKind::Ntfy => (ADDRESS_AND_SECRET, "url = \"https://ntfy.sh/my-topic\""),
        SinkKind::Email => (ADDRESS_AND_SECRET, "url = \"smtps://user@mail.example.org/?to=me@example.org\""),
        SinkKind::Desktop | SinkKind::Log => (&[], ""),
    }
}

/// Everything but its name, which is read before it. All is read even when one part is faulty, so that all faults are told.
fn sink(ctx: &mut Ctx<'_>, f: &Fields<'_>, kind: Option<SinkKind>) -> Option<SinkSpec> {
    let min_severity = f.get("min_severity").map(|field| field.choice(ctx, SEVERITIES));
    let timeout = f.get("timeout").map(|field| field.duration(ctx, &bounds::SINK_TIMEOUT));
    let command = f.get("command").map(|field| field.argv(ctx, "[\"/usr/local/bin/on-alert\"]"));
    let secret = secret(ctx, f);
    let has_secret = SECRET_KEYS.iter().any(|key| f.get(key).is_some());
    let url = f.get("url").map(|field| url(ctx, &field, kind, has_secret));
    let headers = f.get("headers").map(|field| headers(ctx, &field));
    let kind = kind?;
    let (allowed, needed) = keys_of(kind);
    let mut faulty = false;
    for key in ["command", "url", "headers"].into_iter().chain(SECRET_KEYS) {
        if f.get(key).is_some() && !allowed.contains(&key) {
            faulty = true;
            let message = format!("a sink of type \"{}\" has no `{key}`", kind.as_str());
            f.conflict(ctx, key, message, "not for this type", "take it out, or write another `type`");
        }
    }
    // The address of a Slack webhook is itself the secret, and may be kept where secrets are.
    let is_slack = kind == SinkKind::Slack;
    if is_slack && has_secret && f.get("url").is_some() {
        faulty = true;
        let message = "the secret of a sink of type \"slack\" is its address, so there are two of them".to_owned();
        f.conflict(ctx, "url", message, "a second address", "keep the secret, and take `url` out");
    }
    if let Some(key) = allowed.first().filter(|key| f.get(key).is_none() && !(is_slack && has_secret)) {
        faulty = true;
        let what = if is_slack { "`url` or a secret".into() } else { format!("`{key}`") };
        f.missing(ctx, &what, &format!("write {needed}"));
    }
    if faulty {
        return None;
    }
    // An inner `None` is a value that was written and is faulty.
    let default = SinkSpec::new(kind);
    Some(SinkSpec {
        min_severity: min_severity.unwrap_or(Some(default.min_severity))?,
        timeout: timeout.unwrap_or(Some(default.timeout))?,
        command: command.unwrap_or(Some(Vec::new()))?,
        url: url.map_or(Some(None), |url| url.map(Some))?,
        headers: headers.unwrap_or(Some(BTreeMap::new()))?,
        secret: secret?,
        ..default
    })
}

/// Where the secret is, if there is one; `None` is a place that was written and cannot be one.
pub(super) fn secret(ctx: &mut Ctx<'_>, f: &Fields<'_>) -> Option<Option<SecretSpec>> {
    let present: Vec<&str> = SECRET_KEYS.into_iter().filter(|key| f.get(key).is_some()).collect();
    for extra in present.iter().skip(1) {
        let message = format!("there is `{}` already, and a secret is in one place", present[0]);
        f.conflict(ctx, extra, message, "a second secret", "keep one of them");
    }
    let read: Vec<Option<SecretSpec>> = present
        .iter()
        .map(|key| {
            let field = f.get(key)?;
            match *key {
                "secret_file" => field.path(ctx).map(SecretSpec::File),
                "secret_env" => variable(ctx, &field).map(SecretSpec::Env),
                _ => keychain(ctx, &field).map(SecretSpec::Keychain),
            }
        })
        .collect();
    match <[_; 1]>::try_from(read) {
        Ok([one]) => one.map(Some),
        Err(none) if none.is_empty() => Some(None),
        Err(_) => None,
    }
}

fn variable(ctx: &mut Ctx<'_>, field: &Field<'_>) -> Option<String> {
    let text = field.text(ctx, "the name of a variable, in quotes", "\"ALERT_SECRET\"")?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit()) || !text.chars().all(is_name) {
        // It is not shown: whoever is mistaken here has most likely written the secret itself.
        let wrong = Wrong::new(code::BAD_FORM, "this cannot be the name of a variable", "not a name");
        let help =
            "write the name of a variable of the daemon's environment, such as \"ALERT_SECRET\", not what is in it";
        field.wrong(ctx, wrong.help(help));
        return None;
    }
    Some(text.to_owned())
}

fn keychain(ctx: &mut Ctx<'_>, field: &Field<'_>) -> Option<String> {
    let text = field.text(ctx, "the name of a keychain item, in quotes", "\"supervisor-slack\"")?;
    if text.is_empty() || text.chars().any(char::is_control) {
        let wrong = Wrong::new(code::BAD_FORM, "this cannot be the name of a keychain item", "not a name");
        let help = "write the service name of the item, as `security add-generic-password -s NAME` has it";
        field.wrong(ctx, wrong.help(help));
        return None;
    }
    Some(text.to_owned())
}

fn url(ctx: &mut Ctx<'_>, field: &Field<'_>, kind: Option<SinkKind>, has_secret: bool) -> Option<String> {
    let schemes: &[&str] = if kind == Some(SinkKind::Email) { &["smtps", "smtp"] } else { &["https", "http"] };
    let example = match kind {
        Some(SinkKind::Slack) => "\"https://hooks.slack.com/services/...\"",
        Some(kind) => keys_of(kind).1.strip_prefix("url = ").unwrap_or("\"https://example.org/hook\""),
        None => "\"https://example.org/hook\"",
    };
    let text = field.text(ctx, "an address in quotes", example)?;
    match check_url(text, schemes, example, kind, has_secret) {
        Ok(()) => Some(text.to_owned()),
        Err(wrong) => {
            field.wrong(ctx, wrong);
            None
        }
    }
}

/// The address of a dead man's switch.
pub(super) fn plain_url(ctx: &mut Ctx<'_>, field: &Field<'_>) -> Option<String> {
    url(ctx, field, None, false)
}

fn check_url(
    text: &str,
    schemes: &[&str],
    example: &str,
    kind: Option<SinkKind>,
    has_secret: bool,
) -> Result<(), Wrong> {
    let wrong = |message: String, label: &str| Wrong::new(code::ADDRESS, message, label);
    let e_g = format!("write e.g. {example}");
    let begins = schemes.iter().map(|scheme| format!("{scheme}://")).collect::<Vec<_>>().join(" or ");
    if !schemes.iter().any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| rest.starts_with("://"))) {
        return Err(wrong(format!("it is not an address that begins with {begins}"), "not such a URL").help(e_g));
    }
    let address = Address::parse(text).map_err(|what| wrong(what.to_owned(), "not a URL").help(e_g.clone()))?;
    let is_email = kind == Some(SinkKind::Email);
    if address.user.is_some_and(|user| user.contains(':') || !is_email) {
        let help = match kind {
            Some(SinkKind::Webhook) => {
                "take it out, and write a header; ${VAR} in its value keeps the secret out of this file"
            }
            _ => "take it out, and write secret_file, secret_env or secret_keychain",
        };
        return Err(wrong("a secret does not belong into an address".into(), "before the `@`").help(help));
    }
    // The address of a Slack webhook lets whoever knows it post.
    let is_secret = has_secret || kind == Some(SinkKind::Slack);
    // Mail is encrypted with smtp://, too: nothing is said to a server that offers no STARTTLS.
    if is_secret && address.scheme == "http" && !address.is_loopback() {
        let message = "with http:// what is secret would go over the network for all to read".into();
        return Err(wrong(message, "not encrypted").help("write https://"));
    }
    match kind {
        Some(SinkKind::Ntfy) if address.path.trim_matches('/').is_empty() => {
            Err(wrong("it names no topic".into(), "no topic").help(e_g))
        }
        Some(SinkKind::Email) if address.user.is_some() && !has_secret => {
            let what = "it names a user, and there is no secret_file, secret_env or secret_keychain with the password";
            let help = "write e.g. secret_file = \"~/.openclaw/mail-password\", or take the user out of the address";
            Err(wrong(what.into(), "no password").help(help))
        }
        Some(SinkKind::Email) => mail(&address, has_secret).map_err(|(what, label)| wrong(what, label).help(e_g)),
        _ => Ok(()),
    }
}

/// Whom a mail is for and who sends it.
fn mail(address: &Address<'_>, has_secret: bool) -> Result<(), (String, &'static str)> {
    match address.user {
        Some(user) if user.contains('@') => {
            return Err(("an `@` in the name of its user is written %40".into(), "two of `@`"));
        }
        None if has_secret => return Err(("there is a password, and no user that it is of".into(), "no user")),
        _ => {}
    }
    let is_mailbox = |text: &str| {
        let text = text.replace("%40", "@");
        text.split_once('@').is_some_and(|(who, at)| !who.is_empty() && !at.is_empty() && !at.contains('@'))
    };
    let mut has_to = false;
    for part in address.query.split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some(("to", value)) if value.split(',').all(is_mailbox) => has_to = true,
            Some(("from", value)) if is_mailbox(value) => {}
            Some((key @ ("to" | "from"), _)) => {
                return Err((format!("`{key}` is no mail address"), "not a mail address"));
            }
            _ => return Err((format!("{} is neither to= nor from=", quoted(part)), "not known")),
        }
    }
    if has_to { Ok(()) } else { Err(("it does not say whom the mail is for: `to` is missing".into(), "no `to`")) }
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
