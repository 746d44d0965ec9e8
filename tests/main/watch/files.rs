//! Files that come, change and go.

use std::fs;
use std::io::Write;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{A_WHILE, Watched};
use crate::support::{pass, wait_for};

#[test]
fn each_new_file_is_handled_once_however_it_comes() {
    let watched = Watched::new("");
    watched.write("a", "one\n");
    fs::rename(watched.beside("whole"), watched.path("b")).unwrap();
    fs::hard_link(watched.beside("linked"), watched.path("c")).unwrap();
    fs::create_dir_all(watched.path("d/e/f")).unwrap();
    for name in ["d/1", "d/e/2", "d/e/f/3"] {
        watched.write(name, "");
    }
    let tree = watched.env.dir().join("tree");
    fs::create_dir_all(tree.join("g")).unwrap();
    fs::write(tree.join("g/4"), "").unwrap();
    fs::rename(&tree, watched.path("h")).unwrap();
    let all = ["a", "b", "c", "d/1", "d/e/2", "d/e/f/3", "h/g/4"].map(|name| format!("created 1 /{name}"));
    watched.wait_for_lines(&all.each_ref().map(String::as_str));
    // Another name, and other content, make no new file of it.
    fs::rename(watched.path("a"), watched.path("d/a")).unwrap();
    fs::rename(watched.path("d"), watched.path("i")).unwrap();
    watched.write("b", "more than there was\n");
    watched.write("z", "");
    let all = [&all[..], &["created 1 /z".to_owned()]].concat();
    watched.wait_for_lines(&all.iter().map(String::as_str).collect::<Vec<_>>());
    // But another file under a name that was there is one.
    fs::rename(watched.beside("another"), watched.path("b")).unwrap();
    let all = [&all[..], &["created 1 /b".to_owned()]].concat();
    watched.wait_for_lines(&all.iter().map(String::as_str).collect::<Vec<_>>());
    let set = watched.wait_until_idle();
    assert_eq!((set.known, set.handled, set.dead), (8, 9, 0));
    assert!(watched.status().canary.unwrap().proved_ms.is_some());
}

#[test]
fn what_is_ignored_is_no_file_until_it_has_another_name() {
    let watched = Watched::new("ignore = [\"*.tmp\", \"drafts/\"]");
    fs::create_dir(watched.path("drafts")).unwrap();
    for name in ["a.tmp", "drafts/a", "b.crdownload", ".DS_Store", "c.part"] {
        watched.write(name, "");
    }
    fs::rename(watched.path("b.crdownload"), watched.path("b")).unwrap();
    watched.write("last", "");
    watched.wait_for_lines(&["created 1 /b", "created 1 /last"]);
    fs::rename(watched.path("drafts/a"), watched.path("a")).unwrap();
    watched.wait_for_lines(&["created 1 /b", "created 1 /last", "created 1 /a"]);
}

#[test]
fn renamed_modified_and_removed_are_told_to_who_asks() {
    let script = "printf '%s %s %s %s\\n' \"$1\" \"$2\" \"$3\" \"$4\" >>\"$0\"";
    let watched = Watched::with(script, "on = [\"renamed\", \"modified\", \"removed\"]");
    fs::create_dir(watched.path("d")).unwrap();
    watched.write("a", "");
    watched.write("b", "");
    wait_for("both to be known", || (watched.set().known == 2).then_some(()));
    fs::rename(watched.path("a"), watched.path("d/a")).unwrap();
    watched.wait_for_lines(&["renamed 1 /d/a /a"]);
    watched.write("b", "content\n");
    watched.wait_for_lines(&["renamed 1 /d/a /a", "modified 1 /b "]);
    fs::rename(watched.path("d"), watched.path("e")).unwrap();
    fs::remove_file(watched.path("b")).unwrap();
    watched.wait_for_lines(&["renamed 1 /d/a /a", "modified 1 /b ", "renamed 1 /e/a /d/a", "removed 1 /b "]);
    assert_eq!(watched.wait_until_idle().known, 1);
}

#[test]
fn a_file_that_is_written_slowly_is_handled_when_it_rests() {
    let watched = Watched::with("printf '%s ' \"$2\" >>\"$0\"; cat \"$3\" >>\"$0\"", "settle = \"200ms\"");
    let mut file = fs::File::create_new(watched.path("a")).unwrap();
    for _ in 0..8 {
        file.write_all(b"piece ").unwrap();
        file.flush().unwrap();
        pass(Duration::from_millis(100), || assert_eq!(watched.lines(), [""; 0]));
    }
    // On Linux who has it open still is waited for; elsewhere a pause as long as `settle` would be its end.
    if cfg!(target_os = "linux") {
        pass(Duration::from_secs(1), || assert_eq!(watched.lines(), [""; 0]));
        assert_eq!(watched.set().waiting, 1);
    }
    file.write_all(b"end\n").unwrap();
    drop(file);
    watched.wait_for_lines(&[&format!("1 {}end", "piece ".repeat(8))]);
}

#[test]
fn a_file_that_vanishes_before_its_turn_is_not_handled() {
    let watched = Watched::with("printf '%s\\n' \"$3\" >>\"$0\"; until [ -e \"$0.go\" ]; do sleep 0.02; done", "");
    watched.write("a", "");
    watched.wait_for_lines(&["/a"]);
    watched.write("b", "");
    watched.write("c", "");
    wait_for("both to wait", || (watched.set().waiting == 2).then_some(()));
    fs::remove_file(watched.path("b")).unwrap();
    fs::write(watched.env.dir().join("lines.go"), "").unwrap();
    watched.wait_for_lines(&["/a", "/c"]);
    let set = watched.wait_until_idle();
    assert_eq!((set.handled, set.dead, set.known), (2, 0, 2));
}

#[test]
fn files_that_came_meanwhile_are_handled_and_those_before_are_not() {
    let mut watched = Watched::at_rest("printf '%s %s %s\\n' \"$1\" \"$2\" \"$3\" >>\"$0\"", "");
    watched.write("before", "");
    watched.start();
    watched.write("a", "");
    watched.wait_for_lines(&["created 1 /a"]);
    watched.wait_until_idle();
    assert_eq!(watched.end(Signal::SIGTERM), Some(0));
    fs::create_dir(watched.path("d")).unwrap();
    watched.write("d/b", "");
    watched.start();
    watched.wait_for_lines(&["created 1 /a", "created 1 /d/b"]);
    watched.wait_until_idle();
    watched.end(Signal::SIGKILL);
    watched.write("d/c", "");
    fs::rename(watched.path("a"), watched.path("renamed")).unwrap();
    watched.start();
    watched.wait_for_lines(&["created 1 /a", "created 1 /d/b", "created 1 /d/c"]);
    // What it knows it tells of itself when it does not run, too.
    watched.wait_until_idle();
    watched.end(Signal::SIGTERM);
    let told = watched.env.cli(&["watch", "status", "--json"]);
    assert_eq!(told.status.code(), Some(3), "{told:?}");
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!((&told["sets"][0]["known"], &told["pid"]), (&4.into(), &serde_json::Value::Null));
}

#[test]
fn what_is_there_at_the_first_start_is_new_to_who_says_so() {
    let mut watched = Watched::at_rest("printf '%s\\n' \"$3\" >>\"$0\"", "initial = \"handle\"");
    fs::create_dir(watched.path("d")).unwrap();
    watched.write("d/before", "");
    watched.start();
    watched.wait_for_lines(&["/d/before"]);
    watched.wait_until_idle();
    watched.end(Signal::SIGKILL);
    watched.start();
    pass(A_WHILE, || assert_eq!(watched.lines(), ["/d/before"]));
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_no_text_is_handed_over_byte_for_byte() {
    use std::os::unix::ffi::OsStrExt;
    let watched = Watched::with("printf '%s\\n' \"$3\" >>\"$0\"; cat >>\"$0.json\"", "");
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9 {name}\n\xff");
    fs::write(watched.root.join(name), "").unwrap();
    let lines = watched.env.dir().join("lines");
    let wanted = [watched.root.join(name).as_os_str().as_bytes(), b"\n"].concat();
    wait_for("its line", || (fs::read(&lines).ok()? == wanted).then_some(()));
    let event = wait_for("the event", || {
        serde_json::from_slice::<serde_json::Value>(&fs::read(watched.env.dir().join("lines.json")).ok()?).ok()
    });
    let hex: String = wanted[..wanted.len() - 1].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((&event["path_hex"], &event["event"], &event["attempt"]), (&hex.into(), &"created".into(), &1.into()));
}

#[test]
fn what_the_supervisor_writes_itself_is_no_file_of_a_set_that_holds_it() {
    let mut watched = Watched::at_rest("echo handled; printf '%s\\n' \"$3\" >>\"$0\"", "");
    let state = watched.env.state_dir();
    fs::create_dir_all(state.join("inbox")).unwrap();
    let script = "echo handled; printf '%s\\n' \"$3\" >>\"$0\"";
    watched.declare(&state, script, "on = [\"created\", \"modified\"]");
    watched.root = state.canonicalize().unwrap();
    watched.start();
    watched.write("inbox/a", "");
    watched.wait_for_lines(&["/inbox/a"]);
    assert_eq!(watched.wait_until_idle().handled, 1);
}
