//! `steps` of `[task.NAME]`: what a calendar job does, in order.

use std::time::Duration;

use super::bounds::{self, secs};
use super::fault::code;
use super::fields::Fields;
use super::reader::Ctx;
use super::service::{environment, non_empty};
use super::units::{Wrong, quoted};
use crate::model::{BuiltinStep, PruneSpec, StepAction, StepSpec, StepWhen};

pub(super) const KEYS: &[&str] = &[
    "run",
    "builtin",
    "name",
    "timeout",
    "retries",
    "retry_delay",
    "continue_on_failure",
    "if",
    "success_exit_codes",
    "env",
    "cwd",
    "events",
    "logs",
    "logs_size",
    "evidence",
    "evidence_size",
    "samples",
    "backups",
    "period",
    "keep",
    "max_size",
    "max_age",
];

/// Which maintenance it is; what goes with it stands in keys of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Prune,
    Vacuum,
    Digest,
    Doctor,
    Rotate,
    VerifyBackup,
}

const BUILTINS: &[(&str, Kind)] = &[
    ("prune", Kind::Prune),
    ("vacuum", Kind::Vacuum),
    ("digest", Kind::Digest),
    ("doctor", Kind::Doctor),
    ("rotate", Kind::Rotate),
    ("verify-backup", Kind::VerifyBackup),
];

/// Keys that only some maintenance has.
const OWN_KEYS: &[(&str, &[Kind])] = &[
    ("events", &[Kind::Prune]),
    ("logs", &[Kind::Prune]),
    ("logs_size", &[Kind::Prune]),
    ("evidence", &[Kind::Prune]),
    ("evidence_size", &[Kind::Prune]),
    ("samples", &[Kind::Prune]),
    ("backups", &[Kind::Vacuum]),
    ("period", &[Kind::Digest]),
    ("keep", &[Kind::Digest, Kind::Rotate]),
    ("max_size", &[Kind::Rotate]),
    ("max_age", &[Kind::VerifyBackup]),
];

const WHENS: &[(&str, StepWhen)] = &[("ok", StepWhen::Ok), ("failed", StepWhen::Failed)];

/// Longest name of a step, characters: it stands in a table on the terminal.
const LONGEST_NAME: usize = 64;

const DAY: u64 = 24 * 3600;

pub(super) const EXAMPLE: &str = "{ run = [\"/usr/bin/true\"] }";

/// Of a job that may run for `max_runtime`.
pub(super) fn read(ctx: &mut Ctx<'_>, task: &Fields<'_>, max_runtime: Duration) -> Vec<StepSpec> {
    let tables = task.inner_list(ctx, "steps", KEYS, EXAMPLE);
    tables.iter().enumerate().filter_map(|(place, f)| step(ctx, f, place == 0, max_runtime)).collect()
}

fn step(ctx: &mut Ctx<'_>, f: &Fields<'_>, is_first: bool, max_runtime: Duration) -> Option<StepSpec> {
    let action = action(ctx, f);
    // The default is never above what the whole job has.
    let timeout = f.duration(ctx, "timeout", secs(600).min(max_runtime), &bounds::STEP_TIMEOUT);
    if timeout > max_runtime {
        let message = "it is above the job's `max_runtime`, which ends the step before".to_owned();
        f.conflict(ctx, "timeout", message, "above max_runtime", "write a shorter timeout, or a longer max_runtime");
    }
    let when = f.choice(ctx, "if", StepWhen::Going, WHENS);
    if is_first && f.get("if").is_some() {
        let message = "nothing is done before the first step, so there is nothing to go by".to_owned();
        f.conflict(ctx, "if", message, "on the first step", "take it out, or put another step before");
    }
    let success_exit_codes = match f.get("success_exit_codes") {
        None => vec![0],
        Some(_) => non_empty(ctx, f, "success_exit_codes", "it could never end well", |ctx| {
            f.list(ctx, "success_exit_codes", ("a list of exit codes", "[0]"), |ctx, member| {
                i32::try_from(member.number(ctx, 0..=255, "0")?).ok()
            })
        }),
    };
    let spec = StepSpec {
        name: name(ctx, f),
        timeout,
        retries: f.number(ctx, "retries", 0, 0..=100),
        retry_delay: f.duration(ctx, "retry_delay", secs(5), &bounds::STEP_RETRY_DELAY),
        continue_on_failure: f.boolean(ctx, "continue_on_failure", false),
        when,
        success_exit_codes,
        env: environment(ctx, f),
        cwd: f.path(ctx, "cwd"),
        action: StepAction::Run(Vec::new()),
    };
    Some(StepSpec { action: action?, ..spec })
}

fn action(ctx: &mut Ctx<'_>, f: &Fields<'_>) -> Option<StepAction> {
    let run = f.get("run").map(|field| field.argv(ctx, "[\"program\", \"argument\"]"));
    let kind = f.get("builtin").map(|field| field.choice(ctx, BUILTINS));
    // A name that is not known has been told, and says nothing about the other keys.
    if kind != Some(None) {
        own_keys_only(ctx, f, kind.flatten());
    }
    let builtin = builtin(ctx, f, kind.flatten());
    match (run, kind) {
        (Some(_), Some(_)) => {
            let message = "a step has either a `run` or a `builtin`".to_owned();
            f.conflict(ctx, "builtin", message, "beside `run`", "make two steps of it");
            None
        }
        (Some(argv), None) => argv.map(StepAction::Run),
        (None, Some(_)) => builtin.map(StepAction::Builtin),
        (None, None) => {
            let help = "write run = [\"program\", \"argument\"] or builtin = \"prune\"";
            f.missing(ctx, "`run` (or `builtin`)", help);
            None
        }
    }
}

/// A fault for each key that belongs to other maintenance than this step is.
fn own_keys_only(ctx: &mut Ctx<'_>, f: &Fields<'_>, kind: Option<Kind>) {
    for (key, kinds) in OWN_KEYS {
        if f.get(key).is_none() || kind.is_some_and(|kind| kinds.contains(&kind)) {
            continue;
        }
        let name = |kind: &Kind| BUILTINS.iter().find(|(_, known)| known == kind).map_or("", |(name, _)| name);
        let owners: Vec<String> = kinds.iter().map(|kind| format!("builtin = \"{}\"", name(kind))).collect();
        let owners = owners.join(" or ");
        let help = format!("take it out, or make it a step with {owners}");
        f.conflict(ctx, key, format!("it belongs to {owners}"), "not for this step", &help);
    }
}

/// With every key read, whichever it is: what is of the wrong type is told along with the rest.
fn builtin(ctx: &mut Ctx<'_>, f: &Fields<'_>, kind: Option<Kind>) -> Option<BuiltinStep> {
    let mut age = |key: &str, days: u64| f.duration(ctx, key, secs(days * DAY), &bounds::KEPT_FOR);
    let (events, logs, evidence, samples) =
        (age("events", 90), age("logs", 30), age("evidence", 30), age("samples", 365));
    let (period, max_age) = (age("period", 7), age("max_age", 8));
    let mut size = |key: &str, example: &str, default: u64| {
        f.get(key).and_then(|field| field.size(ctx, ("1KiB", "100000GiB"), example)).unwrap_or(default)
    };
    let (logs_size, evidence_size) =
        (size("logs_size", "\"1GiB\"", 1 << 30), size("evidence_size", "\"256MiB\"", 256 << 20));
    let max_size = size("max_size", "\"10MiB\"", 10 << 20);
    let backups = f.number(ctx, "backups", 3, 0..=1000);
    let keep = f.number(ctx, "keep", if kind == Some(Kind::Digest) { 12 } else { 5 }, 1..=1000);
    Some(match kind? {
        Kind::Prune => BuiltinStep::Prune(PruneSpec { events, logs, logs_size, evidence, evidence_size, samples }),
        Kind::Vacuum => BuiltinStep::Vacuum { backups },
        Kind::Digest => BuiltinStep::Digest { period, keep },
        Kind::Doctor => BuiltinStep::Doctor,
        Kind::Rotate => BuiltinStep::Rotate { max_size, keep },
        Kind::VerifyBackup => BuiltinStep::VerifyBackup { max_age },
    })
}

fn name(ctx: &mut Ctx<'_>, f: &Fields<'_>) -> Option<String> {
    let field = f.get("name")?;
    let text = field.text(ctx, "a text in quotes", "\"back up\"")?;
    if text.trim().is_empty() || text.chars().count() > LONGEST_NAME || text.chars().any(char::is_control) {
        let message = format!("{} cannot be the name of a step", quoted(text));
        let help = format!("write a short name, at most {LONGEST_NAME} characters on one line, such as \"back up\"");
        field.wrong(ctx, Wrong::new(code::NAME, message, "not a name").help(help));
        return None;
    }
    Some(text.trim().to_owned())
}
