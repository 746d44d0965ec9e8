use std::os::unix::process::CommandExt;
use std::process::Child;
use std::sync::Mutex;

use super::*;
use crate::manager::driver::{JobFile, Trouble, TroubleKind};
use crate::manager::job::Unfit;
use crate::process::testing::sh;

/// A service manager with one job, whose process is real.
struct Fake {
    folder: tempfile::TempDir,
    state: Mutex<State>,
    /// Holds the next start after a kill back until it is kicked.
    pends: bool,
}

#[derive(Default)]
struct State {
    loaded: bool,
    child: Option<Child>,
    pended: bool,
    kicks: usize,
    runs: u64,
}

impl Drop for State {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        child.kill().ok();
        child.wait().ok();
    }
}

impl Fake {
    fn new(pends: bool) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), state: Mutex::default(), pends }
    }

    fn start(job: &Job, state: &mut State) {
        let words: Vec<String> = job.argv.iter().map(|word| format!("'{word}'")).collect();
        state.child = Some(sh(&format!("exec {}", words.join(" "))).process_group(0).spawn().unwrap());
        state.runs += 1;
    }
}

impl Driver for Fake {
    fn kind(&self) -> ManagerKind {
        ManagerKind::Embedded
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn render(&self, job: &Job) -> Result<Vec<JobFile>, Unfit> {
        Ok(vec![JobFile { name: format!("{}.job", job.label), bytes: job.argv.join("\n").into() }])
    }

    fn look(&self, job: &Job) -> Result<JobState, Trouble> {
        let mut state = self.state.lock().unwrap();
        if !state.loaded {
            return Ok(JobState::absent(false));
        }
        if state.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some()) {
            state.child = None;
            state.pended = self.pends;
            if !self.pends && job.is_kept() {
                Self::start(job, &mut state);
            }
        }
        let pid = state.child.as_ref().map(|child| i32::try_from(child.id()).unwrap());
        let standing = match (pid, state.pended) {
            (Some(_), _) => Standing::Running,
            (None, true) => Standing::Pended("inefficient".into()),
            (None, false) => Standing::Stopped,
        };
        Ok(JobState { standing, pid, runs: Some(state.runs), ..JobState::absent(false) })
    }

    fn load(&self, job: &Job, by_hand: bool) -> Result<(), Trouble> {
        assert!(by_hand && self.folder.path().join(format!("{}.job", job.label)).exists());
        let mut state = self.state.lock().unwrap();
        state.loaded = true;
        if job.is_kept() {
            Self::start(job, &mut state);
        } else {
            // Its minute comes at once, and a little later than the look that follows.
            let file = job.argv[1].clone();
            state.child = Some(sh(&format!("sleep 0.3; exec touch '{file}'")).spawn().unwrap());
        }
        Ok(())
    }

    fn unload(&self, _job: &Job) -> Result<(), Trouble> {
        let mut state = self.state.lock().unwrap();
        end(&mut state.child);
        state.loaded = false;
        Ok(())
    }

    fn kick(&self, job: &Job) -> Result<(), Trouble> {
        let mut state = self.state.lock().unwrap();
        state.kicks += 1;
        if state.child.is_none() {
            state.pended = false;
            Self::start(job, &mut state);
        }
        Ok(())
    }

    fn kick_command(&self, _: &Job) -> Vec<String> {
        Vec::new()
    }

    fn forget(&self, job: &Job) -> Result<(), Trouble> {
        let left = self.folder.path().join(format!("{}.job", job.label)).exists();
        if left { Err(Trouble::new(TroubleKind::Other, "its file is still there")) } else { Ok(()) }
    }
}

fn test(driver: &Fake, slot: Option<(u8, u8)>) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    let trial = Trial { driver, home: Path::new("/"), folder: folder.path(), slot };
    let report = run(&trial, &mut |step| names.push(step.name));
    assert_eq!(names, report.steps.iter().map(|step| step.name).collect::<Vec<_>>(), "each is told as it ends");
    assert_eq!(driver.folder.path().read_dir().unwrap().count(), 0, "nothing is left");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "nothing is left");
    report
}

#[test]
fn a_manager_that_does_as_it_should_passes() {
    let fake = Fake::new(false);
    let report = test(&fake, Some((12, 0)));
    assert!(report.ok && report.steps.iter().all(|step| step.ok), "{report:#?}");
    assert_eq!(report.steps.len(), 10);
    assert!(report.label.ends_with(&std::process::id().to_string()));
    let raw = &report.steps[1].raw;
    assert!(raw.contains("Running"), "what it says itself is kept: {raw}");
    assert_eq!(fake.state.lock().unwrap().kicks, 1);
}

#[test]
fn a_start_that_is_held_back_is_kicked_and_told() {
    let fake = Fake::new(true);
    let report = test(&fake, None);
    assert!(report.ok, "{report:#?}");
    assert!(report.steps[3].what.contains("held back (inefficient)"), "{:?}", report.steps[3]);
}

/// It waits for a minute in the real program; here the manager fails at once instead.
#[test]
fn what_fails_ends_it_and_all_is_taken_away_again() {
    struct Refusing(Fake);
    impl Driver for Refusing {
        fn kind(&self) -> ManagerKind {
            self.0.kind()
        }
        fn folder(&self) -> &Path {
            self.0.folder()
        }
        fn render(&self, job: &Job) -> Result<Vec<JobFile>, Unfit> {
            self.0.render(job)
        }
        fn look(&self, job: &Job) -> Result<JobState, Trouble> {
            self.0.look(job)
        }
        fn load(&self, _: &Job, _: bool) -> Result<(), Trouble> {
            Err(Trouble::new(TroubleKind::SwitchedOff, "it is switched off").hint("switch it on"))
        }
        fn unload(&self, job: &Job) -> Result<(), Trouble> {
            self.0.unload(job)
        }
        fn kick(&self, job: &Job) -> Result<(), Trouble> {
            self.0.kick(job)
        }
        fn kick_command(&self, _: &Job) -> Vec<String> {
            Vec::new()
        }

        fn forget(&self, job: &Job) -> Result<(), Trouble> {
            self.0.forget(job)
        }
    }
    let refusing = Refusing(Fake::new(false));
    let folder = tempfile::tempdir().unwrap();
    let trial = Trial { driver: &refusing, home: Path::new("/"), folder: folder.path(), slot: Some((1, 2)) };
    let report = run(&trial, &mut |_| {});
    assert!(!report.ok);
    let steps: Vec<(&str, bool)> = report.steps.iter().map(|step| (step.name, step.ok)).collect();
    assert_eq!(steps, [("write its files", true), ("load it", false), ("clean up", true)]);
    assert_eq!(report.steps[1].what, "it is switched off (switch it on)");
    assert_eq!(refusing.0.folder.path().read_dir().unwrap().count(), 0);
}

#[test]
fn systemd_does_not_wait_for_a_word_of_what_says_none() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new(false);
    let trial = Trial { driver: &fake, home: Path::new("/"), folder: folder.path(), slot: None };
    let files = crate::manager::unit::render(&sleeper(&trial, "org.example.selftest")).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(text(&files[0].bytes).contains("Type=notify"));
    let unit = text(&ready_at_once(&files[0].bytes));
    assert!(unit.contains("Type=exec\n") && !unit.contains("otify"), "{unit}");
}
