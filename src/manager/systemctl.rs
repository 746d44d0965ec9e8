//! `systemd --user`, or the system's own for a job with a user, through systemctl: no library, no bus of ours, and each call has
//! a time limit.
//!
//! What is loaded under systemd is what is enabled or active; a file alone is nothing. Switched off is what is disabled or masked.

mod shown;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::driver::{Driver, JobFile, JobState, Trouble, TroubleKind};
use super::job::{Job, Unfit};
use super::unit::{render, service_name, timer_name};
use crate::model::ManagerKind;
use crate::process::command::{self, Finished};
use shown::Shown;

/// Where systemctl is; PATH is not asked, as it may be anything.
const FOLDERS: [&str; 3] = ["/usr/bin", "/bin", "/run/current-system/sw/bin"];

/// Where units of a link in `[Install]` are linked from.
const TARGETS: [&str; 3] = ["default.target", "multi-user.target", "timers.target"];

/// Whose systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The user's own: units in `$XDG_CONFIG_HOME/systemd/user`.
    User,
    /// The machine's, for root: units in `/etc/systemd/system`, with a user each.
    System,
}

/// How long systemctl may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For a question and for what only changes files.
    pub ask: Duration,
    /// For a start, and beyond a job's own time for its end.
    pub start: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        // A reload runs all generators of the machine; a runner that takes over reads what its predecessor left.
        Self { ask: Duration::from_secs(30), start: Duration::from_secs(60) }
    }
}

/// systemd as a [`Driver`].
#[derive(Debug, Clone)]
pub struct Systemctl {
    program: PathBuf,
    folder: PathBuf,
    scope: Scope,
    limits: Limits,
    /// Where the user's own systemd is, when our environment does not say it: that of cron and of su does not.
    runtime_dir: Option<String>,
}

impl Systemctl {
    /// By the systemctl at `program`; `folder` is where the units of `scope` are, absolute.
    pub fn new(program: PathBuf, folder: PathBuf, scope: Scope, limits: Limits) -> Self {
        let set = std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|dir| !dir.is_empty());
        let usual = format!("/run/user/{}", nix::unistd::getuid());
        let runtime_dir = Some(usual).filter(|usual| scope == Scope::User && !set && Path::new(usual).is_dir());
        Self { program, folder, scope, limits, runtime_dir }
    }

    /// Where this machine has its systemctl, if it has one.
    pub fn find() -> Option<PathBuf> {
        FOLDERS.iter().map(|folder| Path::new(folder).join("systemctl")).find(|path| path.is_file())
    }

    /// The folder of `scope`'s units, in a home or a configuration folder (`$XDG_CONFIG_HOME`) of a user.
    pub fn folder_of(scope: Scope, home: &Path, config_home: Option<&Path>) -> PathBuf {
        match (scope, config_home.filter(|dir| dir.is_absolute())) {
            (Scope::System, _) => "/etc/systemd/system".into(),
            (Scope::User, Some(config)) => config.join("systemd/user"),
            (Scope::User, None) => home.join(".config/systemd/user"),
        }
    }

    fn switch(&self) -> &'static str {
        match self.scope {
            Scope::User => "--user",
            Scope::System => "--system",
        }
    }

    /// Runs `systemctl VERB ARGUMENTS`, and says how it ended.
    fn try_ask(&self, arguments: &[&str], limit: Duration) -> Result<Finished, Trouble> {
        let all = [&[self.switch(), "--no-ask-password", "--no-pager"], arguments].concat();
        // Its words are read: in English, in UTF-8 and without colours.
        let mut extra = vec![("LC_ALL", "C.UTF-8"), ("SYSTEMD_COLORS", "0"), ("SYSTEMD_URLIFY", "0")];
        extra.extend(self.runtime_dir.as_ref().map(|dir| ("XDG_RUNTIME_DIR", dir.as_str())));
        command::run(&self.program, &all, &extra, limit).map_err(|e| match e.is_missing() {
            true => Trouble::new(TroubleKind::NoManager, format!("there is no systemctl: {e}"))
                .hint("without systemd, use manager = \"embedded\" in services.toml"),
            false => {
                let kind = if matches!(e, command::NoAnswer::TimedOut { .. }) {
                    TroubleKind::TimedOut
                } else {
                    TroubleKind::Other
                };
                Trouble::new(kind, format!("{}: {e}", self.words(arguments)))
            }
        })
    }

    /// The same, and takes anything but 0 for trouble.
    fn ask(&self, arguments: &[&str], limit: Duration) -> Result<Finished, Trouble> {
        let done = self.try_ask(arguments, limit)?;
        if done.is_good() { Ok(done) } else { Err(self.trouble(arguments, &done)) }
    }

    /// For what is as well when it fails, such as when there is nothing to be forgotten.
    fn ask_anyway(&self, arguments: &[&str]) -> Result<(), Trouble> {
        match self.ask(arguments, self.limits.ask) {
            Err(trouble) if trouble.kind == TroubleKind::NoManager => Err(trouble),
            _ => Ok(()),
        }
    }

    fn words(&self, arguments: &[&str]) -> String {
        format!("systemctl {} {}", self.switch(), arguments.join(" "))
    }

    fn trouble(&self, arguments: &[&str], done: &Finished) -> Trouble {
        let said = done.stderr.trim();
        let said = if said.is_empty() { format!("it ended: {:?}", done.exit) } else { said.replace('\n', " ") };
        let kind = kind_of(&said);
        let trouble = Trouble::new(kind, format!("{}: {said}", self.words(arguments)));
        let unit = arguments.last().copied().unwrap_or_default();
        match (kind, self.scope) {
            (TroubleKind::NoManager, Scope::User) => trouble.hint(
                "systemd runs nothing for this user here: log in, or `loginctl enable-linger` so that it always does; \
                 XDG_RUNTIME_DIR must name its folder, usually /run/user/UID",
            ),
            (TroubleKind::NoManager, Scope::System) => trouble.hint("systemd is not what started this machine"),
            (TroubleKind::SwitchedOff, _) => trouble.hint(format!("`systemctl {} unmask {unit}`", self.switch())),
            (TroubleKind::BadFile, _) => trouble.hint(format!("`systemd-analyze {} verify {unit}`", self.switch())),
            _ if said.contains("Access denied") || said.contains("authentication required") => {
                trouble.hint("the machine's own systemd obeys root: use sudo")
            }
            _ => trouble,
        }
    }

    /// What systemd says of a job's service and timer.
    fn show(&self, job: &Job) -> Result<(Shown, Shown), Trouble> {
        let (service, timer) = (service_name(&job.label), timer_name(&job.label));
        let asked = ["show", "-p", shown::PROPERTIES, "--", &service, &timer];
        let done = self.ask(&asked, self.limits.ask)?;
        let units = shown::read(&done.stdout);
        let of = |name: &str| units.iter().find(|unit| unit.id() == name).cloned();
        of(&service)
            .zip(of(&timer))
            .ok_or_else(|| Trouble::new(TroubleKind::Other, format!("{} gave no answer", self.words(&asked))))
    }

    /// What systemd has against a file, as its own checker puts it, where that is there.
    fn verdict(&self, file: &str) -> Option<String> {
        let path = self.folder.join(file);
        let checker = self.program.with_file_name("systemd-analyze");
        let arguments = [self.switch().as_ref(), "verify".as_ref(), path.as_os_str()];
        let done = command::run(&checker, &arguments, &[("LC_ALL", "C.UTF-8")], self.limits.ask).ok()?;
        let about = |line: &&str| line.contains(file);
        let lines: Vec<&str> = done.stderr.lines().filter(about).collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    }

    fn bad_file(&self, file: &str, why: &str) -> Trouble {
        let said = self.verdict(file);
        let why = said.as_deref().unwrap_or(why);
        Trouble::new(TroubleKind::BadFile, format!("systemd refuses {}: {why}", self.folder.join(file).display()))
    }

    /// Whether systemd would take a unit that is about to be loaded.
    fn check(&self, unit: &Shown) -> Result<(), Trouble> {
        let name = unit.id();
        if unit.is_masked() {
            return Err(Trouble::new(TroubleKind::SwitchedOff, format!("{name} is masked in systemd"))
                .hint(format!("`systemctl {} unmask {name}`", self.switch())));
        }
        if unit.is_missing() {
            let what = format!("systemd finds no {name}; there should be {}", self.folder.join(name).display());
            return Err(Trouble::new(TroubleKind::Other, what).hint("`supervisor install` writes it"));
        }
        unit.refusal().map_or(Ok(()), |why| Err(self.bad_file(name, &why)))
    }

    /// How long the end of a job may take.
    fn stop_limit(&self, job: &Job) -> Duration {
        Duration::from_secs(job.exit_timeout_s).saturating_add(self.limits.start)
    }

    fn unmask(&self, unit: &Shown) -> Result<(), Trouble> {
        // Either may be, and the other is no trouble then.
        self.ask_anyway(&["unmask", "--", unit.id()])?;
        self.ask_anyway(&["unmask", "--runtime", "--", unit.id()])
    }

    /// A start that was not made: with what became of the program.
    fn not_started(&self, job: &Job, trouble: Trouble) -> Trouble {
        let Ok((service, _)) = self.show(job) else { return trouble };
        match service.last_exit() {
            Some(how) if trouble.kind == TroubleKind::Other => Trouble::new(
                trouble.kind,
                format!("{} could not be started under systemd: {how}", service_name(&job.label)),
            )
            .hint(format!(
                "`journalctl {} -u {}` has what it said",
                self.switch(),
                service_name(&job.label)
            )),
            _ => trouble,
        }
    }
}

/// What kind of trouble systemctl tells of.
fn kind_of(said: &str) -> TroubleKind {
    let any = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if any(&["connect to bus", "scope bus", "D-Bus connection", "not been booted with systemd", "endpoint is not conn"])
    {
        TroubleKind::NoManager
    } else if any(&[" is masked"]) {
        TroubleKind::SwitchedOff
    } else if any(&["bad unit file setting", "bad unit setting", "not loaded properly", "Unit configuration has fatal"])
    {
        TroubleKind::BadFile
    } else {
        TroubleKind::Other
    }
}

impl Driver for Systemctl {
    fn kind(&self) -> ManagerKind {
        ManagerKind::Systemd
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn render(&self, job: &Job) -> Result<Vec<JobFile>, Unfit> {
        let why = match (self.scope, &job.user) {
            (Scope::User, Some(user)) => format!("a user's own systemd cannot start it as {user}"),
            (Scope::System, None) => "under the machine's own systemd it would run as root; name a user".into(),
            _ => return render(job),
        };
        Err(Unfit { name: job.name.clone(), why })
    }

    fn look(&self, job: &Job) -> Result<JobState, Trouble> {
        let (service, timer) = self.show(job)?;
        let domain = self.switch().trim_start_matches('-');
        Ok(shown::state(job, &service, Some(&timer).filter(|_| !job.is_kept()), domain))
    }

    fn load(&self, job: &Job, by_hand: bool) -> Result<(), Trouble> {
        // Before anything is read anew: whether it runs by older files.
        let (service, timer) = self.show(job)?;
        let was_active = if job.is_kept() { service.is_active() } else { timer.is_active() };
        if by_hand {
            [&service, &timer].into_iter().filter(|unit| unit.is_masked()).try_for_each(|unit| self.unmask(unit))?;
        }
        self.ask(&["daemon-reload"], self.limits.ask)?;
        let (service, timer) = self.show(job)?;
        self.check(&service)?;
        let starter = if job.is_kept() { &service } else { &timer };
        self.check(starter)?;
        self.ask(&["enable", "--quiet", "--", starter.id()], self.limits.ask)?;
        // A timer takes up its new times only so; it leaves its service alone.
        let verb = if was_active { "restart" } else { "start" };
        let limit = if was_active { self.stop_limit(job) } else { self.limits.start };
        self.ask(&[verb, "--", starter.id()], limit).map_err(|trouble| self.not_started(job, trouble))?;
        let (service, timer) = self.show(job)?;
        let starter = if job.is_kept() { &service } else { &timer };
        if starter.is_started() {
            return Ok(());
        }
        let what = format!("{} was started under systemd, and is not running any more", starter.id());
        Err(self.not_started(job, Trouble::new(TroubleKind::Other, what)))
    }

    fn unload(&self, job: &Job) -> Result<(), Trouble> {
        let (service, timer) = self.show(job)?;
        // The timer first, or it might start again what is ended.
        for unit in [&timer, &service] {
            if !unit.is_missing() && !unit.is_masked() {
                // A calendar job's service is in no target, which systemctl tells and does not mind.
                self.ask(&["disable", "--quiet", "--", unit.id()], self.limits.ask)?;
            }
        }
        for unit in [&timer, &service] {
            if unit.is_active() {
                self.ask(&["stop", "--", unit.id()], self.stop_limit(job))?;
            }
            if unit.id() == timer.id() && !unit.is_missing() {
                // Also the time of its last run: a timer that is loaded again is new. Without a D-Bus that cannot be had (private
                // sockets know no such order), and then it makes up for what it missed meanwhile.
                let _ = self.try_ask(&["clean", "--what=state", "--", unit.id()], self.limits.ask);
            }
            self.ask_anyway(&["reset-failed", "--", unit.id()])?;
        }
        let (service, timer) = self.show(job)?;
        match [timer, service].iter().find(|unit| unit.is_active()) {
            None => Ok(()),
            Some(unit) => {
                Err(Trouble::new(TroubleKind::TimedOut, format!("{} has not ended under systemd", unit.id())))
            }
        }
    }

    fn kick(&self, job: &Job) -> Result<(), Trouble> {
        // Not waited for: a calendar job's start is done when the job is.
        self.ask(&["start", "--no-block", "--", &service_name(&job.label)], self.limits.ask).map(drop)
    }

    fn kick_command(&self, job: &Job) -> Vec<String> {
        let unit = service_name(&job.label);
        let program = self.program.display().to_string();
        [program.as_str(), self.switch(), "start", "--no-block", "--", &unit].map(str::to_owned).into()
    }

    fn forget(&self, job: &Job) -> Result<(), Trouble> {
        let names = [service_name(&job.label), timer_name(&job.label)];
        for target in TARGETS {
            for name in &names {
                let link = self.folder.join(format!("{target}.wants")).join(name);
                // `disable` knows no unit whose file is gone.
                if link.is_symlink() && !link.exists() {
                    std::fs::remove_file(&link).map_err(|e| {
                        Trouble::new(TroubleKind::Other, format!("cannot remove the link {}: {e}", link.display()))
                    })?;
                }
            }
        }
        self.ask(&["daemon-reload"], self.limits.ask)?;
        names.iter().try_for_each(|name| self.ask_anyway(&["reset-failed", "--", name]))
    }
}

#[cfg(test)]
#[path = "systemctl_tests.rs"]
mod tests;
