//! What a watcher that ended finds when it is there again.

use nix::sys::signal::Signal;

use super::super::support::{pass, signal, wait_for};
use super::{GATED, TELLS, Watched, make_folders, set};

#[test]
fn what_is_there_at_the_first_start_is_left_alone_or_handled_as_is_wished() {
    let sets = [set("left", ""), set("taken", "initial = \"handle\"\npaths = [\"{dir}/out\"]")];
    let watched = Watched::new(&sets, TELLS);
    make_folders(&watched.path("out/sub"));
    for name in ["in/a", "out/b", "out/sub/c"] {
        watched.put(name);
    }
    watched.start();
    watched.assert_handled(&["created 1 out/b", "created 1 out/sub/c"]);
    // It is the first start but once.
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        watched.end(signal);
        watched.start();
        watched.assert_handled(&["created 1 out/b", "created 1 out/sub/c"]);
    }
}

#[test]
fn what_came_while_it_was_down_is_handled_and_nothing_else() {
    let watched = Watched::new(&[set("set", "")], TELLS);
    watched.put("in/old");
    make_folders(&watched.path("in/sub"));
    watched.put("in/sub/old");
    watched.start();
    watched.put("in/a");
    let mut wanted = vec!["created 1 in/a".to_owned()];
    for (number, signal) in [Signal::SIGKILL, Signal::SIGTERM].into_iter().enumerate() {
        watched.wait_handled(wanted.last().unwrap());
        watched.wait_idle();
        let code = watched.end(signal);
        assert_eq!(code, (signal == Signal::SIGTERM).then_some(0));
        let new = format!("in/new{number}");
        make_folders(&watched.path(&new));
        watched.rename("in/sub/old", "in/sub/older");
        watched.rename("in/sub/older", "in/sub/old");
        for name in [format!("in/b{number}"), format!("in/sub/c{number}"), format!("{new}/d")] {
            watched.put(&name);
            wanted.push(format!("created 1 {name}"));
        }
        watched.start();
        watched.assert_handled(&wanted.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

#[test]
fn a_handler_that_ran_when_it_was_killed_is_run_again_and_told_so() {
    let watched = Watched::started(&[set("set", "")], GATED);
    for name in ["in/a", "in/b"] {
        watched.put(name);
    }
    wait_for("one runs, one waits", || {
        let set = watched.set();
        (set.running == 1 && set.waiting == 1 && watched.handled().len() == 1).then_some(())
    });
    let first = watched.handled().remove(0);
    let other = if first.ends_with('a') { "created 1 in/b" } else { "created 1 in/a" };
    watched.end(Signal::SIGKILL);
    watched.open_gate();
    watched.start();
    watched.assert_handled(&[&first, &first.replace(" 1 ", " 2 "), other]);
}

#[test]
fn a_handler_is_not_run_again_beside_the_one_that_a_killed_watcher_has_left() {
    // The first one does not heed SIGTERM: the runner kills it 2 s after that, when the next watcher has long been started.
    let script = "case $2 in\n1) trap '' TERM; echo $$ > \"$HOME/first\"; while :; do sleep 0.05; done;;\n\
                  *) sleep 0.5; kill -0 \"$(cat \"$HOME/first\")\" && echo beside > \"$HOME/beside\"; echo > \"$HOME/second\";;\nesac";
    let watched = Watched::new(&[set("set", "")], script);
    let config = std::fs::read_to_string(watched.env.config()).unwrap();
    let at_once = "stop_timeout = \"20s\"\nthrottle = \"0s\"\nmin_uptime = \"0s\"";
    std::fs::write(watched.env.config(), config.replacen("stop_timeout = \"20s\"", at_once, 1)).unwrap();
    watched.start_as(watched.env.command(&["exec", "watcher"]));
    watched.put("in/a");
    wait_for("the first one", || watched.path("first").exists().then_some(()));
    let pid = watched.status().pid.unwrap();
    assert!(signal(i32::try_from(pid).unwrap(), Signal::SIGKILL));
    wait_for("the second one", || watched.path("second").exists().then_some(()));
    assert!(!watched.path("beside").exists());
    assert_eq!(watched.handled(), ["created 1 in/a", "created 2 in/a"]);
}

#[test]
fn who_is_to_end_waits_for_handlers_and_starts_none() {
    let watched = Watched::started(&[set("set", "")], &format!("{GATED}; echo \"$3\" >> \"$HOME/ended\""));
    watched.put("in/a");
    watched.wait_handled("created 1 in/a");
    watched.put("in/b");
    wait_for("the other waits", || (watched.set().waiting == 1).then_some(()));
    assert!(signal(watched.pid(), Signal::SIGTERM));
    pass(std::time::Duration::from_millis(500), || assert!(watched.lives(), "its handler runs"));
    watched.open_gate();
    let code = wait_for("its end", || {
        let mut watcher = watched.watcher.borrow_mut();
        watcher.as_mut().unwrap().0.try_wait().unwrap()
    });
    assert_eq!(code.code(), Some(0));
    let ended = std::fs::read_to_string(watched.path("ended")).unwrap();
    assert_eq!(ended.trim(), watched.path("in/a").display().to_string());
    watched.assert_handled_so_far(&["created 1 in/a"]);
    watched.start();
    watched.assert_handled(&["created 1 in/a", "created 1 in/b"]);
}
