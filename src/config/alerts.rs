//! `[alerts]`: when somebody is told, and how long it is tried.
//!
//! Decision: a faulty rule counts with its default and a faulty sink is left out, the rest stands as written. Context: an
//! alert that goes to the wrong place helps nobody, but one misspelt sink must not silence the others. Cost: the file has
//! a fault, and is refused by `check` and at reload, while alerts still work in part.

use std::time::Duration;

use super::bounds::{self, Bounds};
use super::fields::Fields;
use super::reader::Ctx;
use super::sink;
use crate::model::{AlertSpec, CrashWindow, DeadmanSpec};

pub(super) const KEYS: &[&str] =
    &["crash_loop", "storm", "slow_loop", "reminders", "resolve_after", "expire_after", "weekly", "deadman", "sink"];
pub(super) const WINDOW_KEYS: &[&str] = &["count", "within"];
pub(super) const DEADMAN_KEYS: &[&str] = &["url", "secret_file", "secret_env", "secret_keychain", "interval"];

const WINDOW_EXAMPLE: &str = "{ count = 3, within = \"5m\" }";
const DEADMAN_EXAMPLE: &str = "{ url = \"https://hc-ping.com/...\" }";

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
    let reminders = durations(ctx, f, "reminders", &bounds::REMINDER).unwrap_or(default.reminders);
    let resolve_after = f.duration(ctx, "resolve_after", default.resolve_after, &bounds::RESOLVE_AFTER);
    let expire_after = f.duration(ctx, "expire_after", default.expire_after, &bounds::EXPIRE_AFTER);
    let weekly = f.boolean(ctx, "weekly", default.weekly);
    let deadman = f.inner(ctx, "deadman", DEADMAN_KEYS, DEADMAN_EXAMPLE).and_then(|table| deadman(ctx, &table));
    let sinks = sink::read_all(ctx, f).unwrap_or(default.sinks);
    AlertSpec { crash_loop, storm, slow_loop, reminders, resolve_after, expire_after, weekly, deadman, sinks }
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

/// All of a list, which may be empty, or none of it.
fn durations(ctx: &mut Ctx<'_>, f: &Fields<'_>, key: &str, bounds: &Bounds) -> Option<Vec<Duration>> {
    let members = f.get(key)?.list(ctx, "a list of durations", "[\"1h\", \"4h\", \"24h\"]")?;
    // Each is read even after a fault, so that all faults are told.
    let read: Vec<Option<Duration>> = members.iter().map(|member| member.duration(ctx, bounds)).collect();
    read.into_iter().collect()
}

fn deadman(ctx: &mut Ctx<'_>, f: &Fields<'_>) -> Option<DeadmanSpec> {
    let url = f.get("url").map(|field| sink::plain_url(ctx, &field));
    let secret = sink::secret(ctx, f);
    let interval = f.get("interval").map(|field| field.duration(ctx, &bounds::DEADMAN_INTERVAL));
    let has_secret = sink::SECRET_KEYS.iter().any(|key| f.get(key).is_some());
    match (&url, has_secret) {
        (None, false) => {
            f.missing(
                ctx,
                "`url` or a secret",
                "write url = \"https://hc-ping.com/...\", or secret_file with the address",
            );
            return None;
        }
        (Some(_), true) => {
            let message = "the secret of a dead man's switch is its address, so there are two of them".to_owned();
            f.conflict(ctx, "url", message, "a second address", "keep the secret, and take `url` out");
            return None;
        }
        _ => {}
    }
    Some(DeadmanSpec {
        url: url.map_or(Some(None), |url| url.map(Some))?,
        secret: secret?,
        interval: interval.unwrap_or(Some(Duration::from_secs(60)))?,
    })
}
