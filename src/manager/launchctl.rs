//! launchd, by way of `launchctl`: there is no other interface to it.
//!
//! launchctl is known to hang (kickstart of a job that cannot start, `print` while launchd is busy), so each call has its limit.
//! bootout comes back long before the job is gone, and bootstrap fails until it is; so everything here asks, looks and asks again
//! until a time that the job's own `ExitTimeOut` sets. What to do after which answer is decided in [`answers`]; the texts are
//! read in [`super::print`].

pub mod answers;

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::answers::{Answer, Loading, Next, Start};
use super::driver::{Driver, JobFile, JobState, Standing, Trouble, TroubleKind};
use super::job::{Job, Unfit};
use super::print::{self, Printed};
use crate::model::{ManagerKind, Mono};
use crate::process::command::{self, NoAnswer};
use crate::process::{clock, describe};

/// Where macOS has it.
pub const LAUNCHCTL: &str = "/bin/launchctl";

/// launchd of one user.
#[derive(Debug, Clone)]
pub struct Launchctl {
    program: PathBuf,
    folder: PathBuf,
    uid: u32,
    limits: Limits,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// One answer of launchctl.
    pub answer: Duration,
    /// kickstart, which waits for the start, on top of the job's throttle.
    pub kickstart: Duration,
    /// A job's end or its loading, on top of its exit timeout.
    pub teardown: Duration,
    /// A job's first start, on top of its throttle.
    pub start: Duration,
    /// How often bootstrap is tried.
    pub retry_every: Duration,
    /// How often is looked how a job stands.
    pub look_every: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(15),
            kickstart: Duration::from_secs(10),
            teardown: Duration::from_secs(10),
            start: Duration::from_secs(10),
            retry_every: Duration::from_millis(500),
            look_every: Duration::from_millis(200),
        }
    }
}

/// Where jobs can be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Domain {
    Gui(u32),
    User(u32),
    System,
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gui(uid) => write!(f, "gui/{uid}"),
            Self::User(uid) => write!(f, "user/{uid}"),
            Self::System => f.write_str("system"),
        }
    }
}

impl Domain {
    fn target(self, label: &str) -> String {
        format!("{self}/{label}")
    }
}

impl Launchctl {
    /// launchd as `program` (usually [`LAUNCHCTL`]) tells it, of the user `uid`, whose plists are in `folder`.
    pub fn new(program: PathBuf, folder: PathBuf, uid: u32, limits: Limits) -> Self {
        Self { program, folder, uid, limits }
    }

    /// The file of the job with this label.
    pub fn file(&self, label: &str) -> PathBuf {
        self.folder.join(format!("{label}.plist"))
    }

    fn try_ask(&self, arguments: &[&str], limit: Duration) -> Result<Answer, NoAnswer> {
        let done = command::run(&self.program, arguments, &[], limit)?;
        Ok(Answer { code: done.code(), out: done.stdout, err: done.stderr })
    }

    fn ask(&self, arguments: &[&str]) -> Result<Answer, Trouble> {
        self.try_ask(arguments, self.limits.answer).map_err(|e| no_answer(arguments, &e))
    }

    /// Where launchd has the label, and what it says of it. A job that is not where it belongs is found all the same: loaded
    /// twice it would run twice.
    fn find(&self, job: &Job) -> Result<Option<(Domain, Printed)>, Trouble> {
        for domain in [Domain::Gui(self.uid), Domain::User(self.uid), Domain::System] {
            let target = domain.target(&job.label);
            let answer = self.ask(&["print", &target])?;
            if answer.is_good() {
                return Ok(Some((domain, print::service(&answer.out))));
            }
            if !answer.is_absent() {
                let message = format!("{target} could not be looked at: {}", answer.words("print"));
                return Err(Trouble::new(TroubleKind::Other, message));
            }
        }
        Ok(None)
    }

    /// How a job stands, but for whether it is switched off.
    fn see(&self, job: &Job) -> Result<JobState, Trouble> {
        Ok(match self.find(job)? {
            Some((domain, printed)) => print::verdict(Some(&printed), false, &domain.to_string()),
            None => JobState::absent(false),
        })
    }

    /// Whether a person has switched the job off. What launchd does not tell is not so.
    fn is_disabled(&self, job: &Job) -> Result<bool, Trouble> {
        let domains = match job.user {
            Some(_) => vec![Domain::System],
            // One list for both, shown by whichever there is.
            None => vec![Domain::Gui(self.uid), Domain::User(self.uid)],
        };
        for domain in domains {
            let answer = self.ask(&["print-disabled", &domain.to_string()])?;
            if answer.is_good() {
                return Ok(print::disabled(&answer.out).get(&job.label).copied().unwrap_or(false));
            }
        }
        Ok(false)
    }

    /// Where a job is to be loaded: where its user is logged in at the screen, or else where that user's processes without a
    /// screen are, if its plist allows that.
    fn home(&self, job: &Job) -> Result<Domain, Trouble> {
        if job.user.is_some() {
            return Ok(Domain::System);
        }
        let gui = Domain::Gui(self.uid);
        if self.ask(&["print", &gui.to_string()])?.is_good() {
            return Ok(gui);
        }
        let user = Domain::User(self.uid);
        let file = self.file(&job.label);
        if may_be_in_background(&file) && self.ask(&["print", &user.to_string()])?.is_good() {
            tracing::info!("nobody is logged in at the screen: {} goes into {user}", job.label);
            return Ok(user);
        }
        let message =
            format!("{} cannot be loaded: user {} is not logged in at the screen of this Mac", job.label, self.uid);
        let hint =
            format!("log in there and try again, or allow LimitLoadToSessionType = Background in {}", file.display());
        Err(Trouble::new(TroubleKind::NoSession, message).hint(hint))
    }

    fn bootstrap(&self, job: &Job, by_hand: bool) -> Result<(), Trouble> {
        let file = self.file(&job.label);
        let mut domain = self.home(job)?;
        if by_hand {
            let answer = self.ask(&["enable", &domain.target(&job.label)])?;
            if !answer.is_good() {
                let message = format!("{} could not be switched on: {}", job.label, answer.words("enable"));
                return Err(Trouble::new(TroubleKind::Other, message));
            }
        }
        let end = after(Duration::from_secs(job.exit_timeout_s) + self.limits.teardown);
        loop {
            let answer = self.ask(&["bootstrap", &domain.to_string(), &file.to_string_lossy()])?;
            if answer.is_good() {
                return Ok(());
            }
            // 5 can be anything: what can be seen says which.
            let seen = self.look(job)?;
            let fault = match std::fs::metadata(&file) {
                Ok(stat) => answers::file_fault(&file, stat.is_file(), stat.mode(), stat.uid(), self.uid),
                Err(e) => Some(format!("{} cannot be read: {e}", file.display())),
            };
            let loading = Loading {
                label: &job.label,
                domain: &domain.to_string(),
                file: &file,
                file_fault: fault.as_deref(),
                seen: &seen,
                has_other_domain: domain == Domain::Gui(self.uid) && may_be_in_background(&file),
                has_time: clock::now().mono < end,
            };
            match answers::after_bootstrap(&answer, &loading) {
                Next::Done => return Ok(()),
                Next::Again => pause(self.limits.retry_every),
                Next::OtherDomain => {
                    domain = Domain::User(self.uid);
                    tracing::info!("{} goes into {domain}, since {}", job.label, answer.words("bootstrap"));
                }
                Next::Fail(trouble) => return Err(trouble),
            }
        }
    }

    /// Whether launchctl came back from a kickstart. One that did not may have done its work all the same.
    fn kickstart(&self, job: &Job, domain: &str) -> Result<bool, Trouble> {
        let target = format!("{domain}/{}", job.label);
        let arguments = ["kickstart", &target];
        let limit = Duration::from_secs(job.throttle_s) + self.limits.kickstart;
        match self.try_ask(&arguments, limit) {
            Ok(answer) => match answers::after_kickstart(&answer, &job.label, domain) {
                Next::Fail(trouble) => Err(trouble),
                _ => Ok(true),
            },
            Err(NoAnswer::TimedOut { .. }) => Ok(false),
            Err(e @ NoAnswer::NotStarted { .. }) => Err(no_answer(&arguments, &e)),
        }
    }
}

impl Driver for Launchctl {
    fn kind(&self) -> ManagerKind {
        ManagerKind::Launchd
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn render(&self, job: &Job) -> Result<Vec<JobFile>, Unfit> {
        Ok(vec![JobFile { name: format!("{}.plist", job.label), bytes: super::plist::render(job)? }])
    }

    fn look(&self, job: &Job) -> Result<JobState, Trouble> {
        Ok(JobState { disabled: self.is_disabled(job)?, ..self.see(job)? })
    }

    fn load(&self, job: &Job, by_hand: bool) -> Result<(), Trouble> {
        self.bootstrap(job, by_hand)?;
        let end = after(Duration::from_secs(job.throttle_s) + self.limits.start);
        let mut kicked = false;
        loop {
            let has_time = clock::now().mono < end;
            let seen = self.see(job)?;
            match answers::after_look(job, &seen, kicked, has_time) {
                Start::Started => return Ok(()),
                Start::Wait => pause(self.limits.look_every),
                Start::Kick => {
                    // Only where it was seen can it be started.
                    let domain = seen.domain.as_deref().unwrap_or_default();
                    self.kickstart(job, domain)?;
                    kicked = true;
                    pause(self.limits.look_every);
                }
                Start::Fail(trouble) => return Err(trouble),
            }
        }
    }

    fn unload(&self, job: &Job) -> Result<(), Trouble> {
        let end = after(Duration::from_secs(job.exit_timeout_s) + self.limits.teardown);
        let mut told = Vec::new();
        while let Some((domain, printed)) = self.find(job)? {
            let has_time = clock::now().mono < end;
            if !told.contains(&domain) {
                let answer = self.ask(&["bootout", &domain.target(&job.label)])?;
                match answers::after_bootout(&answer, &job.label, &domain.to_string(), has_time) {
                    Next::Fail(trouble) => return Err(trouble),
                    Next::Done => told.push(domain),
                    Next::Again | Next::OtherDomain => {}
                }
            } else if !has_time {
                let seen = print::verdict(Some(&printed), false, &domain.to_string());
                let who = printed.pid.map_or(String::new(), |pid| format!(" ({})", describe(pid)));
                let message =
                    format!("{} is not gone from {domain} yet: {}{who}", job.label, answers::still_there(&seen));
                return Err(Trouble::new(TroubleKind::TimedOut, message)
                    .hint("launchd ends it as soon as its process has ended; `kill -9` ends that"));
            }
            pause(self.limits.look_every);
        }
        Ok(())
    }

    fn kick(&self, job: &Job) -> Result<(), Trouble> {
        let seen = self.see(job)?;
        if seen.standing == Standing::Running {
            return Ok(());
        }
        let Some(domain) = &seen.domain else {
            return Err(Trouble::new(TroubleKind::Other, format!("{} cannot be started: it is not loaded", job.label)));
        };
        let answered = self.kickstart(job, domain)?;
        answers::after_kick(&job.label, &self.see(job)?, answered)
    }

    fn kick_command(&self, job: &Job) -> Vec<String> {
        let domain = self.find(job).ok().flatten().map_or(Domain::Gui(self.uid), |(domain, _)| domain);
        let program = self.program.display().to_string();
        vec![program, "kickstart".into(), domain.target(&job.label)]
    }

    /// launchd keeps nothing of a job without its file but whether a person has switched it off, and that stays theirs.
    fn forget(&self, _job: &Job) -> Result<(), Trouble> {
        Ok(())
    }
}

/// Whether the plist lets its job be where no screen is.
fn may_be_in_background(file: &Path) -> bool {
    let is_background = |value: &plist::Value| value.as_string() == Some("Background");
    let Ok(plist) = plist::Value::from_file(file) else { return false };
    let Some(kinds) = plist.as_dictionary().and_then(|keys| keys.get("LimitLoadToSessionType")) else { return false };
    is_background(kinds) || kinds.as_array().is_some_and(|kinds| kinds.iter().any(is_background))
}

fn no_answer(arguments: &[&str], why: &NoAnswer) -> Trouble {
    let trouble = |kind| Trouble::new(kind, format!("launchctl {}: {why}", arguments.join(" ")));
    match why {
        NoAnswer::NotStarted { .. } => {
            trouble(TroubleKind::NoManager).hint("launchd is there on macOS only, and its launchctl is /bin/launchctl")
        }
        NoAnswer::TimedOut { .. } => trouble(TroubleKind::TimedOut).hint("launchd is busy or stuck; try again later"),
    }
}

fn after(time: Duration) -> Mono {
    clock::now().mono.plus(time)
}

#[expect(clippy::disallowed_methods, reason = "launchd tells nobody when something has come to pass")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
