//! Watched folders that are not there, come, go, are replaced, or may not be read.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use supervisor::model::WatchState;

use super::super::support::wait_for;
use super::{TELLS, Watched, make_folders, set};

#[test]
fn a_folder_that_is_made_later_is_watched_from_its_first_file_on() {
    let watched = Watched::new(&[set("set", "paths = [\"{dir}/later/deep\", \"{dir}/in\"]")], TELLS);
    let status = watched.start();
    assert_eq!(status.sets[0].folders[0].state, WatchState::Absent);
    // To be absent is no trouble.
    assert_eq!(watched.parts()[watched.path("later/deep").to_str().unwrap()], "ok");
    make_folders(&watched.path("later/deep/sub"));
    for name in ["later/deep/a", "later/deep/sub/b"] {
        watched.put(name);
    }
    watched.assert_handled(&["created 1 later/deep/a", "created 1 later/deep/sub/b"]);
    wait_for("it is watched", || (watched.set().folders[0].state == WatchState::Watched).then_some(()));
    watched.put("later/deep/sub/c");
    let all = ["created 1 later/deep/a", "created 1 later/deep/sub/b", "created 1 later/deep/sub/c"];
    watched.assert_handled(&all);
}

#[test]
fn a_folder_that_goes_and_comes_again_is_watched_again() {
    let watched = Watched::started(&[set("set", "paths = [\"{dir}/coming\", \"{dir}/in\"]")], TELLS);
    let mut wanted = Vec::new();
    for round in 0..3 {
        make_folders(&watched.path("coming/sub"));
        for name in [format!("coming/a{round}"), format!("coming/sub/b{round}")] {
            watched.put(&name);
            wanted.push(format!("created 1 {name}"));
        }
        // One of a name that was there before is another file.
        watched.put("coming/same");
        wait_for("the new file is handled", || {
            let handled = watched.handled();
            (handled.iter().filter(|line| *line == "created 1 coming/same").count() == round + 1).then_some(())
        });
        wanted.push("created 1 coming/same".to_owned());
        watched.assert_handled(&wanted.iter().map(String::as_str).collect::<Vec<_>>());
        std::fs::remove_dir_all(watched.path("coming")).unwrap();
        wait_for("it is gone", || (watched.set().folders[0].state == WatchState::Absent).then_some(()));
    }
}

#[test]
fn a_folder_that_comes_and_goes_faster_than_anybody_looks_is_watched_in_the_end() {
    const TIMES: usize = 300;
    let watched = Watched::started(&[set("set", "paths = [\"{dir}/above/flaps\", \"{dir}/in\"]")], TELLS);
    let mut wanted = Vec::new();
    for round in 0..2 {
        for time in 0..TIMES {
            make_folders(&watched.path("above/flaps/sub"));
            // Sometimes it has time to be listed.
            if time % 10 == 0 {
                wait_for("an answer", || super::watcher::status(&watched.env));
            }
            std::fs::remove_dir_all(watched.path(if time % 3 == 0 { "above" } else { "above/flaps" })).unwrap();
        }
        let name = format!("above/flaps/sub/file{round}");
        make_folders(&watched.path("above/flaps/sub"));
        watched.put(&name);
        wanted.push(format!("created 1 {name}"));
        watched.assert_handled(&wanted.iter().map(String::as_str).collect::<Vec<_>>());
        wait_for("it is watched", || (watched.set().folders[0].state == WatchState::Watched).then_some(()));
        std::fs::remove_dir_all(watched.path("above")).unwrap();
    }
}

#[test]
fn a_folder_that_is_moved_away_and_back_has_its_files_as_they_were() {
    let watched = Watched::started(&[set("set", "paths = [\"{dir}/volume\", \"{dir}/in\"]")], TELLS);
    make_folders(&watched.path("volume/sub"));
    watched.put("volume/sub/a");
    watched.assert_handled(&["created 1 volume/sub/a"]);
    watched.rename("volume", "elsewhere");
    wait_for("it is gone", || (watched.set().folders[0].state == WatchState::Absent).then_some(()));
    // What comes while it is away, is not told of by anybody.
    watched.put("elsewhere/sub/b");
    watched.rename("elsewhere", "volume");
    watched.put("volume/c");
    let all = ["created 1 volume/sub/a", "created 1 volume/sub/b", "created 1 volume/c"];
    watched.assert_handled(&all);
    watched.put("volume/sub/d");
    watched.assert_handled(&[&all[..], &["created 1 volume/sub/d"]].concat());
}

#[test]
fn a_folder_that_becomes_a_link_is_watched_where_that_leads() {
    let watched = Watched::new(&[set("set", "paths = [\"{dir}/place\", \"{dir}/in\"]")], TELLS);
    make_folders(&watched.path("place"));
    make_folders(&watched.path("other/sub"));
    watched.put("place/seen");
    for name in ["other/a", "other/sub/b"] {
        watched.put(name);
    }
    watched.start();
    watched.rename("place", "former");
    symlink("other", watched.path("place")).unwrap();
    // They are told by the path that was asked for.
    watched.assert_handled(&["created 1 place/a", "created 1 place/sub/b"]);
    watched.put("other/sub/c");
    watched.put("former/d");
    watched.assert_handled(&["created 1 place/a", "created 1 place/sub/b", "created 1 place/sub/c"]);
    assert_eq!(watched.set().folders[0].state, WatchState::Watched);
}

#[test]
fn a_folder_that_may_not_be_read_is_told_with_what_to_do_and_handled_when_it_may() {
    let watched = Watched::new(&[set("set", "paths = [\"{dir}/closed\", \"{dir}/in\"]")], TELLS);
    for folder in ["closed", "in/open", "in/secret"] {
        make_folders(&watched.path(folder));
    }
    let Some(command) = without_privileges(&watched) else { return };
    let allow = |allowed: bool| {
        for folder in ["closed", "in/secret"] {
            let mode = if allowed { 0o700 } else { 0o000 };
            std::fs::set_permissions(watched.path(folder), std::fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    allow(false);
    let folders = watched.start_as(command).sets.remove(0).folders;
    let (closed, partly) = (&folders[0], &folders[1]);
    assert_eq!((closed.state, partly.state), (WatchState::Denied, WatchState::Partly), "{folders:?}");
    for (folder, what) in [(closed, "closed"), (partly, "in/secret")] {
        let why = folder.why.as_ref().unwrap();
        assert!(why.contains(watched.path(what).to_str().unwrap()) && why.contains("permission denied"), "{why}");
        assert!(folder.remedy.is_some(), "{folder:?}");
        // What its probe is told makes an alert of it.
        let part = watched.parts()[&folder.path].as_str().unwrap().to_owned();
        assert!(part.starts_with(why), "{part}");
    }
    assert!(closed.remedy.as_ref().unwrap().contains("ls -ld"));
    // The rest of it is.
    watched.put("in/open/a");
    watched.assert_handled(&["created 1 in/open/a"]);

    allow(true);
    for name in ["closed/b", "in/secret/c"] {
        watched.put(name);
    }
    // It looks again after some minutes, or when it is started anew.
    assert_eq!(watched.end(Signal::SIGTERM), Some(0));
    let folders = watched.start_as(without_privileges(&watched).unwrap()).sets.remove(0).folders;
    assert!(folders.iter().all(|folder| folder.state == WatchState::Watched), "{folders:?}");
    watched.assert_handled(&["created 1 in/open/a", "created 1 closed/b", "created 1 in/secret/c"]);
}

#[test]
fn what_may_not_be_read_is_no_trouble_when_it_is_gone() {
    let watched = Watched::new(&[set("set", "")], TELLS);
    make_folders(&watched.path("in/sub/secret"));
    let none = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(watched.path("in/sub/secret"), none).unwrap();
    let Some(command) = without_privileges(&watched) else { return };
    assert_eq!(watched.start_as(command).sets[0].folders[0].state, WatchState::Partly);
    std::fs::remove_dir(watched.path("in/sub/secret")).unwrap();
    std::fs::remove_dir(watched.path("in/sub")).unwrap();
    wait_for("it is well", || (watched.set().folders[0].state == WatchState::Watched).then_some(()));
    assert_eq!(watched.parts()[watched.path("in").to_str().unwrap()], "ok");
}

#[test]
fn a_folder_that_comes_within_one_that_another_set_watches_is_seen_by_both() {
    let sets = [set("outer", ""), set("inner", "paths = [\"{dir}/in/sub/later\"]\non = [\"created\"]")];
    let watched = Watched::started(&sets, TELLS);
    assert_eq!(watched.status().sets[1].folders[0].state, WatchState::Absent);
    for _ in 0..2 {
        make_folders(&watched.path("in/sub/later"));
        wait_for("the inner one is there", || {
            (watched.status().sets[1].folders[0].state == WatchState::Watched).then_some(())
        });
        std::fs::remove_dir_all(watched.path("in/sub")).unwrap();
        wait_for("the inner one is gone", || {
            (watched.status().sets[1].folders[0].state == WatchState::Absent).then_some(())
        });
    }
    make_folders(&watched.path("in/sub/later"));
    watched.put("in/sub/later/file");
    watched.assert_handled(&["created 1 in/sub/later/file", "created 1 in/sub/later/file"]);
}

/// The watcher as somebody to whom modes are a bar: root is not, unless it leaves that behind. `None`: it cannot here.
fn without_privileges(watched: &Watched) -> Option<Command> {
    let plain = watched.env.command(&["serve", "watcher"]);
    if !nix::unistd::geteuid().is_root() {
        return Some(plain);
    }
    let setpriv = ["/usr/bin/setpriv", "/bin/setpriv"].iter().map(Path::new).find(|path| path.exists());
    let Some(setpriv) = setpriv else {
        eprintln!(
            "NOT TESTED: root may read everything, and there is no setpriv to run the watcher without that right"
        );
        return None;
    };
    #[expect(clippy::disallowed_methods, reason = "the program under test")]
    let mut command = Command::new(setpriv);
    command.args(["--bounding-set", "-dac_override,-dac_read_search"]).arg(plain.get_program()).args(plain.get_args());
    command.env_clear().envs(plain.get_envs().filter_map(|(key, value)| Some((key, value?))));
    command.current_dir(watched.env.dir());
    let terminal = std::fs::File::options().append(true).open(watched.path("terminal.log")).unwrap();
    command.stdin(std::process::Stdio::null()).stdout(terminal.try_clone().unwrap()).stderr(terminal);
    Some(command)
}
