use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use super::*;
use crate::process::identity;
use crate::process::testing::{Guard, sh, wait_for};

/// A folder with two logs, and the folder for what is taken.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::write(place.log(0), "out of it\n").unwrap();
        std::fs::write(place.log(1), "calling with api_key=hunter2\n\x1b[31mred\x1b[0m\n").unwrap();
        place
    }

    fn log(&self, at: usize) -> PathBuf {
        self.0.path().join(["gateway-stdout.log", "gateway-stderr.log"][at])
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("supervisor/evidence")
    }

    fn scene(&self, pid: i32) -> Scene {
        let now = clock::now();
        let part = |name: &str, trouble: Option<&str>| PartInfo {
            name: name.into(),
            ok: trouble.is_none(),
            since_ms: now.wall_ms - 60_000,
            trouble: trouble.map(str::to_owned),
        };
        Scene {
            service: UnitName::new("gateway").unwrap(),
            run_id: 7,
            pid,
            at: now,
            reason: "no answer from http://127.0.0.1:18789/health for 35 s".into(),
            probes: vec!["10:03:00 no answer in 5 s".into(), "10:03:10 no\nanswer token=hunter2".into()],
            parts: vec![part("telegram", Some("not \x1b[1mconnected")), part("slack", None)],
            logs: [self.log(0), self.log(1)],
            diagnostic_signal: None,
            started_token: identity::start_token(pid),
        }
    }

    fn take(&self, scene: &Scene, budget: &Budget) -> (String, Taken) {
        let taken = take(&self.folder(), "hung.txt", scene, budget).unwrap();
        let path = self.folder().join("hung.txt");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.len() as u64, taken.bytes);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(self.folder()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read_dir(self.folder()).unwrap().count(), 1, "nothing else is left");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        (text, taken)
    }
}

/// Ends a child with all that it has started.
struct Group(Guard);

impl Drop for Group {
    fn drop(&mut self) {
        signal::group(self.0.pid(), Signal::KILL);
    }
}

/// More than enough, so that nothing depends on how busy the machine is.
fn patient() -> Budget {
    Budget { time: Duration::from_secs(20), free_memory: 0, ..Budget::default() }
}

fn me() -> i32 {
    i32::try_from(std::process::id()).unwrap()
}

fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn all_of_it_is_in_the_file() {
    let place = Place::new();
    let group = Group(Guard(
        sh("sleep 60 & wait # --password hunter2").env("API_TOKEN", "hunter2").process_group(0).spawn().unwrap(),
    ));
    let child = &group.0;
    wait_for("its child", || (vitals::tree(child.pid(), 3).len() == 2).then_some(()));
    // Until both do nothing but wait, which is what a look at them is to find.
    let (text, taken) = wait_for("both to sleep", || {
        let seen = place.take(&place.scene(child.pid()), &patient());
        ["sh: sleeping", "sleep: sleeping"].iter().all(|word| seen.0.contains(word)).then_some(seen)
    });
    has(
        &text,
        &[
            &format!("gateway, run 7, pid {}\n", child.pid()),
            "why      no answer from http://127.0.0.1:18789/health for 35 s\n",
            " UTC, ",
            "machine  load ",
            "could be had\n",
            "\n== processes\n",
            "sh: sleeping, child of ",
            "sleep: sleeping, child of ",
            " % of a processor now, ",
            "--password [redacted]",
            "sleep 60\n",
            "\n== threads of the main process\n",
            "\n== descriptors\n",
            "\n== sockets\n",
            "\n== stacks\n",
            "\n== last probes\n10:03:00 no answer in 5 s\n10:03:10 no answer token=[redacted]\n",
            "\n== parts\ntelegram: not well for 1m: not connected\nslack: well for 1m\n",
            "\n== end of gateway-stdout.log\nout of it\n",
            "\n== end of gateway-stderr.log\ncalling with api_key=[redacted]\nred\n",
        ],
    );
    assert!(!text.contains("API_TOKEN"), "no environment: {text}");
    // Whose stacks may be seen is the system's to say.
    assert!(taken.left_out.iter().all(|why| why.starts_with("stacks: ")), "{:?}", taken.left_out);
}

#[test]
fn who_is_stopped_and_who_spins_is_seen() {
    let place = Place::new();
    let child = Guard(sh("while :; do :; done").spawn().unwrap());
    wait_for("a spinning one", || {
        let (text, _) = place.take(&place.scene(child.pid()), &patient());
        let share = text.lines().find_map(|line| line.trim().split_once(" % of a processor now"))?.0;
        has(&text, &["sh: running"]);
        // How much of a processor it gets is the machine's affair.
        (share.parse::<u32>().unwrap() > 0).then_some(())
    });
    assert!(signal::process(child.pid(), identity::start_token(child.pid()).unwrap(), Signal(libc::SIGSTOP)));
    wait_for("a stopped one", || vitals::look(child.pid()).filter(|v| v.state == ProcessState::Stopped));
    let scene = Scene { diagnostic_signal: Some(Signal::ABRT), ..place.scene(child.pid()) };
    let (text, taken) = place.take(&scene, &patient());
    has(&text, &["sh: stopped, ", "0 % of a processor now", "is stopped and would not act on it"]);
    assert!(taken.left_out.iter().any(|why| why.starts_with("diagnostic signal: ")), "{:?}", taken.left_out);
}

#[test]
fn a_diagnostic_signal_is_answered_into_the_log() {
    let place = Place::new();
    let ready = place.0.path().join("ready");
    let log = place.log(1);
    let script = format!(
        "trap 'echo where I am: token=hunter2 >>{}' QUIT; echo >{}; while :; do sleep 0.01; done",
        log.display(),
        ready.display()
    );
    let child = Guard(sh(&script).spawn().unwrap());
    wait_for("its trap", || ready.exists().then_some(()));
    let scene = Scene { diagnostic_signal: Signal::parse("QUIT"), ..place.scene(child.pid()) };
    // Its shell acts on the signal between two commands: how soon is the machine's affair.
    wait_for("its answer", || {
        let (text, _) = place.take(&scene, &patient());
        has(&text, &[&format!("SIGQUIT was sent to pid {}, and its logs ", child.pid())]);
        let answered = text.contains("its logs grew") && text.contains("where I am: token=[redacted]\n");
        answered.then_some(())
    });
    assert!(vitals::look(child.pid()).is_some());
}

#[test]
fn who_ignores_the_signal_is_not_waited_for_and_a_stranger_gets_none() {
    let place = Place::new();
    let ready = place.0.path().join("ready");
    let child = Guard(sh(&format!("trap '' QUIT; echo >{}; exec sleep 60", ready.display())).spawn().unwrap());
    wait_for("its trap", || ready.exists().then_some(()));
    let asked = Scene { diagnostic_signal: Signal::parse("QUIT"), ..place.scene(child.pid()) };
    let (text, _) = place.take(&asked, &Budget { time: Duration::from_millis(900), ..patient() });
    has(&text, &["and its logs did not grow", "== end of gateway-stderr.log\ncalling"]);
    // What would end it at once.
    let kill = Scene { diagnostic_signal: Some(Signal::KILL), started_token: None, ..asked.clone() };
    let (text, _) = place.take(&kill, &patient());
    has(&text, &["it is not known whether the process is still the same: none was sent"]);
    let another = Scene { started_token: kill.started_token.or(Some(1)), ..kill };
    let (text, taken) = place.take(&another, &patient());
    has(&text, &["is gone, or may not be sent SIGKILL", "not to be had: pid ", "out of it"]);
    assert!(!text.contains("sleeping"), "a stranger is not looked at: {text}");
    assert!(taken.left_out.iter().any(|why| why.starts_with("processes: ")), "{:?}", taken.left_out);
    assert_eq!(vitals::look(child.pid()).unwrap().state, ProcessState::Sleeping);
}

#[test]
fn one_that_goes_while_it_is_looked_at_is_no_error() {
    let place = Place::new();
    for pause in ["0", "0.05", "0.2", "0.25"] {
        let mut child = Guard(sh(&format!("sleep {pause} & wait")).spawn().unwrap());
        let scene = place.scene(child.pid());
        let reaper = std::thread::spawn(move || child.0.wait().map(drop));
        let (text, _) = place.take(&scene, &Budget { time: Duration::from_secs(2), ..patient() });
        has(&text, &["\n== processes\n", "\n== stacks\n", "out of it"]);
        reaper.join().unwrap().unwrap();
    }
    // And of one that is gone the rest is there.
    let mut child = Guard(sh("exit 0").spawn().unwrap());
    let scene = place.scene(child.pid());
    child.0.wait().unwrap();
    let (text, taken) = place.take(&scene, &patient());
    has(&text, &["is gone", "slack: well", "out of it"]);
    assert_eq!(taken.left_out.len(), parts::TITLES.len(), "{:?}", taken.left_out);
}

#[test]
fn huge_logs_and_many_descriptors_fit() {
    let place = Place::new();
    for at in [0, 1] {
        let line = |n| format!("{n} {}\n", "password=hunter2 ".repeat(20));
        std::fs::write(place.log(at), (0..2_000).map(line).collect::<String>() + "the last one").unwrap();
    }
    let files: Vec<_> = (0..300).map(|_| std::fs::File::open(place.log(0)).unwrap()).collect();
    let scene = Scene { probes: vec!["p ".repeat(1 << 15); 99], ..place.scene(me()) };
    let (text, taken) = place.take(&scene, &patient());
    assert!(text.len() <= Budget::default().bytes && text.len() > 20_000, "{}", text.len());
    has(&text, &["gateway-stdout.log", "password=[redacted]", "\nthe last one\n", " more"]);
    assert_eq!(text.matches("\nthe last one\n").count(), 1 + usize::from(text.ends_with("the last one\n")), "both");
    assert!(taken.left_out.iter().any(|why| why.starts_with("last probes: ")), "{:?}", taken.left_out);
    let small = Budget { bytes: 3000, ..patient() };
    let (text, taken) = place.take(&scene, &small);
    assert!(text.len() <= 3000 && !taken.left_out.is_empty(), "{}", text.len());
    has(&text, &["gateway, run 7"]);
    drop(files);
}

#[test]
fn where_memory_or_time_is_short_there_is_less() {
    let place = Place::new();
    let child = Guard(sh("exec sleep 60").spawn().unwrap());
    let scene = Scene { diagnostic_signal: Some(Signal::KILL), ..place.scene(child.pid()) };
    let (text, taken) = place.take(&scene, &Budget { free_memory: u64::MAX, ..patient() });
    has(&text, &["memory is short", "\n== processes\n", "sleeping", "slack: well", "out of it"]);
    assert!(!text.contains("== descriptors") && !text.contains("== diagnostic"), "{text}");
    assert_eq!(taken.left_out.len(), 1);
    assert!(vitals::look(child.pid()).is_some_and(|v| v.state != ProcessState::Zombie), "no signal was sent");
    let (text, taken) = place.take(&place.scene(child.pid()), &Budget { time: Duration::ZERO, ..patient() });
    has(&text, &["gateway, run 7", "slack: well", "out of it"]);
    assert!(taken.left_out.iter().any(|why| why.contains("too long") || why.contains("no time")), "{taken:?}");
}

#[test]
fn who_is_held_up_by_the_system_is_left_behind() {
    let (tell, told) = mpsc::channel();
    let mut page = Page::new(10_000, vec![]);
    tell.send(Ok(vec!["seen".into()])).unwrap();
    add_all(&mut page, told, false, clock::now().mono.plus(Duration::from_millis(20)));
    let (text, left_out) = page.finish();
    has(&text, &["== processes\nseen\n", "== stacks\nnot to be had: that took too long\n"]);
    assert_eq!(left_out.len(), parts::TITLES.len() - 1);
    tell.send(Ok(vec![])).unwrap_err();
}

#[test]
fn hostile_names_are_made_harmless() {
    let place = Place::new();
    let program = place.0.path().join("a\n== p\x1b[2J");
    std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
    #[expect(clippy::disallowed_methods, reason = "tests need real children")]
    let child =
        Guard(std::process::Command::new(&program).arg("60").arg0("x\n\x1b]0;t\x07--token=hunter2").spawn().unwrap());
    let (text, _) = wait_for("its own program", || {
        let (text, taken) = place.take(&place.scene(child.pid()), &patient());
        text.contains(" a == p").then_some((text, taken))
    });
    assert_eq!(text.matches("\n== p").count(), 2, "processes and parts: {text}");
    has(&text, &["--token=[redacted]"]);
}

#[test]
fn files_have_names_that_can_be_told_before() {
    let name = file_name(&UnitName::new("gate.way").unwrap(), 7, 1_795_317_574_000, "hung");
    assert_eq!(name, "hung-gate.way-7-1795317574000.txt");
    let place = Place::new();
    let scene = place.scene(me());
    for bad in ["../x", "/x", "a/b", "", ".."] {
        let error = take(&place.folder(), bad, &scene, &patient()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{bad}");
    }
    take(&place.log(0), "x.txt", &scene, &Budget { time: Duration::ZERO, ..patient() }).unwrap_err();
}

#[test]
fn the_newest_are_kept_and_those_of_alerts() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| std::fs::write(folder.path().join(name), "x").unwrap();
    for n in 0..FILES + 5 {
        file(&format!("hung-a-{n}-1.txt"));
        file(&format!("alert-{n}.txt"));
    }
    file("notes.md");
    prune(folder.path());
    let names: Vec<String> =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let count = |start: &str| names.iter().filter(|name| name.starts_with(start)).count();
    assert_eq!((count("hung-"), count("alert-"), count("notes")), (FILES, FILES + 5, 1));
    prune(&folder.path().join("none"));
}
