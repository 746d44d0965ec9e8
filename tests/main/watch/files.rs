//! What becomes of files: made, moved, linked, written, gone.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, SystemTime};

use supervisor::process::clock;

use super::super::support::{pass, wait_for, wait_within};
use super::{GATED, TELLS, Watched, make_folders, set};

#[test]
fn what_comes_into_the_tree_is_handled_once_whichever_way_it_comes() {
    let watched = Watched::new(&[set("set", "concurrency = 4")], TELLS);
    for name in ["moved", "linked"] {
        watched.put(&format!("out/{name}"));
    }
    make_folders(&watched.path("out/tree/sub"));
    watched.put("out/tree/sub/file");
    make_folders(&watched.path("in/sub"));
    watched.start();

    watched.put("in/made");
    File::create(watched.path("in/empty")).unwrap();
    watched.rename("out/moved", "in/sub/moved");
    watched.rename("out/tree", "in/tree");
    // Nobody closes it: without the word of its name it would be found by the next scan, in an hour.
    let linked = clock::now().mono;
    std::fs::hard_link(watched.path("out/linked"), watched.path("in/linked")).unwrap();
    let within = Duration::from_secs(5);
    wait_within("the hard link is handled", within, || watched.is_handled("created 1 in/linked").then_some(()));
    eprintln!("  for information: a hard link was handled after {:?}", clock::now().mono.since(linked));
    watched.wait_handled("created 1 in/made");
    std::fs::hard_link(watched.path("in/made"), watched.path("in/sub/made-too")).unwrap();
    watched.assert_handled(&[
        "created 1 in/made",
        "created 1 in/empty",
        "created 1 in/sub/moved",
        "created 1 in/tree/sub/file",
        "created 1 in/linked",
        "created 1 in/sub/made-too",
    ]);
}

#[test]
fn a_new_name_is_told_to_who_asks_for_it_and_is_no_new_file() {
    let sets = [set("new", ""), set("names", "on = [\"renamed\"]")];
    let watched = Watched::new(&sets, TELLS);
    for folder in ["in/sub", "in/folder"] {
        make_folders(&watched.path(folder));
    }
    watched.put("in/folder/old");
    watched.start();
    watched.put("in/a");
    watched.wait_handled("created 1 in/a");
    watched.wait_dealt_with();
    let is_known = || (watched.status().sets.iter().all(|set| set.known == 3)).then_some(());
    wait_for("both sets know all files", is_known);

    watched.rename("in/a", "in/sub/b");
    watched.wait_handled("renamed 1 in/sub/b from in/a");
    watched.rename("in/sub/b", "in/a");
    watched.wait_handled("renamed 1 in/a from in/sub/b");
    // Whoever writes a new version beside the old one and puts it in its place; and a folder with all that is in it.
    watched.rename("in/folder", "in/directory");
    watched.wait_handled("renamed 1 in/directory/old from in/folder/old");
    watched.assert_handled(&[
        "created 1 in/a",
        "renamed 1 in/sub/b from in/a",
        "renamed 1 in/a from in/sub/b",
        "renamed 1 in/directory/old from in/folder/old",
    ]);
}

#[test]
fn who_writes_slowly_is_waited_for() {
    // Only Linux tells who has a file open: elsewhere it has to rest for longer than its writer does.
    const SETTLE: Duration = Duration::from_millis(if cfg!(target_os = "linux") { 300 } else { 1500 });
    let settle = format!("settle = \"{}ms\"", SETTLE.as_millis());
    let watched = Watched::started(&[set("set", &settle)], "wc -c < \"$3\" >> \"$HOME/sizes\"");
    let began = clock::now().mono;
    let mut file = File::create(watched.path("in/slow")).unwrap();
    let mut written = 0;
    while clock::now().mono.since(began) < 2 * SETTLE {
        file.write_all(&[b'x'; 1000]).unwrap();
        written += 1000;
        pass(Duration::from_millis(50), || assert_eq!(watched.handled().len(), 0));
    }
    if cfg!(target_os = "linux") {
        // It waits for more.
        pass(4 * SETTLE, || assert_eq!(watched.handled().len(), 0, "it is open still"));
        assert_eq!(watched.set().waiting, 1);
    }
    file.write_all(b"end").unwrap();
    let last = clock::now().mono;
    drop(file);
    watched.wait_handled("created 1 in/slow");
    let rested = clock::now().mono.since(last);
    assert!(rested >= SETTLE, "it was handled {rested:?} after it was written");
    watched.assert_handled(&["created 1 in/slow"]);
    let sizes = std::fs::read_to_string(watched.path("sizes")).unwrap();
    assert_eq!(sizes.lines().next().unwrap().trim(), (written + 3).to_string());
}

#[test]
fn what_is_gone_before_its_turn_is_not_handled() {
    let watched = Watched::started(&[set("set", "")], GATED);
    watched.put("in/a");
    watched.wait_handled("created 1 in/a");
    for name in ["in/b", "in/c"] {
        watched.put(name);
    }
    wait_for("two files wait", || (watched.set().waiting == 2).then_some(()));
    std::fs::remove_file(watched.path("in/b")).unwrap();
    watched.open_gate();
    watched.assert_handled(&["created 1 in/a", "created 1 in/c"]);
    assert!(watched.lives());
    // a, c and the last one: what is gone is forgotten.
    assert_eq!((watched.set().known, watched.status().dead.len()), (3, 0));
}

#[test]
fn what_is_gone_while_its_handler_runs_is_told_when_that_has_ended() {
    let more = "on = [\"created\", \"modified\", \"removed\"]\nconcurrency = 3";
    let watched = Watched::new(&[set("set", more)], GATED);
    make_folders(&watched.path("in/sub"));
    watched.start();
    watched.open_gate();
    for name in ["in/sub/a", "in/sub/b"] {
        watched.put(name);
        watched.wait_handled(&format!("created 1 {name}"));
    }
    watched.wait_idle();
    std::fs::remove_file(watched.path("gate")).unwrap();
    std::fs::write(watched.path("in/sub/a"), "something else").unwrap();
    watched.wait_handled("modified 1 in/sub/a");
    std::fs::remove_dir_all(watched.path("in/sub")).unwrap();
    watched.wait_handled("removed 1 in/sub/b");
    watched.wait_told();
    assert!(!watched.is_handled("removed 1 in/sub/a"), "its other handler runs");
    watched.open_gate();
    watched.assert_handled(&[
        "created 1 in/sub/a",
        "created 1 in/sub/b",
        "modified 1 in/sub/a",
        "removed 1 in/sub/a",
        "removed 1 in/sub/b",
    ]);
    assert_eq!((watched.set().running, watched.set().waiting), (0, 0));
}

/// macOS has no file system that takes such names.
#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text_are_told_byte_for_byte() {
    use std::os::unix::ffi::OsStrExt;

    let name = b"n\xff\xfe {path} '\"\\\n\xc3\xa4 *.bin";
    let script =
        "printf '%s' \"$3\" > \"$HOME/argv\"; cat > \"$HOME/event.new\"; mv \"$HOME/event.new\" \"$HOME/event\"";
    let watched = Watched::started(&[set("set", "")], script);
    let path = watched.path("in").join(std::ffi::OsStr::from_bytes(name));
    std::fs::write(&path, "four").unwrap();
    let event = wait_for("the handler", || std::fs::read(watched.path("event")).ok());
    let event: serde_json::Value = serde_json::from_slice(&event).unwrap();
    let bytes = path.as_os_str().as_bytes();
    assert_eq!(std::fs::read(watched.path("argv")).unwrap(), bytes);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(event["path_hex"], hex);
    assert_eq!(event["path"], super::text(bytes));
    assert_eq!((event["name"].as_str().unwrap(), event["size"].as_u64()), (&*super::text(name), Some(4)));
    // Known by it, too.
    watched.wait_dealt_with();
    let handled = std::fs::read(watched.path("handled")).unwrap();
    watched.end(nix::sys::signal::Signal::SIGTERM);
    watched.start();
    watched.wait_dealt_with();
    let now = std::fs::read(watched.path("handled")).unwrap();
    assert_eq!(now[handled.len()..].split(|byte| *byte == b'\n').count(), 2, "{}", super::text(&now));
}

#[test]
fn deep_trees_that_are_made_at_once_are_handled_to_the_last_file() {
    const TREES: usize = 15;
    let watched = Watched::started(&[set("set", "concurrency = 8")], TELLS);
    let mut wanted = Vec::new();
    for tree in 0..TREES {
        let levels: Vec<String> = ["", "/a", "/a/b", "/a/b/c"].iter().map(|sub| format!("in/t{tree}{sub}")).collect();
        make_folders(&watched.path(&levels[3]));
        for level in levels {
            watched.put(&format!("{level}/file"));
            wanted.push(format!("created 1 {level}/file"));
        }
    }
    watched.assert_handled(&wanted.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn parts_of_downloads_and_what_is_ignored_are_left_alone_until_they_have_their_names() {
    let watched = Watched::started(&[set("set", "ignore = [\"*.tmp\", \"drafts/\"]")], TELLS);
    make_folders(&watched.path("in/sub/drafts"));
    for name in ["in/a.tmp", "in/sub/drafts/b", "in/x.zip.crdownload", "in/sub/y.part", "in/.DS_Store"] {
        watched.put(name);
    }
    watched.put("in/sub/z");
    watched.assert_handled(&["created 1 in/sub/z"]);
    watched.rename("in/x.zip.crdownload", "in/x.zip");
    watched.rename("in/sub/y.part", "in/y");
    watched.rename("in/sub/drafts/b", "in/sub/b");
    watched.assert_handled(&["created 1 in/sub/z", "created 1 in/x.zip", "created 1 in/y", "created 1 in/sub/b"]);
}

#[test]
fn new_content_is_told_to_who_asks_for_it() {
    let watched = Watched::new(&[set("set", "on = [\"modified\"]")], TELLS);
    for name in ["in/a", "in/b", "in/c", "in/d"] {
        watched.put(name);
    }
    watched.start();
    let append = |name: &str| {
        let mut file = File::options().append(true).open(watched.path(name)).unwrap();
        file.write_all(b" and more").unwrap();
    };
    // A new file is none with new content.
    watched.put("out/new");
    watched.rename("out/new", "in/new");
    append("in/a");
    watched.wait_handled("modified 1 in/a");
    watched.put("out/b");
    watched.rename("out/b", "in/b");
    watched.wait_handled("modified 1 in/b");
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::options().append(true).open(watched.path("in/c")).unwrap().set_modified(long_ago).unwrap();
    watched.wait_handled("modified 1 in/c");
    watched.wait_idle();
    append("in/a");
    wait_for("the second time", || (watched.handled().len() == 4).then_some(()));
    // What is done to d comes last.
    append("in/d");
    watched.wait_handled("modified 1 in/d");
    watched.wait_idle();
    watched.assert_handled_so_far(&[
        "modified 1 in/a",
        "modified 1 in/a",
        "modified 1 in/b",
        "modified 1 in/c",
        "modified 1 in/d",
    ]);
}

#[test]
fn what_is_gone_is_told_to_who_asks_for_it() {
    let watched = Watched::new(&[set("set", "on = [\"removed\"]\nconcurrency = 4")], TELLS);
    make_folders(&watched.path("in/sub/below"));
    for name in ["in/a", "in/b", "in/c", "in/sub/d", "in/sub/below/e"] {
        watched.put(name);
    }
    watched.start();
    watched.rename("in/a", "in/a-too");
    watched.rename("in/b", "out/b");
    std::fs::remove_file(watched.path("in/c")).unwrap();
    std::fs::remove_dir_all(watched.path("in/sub")).unwrap();
    let mut wanted = vec!["removed 1 in/b", "removed 1 in/c", "removed 1 in/sub/d", "removed 1 in/sub/below/e"];
    for line in &wanted {
        watched.wait_handled(line);
    }
    watched.wait_idle();
    watched.assert_handled_so_far(&wanted);
    std::fs::remove_file(watched.path("in/a-too")).unwrap();
    wanted.push("removed 1 in/a-too");
    watched.wait_handled("removed 1 in/a-too");
    watched.assert_handled_so_far(&wanted);
    assert_eq!(watched.set().known, 0);
}

#[test]
fn what_the_supervisor_writes_itself_is_no_file_of_a_set_that_holds_it() {
    let watched = Watched::new(&[], "echo handled");
    let state = watched.env.state_dir();
    std::fs::create_dir_all(state.join("inbox")).unwrap();
    let handler = watched.path("handler");
    watched.env.configure(&format!(
        "[service.watcher]\nbuiltin = \"file-watcher\"\n[[service.watcher.watch]]\nname = \"all\"\npaths = [{state:?}]\n\
         recursive = true\nsettle = \"0s\"\non = [\"created\", \"modified\"]\n\
         run = [\"/bin/sh\", {handler:?}, \"{{event}}\", \"{{attempt}}\", \"{{path}}\"]\n"
    ));
    watched.start();
    std::fs::write(state.join("inbox/a"), "").unwrap();
    wait_for("its handler", || (watched.set().handled == 1).then_some(()));
    // Its table, its log and its socket have changed by that, and are known as little as before.
    watched.wait_idle();
    assert_eq!((watched.set().handled, watched.set().known), (1, 1));
}
