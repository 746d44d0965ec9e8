//! What launchctl's answers mean, and what is to be done after which. Pure.
//!
//! The exit status of launchctl is launchd's error number. Who is not root gets most refusals as a 5, whatever the reason, so
//! that what is seen besides counts for more than the number.

use std::path::{Path, PathBuf};

use crate::manager::driver::{JobState, Standing, Trouble, TroubleKind};
use crate::manager::job::Job;

/// Where in System Settings a person switches off what runs in the background.
const LOGIN_ITEMS: &str = "switch it on in System Settings > General > Login Items & Extensions";

/// Nothing like it is loaded.
pub const NOT_LOADED: i32 = 113;

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its exit status; `None` when a signal ended launchctl.
    pub code: Option<i32>,
    /// stdout.
    pub out: String,
    /// stderr.
    pub err: String,
}

impl Answer {
    /// Whether it is a 0.
    pub fn is_good(&self) -> bool {
        self.code == Some(0)
    }

    /// Whether it says that there is no such service, or no such domain that could have it.
    pub fn is_absent(&self) -> bool {
        matches!(self.code, Some(3 | 112 | NOT_LOADED | 125))
            // Old systems have other numbers for it.
            || (!self.is_good() && (self.err.contains("Could not find service") || self.err.contains("Could not find domain")))
    }

    /// What it says, for people.
    pub fn words(&self, verb: &str) -> String {
        let said = one_line(&self.err);
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        match self.code {
            None => format!("launchctl {verb} was ended by a signal{said}"),
            Some(code) => match meaning(code) {
                Some(meaning) => format!("launchctl {verb} answered {code} ({meaning}){said}"),
                None => format!("launchctl {verb} answered {code}{said}"),
            },
        }
    }
}

/// What launchctl wrote without line ends and control characters, and not too long.
fn one_line(text: &str) -> String {
    const MOST: usize = 300;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("Try re-running"));
    let joined = lines.collect::<Vec<_>>().join("; ");
    joined.chars().filter(|c| !c.is_control()).take(MOST).collect()
}

/// What a number of launchd means.
fn meaning(code: i32) -> Option<&'static str> {
    Some(match code {
        1 => "not permitted",
        3 => "no such process",
        5 => "input/output error, which can be anything",
        36 => "under way already",
        37 => "loaded already, or not gone yet",
        64 => "it does not understand what it is told",
        78 => "not implemented, or a configuration error",
        108 => "invalid path",
        109 => "invalid property list",
        110 => "label missing or invalid",
        111 => "program missing or invalid",
        112 => "no such domain",
        NOT_LOADED => "not loaded",
        119 => "switched off",
        122 => "bad owner or mode of the file",
        125 => "not possible in this domain: nobody is logged in there",
        130 => "in this domain already",
        134 => "not possible in this kind of session",
        150 => "protected by the system",
        159 => "forbidden by the sandbox",
        161 => "switched off in Login Items",
        _ => return None,
    })
}

/// What is known when launchd has answered `bootstrap`.
#[derive(Debug, Clone, Copy)]
pub struct Loading<'a> {
    /// For messages: the label.
    pub label: &'a str,
    /// Where it was to be loaded.
    pub domain: &'a str,
    /// Its file.
    pub file: &'a Path,
    /// What is wrong with the file's owner or mode, as far as can be seen.
    pub file_fault: Option<&'a str>,
    /// What launchd has under this label now.
    pub seen: &'a JobState,
    /// Whether there is another domain to try, `user/UID`.
    pub has_other_domain: bool,
    /// Whether there is time for another attempt.
    pub has_time: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It is done.
    Done,
    /// The same again, a little later.
    Again,
    /// The same in `user/UID`.
    OtherDomain,
    /// It cannot be done.
    Fail(Trouble),
}

/// After `bootstrap`.
pub fn after_bootstrap(answer: &Answer, at: &Loading<'_>) -> Next {
    let fail = |kind, hint: &str| {
        let doing = format!("{} could not be loaded into {}", at.label, at.domain);
        Next::Fail(Trouble::new(kind, format!("{doing}: {}", answer.words("bootstrap"))).hint(hint))
    };
    let file = at.file.display();
    match answer.code {
        Some(0) => Next::Done,
        Some(5 | 36 | 37 | 130) => {
            let is_loaded = at.seen.standing != Standing::Absent && at.seen.standing != Standing::Stopping;
            if is_loaded && at.seen.file.as_deref().is_some_and(|loaded| same_file(loaded, at.file)) {
                // Somebody else was faster: the login, for example.
                Next::Done
            } else if let Some(fault) = at.file_fault {
                fail(TroubleKind::BadFile, fault)
            } else if at.seen.disabled && at.seen.standing == Standing::Absent {
                fail(TroubleKind::SwitchedOff, &switched_off(at.label, at.domain))
            } else if at.has_time {
                Next::Again
            } else if at.seen.standing == Standing::Absent {
                fail(
                    TroubleKind::Other,
                    "why is in the system's log only: `log show --last 5m --predicate 'process == \"launchd\"'`",
                )
            } else {
                fail(TroubleKind::TimedOut, &still_there(at.seen))
            }
        }
        Some(119) => fail(TroubleKind::SwitchedOff, &switched_off(at.label, at.domain)),
        Some(161) => fail(TroubleKind::SwitchedOff, LOGIN_ITEMS),
        Some(112 | 125) if at.has_other_domain => Next::OtherDomain,
        Some(112 | 125) => fail(TroubleKind::NoSession, "log in at the screen of this Mac and try again"),
        Some(108) => fail(
            TroubleKind::BadFile,
            &format!("{file} must be a regular file with an absolute path that ends with .plist"),
        ),
        Some(109..=111) => fail(TroubleKind::BadFile, &format!("`plutil -lint {file}` tells more")),
        Some(122) => fail(
            TroubleKind::BadFile,
            at.file_fault.unwrap_or(&format!(
                "it must be yours (or root's) and writable by nobody else: `chown $(id -u) {file}; chmod 644 {file}`"
            )),
        ),
        Some(134) => fail(
            TroubleKind::BadFile,
            &format!("LimitLoadToSessionType in {file} leaves out the kind of session that {} is", at.domain),
        ),
        Some(159) => fail(TroubleKind::BadFile, "run it from a terminal, and not from an app in a sandbox"),
        Some(64) => fail(TroubleKind::Other, "this macOS is older than 10.11, or its launchctl has changed"),
        Some(1 | 150) => fail(TroubleKind::Other, "run it as root, or as the user that the job belongs to"),
        _ => fail(TroubleKind::Other, "`launchctl error NUMBER` tells the meaning of its number"),
    }
}

fn switched_off(label: &str, domain: &str) -> String {
    format!("somebody has switched it off; `launchctl enable {domain}/{label}` switches it on")
}

/// launchd shows paths as it resolved them: /tmp is /private/tmp there.
fn same_file(loaded: &Path, ours: &Path) -> bool {
    let plain = |path: &Path| {
        path.strip_prefix("/private").map_or_else(|_| path.to_owned(), |rest| PathBuf::from("/").join(rest))
    };
    plain(loaded) == plain(ours)
}

/// Who still lives of a job that should be gone.
pub fn still_there(seen: &JobState) -> String {
    let file = seen.file.as_ref().map_or(String::new(), |file| format!(", loaded from {}", file.display()));
    match seen.pid {
        Some(pid) => format!("its process {pid} still lives{file}"),
        None => format!("launchd still has it, without a process{file}"),
    }
}

/// After `bootout`.
pub fn after_bootout(answer: &Answer, label: &str, domain: &str, has_time: bool) -> Next {
    match answer.code {
        // Gone, or under way: launchd keeps the label until the process has ended.
        Some(0 | 36 | 37) => Next::Done,
        _ if answer.is_absent() => Next::Done,
        Some(5) if has_time => Next::Again,
        code => {
            let hint = match code {
                Some(1 | 150) => "run it as root, or as the user that the job belongs to",
                _ => "`launchctl error NUMBER` tells the meaning of its number",
            };
            let message = format!("{label} could not be unloaded from {domain}: {}", answer.words("bootout"));
            Next::Fail(Trouble::new(TroubleKind::Other, message).hint(hint))
        }
    }
}

/// After `kickstart`: [`Next::Done`] means that what launchd shows then decides.
pub fn after_kickstart(answer: &Answer, label: &str, domain: &str) -> Next {
    let fail = |kind, hint: &str| {
        let message = format!("{label} could not be started in {domain}: {}", answer.words("kickstart"));
        Next::Fail(Trouble::new(kind, message).hint(hint))
    };
    match answer.code {
        // Both of the latter: it is being started already.
        Some(0 | 36 | 37) => Next::Done,
        Some(119) => fail(TroubleKind::SwitchedOff, &switched_off(label, domain)),
        Some(161) => fail(TroubleKind::SwitchedOff, LOGIN_ITEMS),
        Some(112 | 125) => fail(TroubleKind::NoSession, "log in at the screen of this Mac and try again"),
        _ if answer.is_absent() => fail(TroubleKind::Other, "it is not loaded (any more); install it again"),
        Some(1 | 150) => fail(TroubleKind::Other, "run it as root, or as the user that the job belongs to"),
        _ => fail(TroubleKind::Other, "`launchctl error NUMBER` tells the meaning of its number"),
    }
}

/// What to do with a job that was loaded and is to be started, as it is seen now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// It was started.
    Started,
    /// Look again a little later.
    Wait,
    /// Start it by hand, and look then.
    Kick,
    /// It will not come up by itself.
    Fail(Trouble),
}

/// How far `job` has come that was loaded. `kicked`: it was started by hand at least once.
pub fn after_look(job: &Job, seen: &JobState, kicked: bool, has_time: bool) -> Start {
    let (label, log) = (&job.label, &job.log);
    let domain = seen.domain.as_deref().unwrap_or("launchd");
    let late = |what: &str| {
        Start::Fail(
            Trouble::new(TroubleKind::TimedOut, format!("{label} was loaded into {domain} and does not start: {what}"))
                .hint(format!("`launchctl kickstart {domain}/{label}` starts it at once; `launchctl print {domain}/{label}` tells more")),
        )
    };
    match &seen.standing {
        Standing::Running => Start::Started,
        Standing::CannotStart(why) => Start::Fail(
            Trouble::new(TroubleKind::Other, format!("{label} was loaded into {domain}, but {why}"))
                .hint(format!("program, log file ({}) and working directory must be there for it", log.display())),
        ),
        Standing::Absent => Start::Fail(
            Trouble::new(TroubleKind::Other, format!("{label} was loaded, and launchd does not have it any more"))
                .hint(format!("somebody has unloaded it, or macOS does not allow it: {LOGIN_ITEMS}")),
        ),
        // The calendar starts it.
        _ if !job.is_kept() => Start::Started,
        // Only a start by hand is never held back.
        Standing::Pended(_) if has_time => Start::Kick,
        Standing::Pended(why) => late(why),
        Standing::Stopped | Standing::Delayed if seen.runs.unwrap_or(0) > 0 => match seen.last_exit.as_deref() {
            // It had nothing to do.
            Some("exit code 0") => Start::Started,
            // Between its start and its end launchd may not have written down either.
            None if has_time => Start::Wait,
            end => Start::Fail(
                Trouble::new(
                    TroubleKind::Other,
                    format!(
                        "{label} was started and ended at once ({}); launchd tries again",
                        end.unwrap_or("nobody knows how")
                    ),
                )
                .hint(format!("what it said is in {}", log.display())),
            ),
        },
        Standing::Stopped | Standing::Delayed if !kicked => Start::Kick,
        _ if has_time => Start::Wait,
        Standing::Stopping => late("it is being ended"),
        Standing::Delayed => late("its start is put off"),
        Standing::Stopped => late("nobody knows why"),
    }
}

/// After [`after_kickstart`] of a job that was loaded before; `answered`: launchctl came back in time.
pub fn after_kick(label: &str, seen: &JobState, answered: bool) -> Result<(), Trouble> {
    let not = |kind, why: &str| Err(Trouble::new(kind, format!("{label} could not be started: {why}")));
    match &seen.standing {
        Standing::CannotStart(why) => not(TroubleKind::Other, why),
        Standing::Absent => not(TroubleKind::Other, "it is not loaded any more"),
        Standing::Running => Ok(()),
        // It has ended again already.
        _ if answered => Ok(()),
        Standing::Pended(why) => not(TroubleKind::TimedOut, why),
        Standing::Stopping => not(TroubleKind::TimedOut, "it is being ended"),
        Standing::Delayed => not(TroubleKind::TimedOut, "launchd has put its start off"),
        Standing::Stopped => not(TroubleKind::TimedOut, "launchctl kickstart did not come back"),
    }
}

/// What launchd would not like about a file with this mode and owner, in words for [`Trouble::hint`].
pub fn file_fault(file: &Path, is_regular: bool, mode: u32, owner: u32, uid: u32) -> Option<String> {
    let file = file.display();
    if !is_regular {
        Some(format!("{file} must be a regular file"))
    } else if owner != uid && owner != 0 {
        Some(format!("{file} belongs to another user: `sudo chown {uid} {file}`"))
    } else if mode & 0o022 != 0 {
        Some(format!("{file} can be written by others: `chmod 644 {file}`"))
    } else {
        None
    }
}

#[cfg(test)]
#[path = "answers_tests.rs"]
mod tests;
