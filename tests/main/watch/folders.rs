//! Folders that come, go, are others, or may not be read.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use supervisor::model::{WatchState, WatchedFolder};

use super::Watched;
use crate::support::wait_for;

fn state(watched: &Watched, wanted: WatchState) -> WatchedFolder {
    wait_for(&format!("the folder to be {wanted:?}"), || {
        let folder = watched.set().folders.remove(0);
        (folder.state == wanted).then_some(folder)
    })
}

const LINE: &str = "printf '%s %s\\n' \"$2\" \"$3\" >>\"$0\"";

#[test]
fn one_that_is_made_later_goes_and_comes_again_is_watched_when_it_is_there() {
    let mut watched = Watched::at_rest(LINE, "");
    watched.root = watched.root.join("not/yet");
    watched.declare(&watched.root, LINE, "");
    let mut watched = watched.starting();
    state(&watched, WatchState::Absent);
    fs::create_dir_all(&watched.root).unwrap();
    watched.write("at once", "");
    watched.wait_for_lines(&["1 /at once"]);
    state(&watched, WatchState::Watched);
    watched.wait_until_idle();
    let away = watched.env.dir().join("away");
    fs::rename(&watched.root, &away).unwrap();
    state(&watched, WatchState::Absent);
    fs::write(away.join("while away"), "").unwrap();
    fs::rename(&away, &watched.root).unwrap();
    watched.wait_for_lines(&["1 /at once", "1 /while away"]);
    state(&watched, WatchState::Watched);
    watched.write("again", "");
    watched.wait_for_lines(&["1 /at once", "1 /while away", "1 /again"]);
    // What was made, taken away with all that was in it and made anew is another one.
    watched.wait_until_idle();
    fs::remove_dir_all(&watched.root).unwrap();
    state(&watched, WatchState::Absent);
    fs::create_dir(&watched.root).unwrap();
    watched.write("again", "");
    watched.wait_for_lines(&["1 /at once", "1 /while away", "1 /again", "1 /again"]);
    watched.wait_until_idle();
    assert_eq!(watched.end(nix::sys::signal::Signal::SIGTERM), Some(0));
}

#[test]
fn one_that_is_replaced_by_a_link_is_watched_where_that_leads() {
    let watched = Watched::with(LINE, "");
    watched.write("a", "");
    watched.wait_for_lines(&["1 /a"]);
    watched.wait_until_idle();
    let other = watched.env.dir().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("b"), "").unwrap();
    fs::rename(&watched.root, watched.env.dir().join("old")).unwrap();
    symlink(&other, &watched.root).unwrap();
    watched.wait_for_lines(&["1 /a", "1 /b"]);
    fs::write(other.join("c"), "").unwrap();
    watched.wait_for_lines(&["1 /a", "1 /b", "1 /c"]);
    assert_eq!(state(&watched, WatchState::Watched).path, watched.root.display().to_string());
}

#[test]
fn one_that_may_not_be_read_is_told_with_what_to_do() {
    let mut watched = Watched::at_rest(LINE, "");
    fs::set_permissions(&watched.root, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(&watched.root).is_ok() {
        eprintln!("SKIPPED: this user (root?) may read what nobody may");
        return;
    }
    watched.start();
    let folder = state(&watched, WatchState::Denied);
    assert!(folder.why.unwrap().contains("permission denied") && folder.remedy.unwrap().contains("ls -ld"));
    fs::set_permissions(&watched.root, fs::Permissions::from_mode(0o700)).unwrap();
    watched.write("a", "");
    watched.end(nix::sys::signal::Signal::SIGTERM);
    watched.start();
    watched.wait_for_lines(&["1 /a"]);
    state(&watched, WatchState::Watched);
}
