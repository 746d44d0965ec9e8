//! What is installed: one job for the daemon, one for each service and one for each calendar job, before anybody has put it
//! into the words of launchd or systemd. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{plist, unit};
use crate::model::{
    CalendarTable, CatchUp, DEFAULT_PATH, Fleet, ManagerKind, ProcessType, Schedule, ServiceSpec, TaskSpec, UnitName,
};

/// The last part of the daemon's own label. No service may be called so when it is installed.
pub const DAEMON: &str = "supervisor";

/// On top of the longest stop ladder, for SIGKILL and the runner's own end.
const MARGIN: Duration = Duration::from_secs(5);

/// From the end of a calendar job's last step to the end of its run: that is put on record first.
const TASK_RECORDED: Duration = Duration::from_secs(5);

/// Where things are on this machine; everything that rendering needs beside services.toml. All paths absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// This binary.
    pub program: PathBuf,
    /// services.toml.
    pub config: PathBuf,
    /// The state directory.
    pub state_dir: PathBuf,
    /// The user's home.
    pub home: PathBuf,
    /// Where launchd puts what the runners and the daemon themselves print: panics, and nothing else.
    pub logs: PathBuf,
    /// The user that root's launchd starts them as; `None` for the user's own launchd or systemd.
    pub user: Option<String>,
    /// Whether the daemon starts the services itself (`manager = "embedded"`): then its job is the only one.
    pub embedded: bool,
    /// Who is to have the jobs: launchd or systemd.
    pub manager: ManagerKind,
}

/// What a job starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// `supervisor run`.
    Daemon,
    /// `supervisor exec` of one service.
    Runner,
    /// `supervisor exec` of one calendar job.
    Task,
}

/// One job of a service manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// launchd's label, and the stem of the file names: prefix + "." + name.
    pub label: String,
    /// The service or calendar job, or [`DAEMON`].
    pub name: String,
    /// What it starts.
    pub role: Role,
    /// The binary by its absolute path, then its arguments.
    pub argv: Vec<String>,
    /// HOME and PATH, and of the service's own environment only what is known to be no secret.
    pub env: BTreeMap<String, String>,
    /// Where what it prints itself goes.
    pub log: PathBuf,
    /// Least time between two starts of the runner, whole seconds, at least 1.
    pub throttle_s: u64,
    /// From SIGTERM to SIGKILL, whole seconds, never 0.
    pub exit_timeout_s: u64,
    /// How launchd treats it.
    pub process_type: ProcessType,
    /// When it is started by the calendar; empty: at load, and kept alive.
    pub calendar: Vec<CalendarTable>,
    /// Whether a slot that passed while the machine was off is made up for (systemd can, launchd cannot).
    pub catch_up: bool,
    /// The zone of `calendar`; `None` is the machine's own.
    pub timezone: Option<String>,
    /// The user that root's launchd starts it as.
    pub user: Option<String>,
}

impl Job {
    /// Whether it runs all the time, and not at times of the calendar only.
    pub fn is_kept(&self) -> bool {
        self.role != Role::Task
    }
}

/// Something that is declared and cannot be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// Which service or calendar job, or [`DAEMON`].
    pub name: String,
    /// Why, and what to do.
    pub why: String,
}

/// The jobs of `fleet`, the daemon's first, then services and calendar jobs in file order; disabled ones are left out unless
/// `disabled_too`. What cannot be installed is told apart and leaves the others alone. Calendar jobs that are not [`native`] are
/// in neither, as they need no job: see [`by_daemon`].
pub fn jobs(fleet: &Fleet, site: &Site, disabled_too: bool) -> (Vec<Job>, Vec<Unfit>) {
    let mut unfit = Vec::new();
    let mut jobs = vec![daemon(fleet, site)];
    if !site.embedded {
        jobs.extend(fleet.services.iter().filter(|s| s.enabled || disabled_too).map(|s| runner(s, fleet, site)));
        for task in fleet.tasks.iter().filter(|t| t.enabled || disabled_too) {
            if let Ok(tables) = native(task, site.manager) {
                jobs.push(self::task(task, tables, fleet, site));
            }
        }
    }
    let mut seen = BTreeSet::new();
    jobs.retain(|job| match refusal(job, &mut seen) {
        Some(why) => {
            unfit.push(Unfit { name: job.name.clone(), why });
            false
        }
        None => true,
    });
    (jobs, unfit)
}

/// Why a job cannot be had at all, whoever the service manager is.
fn refusal(job: &Job, seen: &mut BTreeSet<String>) -> Option<String> {
    if !seen.insert(job.label.clone()) {
        return Some(format!("the label {} is the supervisor's own; give it another name", job.label));
    }
    // A NUL ends a string for the kernel, and no line of a unit can hold a line end without being another line.
    let control = |text: &str| text.chars().any(|c| c.is_control());
    let argument = job.argv.iter().find(|a| control(a));
    let variable = job.env.iter().find(|(key, value)| control(key) || control(value)).map(|(key, _)| key);
    match (argument, variable) {
        (Some(argument), _) => Some(format!("its command holds a control character: {argument:?}")),
        (_, Some(key)) => Some(format!("the value of {key} holds a control character")),
        (None, None) => {
            control(&job.log.to_string_lossy()).then(|| "the path of its log holds a control character".into())
        }
    }
}

/// The calendar of `task` where launchd or systemd can be told all of it; else why not, and then the daemon starts the job. What they
/// do otherwise when the clock is changed is no reason: `exec` runs what is due, and the daemon what nobody has started.
pub fn native(task: &TaskSpec, manager: ManagerKind) -> Result<Vec<CalendarTable>, String> {
    let tables = calendar(task)?;
    match manager {
        ManagerKind::Launchd => plist::tables(&tables, task.timezone.as_deref()).map(drop)?,
        ManagerKind::Systemd => unit::lines(&tables, task.timezone.as_deref()).map(drop)?,
        ManagerKind::Auto | ManagerKind::Embedded => return Err("no service manager has jobs".into()),
    }
    Ok(tables)
}

/// The enabled calendar jobs that the daemon starts although there is a service manager, and why.
pub fn by_daemon(fleet: &Fleet, manager: ManagerKind) -> Vec<(UnitName, String)> {
    let enabled = fleet.tasks.iter().filter(|task| task.enabled);
    enabled.filter_map(|task| Some((task.name.clone(), native(task, manager).err()?))).collect()
}

/// All entries of a calendar job as launchd's tables.
fn calendar(task: &TaskSpec) -> Result<Vec<CalendarTable>, String> {
    let mut tables = Vec::new();
    for entry in &task.calendar {
        match entry {
            Schedule::Table(table) => tables.push(*table),
            Schedule::Words { tables: Some(found), .. } => tables.extend(found),
            Schedule::Words { text, tables: None, .. } => {
                return Err(format!("neither launchd nor systemd can say {text:?}"));
            }
        }
    }
    Ok(tables)
}

/// A calendar in the one form in which two can be compared: month, day, weekday, hour, minute of each entry, sorted, each once. Hours and
/// minutes are written out: absent ones mean every one, which is too easily read as midnight.
pub fn written_out(tables: &[CalendarTable]) -> BTreeSet<[Option<u8>; 5]> {
    let all = |value: Option<u8>, count: u8| value.map_or(0..count, |value| value..value + 1);
    let hours = |table: &CalendarTable| all(table.hour, 24);
    let at = |table: &CalendarTable, hour| {
        // Both 0 and 7 are Sunday.
        let (month, day, weekday) = (table.month, table.day, table.weekday.map(|day| day % 7));
        all(table.minute, 60).map(move |minute| [month, day, weekday, Some(hour), Some(minute)])
    };
    tables.iter().flat_map(|table| hours(table).flat_map(move |hour| at(table, hour))).collect()
}

fn daemon(fleet: &Fleet, site: &Site) -> Job {
    let mut job = job(DAEMON, Role::Daemon, fleet, site);
    job.argv.push("run".into());
    // Embedded, it takes all services down, dependents first: one after the other at worst.
    let stops = fleet.services.iter().map(|s| s.stop_timeout);
    let longest = if site.embedded { stops.sum() } else { Duration::ZERO };
    job.exit_timeout_s = whole_s(longest + MARGIN);
    // Starts by the calendar are reported not to be held back where KeepAlive is. One that runs already is left alone.
    job.calendar =
        (0..60).step_by(10).map(|minute| CalendarTable { minute: Some(minute), ..Default::default() }).collect();
    job
}

fn runner(spec: &ServiceSpec, fleet: &Fleet, site: &Site) -> Job {
    let mut job = job(spec.name.as_str(), Role::Runner, fleet, site);
    job.argv.extend(["exec".into(), spec.name.to_string()]);
    job.exit_timeout_s = whole_s(spec.stop_timeout + MARGIN);
    job.process_type = spec.process_type;
    shown(&mut job.env, &spec.env);
    job
}

fn task(spec: &TaskSpec, tables: Vec<CalendarTable>, fleet: &Fleet, site: &Site) -> Job {
    let mut job = job(spec.name.as_str(), Role::Task, fleet, site);
    job.argv.extend(["exec".into(), spec.name.to_string()]);
    job.exit_timeout_s = whole_s(spec.stop_timeout + TASK_RECORDED + MARGIN);
    job.process_type = ProcessType::Background;
    job.calendar = tables;
    job.timezone = spec.timezone.clone();
    job.catch_up = spec.catch_up != CatchUp::Skip;
    shown(&mut job.env, &spec.env);
    job
}

fn job(name: &str, role: Role, fleet: &Fleet, site: &Site) -> Job {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let label = label(&fleet.label_prefix, name);
    let argv =
        vec![text(&site.program), "--config".into(), text(&site.config), "--state-dir".into(), text(&site.state_dir)];
    let env = BTreeMap::from([("HOME".into(), text(&site.home)), ("PATH".into(), DEFAULT_PATH.into())]);
    Job {
        log: site.logs.join(format!("{label}.log")),
        label,
        name: name.to_owned(),
        role,
        argv,
        env,
        // launchd's own default, and its least pause between two starts of the runner; the service's `throttle` is the runner's.
        throttle_s: 10,
        exit_timeout_s: whole_s(MARGIN),
        process_type: ProcessType::Interactive,
        calendar: Vec::new(),
        catch_up: false,
        timezone: None,
        user: site.user.clone(),
    }
}

/// launchd's label of a service or calendar job.
pub fn label(prefix: &str, name: &str) -> String {
    format!("{prefix}.{name}")
}

/// The service or calendar job that `label` is of.
pub fn unit_of(label: &str, prefix: &str) -> Option<UnitName> {
    UnitName::new(label.strip_prefix(prefix)?.strip_prefix('.')?).ok()
}

/// What of a service's environment may be seen by everybody who can read a plist: the rest may be a secret, and its runner
/// reads it from services.toml anyway.
fn shown(env: &mut BTreeMap<String, String>, of_service: &BTreeMap<String, String>) {
    for key in ["PATH", "NODE_ENV"] {
        if let Some(value) = of_service.get(key) {
            env.insert(key.into(), value.clone());
        }
    }
}

fn whole_s(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::{AlertSpec, CalendarRule, StepSpec};

    /// A gateway, a disabled service, a daily and a weekly job.
    pub fn fleet() -> Fleet {
        let mut gateway = ServiceSpec::for_tests("gateway");
        gateway.env = [("NODE_ENV", "production"), ("TOKEN", "secret"), ("PATH", "/opt/x & y:/bin")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        gateway.stop_timeout = Duration::from_millis(60_500);
        let mut off = ServiceSpec::for_tests("off");
        off.enabled = false;
        let at = |hour, weekday| CalendarTable { hour: Some(hour), minute: Some(55), weekday, ..Default::default() };
        let words = |text: &str, table| Schedule::Words {
            text: text.into(),
            rule: CalendarRule::Every { minutes: 420 },
            tables: Some(vec![table]),
        };
        Fleet {
            state_dir: "/Users/u/.openclaw".into(),
            label_prefix: "ai.openclaw".into(),
            manager: ManagerKind::Auto,
            services: vec![gateway, off],
            tasks: vec![
                task("daily", vec![words("daily 07:55", at(7, None))]),
                task("weekly", vec![words("weekly Sun 03:55", at(3, Some(0)))]),
            ],
            exposures: Vec::new(),
            unusable: Vec::new(),
            alerts: AlertSpec::default(),
        }
    }

    /// A calendar job that does nothing.
    pub fn task(name: &str, calendar: Vec<Schedule>) -> TaskSpec {
        let timeout = Duration::from_secs(60);
        TaskSpec {
            calendar,
            steps: vec![StepSpec::for_tests(&["/bin/true"])],
            start_within: timeout,
            max_runtime: timeout,
            ..TaskSpec::for_tests(name)
        }
    }

    /// A Mac's usual places.
    pub fn site() -> Site {
        Site {
            program: "/Users/u/.cargo/bin/supervisor".into(),
            config: "/Users/u/.config/supervisor/services.toml".into(),
            state_dir: "/Users/u/.openclaw".into(),
            home: "/Users/u".into(),
            logs: "/Users/u/Library/Logs".into(),
            user: None,
            embedded: false,
            manager: ManagerKind::Launchd,
        }
    }

    #[test]
    fn one_job_for_the_daemon_and_for_each_that_is_enabled() {
        let (found, unfit) = jobs(&fleet(), &site(), false);
        let labels: Vec<&str> = found.iter().map(|job| job.label.as_str()).collect();
        assert_eq!(
            labels,
            ["ai.openclaw.supervisor", "ai.openclaw.gateway", "ai.openclaw.daily", "ai.openclaw.weekly"]
        );
        assert_eq!(unfit, []);
        assert_eq!(jobs(&fleet(), &site(), true).0.len(), 5);
        let embedded = jobs(&fleet(), &Site { embedded: true, ..site() }, false).0;
        assert_eq!(embedded.len(), 1);
        assert_eq!(embedded[0].exit_timeout_s, 96, "it takes them all down: 60.5 s and 30 s");
        let gateway = &found[1];
        let config = "/Users/u/.config/supervisor/services.toml";
        assert_eq!(gateway.argv[1..], ["--config", config, "--state-dir", "/Users/u/.openclaw", "exec", "gateway"]);
        assert_eq!(gateway.exit_timeout_s, 66, "never less than what its stop may take");
        assert_eq!(gateway.env.keys().collect::<Vec<_>>(), ["HOME", "NODE_ENV", "PATH"], "no secret");
        assert_eq!(gateway.env["PATH"], "/opt/x & y:/bin");
        assert_eq!((gateway.process_type, found[2].process_type), (ProcessType::Interactive, ProcessType::Background));
        assert_eq!(unit_of(&gateway.label, "ai.openclaw").unwrap().as_str(), "gateway");
        assert_eq!(unit_of("com.example.x", "ai.openclaw"), None);
    }

    #[test]
    fn what_cannot_be_installed_is_told_and_leaves_the_others_alone() {
        let mut fleet = fleet();
        fleet.services.push(ServiceSpec::for_tests(DAEMON));
        fleet.services[0].env.insert("PATH".into(), "/a\n/b".into());
        let odd = Schedule::Words { text: "every 7h".into(), rule: CalendarRule::Every { minutes: 420 }, tables: None };
        fleet.tasks.push(task("odd", vec![odd]));
        let (found, unfit) = jobs(&fleet, &site(), false);
        assert_eq!(found.iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), [DAEMON, "daily", "weekly"]);
        let why = |name: &str| unfit.iter().find(|u| u.name == name).unwrap().why.clone();
        assert!(why("gateway").contains("PATH"), "{unfit:?}");
        assert!(why(DAEMON).contains("the supervisor's own"), "{unfit:?}");
        assert_eq!(unfit.len(), 2, "what the daemon starts needs no job: {unfit:?}");
    }

    #[test]
    fn what_a_service_manager_cannot_say_is_the_daemons_to_start() {
        let table = |table| vec![Schedule::Table(table)];
        let at = CalendarTable { hour: Some(4), minute: Some(0), ..Default::default() };
        let daily = task("daily", table(at));
        let in_may = task("in-may", table(CalendarTable { weekday: Some(1), month: Some(5), ..at }));
        let mut vienna = task("vienna", table(at));
        vienna.timezone = Some("Europe/Vienna".into());
        // What the clock's changes do to it is no reason.
        let at_night = task("at-night", table(CalendarTable { hour: Some(2), day: Some(31), ..at }));
        let odd = Schedule::Words { text: "every 7h".into(), rule: CalendarRule::Every { minutes: 420 }, tables: None };
        let often = task("often", table(CalendarTable { day: Some(1), ..CalendarTable::default() }));
        let mut many = often.clone();
        many.name = UnitName::new("many").unwrap();
        many.calendar.push(Schedule::Table(CalendarTable { day: Some(2), ..CalendarTable::default() }));
        let mut off = task("off", vec![odd.clone()]);
        off.enabled = false;
        let fleet =
            Fleet { tasks: vec![daily, in_may, vienna, at_night, often, many, task("odd", vec![odd]), off], ..fleet() };
        let told = |manager| {
            let told = by_daemon(&fleet, manager);
            let (found, unfit) = jobs(&fleet, &Site { manager, ..site() }, false);
            assert_eq!(unfit, []);
            assert!(found.iter().all(|job| told.iter().all(|(name, _)| name.as_str() != job.name)), "{told:?}");
            let tasks = found.iter().filter(|job| job.role == Role::Task).count();
            assert_eq!(tasks + told.len(), 7, "each enabled job has one who starts it");
            told
        };
        let names = |told: &[(UnitName, String)]| told.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
        let launchd = told(ManagerKind::Launchd);
        assert_eq!(names(&launchd), ["in-may", "vienna", "many", "odd"]);
        for ((_, why), word) in launchd.iter().zip(["month", "Europe/Vienna", "2880", "every 7h"]) {
            assert!(why.contains(word), "{why}");
        }
        assert_eq!(names(&told(ManagerKind::Systemd)), ["odd"]);
    }
}
