//! What happened is told at once and by name.

use std::net::TcpListener;

use nix::sys::signal::Signal;

use crate::support::{Env, signal, wait_for};

#[test]
fn what_a_runner_does_before_anybody_listens_to_it_is_in_the_ledger_all_the_same() {
    let env = Env::new("[service.a]\ncommand = [\"/bin/sleep\", \"1000\"]\n");
    env.start_daemon();
    env.wait_status("a", "up");
    // The database is there.
    super::tools::sync(&env);
    signal(env.runner_pid().unwrap(), Signal::SIGKILL);
    // Nothing else happens after the adoption that could bring it along.
    let adopted = "SELECT json_extract(metadata, '$.run_id') FROM events WHERE event_type = 'runner_adopted'";
    let rows = wait_for("the adoption in the ledger", || Some(env.rows(adopted)).filter(|rows| !rows.is_empty()));
    assert_eq!(rows, [[1]]);
}

#[test]
fn who_has_a_port_is_named_with_pid_and_command() {
    let owner = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = owner.local_addr().unwrap().port();
    let env = Env::new(&format!("[service.a]\ncommand = [\"/bin/sleep\", \"1000\"]\nports = [{port}]\n"));
    env.start_daemon();
    let me = std::env::current_exe().unwrap();
    let me = me.file_name().unwrap().to_str().unwrap();
    let pid = format!("(pid {})", std::process::id());
    // Soon rather than at once: a child that another test starts has our socket too until it becomes its program.
    wait_for("the owner's pid and command", || {
        let why = env.wait_status("a", "held")["why"].as_str().unwrap().to_owned();
        let named = why.contains(&format!("port {port} is taken by ")) && why.contains(me);
        assert!(named, "{why}");
        why.contains(&pid).then_some(())
    });
}
