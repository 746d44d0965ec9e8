//! What launchctl can be told.

use std::path::Path;
use std::str::FromStr;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::job::Job;
use crate::server::{Shared, State, words};
use crate::{Call, Reply, codes, show, spec};

fn good(out: impl Into<String>) -> Reply {
    Reply { code: 0, out: out.into(), err: String::new() }
}

fn bad(code: u8, err: impl Into<String>) -> Reply {
    Reply { code, out: String::new(), err: err.into() + "\n" }
}

fn usage(verb: &str) -> Reply {
    bad(codes::USAGE, format!("Usage: launchctl {verb} <...>\nUnrecognized or missing arguments."))
}

/// `gui/501`, `user/501`, `system`, and a label behind it.
struct Target<'a> {
    domain: String,
    label: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        let kind = parts.next()?;
        if kind == "system" {
            let label = text.strip_prefix("system/").filter(|label| !label.is_empty());
            return (text == "system" || label.is_some()).then(|| Self { domain: "system".into(), label });
        }
        let uid: u32 = parts.next()?.parse().ok()?;
        let label = parts.next().filter(|label| !label.is_empty());
        matches!(kind, "gui" | "user").then(|| Self { domain: format!("{kind}/{uid}"), label })
    }

    /// In launchctl's words.
    fn of_domain(&self) -> String {
        match self.domain.split_once('/') {
            Some(("gui", uid)) => format!("user gui: {uid}"),
            Some((_, uid)) => format!("uid: {uid}"),
            None => "system".into(),
        }
    }

    fn is_there(&self, state: &State, uid: u32) -> bool {
        match self.domain.split_once('/') {
            Some((kind, of)) => of == uid.to_string() && (kind != "gui" || !state.has("no-gui")),
            None => true,
        }
    }

    /// Where the switch of this label is kept: gui and user share one.
    fn switch(&self, label: &str) -> String {
        format!("{}/{label}", self.domain.rsplit('/').next().unwrap_or_default())
    }

    fn no_service(&self) -> Reply {
        let label = self.label.unwrap_or_default();
        bad(
            codes::NO_SERVICE,
            format!("Bad request.\nCould not find service \"{label}\" in domain for {}", self.of_domain()),
        )
    }

    fn no_domain(&self) -> Reply {
        bad(codes::NO_DOMAIN, format!("Bad request.\nCould not find domain for {}", self.of_domain()))
    }
}

pub fn answer(call: &Call, shared: &Shared) -> Reply {
    let args: Vec<&str> = call.args.iter().map(String::as_str).collect();
    let verb = args.first().copied().unwrap_or_default();
    let mut state = shared.lock();
    if let Some(code) = forced(&mut state, verb) {
        return bad(code, format!("{verb} failed: {code}: {}", codes::text(code)));
    }
    match args[..] {
        ["shutdown"] => {
            state.is_ending = true;
            good("")
        }
        ["tick", time] => tick(&mut state, time),
        ["vanish", label] => {
            state.jobs.retain(|job| job.spec.label != label);
            good("")
        }
        ["login", folder] => login(&mut state, Path::new(folder), call.uid),
        ["list"] => good(show::list(state.jobs.iter())),
        ["list", label] => match state.jobs.iter().find(|job| job.spec.label == label) {
            Some(job) => good(show::listed(job)),
            None => bad(codes::NO_SERVICE, format!("Could not find service \"{label}\" in domain for port")),
        },
        ["bootstrap", domain, path] => match Target::parse(domain) {
            Some(target @ Target { label: None, .. }) => bootstrap(&mut state, &target, Path::new(path), call.uid),
            _ => usage(verb),
        },
        ["kill", signal, target] => on_service(&mut state, target, call.uid, |_, job| {
            let signal = signal.parse::<i32>().ok().and_then(|n| Signal::try_from(n).ok());
            let signal = signal.or_else(|| {
                let name = args[1].trim_start_matches("SIG");
                Signal::from_str(&format!("SIG{name}")).ok()
            });
            match (signal, &job.process) {
                (None, _) => usage("kill"),
                (_, None) => bad(codes::NO_SUCH_PROCESS, "Could not signal service: 3: No such process"),
                (Some(signal), Some(process)) => {
                    kill(Pid::from_raw(process.pid), signal).ok();
                    good("")
                }
            }
        }),
        ["blame", target] => on_service(&mut state, target, call.uid, |_, job| good(format!("{}\n", job.reason))),
        ["enable" | "disable", target] => match Target::parse(target) {
            Some(target @ Target { label: Some(label), .. }) => {
                state.switched.insert(target.switch(label), verb == "disable");
                let text = serde_json::to_vec(&state.switched).unwrap_or_default();
                // It outlives launchd.
                std::fs::write(state.dir.join("switched.json"), text).ok();
                good("")
            }
            _ => usage(verb),
        },
        ["print-disabled", domain] => match Target::parse(domain) {
            Some(target) if !target.is_there(&state, call.uid) => target.no_domain(),
            Some(target) => {
                let scope = target.switch("");
                let switched = state.switched.iter().filter_map(|(key, off)| Some((key.strip_prefix(&scope)?, *off)));
                good(show::disabled(switched, state.has("old-texts")))
            }
            None => usage(verb),
        },
        ["print", target] => match Target::parse(target) {
            Some(target) if !target.is_there(&state, call.uid) => target.no_domain(),
            Some(Target { domain, label: None }) => {
                good(show::domain(&domain, state.jobs.iter().filter(|job| job.domain == domain)))
            }
            _ => on_service(&mut state, target, call.uid, |_, job| good(show::service(job))),
        },
        ["bootout", target] => bootout(&mut state, target, call.uid),
        ["bootout", domain, path] => match spec::read(Path::new(path), call.uid) {
            Ok((spec, _)) => bootout(&mut state, &format!("{domain}/{}", spec.label), call.uid),
            Err(code) => bad(code, format!("Boot-out failed: {code}: {}", codes::text(code))),
        },
        ["kickstart", ref flags @ .., target] if flags.iter().all(|flag| ["-k", "-p", "-kp"].contains(flag)) => {
            drop(state);
            kickstart(shared, flags, target, call.uid)
        }
        // load, unload, start, stop and remove are there as well, and nobody should use them.
        _ => usage(verb),
    }
}

/// What the file `answer` says for this verb, so often as it says it.
fn forced(state: &mut State, verb: &str) -> Option<u8> {
    for line in words(&state.dir, "answer") {
        let mut parts = line.split_whitespace();
        if parts.next() != Some(verb) {
            continue;
        }
        let code = parts.next()?.parse().ok()?;
        let times = parts.next().and_then(|n| n.parse().ok()).unwrap_or(u64::MAX);
        let used = state.answered.entry(line.clone()).or_default();
        if *used < times {
            *used += 1;
            return Some(code);
        }
    }
    None
}

fn on_service(state: &mut State, text: &str, uid: u32, then: impl FnOnce(Instant, &mut Job) -> Reply) -> Reply {
    let Some(target) = Target::parse(text) else { return usage("") };
    if !target.is_there(state, uid) {
        return target.no_domain();
    }
    match state.job(&target.domain, target.label.unwrap_or_default()) {
        Some(job) => then(Instant::now(), job),
        None => target.no_service(),
    }
}

fn bootstrap(state: &mut State, target: &Target<'_>, path: &Path, uid: u32) -> Reply {
    let is_root = state.has("rich");
    let refuse = |code: u8| {
        let told = if is_root || matches!(code, codes::BTM | codes::NOT_IN_DOMAIN | codes::NOT_PERMITTED) {
            code
        } else {
            codes::IO
        };
        let more = if told == code { "" } else { "\nTry re-running the command as root for richer errors." };
        bad(told, format!("Bootstrap failed: {told}: {}{more}", codes::text(told)))
    };
    if !target.is_there(state, uid) {
        return refuse(codes::NOT_IN_DOMAIN);
    }
    if target.domain == "system" && !is_root {
        return refuse(codes::NOT_PERMITTED);
    }
    let (spec, unknown) = match spec::read(path, uid) {
        Ok(read) => read,
        Err(code) => return refuse(code),
    };
    for key in unknown {
        state.log(&format!("{}: Unknown key for plist importer (key: {key})", spec.label));
    }
    if words(&state.dir, "btm").contains(&spec.label) {
        return refuse(codes::BTM);
    }
    if state.switched.get(&target.switch(&spec.label)) == Some(&true) {
        return refuse(codes::DISABLED);
    }
    let session = match target.domain.split('/').next() {
        Some("gui") => "Aqua",
        Some("user") => "Background",
        _ => "",
    };
    if !session.is_empty() && !spec.sessions.iter().any(|allowed| allowed == session) {
        return refuse(codes::BAD_SESSION);
    }
    if state.job(&target.domain, &spec.label).is_some() {
        return refuse(codes::ALREADY);
    }
    state.log(&format!("{} is loaded into {}", spec.label, target.domain));
    state.ids += 1;
    let job = Job::new(state.ids, target.domain.clone(), spec, Instant::now());
    state.jobs.push(job);
    good("")
}

/// Comes back at once; the label stays until the process is gone.
fn bootout(state: &mut State, text: &str, uid: u32) -> Reply {
    let failed = |code: u8| bad(code, format!("Boot-out failed: {code}: {}", codes::text(code)));
    let Some(target) = Target::parse(text) else { return usage("bootout") };
    let now = Instant::now();
    if !target.is_there(state, uid) {
        return failed(codes::NOT_IN_DOMAIN);
    }
    let Some(label) = target.label else {
        for job in state.jobs.iter_mut().filter(|job| job.domain == target.domain) {
            job.is_removed = true;
            job.stop(now);
        }
        return good("");
    };
    match state.job(&target.domain, label) {
        None => failed(codes::NO_SUCH_PROCESS),
        Some(job) if job.is_removed => failed(codes::IN_PROGRESS),
        Some(job) => {
            job.is_removed = true;
            job.stop(now);
            good("")
        }
    }
}

/// Waits until the job has a process, however long that takes.
fn kickstart(shared: &Shared, flags: &[&str], text: &str, uid: u32) -> Reply {
    let mut state = shared.lock();
    let Some(target) = Target::parse(text) else { return usage("kickstart") };
    if !target.is_there(&state, uid) {
        return target.no_domain();
    }
    let label = target.label.unwrap_or_default();
    let is_kill = flags.iter().any(|flag| flag.starts_with("-k"));
    let Some(job) = state.job(&target.domain, label).filter(|job| !job.is_removed) else { return target.no_service() };
    let (id, before) = (job.id, job.spawns);
    let mut is_waiting = true;
    if job.process.is_none() {
        job.demand(Instant::now(), "non-ipc demand");
    } else if is_kill {
        job.is_restarted = true;
        job.stop(Instant::now());
    } else {
        is_waiting = false;
    }
    loop {
        let Some(job) = state.jobs.iter().find(|job| job.id == id && !job.is_removed) else {
            return target.no_service();
        };
        if !is_waiting || job.spawns > before {
            let pid = job
                .process
                .as_ref()
                .map_or(String::new(), |process| format!("service spawned with pid: {}\n", process.pid));
            return good(if flags.iter().any(|flag| flag.contains('p')) { pid } else { String::new() });
        }
        // With a start to come it waits on; that is what the real one does on a job whose program is missing.
        if job.process.is_none() && job.due.is_none() {
            return bad(codes::IO, format!("Could not kickstart service \"{label}\": 5: Input/output error"));
        }
        state = shared.wait(state);
    }
}

fn tick(state: &mut State, time: &str) -> Reply {
    let Ok(now) = time.parse() else { return usage("tick") };
    // The first one only says what time it is.
    if state.clock.is_none() || now < state.looked_until {
        state.looked_until = now;
    }
    state.clock = Some(now);
    state.look_at_calendar(now, Instant::now());
    good("")
}

/// Loads every plist of a folder, as a login does; symbolic links are passed over.
fn login(state: &mut State, folder: &Path, uid: u32) -> Reply {
    let Ok(files) = std::fs::read_dir(folder) else { return usage("login") };
    let mut paths: Vec<_> = files.flatten().map(|file| file.path()).filter(|path| !path.is_symlink()).collect();
    paths.sort();
    let target = Target { domain: format!("gui/{uid}"), label: None };
    for path in paths.iter().filter(|path| path.extension().is_some_and(|e| e == "plist")) {
        let reply = bootstrap(state, &target, path, uid);
        state.log(&format!("login: {} -> {}", path.display(), reply.code));
    }
    good("")
}
