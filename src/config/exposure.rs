//! `[task.NAME]` with `ensure`: something that is made to hold, and looked at again and again.

use toml::de::DeTable;

use super::bounds::{self, secs};
use super::fault::code;
use super::fields::Fields;
use super::reader::{Ctx, Field};
use super::service::environment;
use super::task;
use super::units::Wrong;
use crate::model::{ExposureSpec, UnitName};

pub(super) const KEYS: &[&str] = &[
    "ensure",
    "check",
    "undo",
    "interval",
    "timeout",
    "retry_delay",
    "backoff_max",
    "enabled",
    "cwd",
    "env",
    "env_file",
];

const ENSURE_EXAMPLE: &str = "[\"tailscale\", \"serve\", \"--bg\", \"18789\"]";
const CHECK_EXAMPLE: &str = "[\"ssh\", \"-S\", \"/tmp/forward.sock\", \"-O\", \"check\", \"host\"]";
const UNDO_EXAMPLE: &str = "[\"tailscale\", \"serve\", \"reset\"]";

/// Keys that only a calendar job has.
fn of_jobs() -> impl Iterator<Item = &'static str> {
    task::KEYS.iter().copied().filter(|key| !KEYS.contains(key))
}

/// Whether a `[task.NAME]` is one of these, and no calendar job.
pub(super) fn is_one(table: &DeTable<'_>) -> bool {
    let is_job = || ["calendar", "steps"].iter().any(|key| table.contains_key(*key));
    let has_own = || KEYS.iter().any(|key| !task::KEYS.contains(key) && table.contains_key(*key));
    table.contains_key("ensure") || (!is_job() && has_own())
}

/// The keys of `table` that make it both: each is told, with what belongs together.
pub(super) fn mixed(ctx: &mut Ctx<'_>, field: &Field<'_>, table: &DeTable<'_>) -> Vec<&'static str> {
    const HELP: &str = "`ensure`, `check`, `undo` make one thing hold, `calendar` and `steps` are a calendar job: make two [task.NAME] of it";
    let wrong: Vec<&str> = match is_one(table) {
        true => of_jobs().filter(|key| table.contains_key(*key)).collect(),
        false => ["check", "undo"].into_iter().filter(|key| table.contains_key(*key)).collect(),
    };
    for (key, _) in table.iter().filter(|(key, _)| wrong.contains(&&**key.get_ref())) {
        let (name, kind) = match is_one(table) {
            true => (key.get_ref(), "a calendar job, and `ensure` makes this none"),
            false => (key.get_ref(), "what `ensure` makes hold, and `calendar` or `steps` make this a calendar job"),
        };
        let message = format!("`{}.{name}`: it belongs to {kind}", field.name);
        ctx.report(&key.span(), Wrong::new(code::CONFLICT, message, "does not belong here").help(HELP));
    }
    wrong
}

pub(super) fn read(ctx: &mut Ctx<'_>, name: UnitName, f: &Fields<'_>) -> ExposureSpec {
    if f.get("ensure").is_none() {
        f.missing(ctx, "`ensure`", &format!("write ensure = {ENSURE_EXAMPLE}"));
    }
    let mut argv = |key, example| f.get(key).and_then(|field| field.argv(ctx, example));
    let ensure = argv("ensure", ENSURE_EXAMPLE).unwrap_or_default();
    let (check, undo) = (argv("check", CHECK_EXAMPLE), argv("undo", UNDO_EXAMPLE));
    let retry_delay = f.duration(ctx, "retry_delay", secs(2), &bounds::RETRY_DELAY);
    let backoff_max = f.duration(ctx, "backoff_max", secs(300), &bounds::BACKOFF_MAX);
    if retry_delay > backoff_max {
        let message = "it is above `backoff_max`, the longest time between two tries".to_owned();
        f.conflict(ctx, "retry_delay", message, "above backoff_max", "write a retry_delay below backoff_max");
    }
    let home = ctx.around.home.clone();
    ExposureSpec {
        name,
        enabled: f.boolean(ctx, "enabled", true),
        ensure,
        check,
        undo,
        interval: f.duration(ctx, "interval", secs(300), &bounds::LOOK_INTERVAL),
        timeout: f.duration(ctx, "timeout", secs(30), &bounds::LOOK_TIMEOUT),
        retry_delay,
        backoff_max,
        cwd: f.path(ctx, "cwd").unwrap_or(home),
        env: environment(ctx, f),
        env_file: f.path(ctx, "env_file"),
    }
}
