//! What a changed services.toml means for what is running.

use crate::model::wire::{ReloadAction, ReloadChange};
use crate::model::{AlertSpec, ExposureSpec, Fleet, ServiceSpec, SinkSpec, TaskSpec, UnitKind, UnitName};

/// The names of the fields in which two specs differ. Both are taken apart without `..`, so that a new field of the model
/// cannot be forgotten here.
macro_rules! differing {
    ($type:ident, $old:expr, $new:expr, { $($field:ident),* $(,)? } except { $($same:ident),* }) => {{
        let $type { $($field),*, $($same: _),* } = $old;
        let mut keys: Vec<String> = Vec::new();
        $(if *$field != $new.$field { keys.push(stringify!($field).to_owned()); })*
        keys
    }};
}

/// The keys in which two declarations of a service differ, by their names in services.toml.
pub fn changed_keys(old: &ServiceSpec, new: &ServiceSpec) -> Vec<String> {
    let mut keys = differing!(ServiceSpec, old, new, {
        program, cwd, env, env_file, enabled, restart, success_exit_codes, hold_exit_codes, throttle, backoff_max,
        min_uptime, start_timeout, stop_signal, stop_timeout, drain_timeout, ports, sweep, notify, after,
        watch_config, process_type, log, health, memory, watch, listen, durability, token_file,
    } except { name });
    if let Some(program) = keys.iter_mut().find(|key| *key == "program") {
        let command = |spec: &ServiceSpec| matches!(spec.program, crate::model::Program::Command(_));
        *program = if command(old) || command(new) { "command" } else { "builtin" }.to_owned();
    }
    keys
}

/// The keys in which two declarations of a task differ.
pub fn changed_task_keys(old: &TaskSpec, new: &TaskSpec) -> Vec<String> {
    differing!(TaskSpec, old, new, {
        enabled, calendar, timezone, steps, catch_up, overlap, start_within, max_runtime, min_runtime, stop_signal, stop_timeout,
        cwd, env, env_file,
    } except { name })
}

/// The keys in which two declarations of something that is made to hold differ.
pub fn changed_exposure_keys(old: &ExposureSpec, new: &ExposureSpec) -> Vec<String> {
    differing!(ExposureSpec, old, new, {
        enabled, ensure, check, undo, interval, timeout, retry_delay, backoff_max, cwd, env, env_file,
    } except { name })
}

/// The keys of `[supervisor]` and `[alerts]` that differ, the latter as `alerts.storm` or `alerts.sink.NAME`. A running daemon
/// can take over those of alerts only: the others say where everything is and who starts it.
pub fn changed_globals(old: &Fleet, new: &Fleet) -> Vec<String> {
    let mut keys = differing!(Fleet, old, new, { state_dir, label_prefix, manager, alerts } except { services, tasks, exposures, unusable });
    if keys.pop_if(|key| key == "alerts").is_some() {
        keys.extend(changed_alert_keys(&old.alerts, &new.alerts).into_iter().map(|key| format!("alerts.{key}")));
    }
    keys
}

fn changed_alert_keys(old: &AlertSpec, new: &AlertSpec) -> Vec<String> {
    let mut keys = differing!(AlertSpec, old, new, {
        crash_loop, storm, slow_loop, reminders, resolve_after, expire_after, weekly, deadman, sinks,
    } except {});
    if keys.pop_if(|key| key == "sinks").is_some() {
        let differs = |sink: &&SinkSpec, others: &[SinkSpec]| !others.contains(sink);
        let mut names: Vec<&String> = new.sinks.iter().filter(|s| differs(s, &old.sinks)).map(|s| &s.name).collect();
        names.extend(old.sinks.iter().filter(|s| new.sinks.iter().all(|n| n.name != s.name)).map(|s| &s.name));
        // Their order alone means nothing.
        keys.extend(names.into_iter().map(|name| format!("sink.{name}")));
    }
    keys
}

/// Whether the process has to be started anew for `new` to hold: it was started from something that is different now. All
/// else is policy, and can be taken over while it runs. (The content of an `env_file` is not looked at.)
pub fn needs_restart(old: &ServiceSpec, new: &ServiceSpec) -> bool {
    old.program != new.program
        || old.cwd != new.cwd
        || old.env != new.env
        || old.env_file != new.env_file
        || old.notify != new.notify
        || old.watchdog() != new.watchdog()
        || old.watch != new.watch
        || old.listen != new.listen
        || old.durability != new.durability
        || old.token_file != new.token_file
}

/// What happens to each service and task on the way from `old` to `new`, in the order of the new file, removed ones last.
/// Disabled or unusable counts as not there. A task is never restarted: its next run is by the new declaration.
pub fn diff(old: &Fleet, new: &Fleet) -> Vec<ReloadChange> {
    let services = changes(
        UnitKind::Service,
        [&old.services, &new.services],
        |s| s.enabled,
        |s| &s.name,
        |old, new| (changed_keys(old, new), needs_restart(old, new)),
    );
    let tasks = changes(
        UnitKind::Task,
        [&old.tasks, &new.tasks],
        |t| t.enabled,
        |t| &t.name,
        |old, new| (changed_task_keys(old, new), false),
    );
    let exposures = changes(
        UnitKind::Exposure,
        [&old.exposures, &new.exposures],
        |e| e.enabled,
        |e| &e.name,
        |old, new| (changed_exposure_keys(old, new), !old.is_made_as(new)),
    );
    services.into_iter().chain(tasks).chain(exposures).collect()
}

fn changes<'a, T>(
    kind: UnitKind,
    [old, all_new]: [&'a [T]; 2],
    is_enabled: impl Fn(&T) -> bool,
    name: impl Fn(&T) -> &UnitName,
    compare: impl Fn(&T, &T) -> (Vec<String>, bool),
) -> Vec<ReloadChange> {
    let find = |all: &[&T], wanted: &UnitName| all.iter().position(|unit| name(unit) == wanted);
    let enabled = |all: &'a [T]| all.iter().filter(|unit| is_enabled(unit)).collect::<Vec<&T>>();
    let (old, new) = (enabled(old), enabled(all_new));
    let change =
        |unit: &T, action, keys, disabled| ReloadChange { name: name(unit).clone(), kind, disabled, action, keys };
    let mut found = Vec::new();
    for unit in &new {
        let (action, keys) = match find(&old, name(unit)) {
            None => (ReloadAction::Add, Vec::new()),
            Some(at) => match compare(old[at], unit) {
                (keys, _) if keys.is_empty() => continue,
                (keys, true) => (ReloadAction::Restart, keys),
                (keys, false) => (ReloadAction::Live, keys),
            },
        };
        found.push(change(unit, action, keys, false));
    }
    let gone = old.iter().filter(|unit| find(&new, name(unit)).is_none());
    found.extend(gone.map(|unit| {
        let disabled = all_new.iter().any(|new| name(new) == name(unit));
        change(unit, ReloadAction::Remove, Vec::new(), disabled)
    }));
    found
}
