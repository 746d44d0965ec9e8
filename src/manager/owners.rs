//! Who else starts what we are to start: two owners of one service start it twice, or fight over its port for ever. Nothing is ended
//! here; each finding says who it is and how a person ends it.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::command_line::{self, Line};
use super::job;
use crate::model::{DEFAULT_PATH, Program, ServiceSpec, UnitName};
use crate::process::{command, describe, identity, table};

/// What is larger is not what it is called.
const LARGEST: u64 = 1 << 20;

/// crontab(1) reads a file; more than this means that something is wrong with it.
const CRONTAB_WITHIN: Duration = Duration::from_secs(5);

/// Where to look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Around {
    /// Folders with launchd's property lists.
    pub agents: Vec<PathBuf>,
    /// Folders with systemd units of this user.
    pub units: Vec<PathBuf>,
    /// PM2's folders.
    pub pm2: Vec<PathBuf>,
    /// What `crontab -l` prints.
    pub crontab: String,
    /// Processes that are not our own services.
    pub processes: Vec<Running>,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its pid.
    pub pid: i32,
    /// Its arguments, the program's name first.
    pub argv: Vec<String>,
}

/// What kind of owner it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnerKind {
    /// A job of launchd.
    Launchd,
    /// A job of launchd that Homebrew manages.
    Homebrew,
    /// A unit of `systemd --user`.
    Systemd,
    /// PM2.
    Pm2,
    /// A line of the crontab.
    Cron,
    /// A process that somebody started otherwise.
    Process,
}

/// Somebody else who starts a service of ours, or has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// The service.
    pub service: UnitName,
    /// What kind of owner it is.
    pub kind: OwnerKind,
    /// Who it is, with its file or pid.
    pub who: String,
    /// Whether it has the label that our job is to have: installing ours replaces its file.
    pub same_label: bool,
    /// Its file, if it has one.
    pub file: Option<PathBuf>,
    /// How it is ended, and kept from coming back.
    pub stop: String,
}

impl Around {
    /// This machine. `state_dir` tells our own services from others.
    pub fn gather(home: &Path, state_dir: &Path) -> Self {
        let (mut agents, mut units) = (Vec::new(), Vec::new());
        if cfg!(target_os = "macos") {
            agents.push(home.join("Library/LaunchAgents"));
            agents.extend(["/Library/LaunchAgents".into(), "/Library/LaunchDaemons".into()]);
        } else {
            units.push(home.join(".config/systemd/user"));
            units.extend(["/etc/systemd/user".into(), "/etc/systemd/system".into()]);
        }
        let crontab = ["/usr/bin/crontab", "/bin/crontab"].into_iter().find(|path| Path::new(path).exists());
        let crontab = crontab.and_then(|path| command::run(Path::new(path), &["-l"], &[], CRONTAB_WITHIN).ok());
        Self {
            agents,
            units,
            pm2: vec![home.join(".pm2")],
            crontab: crontab.filter(command::Finished::is_good).map(|done| done.stdout).unwrap_or_default(),
            processes: strangers(state_dir),
        }
    }
}

/// All processes but those that our runners started.
fn strangers(state_dir: &Path) -> Vec<Running> {
    let all = describe::command_lines();
    let ours = own_processes(&all, state_dir);
    let others = all.into_iter().filter(|(pid, _)| !ours.contains(pid));
    others.map(|(pid, argv)| Running { pid, argv }).collect()
}

/// This process, and what runners of this installation started, of `all` ([`describe::command_lines`]). It carries our mark, and so do
/// its descendants; macOS does not show it of Apple's own programs, but who their parents are.
pub fn own_processes(all: &[(i32, Vec<String>)], state_dir: &Path) -> BTreeSet<i32> {
    let entries = table::scan().unwrap_or_default();
    let mut ours: BTreeSet<i32> = BTreeSet::from([i32::try_from(std::process::id()).unwrap_or(0)]);
    for (runner, _) in all.iter().filter(|(_, argv)| is_ours(argv)) {
        let below = table::descendants(&entries, *runner);
        ours.extend(below.iter().map(|below| below.pid).filter(|pid| table::marker(*pid).is_none()));
    }
    for entry in &entries {
        if table::marker(entry.pid).is_some_and(|mark| Path::new(&mark.state_dir) == state_dir) {
            ours.extend(table::descendants(&entries, entry.pid).iter().map(|below| below.pid));
            ours.insert(entry.pid);
        }
    }
    ours
}

/// Everybody else who starts one of `services`.
pub fn find(services: &[ServiceSpec], label_prefix: &str, around: &Around) -> Vec<Owner> {
    let wanted: Vec<Wanted<'_>> =
        services.iter().filter(|spec| spec.enabled).map(|spec| Wanted::of(spec, label_prefix)).collect();
    let mut owners = Vec::new();
    for folder in &around.agents {
        files(folder, "plist").iter().for_each(|file| launchd(file, &wanted, &mut owners));
    }
    for folder in &around.units {
        files(folder, "service").iter().for_each(|file| systemd(file, &wanted, &mut owners));
    }
    around.pm2.iter().for_each(|folder| pm2(folder, &wanted, &mut owners));
    cron(&around.crontab, &wanted, &mut owners);
    for process in &around.processes {
        for it in wanted.iter().filter(|it| it.is_run_by(&process.argv)) {
            owners.push(Owner {
                service: it.name.clone(),
                kind: OwnerKind::Process,
                who: format!("process {}: {}", process.pid, process.argv.join(" ")),
                same_label: false,
                file: None,
                stop: format!("end it where it was started (Ctrl-C), or: kill {}", process.pid),
            });
        }
    }
    owners
}

/// What is looked for.
struct Wanted<'a> {
    name: &'a UnitName,
    label: String,
    line: Option<Line>,
}

impl<'a> Wanted<'a> {
    fn of(spec: &'a ServiceSpec, prefix: &str) -> Self {
        let line = match &spec.program {
            Program::Command(argv) => {
                let path = spec.env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
                command_line::of(argv, path, &spec.cwd).into_iter().next()
            }
            Program::Builtin(_) => None,
        };
        Self { name: &spec.name, label: job::label(prefix, spec.name.as_str()), line }
    }

    fn is_run_by(&self, argv: &[String]) -> bool {
        let Some(ours) = &self.line else { return false };
        command_line::of(argv, DEFAULT_PATH, Path::new("/")).iter().any(|theirs| theirs.is_same(ours))
    }
}

/// Whether it is one of the files that we write ourselves.
fn is_ours(argv: &[String]) -> bool {
    let program = argv.first().and_then(|program| Path::new(program).file_name());
    program.is_some_and(|name| name == "supervisor") && argv.iter().any(|word| word == "exec" || word == "run")
}

fn launchd(file: &Path, wanted: &[Wanted<'_>], owners: &mut Vec<Owner>) {
    let Some(bytes) = read(file) else { return };
    let Ok(plist) = ::plist::Value::from_reader(Cursor::new(bytes)) else { return };
    let Some(keys) = plist.as_dictionary() else { return };
    let text = |key: &str| keys.get(key).and_then(::plist::Value::as_string);
    let mut argv: Vec<String> = keys
        .get("ProgramArguments")
        .and_then(::plist::Value::as_array)
        .map(|words| words.iter().filter_map(::plist::Value::as_string).map(str::to_owned).collect())
        .unwrap_or_default();
    match text("Program") {
        Some(program) if argv.is_empty() => argv.push(program.to_owned()),
        Some(program) => argv[0] = program.to_owned(),
        None => {}
    }
    if is_ours(&argv) {
        return;
    }
    let label = text("Label").unwrap_or_default();
    let is_daemon = file.parent().is_some_and(|folder| folder.ends_with("LaunchDaemons"));
    for it in wanted {
        let same_label = label == it.label;
        if !same_label && !it.is_run_by(&argv) {
            continue;
        }
        let shown = file.display();
        let (kind, stop) = match (label.strip_prefix("homebrew.mxcl."), is_daemon) {
            (Some(formula), false) => (OwnerKind::Homebrew, format!("brew services stop {formula}")),
            (Some(formula), true) => (OwnerKind::Homebrew, format!("sudo brew services stop {formula}")),
            (None, false) => {
                (OwnerKind::Launchd, format!("launchctl bootout gui/$(id -u)/{label}; mv '{shown}' '{shown}.off'"))
            }
            (None, true) => {
                (OwnerKind::Launchd, format!("sudo launchctl bootout system/{label}; sudo mv '{shown}' '{shown}.off'"))
            }
        };
        let who = format!("launchd job {label} ({shown})");
        owners.push(Owner { service: it.name.clone(), kind, who, same_label, file: Some(file.into()), stop });
    }
}

fn systemd(file: &Path, wanted: &[Wanted<'_>], owners: &mut Vec<Owner>) {
    let Some(text) = read(file).and_then(|bytes| String::from_utf8(bytes).ok()) else { return };
    let unit = file.file_stem().unwrap_or_default().to_string_lossy();
    // systemd.service(5): what may stand before the path.
    let starts = text.replace("\\\n", " ");
    let lines: Vec<Vec<String>> = starts
        .lines()
        .filter_map(|line| {
            line.trim().strip_prefix("ExecStart=").map(|rest| rest.trim_start_matches(['-', '@', ':', '+', '!']))
        })
        .flat_map(command_line::words)
        .collect();
    if lines.iter().any(|argv| is_ours(argv)) {
        return;
    }
    let is_system = file.parent().is_some_and(|folder| folder.ends_with("systemd/system"));
    for it in wanted {
        let same_label = unit == it.label.as_str() && !is_system;
        if !same_label && !lines.iter().any(|argv| it.is_run_by(argv)) {
            continue;
        }
        let stop = if is_system {
            format!("sudo systemctl disable --now {unit}.service")
        } else {
            format!("systemctl --user disable --now {unit}.service")
        };
        let who = format!("systemd unit {unit}.service ({})", file.display());
        let kind = OwnerKind::Systemd;
        owners.push(Owner { service: it.name.clone(), kind, who, same_label, file: Some(file.into()), stop });
    }
}

/// PM2 brings back what is in its dump when it starts.
fn pm2(folder: &Path, wanted: &[Wanted<'_>], owners: &mut Vec<Owner>) {
    let dump = folder.join("dump.pm2");
    let Some(list) = read(&dump).and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok()) else {
        return;
    };
    let god = read(&folder.join("pm2.pid")).and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse::<i32>().ok());
    let now = match god.filter(|pid| identity::start_token(*pid).is_some()) {
        Some(pid) => format!("PM2 runs, pid {pid}"),
        None => "PM2 does not run now, and brings it back when it does".to_owned(),
    };
    for app in list.as_array().into_iter().flatten() {
        let text = |key: &str| app.get(key).and_then(serde_json::Value::as_str);
        let (name, Some(program)) = (text("name").unwrap_or("?"), text("pm_exec_path")) else { continue };
        let mut argv = vec![program.to_owned()];
        match app.get("args") {
            Some(serde_json::Value::Array(words)) => {
                argv.extend(words.iter().filter_map(serde_json::Value::as_str).map(str::to_owned));
            }
            Some(serde_json::Value::String(line)) => argv.extend(command_line::words(line).into_iter().flatten()),
            _ => {}
        }
        if is_ours(&argv) {
            continue;
        }
        // An interpreter is one of the words to PM2: `pm2 start python -- -m uvicorn` and `pm2 start x.py` alike.
        for it in wanted.iter().filter(|it| it.is_run_by(&argv)) {
            owners.push(Owner {
                service: it.name.clone(),
                kind: OwnerKind::Pm2,
                who: format!("PM2 app {name} ({}; {now})", dump.display()),
                same_label: false,
                file: Some(dump.clone()),
                stop: format!("pm2 delete {name} && pm2 save"),
            });
        }
    }
}

fn cron(crontab: &str, wanted: &[Wanted<'_>], owners: &mut Vec<Owner>) {
    for line in crontab.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        // Five fields of time, or one such as @reboot; a line such as PATH=... has neither.
        let fields = if line.starts_with('@') { 1 } else { 5 };
        let mut rest = line;
        for _ in 0..fields {
            rest = rest.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim_start());
        }
        let lines = command_line::words(rest);
        if lines.iter().any(|argv| is_ours(argv)) {
            continue;
        }
        for it in wanted.iter().filter(|it| lines.iter().any(|argv| it.is_run_by(argv))) {
            owners.push(Owner {
                service: it.name.clone(),
                kind: OwnerKind::Cron,
                who: format!("the crontab: {line}"),
                same_label: false,
                file: None,
                stop: "take the line out: crontab -e".into(),
            });
        }
    }
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    files
}

fn read(file: &Path) -> Option<Vec<u8>> {
    let data = std::fs::metadata(file).ok()?;
    (data.is_file() && data.len() <= LARGEST).then(|| std::fs::read(file).ok()).flatten()
}

#[cfg(test)]
#[path = "owners_tests.rs"]
mod tests;
