//! Files and a service manager that notes what it is told, and fails when it is to.

use std::cell::{Cell, RefCell};
use std::sync::Mutex;

use super::*;
use crate::install::drift::tests::wanted;
use crate::install::plan;
use crate::manager::driver::JobFile;
use crate::manager::job::Unfit;
use crate::model::ManagerKind;

/// A service manager that loads whatever is in its folder.
struct Fake {
    folder: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    told: Vec<String>,
    /// What was in the file when it was loaded.
    loaded: Option<Vec<u8>>,
    fails: Option<Vec<u8>>,
}

impl Fake {
    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.lock().unwrap().told)
    }
}

impl Driver for Fake {
    fn kind(&self) -> ManagerKind {
        ManagerKind::Launchd
    }
    fn folder(&self) -> &Path {
        &self.folder
    }
    fn render(&self, _: &Job) -> Result<Vec<JobFile>, Unfit> {
        unreachable!("rendered by the test")
    }
    fn look(&self, _: &Job) -> Result<JobState, Trouble> {
        let inner = self.inner.lock().unwrap();
        let standing = if inner.loaded.is_some() { Standing::Running } else { Standing::Absent };
        Ok(JobState { standing, ..JobState::absent(false) })
    }
    fn load(&self, job: &Job, by_hand: bool) -> Result<(), Trouble> {
        assert!(by_hand);
        let mut inner = self.inner.lock().unwrap();
        let bytes = fs::read(self.folder.join(format!("{}.plist", job.label))).unwrap();
        inner.told.push(format!("load {}", String::from_utf8_lossy(&bytes)));
        if inner.fails.as_ref() == Some(&bytes) {
            return Err(Trouble::new(TroubleKind::BadFile, "5: Input/output error"));
        }
        inner.loaded = Some(bytes);
        Ok(())
    }
    fn unload(&self, _: &Job) -> Result<(), Trouble> {
        let mut inner = self.inner.lock().unwrap();
        inner.told.push("unload".into());
        inner.loaded = None;
        Ok(())
    }
    fn kick(&self, _: &Job) -> Result<(), Trouble> {
        self.inner.lock().unwrap().told.push("kick".into());
        Ok(())
    }
    fn kick_command(&self, _: &Job) -> Vec<String> {
        Vec::new()
    }
    fn forget(&self, _: &Job) -> Result<(), Trouble> {
        self.inner.lock().unwrap().told.push("forget".into());
        Ok(())
    }
}

struct Place {
    _dir: tempfile::TempDir,
    paths: Paths,
    fake: Fake,
    record: RefCell<Record>,
    adopt: Cell<bool>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("agents");
        fs::create_dir(&folder).unwrap();
        let record = Record {
            v: Record::VERSION,
            manager: ManagerKind::Launchd,
            embedded: false,
            loaded: true,
            folder: folder.clone(),
            tool: "/bin/launchctl".into(),
            program: "/bin/supervisor".into(),
            config: "/c".into(),
            home: "/h".into(),
            logs: dir.path().join("logs"),
            revive: Vec::new(),
            jobs: Vec::new(),
        };
        let fake = Fake { folder, inner: Mutex::default() };
        Self { paths: Paths::new(&dir.path().join("s")), _dir: dir, fake, record: record.into(), adopt: false.into() }
    }

    fn file(&self) -> PathBuf {
        self.fake.folder.join("p.a.plist")
    }

    fn hands(&self) -> Hands<'_> {
        Hands { driver: &self.fake, paths: &self.paths, folder: &self.fake.folder, load: true, by_hand: true }
    }

    fn install(&self, bytes: &str) -> Result<bool, String> {
        let mut wanted = wanted(Role::Runner);
        wanted.job.log = self.record.borrow().logs.join("a.log");
        wanted.files[0].bytes = bytes.into();
        let hands = self.hands();
        let seen = hands.look(&wanted).unwrap();
        let mut record = self.record.borrow_mut();
        let before = record.job("p.a").cloned();
        let step =
            plan::step(wanted, &seen, before.as_ref(), &self.fake.folder, self.adopt.get()).map_err(|e| e.what)?;
        hands.perform(&step, &seen, &mut record, true).map_err(|trouble| trouble.message)?;
        Ok(!step.is_nothing())
    }

    fn uninstall(&self) -> String {
        let known = self.record.borrow().jobs[0].clone();
        self.hands().remove(&known).unwrap()
    }
}

#[test]
fn a_second_install_changes_nothing_and_an_uninstall_leaves_nothing() {
    let place = Place::new();
    assert_eq!(place.install("one"), Ok(true));
    assert_eq!(place.fake.told(), ["load one"]);
    assert_eq!(Record::read(&place.paths).unwrap().as_ref(), Some(&*place.record.borrow()));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(place.file()).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(place.install("one"), Ok(false));
    assert_eq!(place.fake.told(), [""; 0]);
    assert_eq!(place.install("two"), Ok(true));
    assert_eq!(place.fake.told(), ["unload", "load two"]);
    assert_eq!(place.uninstall(), "ended and removed");
    assert_eq!(place.fake.told(), ["unload", "forget"]);
    assert!(!place.file().exists());
    assert!(!place.paths.backups().exists(), "nobody else had anything there");
}

#[test]
fn a_load_that_fails_restores_what_was() {
    let place = Place::new();
    place.install("one").unwrap();
    place.fake.told();
    place.fake.inner.lock().unwrap().fails = Some(b"two".to_vec());
    let why = place.install("two").unwrap_err();
    assert_eq!(why, "5: Input/output error; what was there before is back");
    assert_eq!(place.fake.told(), ["unload", "load two", "unload", "load one"]);
    assert_eq!(fs::read(place.file()).unwrap(), b"one");
    assert_eq!(place.fake.inner.lock().unwrap().loaded.as_deref(), Some(&b"one"[..]));
    assert_eq!(place.install("one"), Ok(false), "the record is of what is there");
    // At the first time nothing is left.
    let fresh = Place::new();
    fresh.fake.inner.lock().unwrap().fails = Some(b"one".to_vec());
    assert!(fresh.install("one").unwrap_err().ends_with("what was there before is back"));
    assert!(!fresh.file().exists() && fresh.record.borrow().jobs.is_empty());
}

#[test]
fn what_somebody_else_had_is_kept_and_comes_back() {
    let place = Place::new();
    fs::write(place.file(), "theirs").unwrap();
    place.fake.inner.lock().unwrap().loaded = Some(b"theirs".to_vec());
    assert!(place.install("ours").unwrap_err().contains("was not written by us"));
    place.adopt.set(true);
    assert_eq!(place.install("ours"), Ok(true));
    assert_eq!(place.fake.told(), ["unload", "load ours"]);
    // Also over a further install, and a change by somebody else.
    place.adopt.set(false);
    fs::write(place.file(), "meddled with").unwrap();
    assert_eq!(place.install("ours, newer"), Ok(true));
    place.fake.told();
    assert_eq!(place.uninstall(), "removed; the job that was there before is loaded again");
    assert_eq!(fs::read(place.file()).unwrap(), b"theirs");
    assert_eq!(place.fake.told(), ["unload", "load theirs"]);
    let kept = |text: &str| {
        fs::read_dir(place.paths.backups())
            .unwrap()
            .any(|entry| fs::read(entry.unwrap().path()).unwrap() == text.as_bytes())
    };
    assert!(kept("theirs") && kept("meddled with"));
}

/// A runner of an earlier version: it takes no leave.
#[test]
fn a_runner_that_does_not_leave_keeps_its_service_and_its_job() {
    use std::io::{BufRead, BufReader, Write};
    let place = Place::new();
    place.install("one").unwrap();
    place.fake.told();
    fs::create_dir_all(place.paths.runners()).unwrap();
    let (listener, _) = crate::process::socket::bind(&place.paths.runner_socket("a")).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut String::new()).unwrap();
            stream.write_all(b"{\"error\":{\"code\":2,\"message\":\"unknown\",\"hint\":null}}\n").unwrap();
        });
        assert!(place.install("two").unwrap_err().ends_with("what was there before is back"));
    });
    assert_eq!(place.fake.told(), [""; 0], "the service manager would end the service");
    assert_eq!(fs::read(place.file()).unwrap(), b"one");
    assert!(!place.record.borrow().jobs[0].pending);
}

#[test]
fn whoever_is_killed_half_way_loses_nothing_and_the_next_goes_on() {
    let place = Place::new();
    fs::write(place.file(), "theirs").unwrap();
    place.fake.inner.lock().unwrap().loaded = Some(b"theirs".to_vec());
    place.adopt.set(true);
    place.install("ours").unwrap();
    let mut killed = place.record.borrow().clone();
    killed.jobs[0].pending = true;
    // Once before ours is written over theirs, once before it is loaded.
    for on_disk in ["theirs", "ours"] {
        fs::write(place.file(), on_disk).unwrap();
        place.fake.inner.lock().unwrap().loaded = Some(b"theirs".to_vec());
        *place.record.borrow_mut() = killed.clone();
        place.adopt.set(false);
        place.fake.told();
        assert_eq!(place.install("ours"), Ok(true), "what is loaded looks the same and is not");
        assert_eq!(place.fake.told(), ["unload", "load ours"]);
        assert_eq!(place.install("ours"), Ok(false));
    }
    place.fake.told();
    place.uninstall();
    assert_eq!(fs::read(place.file()).unwrap(), b"theirs");
}

/// The record is there before the first byte of somebody else's is gone.
#[test]
fn nothing_is_overwritten_that_cannot_be_put_on_record() {
    let place = Place::new();
    fs::write(place.file(), "theirs").unwrap();
    place.adopt.set(true);
    fs::create_dir_all(place.paths.installed()).unwrap();
    assert!(place.install("ours").is_err());
    assert_eq!(fs::read(place.file()).unwrap(), b"theirs");
    assert_eq!(place.fake.told(), [""; 0]);
}
