//! Handlers that hang, fail, flood, or are not there.

use std::io::Read;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use supervisor::process::identity::{State, state};

use super::super::support::wait_for;
use super::{TELLS, Watched, set, text};

#[test]
fn who_hangs_is_ended_tried_again_given_up_and_taken_up_again_when_a_person_says_so() {
    let more = "timeout = \"1s\"\nretries = 1";
    let hangs = "[ -e \"$HOME/mended\" ] && exit 0; sleep 1000 & echo $! >> \"$HOME/children\"; wait";
    let watched = Watched::started(&[set("set", more)], hangs);
    watched.put("in/a");
    wait_for("it is given up", || (watched.set().dead == 1).then_some(()));
    let tried = ["created 1 in/a", "created 2 in/a"];
    watched.assert_handled_so_far(&tried);
    let children = std::fs::read_to_string(watched.path("children")).unwrap();
    let children: Vec<i32> = children.lines().map(|line| line.trim().parse().unwrap()).collect();
    assert_eq!(children.len(), 2);
    for child in children {
        wait_for("its child is ended", || matches!(state(child), State::Gone | State::Zombie(_)).then_some(()));
    }

    // Told to whoever asks, by whichever way; and whether it runs or not.
    let path = watched.path("in/a").display().to_string();
    let why = "it did not end within 1 s, and was ended";
    let told = |code: i32| {
        let shown = watched.watch(&["status"]);
        let text = text(&shown.stdout);
        assert_eq!(shown.status.code(), Some(code), "{text}");
        let line =
            text.lines().find(|line| line.contains(&path)).unwrap_or_else(|| panic!("no line of {path}: {text}"));
        assert!(line.contains(why) && line.contains("created"), "{line}");
        let json = watched.env.cli(&["--json", "watch", "status"]);
        assert_eq!(json.status.code(), Some(code));
        let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        let dead = &json["dead"][0];
        assert_eq!((&dead["path"], &dead["why"]), (&path.as_str().into(), &why.into()));
        assert_eq!((&dead["attempts"], &dead["set"]), (&2.into(), &"set".into()));
        assert_eq!((&json["sets"][0]["dead"], &json["sets"][0]["retrying"]), (&1.into(), &0.into()));
        dead["id"].to_string()
    };
    told(0);
    assert!(watched.parts()["given up"].as_str().unwrap().starts_with("1 files were given up"), "{}", watched.parts());
    watched.end(Signal::SIGTERM);
    let id = told(3);
    watched.start();
    assert_eq!(told(0), id);
    watched.wait_idle();
    watched.assert_handled_so_far(&tried);

    // Not what is not meant.
    for args in [&["retry", "999999"][..], &["retry", "--all", "--set", "other"]] {
        assert_eq!(watched.watch(args).status.code(), Some(6), "{args:?}");
    }
    watched.put("mended");
    let again = watched.watch(&["retry", &id]);
    assert_eq!((again.status.code(), text(&again.stdout).trim()), (Some(0), "1 file is handled again"));
    let all = ["created 1 in/a", "created 2 in/a", "created 3 in/a"];
    watched.wait_handled(all[2]);
    watched.wait_idle();
    wait_for("it is given up no more", || watched.status().dead.is_empty().then_some(()));
    assert_eq!((watched.set().handled, &watched.parts()["given up"]), (1, &"ok".into()));
    watched.assert_handled(&all);

    // What went well is done again from the beginning: for it, it is the first attempt.
    std::fs::remove_file(watched.path("handled")).unwrap();
    let again = watched.env.cli(&["--json", "watch", "replay", "--since", "1h"]);
    assert_eq!(again.status.code(), Some(0));
    // The last file, too.
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&again.stdout).unwrap()["files"], 2);
    watched.assert_handled(&["created 1 in/a"]);
}

#[test]
fn who_fails_once_is_tried_again_and_that_is_all() {
    let watched = Watched::started(&[set("set", "retries = 3")], "[ \"$2\" != 1 ] || { echo oh >&2; exit 7; }");
    watched.put("in/a");
    watched.wait_handled("created 2 in/a");
    watched.wait_idle();
    let set = watched.set();
    assert_eq!((set.handled, set.dead, set.known), (1, 0, 1));
    watched.assert_handled_so_far(&["created 1 in/a", "created 2 in/a"]);
    let said = watched.env.terminal();
    assert!(said.contains("oh\n") && said.contains("in/a: it ended with exit code 7; it is tried again"), "{said}");
    watched.end(Signal::SIGKILL);
    watched.start();
    watched.wait_idle();
    watched.assert_handled_so_far(&["created 1 in/a", "created 2 in/a"]);
}

#[test]
fn who_floods_is_handled_and_costs_no_memory() {
    const FLOOD: u64 = 30_000_000;
    let watched = Watched::new(&[set("set", "")], &format!("head -c {FLOOD} /dev/zero; head -c {FLOOD} /dev/zero >&2"));
    let mut command = watched.env.command(&["serve", "watcher"]);
    let (mut output, writer) = std::io::pipe().unwrap();
    command.stdout(Stdio::from(writer.try_clone().unwrap())).stderr(Stdio::from(writer));
    watched.start_as(command);
    // Its log's reader, as the runner is.
    let reader = std::thread::spawn(move || {
        let (mut all, mut piece) = (0_u64, vec![0; 1 << 16]);
        while let Ok(read @ 1..) = output.read(&mut piece) {
            all += piece[..read].iter().filter(|byte| **byte == 0).count() as u64;
        }
        all
    });
    let before = resident_kib(watched.pid());
    watched.put("in/a");
    watched.wait_handled("created 1 in/a");
    watched.wait_idle();
    let after = resident_kib(watched.pid());
    assert!(after < before + 8 * 1024, "{before} KiB before, {after} KiB after");
    assert_eq!((watched.set().handled, watched.set().dead), (1, 0));
    assert_eq!(watched.end(Signal::SIGTERM), Some(0));
    assert_eq!(reader.join().unwrap(), 2 * FLOOD);
}

fn resident_kib(pid: i32) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the system's own process table")]
    let output = Command::new("ps").args(["-o", "rss=", "-p", &pid.to_string()]).output().unwrap();
    text(&output.stdout).trim().parse().unwrap()
}

#[test]
fn files_wait_for_a_handler_that_is_not_there_and_are_all_handled_when_it_is() {
    let run = "run = [\"{dir}/bin/sh\", \"{dir}/handler\", \"{event}\", \"{attempt}\", \"{path}\"]\nretries = 0";
    let watched = Watched::started(&[set("set", run)], TELLS);
    for name in ["in/a", "in/b", "in/c"] {
        watched.put(name);
    }
    let missing = watched.path("bin/sh").display().to_string();
    let why = wait_for("its parts say so", || {
        let why = watched.parts()["handler of set"].as_str().unwrap().to_owned();
        (why != "ok").then_some(why)
    });
    assert!(why.contains(&missing), "{why}");
    wait_for("all wait", || (watched.set().waiting == 3).then_some(()));
    assert_eq!(watched.handled().len(), 0);
    // It looks again after half a minute, or when it is started anew.
    std::os::unix::fs::symlink("/bin", watched.path("bin")).unwrap();
    watched.end(Signal::SIGTERM);
    watched.start();
    // What was never begun is no attempt.
    watched.assert_handled(&["created 1 in/a", "created 1 in/b", "created 1 in/c"]);
    assert_eq!((&watched.parts()["handler of set"], watched.set().dead), (&"ok".into(), 0));
}
