//! Watch sets: what is taken, and what is wrong with one.

use std::time::Duration;

use super::faults::expect;
use super::{EVERY_KEY, fleet};
use crate::config::fault::code::{BAD_FORM, CONFLICT, NAME, OUT_OF_BOUNDS, WRONG_TYPE};
use crate::model::{Initial, WatchSpec};

const HEAD: &str = "[service.a]\nbuiltin = \"file-watcher\"\n[[service.a.watch]]\n";

fn sets(text: &str) -> Vec<WatchSpec> {
    fleet(&format!("[service.a]\nbuiltin = \"file-watcher\"\n{text}")).services.remove(0).watch
}

/// A line in a set that is right but for it, at line 6.
fn in_set(line: &str, column: usize, code: &'static str, word: &'static str) {
    expect(&format!("{HEAD}paths = [\"/x\"]\nrun = [\"y\"]\n{line}\n"), &[(code, 6, column, word)]);
}

#[test]
fn a_set_of_two_keys_has_the_rest_by_default() {
    let set = sets("watch = [{ paths = [\"~/in\", \"/other\"], run = [\"x\"] }]\n").remove(0);
    assert_eq!(set.name, "/home/u/in", "the first path as it is after expansion");
    assert_eq!((set.retries, set.retry_delay), (3, Duration::from_secs(10)));
    assert_eq!((set.initial, set.poll, set.settle), (Initial::Seen, None, Duration::from_secs(2)));
    let zero =
        sets("watch = [{ paths = [\"/in\"], run = [\"x\"], settle = \"0s\", retries = 0, retry_delay = \"0s\" }]\n");
    assert_eq!((zero[0].settle, zero[0].retries, zero[0].retry_delay), (Duration::ZERO, 0, Duration::ZERO));
}

#[test]
fn every_key_is_taken_over() {
    let set = fleet(EVERY_KEY).services.remove(2).watch.remove(0);
    assert_eq!((set.name.as_str(), set.initial, set.poll), ("in", Initial::Handle, Some(Duration::from_secs(60))));
    assert_eq!((set.retries, set.retry_delay), (5, Duration::from_secs(1)));
}

#[test]
fn each_set_has_a_name_of_its_own() {
    let two = |first: &str, second: &str| {
        format!(
            "{HEAD}paths = [\"/x\"]\nrun = [\"y\"]\n{first}\n[[service.a.watch]]\npaths = [\"/x\"]\nrun = [\"z\"]\n{second}\n"
        )
    };
    expect(&two("", ""), &[(NAME, 8, 9, "give each set a `name`")]);
    expect(&two("name = \"n\"", "name = \"n\""), &[(NAME, 10, 8, "belongs to another set of this service (line 6)")]);
    expect(&two("", "name = \"/x\""), &[(NAME, 10, 8, "(line 4)")]);
    assert_eq!(fleet(&two("name = \"one\"", "")).services[0].watch[1].name, "/x");
    // Another service's sets are another matter.
    let other = two("name = \"one\"", "")
        + "[service.b]\nbuiltin = \"file-watcher\"\nwatch = [{ paths = [\"/x\"], run = [\"y\"] }]\n";
    assert_eq!(fleet(&other).services.len(), 2);
    for (name, why) in [("", "not empty"), (" ", "not empty"), ("a\\u001bb", "control character")] {
        in_set(&format!("name = \"{name}\""), 8, NAME, why);
    }
    in_set(&format!("name = \"{}\"", "n".repeat(201)), 8, NAME, "201 bytes");
}

#[test]
fn folders_of_one_set_do_not_overlap() {
    let overlap =
        |recursive: bool, paths: &str| format!("{HEAD}run = [\"y\"]\nrecursive = {recursive}\npaths = [{paths}]\n");
    for paths in [
        "\"/in\", \"/in/deep\"",
        "\"/in/deep\", \"/in\"",
        "\"/in\", \"/in/\"",
        "\"/in\", \"/in/./deep\"",
        "\"/\", \"/in\"",
    ] {
        let column = paths.find(", ").unwrap() + 12;
        expect(&overlap(true, paths), &[(CONFLICT, 6, column, "watched already")]);
    }
    expect(&overlap(false, "\"/in\", \"/in\""), &[(CONFLICT, 6, 17, "write each folder once")]);
    expect(&overlap(true, "\"/in\", \"/other\", \"/other/x\""), &[(CONFLICT, 6, 27, "/other/x is within /other")]);
    for (recursive, paths) in
        [(false, "\"/in\", \"/in/deep\""), (true, "\"/in\", \"/in2\""), (true, "\"/a/b\", \"/a/c\"")]
    {
        assert_eq!(fleet(&overlap(recursive, paths)).services[0].watch[0].paths.len(), 2, "{paths}");
    }
}

#[test]
fn a_placeholder_that_stands_for_nothing_is_told() {
    let run = |word: &str| format!("{HEAD}paths = [\"/x\"]\nrun = [\"y\", \"{word}\"]\n");
    expect(&run("--to={foo}"), &[(BAD_FORM, 5, 19, "there are {path} {name} {dir} {attempt} {event} {from}")]);
    expect(&run("{file}"), &[(BAD_FORM, 5, 14, "{file} stands for nothing")]);
    expect(&run("{pth}{nme}"), &[(BAD_FORM, 5, 14, "did you mean {path}?"), (BAD_FORM, 5, 19, "did you mean {name}?")]);
    expect(&format!("{HEAD}paths = [\"/x\"]\nrun = [\"/opt/{{kind}}/y\"]\n"), &[(BAD_FORM, 5, 14, "{kind}")]);
    for word in [
        "{path}{name}{dir}{attempt}{event}{from}",
        "{}",
        "{PATH}",
        "{a b}",
        "{{path}}",
        "{x",
        "x}",
        "{1}",
        "{a_b}",
        "${X}",
    ] {
        assert_eq!(fleet(&run(word)).services[0].watch[0].run[1], word);
    }
    // A brace in front of one that is closed belongs to nothing.
    expect(&run("{ {foo}"), &[(BAD_FORM, 5, 16, "{foo}")]);
}

#[test]
fn a_glob_that_gitignore_does_not_know_is_told() {
    for (glob, why) in [
        ("a{b", "unclosed alternate"),
        ("[z-a]", "invalid range"),
        ("x\\\\", "dangling"),
        ("# note", "is a comment"),
        ("", "leaves nothing alone"),
        ("  ", "leaves nothing alone"),
    ] {
        in_set(&format!("ignore = [\"*.part\", \"{glob}\"]"), 21, BAD_FORM, why);
    }
    let taken = ["*.part", "!*.download", "drafts/", "/top", "**/x/*.tmp", "a{b,c}", "\\\\#x", "[abc"];
    for glob in taken {
        let text = format!("watch = [{{ paths = [\"/x\"], run = [\"y\"], ignore = [\"{glob}\"] }}]\n");
        assert_eq!(sets(&text)[0].ignore.len(), 1, "{glob}");
    }
}

#[test]
fn numbers_words_and_times_have_their_bounds() {
    in_set("retries = 101", 11, OUT_OF_BOUNDS, "0 to 100");
    in_set("retry_delay = \"6m\"", 15, OUT_OF_BOUNDS, "0s to 5m");
    in_set("poll = \"500ms\"", 8, OUT_OF_BOUNDS, "1s to 1h");
    in_set("poll = \"2h\"", 8, OUT_OF_BOUNDS, "1s to 1h");
    in_set("settle = \"2h\"", 10, OUT_OF_BOUNDS, "0s to 1h");
    in_set("initial = \"all\"", 11, BAD_FORM, "\"handle\"");
    in_set("poll = true", 8, WRONG_TYPE, "poll");
}
