//! `[[service.NAME.watch]]`: the folders of the built-in file-watcher, and what is run for each file in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ignore::gitignore::GitignoreBuilder;

use super::bounds::{self, secs};
use super::fault::code;
use super::fields::{Fields, nearest};
use super::reader::{Ctx, Field, Span};
use super::service::{non_empty, only_for};
use super::units::{Wrong, quoted};
use crate::model::{Builtin, Initial, PLACEHOLDERS, WatchOn, WatchSpec};

pub(super) const KEYS: &[&str] = &[
    "name",
    "paths",
    "on",
    "recursive",
    "settle",
    "ignore",
    "run",
    "concurrency",
    "timeout",
    "retries",
    "retry_delay",
    "initial",
    "poll",
];

const ONS: &[(&str, WatchOn)] = &[
    ("created", WatchOn::Created),
    ("modified", WatchOn::Modified),
    ("removed", WatchOn::Removed),
    ("renamed", WatchOn::Renamed),
];
const INITIALS: &[(&str, Initial)] = &[("seen", Initial::Seen), ("handle", Initial::Handle)];

const PATHS_EXAMPLE: &str = "[\"~/Downloads\"]";
const RUN_EXAMPLE: &str = "[\"program\", \"{path}\"]";

pub(super) fn read(ctx: &mut Ctx<'_>, service: &Fields<'_>, builtin: Option<Builtin>) -> Vec<WatchSpec> {
    const EXAMPLE: &str = "{ paths = [\"~/Downloads\"], run = [\"/usr/local/bin/handler\", \"{path}\"] }";
    let is_watcher = only_for(ctx, service, "watch", builtin, Builtin::FileWatcher);
    let tables = service.inner_list(ctx, "watch", KEYS, EXAMPLE);
    if is_watcher && tables.is_empty() {
        service.missing(ctx, "a `watch` table", &format!("write watch = [{EXAMPLE}]"));
    }
    // What is remembered of a file is remembered under its set's name.
    let mut names: BTreeMap<String, Span> = BTreeMap::new();
    let mut specs = Vec::with_capacity(tables.len());
    for f in &tables {
        let spec = set(ctx, f);
        let named = f.get("name");
        let at = named.as_ref().or(f.get("paths").as_ref()).map_or(&f.span, |field| &field.span).clone();
        match names.get(&spec.name).filter(|_| !spec.name.is_empty()) {
            Some(first) => {
                let line = ctx.line(first.start);
                let by = if named.is_some() { "" } else { ", which is its first path where `name` is not written" };
                let message = format!(
                    "`{}`: the name {}{by} belongs to another set of this service (line {line})",
                    f.full("name"),
                    quoted(&spec.name)
                );
                let wrong = Wrong::new(code::NAME, message, "a second one of this name");
                ctx.report(&at, wrong.help("give each set a `name` of its own, such as name = \"invoices\""));
            }
            None => _ = names.insert(spec.name.clone(), at),
        }
        specs.push(spec);
    }
    specs
}

fn set(ctx: &mut Ctx<'_>, f: &Fields<'_>) -> WatchSpec {
    for (key, example) in [("paths", PATHS_EXAMPLE), ("run", RUN_EXAMPLE)] {
        if f.get(key).is_none() {
            f.missing(ctx, &format!("`{key}`"), &format!("write {key} = {example}"));
        }
    }
    let on = f.list(ctx, "on", ("a list of words", "[\"created\"]"), |ctx, member| member.choice(ctx, ONS));
    let on = match f.get("on") {
        Some(_) => non_empty(ctx, f, "on", "nothing is reacted to", |_| on),
        None => vec![WatchOn::Created],
    };
    let recursive = f.boolean(ctx, "recursive", false);
    let paths = non_empty(ctx, f, "paths", "no folder is watched", |ctx| paths(ctx, f, recursive));
    let named = f.get("name").and_then(|field| name(ctx, &field));
    WatchSpec {
        name: named.unwrap_or_else(|| paths.first().map_or(String::new(), |path| path.display().to_string())),
        paths,
        on,
        recursive,
        settle: f.duration(ctx, "settle", secs(2), &bounds::SETTLE),
        ignore: f.list(ctx, "ignore", ("a list of globs", "[\"*.part\"]"), glob),
        run: f.get("run").and_then(|field| run(ctx, &field)).unwrap_or_default(),
        concurrency: f.number(ctx, "concurrency", 1, 1..=256),
        timeout: f.duration(ctx, "timeout", secs(300), &bounds::HANDLER_TIMEOUT),
        retries: f.number(ctx, "retries", 3, 0..=100),
        retry_delay: f.duration(ctx, "retry_delay", secs(10), &bounds::STEP_RETRY_DELAY),
        initial: f.choice(ctx, "initial", Initial::Seen, INITIALS),
        poll: f.get("poll").and_then(|field| field.duration(ctx, &bounds::POLL)),
    }
}

/// It is typed after `--set`, and stands in tables.
fn name(ctx: &mut Ctx<'_>, field: &Field<'_>) -> Option<String> {
    const LONGEST: usize = 200;
    let text = field.text(ctx, "a name in quotes", "\"downloads\"")?;
    let message = if text.trim().is_empty() {
        "a set's name is not empty".to_owned()
    } else if text.chars().any(char::is_control) {
        format!("{} holds a control character", quoted(text))
    } else if text.len() > LONGEST {
        format!("the name has {} bytes, more than {LONGEST}", text.len())
    } else {
        return Some(text.to_owned());
    };
    field.wrong(ctx, Wrong::new(code::NAME, message, "not a name").help("write a word or two, such as \"downloads\""));
    None
}

/// The folders. One that is another's, or within another when sub-folders are watched too, would have its files seen twice.
fn paths(ctx: &mut Ctx<'_>, f: &Fields<'_>, recursive: bool) -> Vec<PathBuf> {
    let found = f.list(ctx, "paths", ("a list of paths", PATHS_EXAMPLE), |ctx, member| {
        member.path(ctx).map(|path| (path, member.clone()))
    });
    for (at, (path, field)) in found.iter().enumerate() {
        let covers = |a: &Path, b: &Path| a == b || (recursive && b.starts_with(a));
        let other = found[..at].iter().find(|(other, _)| covers(other, path) || covers(path, other));
        let Some((other, _)) = other else { continue };
        let (message, help) = if path == other {
            (format!("{} stands there twice", path.display()), "write each folder once")
        } else {
            let (outer, inner) = if path.starts_with(other) { (other, path) } else { (path, other) };
            let (outer, inner) = (outer.display(), inner.display());
            let message =
                format!("{inner} is within {outer}, whose sub-folders are watched too: one file would be two");
            (message, "take the inner folder out, or give it a [[service.NAME.watch]] of its own")
        };
        field.wrong(ctx, Wrong::new(code::CONFLICT, message, "watched already").help(help));
    }
    found.into_iter().map(|(path, _)| path).collect()
}

/// A glob as the watcher will read it.
fn glob(ctx: &mut Ctx<'_>, field: &Field<'_>) -> Option<String> {
    let text = field.text(ctx, "a glob in quotes", "\"*.part\"")?;
    let mut builder = GitignoreBuilder::new("/");
    let why = match builder.add_line(None, text).map(|_| ()).and_then(|()| builder.build()) {
        Ok(built) if built.is_empty() && text.starts_with('#') => "a line that begins with # is a comment".to_owned(),
        Ok(built) if built.is_empty() => "it is empty, and leaves nothing alone".to_owned(),
        Ok(_) => return Some(text.to_owned()),
        Err(ignore::Error::Glob { err, .. }) => err,
        Err(error) => error.to_string(),
    };
    let help = if text.starts_with('#') {
        format!("write {}, or take it out", quoted(&format!("\\{text}")))
    } else {
        "write a glob as in a .gitignore, such as \"*.part\" or \"drafts/\"; a backslash before [ { * ? takes them as they \
         are"
        .to_owned()
    };
    let message = format!("{} is no glob in gitignore's syntax: {why}", quoted(text));
    field.wrong(ctx, Wrong::new(code::BAD_FORM, message, "no glob").help(help));
    None
}

/// The handler's argv. What stands in braces is either one of the placeholders, or no word.
fn run(ctx: &mut Ctx<'_>, field: &Field<'_>) -> Option<Vec<String>> {
    let argv = field.argv(ctx, RUN_EXAMPLE)?;
    for (member, _) in field.list(ctx, "a list of texts", RUN_EXAMPLE)?.iter().zip(&argv) {
        let text = member.text(ctx, "a text in quotes", "\"{path}\"")?;
        for (at, word) in words_in_braces(text).filter(|(_, word)| !PLACEHOLDERS.contains(word)) {
            let known = PLACEHOLDERS.map(|word| format!("{{{word}}}")).join(" ");
            let help = match nearest(word, PLACEHOLDERS.into_iter()) {
                Some(near) => format!("did you mean {{{near}}}? There are {known}"),
                None => format!("there are {known}"),
            };
            let wrong =
                Wrong::new(code::BAD_FORM, format!("{{{word}}} stands for nothing here"), "not known here").help(help);
            member.wrong_part(ctx, &(at..at + word.len() + 2), wrong);
        }
    }
    Some(argv)
}

/// Each `{word}` of lower-case letters, and where it begins. Other braces (JSON, a shell's `${X}`) are what they are.
fn words_in_braces(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.match_indices('{').filter_map(|(at, _)| {
        let word = text[at + 1..].split_once('}')?.0;
        (!word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase())).then_some((at, word))
    })
}
