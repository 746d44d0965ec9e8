//! `[service.NAME.memory]`: what counts as growth, what is too much, and when a restart for it may be.

use super::bounds::{self, secs};
use super::fault::code;
use super::fields::Fields;
use super::reader::{Ctx, Field};
use super::units::{Wrong, quoted};
use super::{health, loopback};
use crate::model::{DayHours, FigureSpec, MemorySpec, OnGrowth, Signal};

pub(super) const KEYS: &[&str] = &[
    "growth",
    "limit",
    "ceiling",
    "interval",
    "plateau",
    "recycle",
    "on_growth",
    "idle",
    "quiet",
    "max_wait",
    "heap",
    "requests",
    "snapshot_signal",
];
pub(super) const IDLE_KEYS: &[&str] = &["http", "unix", "path", "exec", "expect_status", "expect_json"];
pub(super) const FIGURE_KEYS: &[&str] = &["http", "pointer"];

const ON_GROWTH: &[(&str, OnGrowth)] = &[("alert", OnGrowth::Alert), ("restart-when-idle", OnGrowth::RestartWhenIdle)];

/// From what to what a size of memory may be.
pub(super) const SIZES: (&str, &str) = ("1MiB", "1000000GiB");

const FIGURE_EXAMPLE: &str = "http://127.0.0.1:8080/stats";

/// How long a restart for memory waits for an idle or quiet time, unless `max_wait` says otherwise.
const MAX_WAIT: std::time::Duration = secs(24 * 3600);

pub(super) fn read(ctx: &mut Ctx<'_>, service: &Fields<'_>, owner: &health::Owner<'_>) -> Option<MemorySpec> {
    let f = service.inner(ctx, "memory", KEYS, "{ growth = \"10MB/h\", limit = \"3GiB\" }")?;
    let size = |ctx: &mut Ctx<'_>, key: &str| f.get(key).and_then(|field| field.size(ctx, SIZES, "\"3GiB\""));
    let limit = size(ctx, "limit");
    let idle = f.inner(ctx, "idle", IDLE_KEYS, "{ exec = [\"/usr/local/bin/is-it-idle\"] }");
    let spec = MemorySpec {
        growth: f.get("growth").and_then(|field| field.rate(ctx)),
        limit,
        interval: f.duration(ctx, "interval", secs(60), &bounds::MEMORY_INTERVAL),
        plateau: size(ctx, "plateau"),
        recycle: f.get("recycle").and_then(|field| field.duration(ctx, &bounds::RECYCLE)),
        on_growth: f.choice(ctx, "on_growth", OnGrowth::Alert, ON_GROWTH),
        idle: idle.and_then(|idle| health::answering(ctx, &idle, "does not say whether it is idle", "/idle")),
        quiet: f.list(ctx, "quiet", ("a list of hours of the day", "[\"03:00-05:00\"]"), hours),
        max_wait: f.duration(ctx, "max_wait", MAX_WAIT, &bounds::MAX_WAIT),
        // A limit that waits may be exceeded meanwhile, by a quarter at most.
        ceiling: size(ctx, "ceiling").or(limit.map(|limit| limit.saturating_add(limit / 4))),
        heap: figure(ctx, &f, "heap", "/memory/heapUsed"),
        requests: figure(ctx, &f, "requests", "/requests"),
        snapshot_signal: f.get("snapshot_signal").and_then(|field| snapshot_signal(ctx, &field, owner)),
    };
    agree(ctx, &f, &spec);
    Some(spec)
}

/// What does not go together, and what would do nothing although somebody wrote it.
fn agree(ctx: &mut Ctx<'_>, f: &Fields<'_>, spec: &MemorySpec) {
    let has = |key: &str| f.get(key).is_some();
    // What cannot be read may well be right for the rest.
    let [is_idle_faulty, is_quiet_faulty] =
        ["idle", "quiet"].map(|key| f.get(key).is_some_and(|field| ctx.is_faulty(&field.span)));
    let waits_for = has("idle") || !spec.quiet.is_empty() || is_quiet_faulty;
    if let Some(limit) = spec.limit {
        if spec.plateau.is_some_and(|plateau| plateau >= limit) {
            let message = "it is not below `limit`, so the service would be restarted before it is reached".to_owned();
            f.conflict(
                ctx,
                "plateau",
                message,
                "not below limit",
                "write a plateau below the limit, or a higher limit",
            );
        }
        if has("ceiling") && spec.ceiling.is_some_and(|ceiling| ceiling <= limit) {
            let message = "it is not above `limit`, so a restart could never wait".to_owned();
            let help = "write a ceiling above the limit, or take it out (it is the limit and a quarter then)";
            f.conflict(ctx, "ceiling", message, "not above limit", help);
        }
    } else if !has("limit") {
        for key in ["ceiling", "max_wait"].into_iter().filter(|key| has(key)) {
            let message = "it is about the restart above `limit`, and there is no limit".to_owned();
            f.conflict(ctx, key, message, "no limit", "write a limit, such as limit = \"3GiB\", or take it out");
        }
        if spec.on_growth == OnGrowth::Alert {
            let waited = [("idle", is_idle_faulty), ("quiet", is_quiet_faulty)];
            for (key, _) in waited.into_iter().filter(|(key, is_faulty)| has(key) && !is_faulty) {
                let message = "nothing waits for it: there is no `limit`, and growth is only told".to_owned();
                let help = "write a limit, or on_growth = \"restart-when-idle\", or take it out";
                f.conflict(ctx, key, message, "never waited for", help);
            }
        }
    }
    if waits_for {
        return;
    }
    let help = "write e.g. quiet = [\"03:00-05:00\"], or idle = { exec = [\"/usr/local/bin/is-it-idle\"] }";
    if has("max_wait") && has("limit") {
        let message = "without `idle` and `quiet` a restart waits for nothing".to_owned();
        f.conflict(ctx, "max_wait", message, "nothing to wait for", help);
    }
    if spec.on_growth == OnGrowth::RestartWhenIdle {
        let message = "without `idle` and `quiet` it is never known to be idle".to_owned();
        f.conflict(ctx, "on_growth", message, "never idle", help);
    }
}

/// `03:00-05:00`; the later one first goes over midnight, and 24:00 is the end of the day.
fn hours(ctx: &mut Ctx<'_>, member: &Field<'_>) -> Option<DayHours> {
    let text = member.text(ctx, "hours of the day in quotes", "\"03:00-05:00\"")?;
    let wrong = |message: String| Wrong::new(code::BAD_FORM, message, "not such hours");
    let read = text.split_once('-').and_then(|(from, until)| Some((minute(from)?, minute(until)?)));
    let found = match read {
        None => Err(wrong(format!("{} is not a stretch of the day", quoted(text)))
            .help("write FROM-UNTIL, local time, such as \"03:00-05:00\" or \"23:30-04:00\"")),
        Some((1440, _)) => Err(wrong(format!("{} begins where the day ends", quoted(text))).help("write 00:00 for it")),
        Some((from, until)) if from == until => {
            let help = "write \"00:00-24:00\" for the whole day, or a later end";
            Err(wrong(format!("{} ends when it begins", quoted(text))).help(help))
        }
        Some((from, until)) => Ok(DayHours { from, until }),
    };
    found.map_err(|wrong| member.wrong(ctx, wrong)).ok()
}

/// Minutes since midnight of `HH:MM`, 1440 for 24:00.
fn minute(text: &str) -> Option<u16> {
    let number = |part: &str| {
        let is_number = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| part.parse::<u16>().ok()).flatten()
    };
    let (hour, minute) = text.split_once(':')?;
    match (number(hour)?, number(minute)?) {
        (24, 0) => Some(1440),
        (hour @ 0..24, minute @ 0..60) => Some(hour * 60 + minute),
        _ => None,
    }
}

/// A number in the JSON that a URL of this machine answers with.
fn figure(ctx: &mut Ctx<'_>, memory: &Fields<'_>, key: &str, example: &str) -> Option<FigureSpec> {
    let whole = format!("{{ http = \"{FIGURE_EXAMPLE}\", pointer = \"{example}\" }}");
    let f = memory.inner(ctx, key, FIGURE_KEYS, &whole)?;
    for key in FIGURE_KEYS.iter().filter(|key| f.get(key).is_none()) {
        f.missing(ctx, &format!("`{key}`"), &format!("write {whole}"));
    }
    let url = f.get("http").and_then(|field| {
        let text = field.text(ctx, "an address in quotes", &format!("\"{FIGURE_EXAMPLE}\""))?;
        loopback::url(text, "http", FIGURE_EXAMPLE).map_err(|wrong| field.wrong(ctx, wrong)).ok()?;
        Some(text.to_owned())
    });
    let pointer = f.get("pointer").and_then(|field| pointer(ctx, &field, example));
    Some(FigureSpec { url: url?, pointer: pointer? })
}

/// A JSON pointer (RFC 6901).
fn pointer(ctx: &mut Ctx<'_>, field: &Field<'_>, example: &str) -> Option<String> {
    let text = field.text(ctx, "a JSON pointer in quotes", &format!("\"{example}\""))?;
    let message = if !text.starts_with('/') {
        format!("{} does not begin with /", quoted(text))
    } else if text.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
        format!("{} has a ~ that is neither ~0 (a ~) nor ~1 (a /)", quoted(text))
    } else {
        return Some(text.to_owned());
    };
    let help = format!("write the way to the number from the top of the answer, e.g. \"{example}\"");
    field.wrong(ctx, Wrong::new(code::BAD_FORM, message, "no JSON pointer").help(help));
    None
}

fn snapshot_signal(ctx: &mut Ctx<'_>, field: &Field<'_>, owner: &health::Owner<'_>) -> Option<Signal> {
    let help =
        "write \"PROF\" and start Node with --heapsnapshot-signal=SIGPROF, or what the program documents for this";
    let signal = health::signal_to(ctx, field, owner, ("\"PROF\"", "write a heap snapshot", help))?;
    // Who is asked what it is doing may well answer these; nobody writes its heap down upon one.
    if ["ABRT", "BUS", "FPE", "ILL", "SEGV", "SYS", "TRAP"].into_iter().any(|name| Signal::parse(name) == Some(signal))
    {
        let message = format!("{signal} is what a program crashes by, and ends it");
        field.wrong(ctx, Wrong::new(code::BAD_FORM, message, "not for this").help(help));
        return None;
    }
    Some(signal)
}
