//! What a service manager that asks to be told hears, and from whom.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{Env, Guard, pid_of, signal, wait_for};

/// A socket as systemd offers one.
struct Manager(UnixDatagram);

impl Manager {
    fn new(env: &Env) -> Self {
        let socket = UnixDatagram::bind(env.dir().join("manager")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(socket)
    }

    fn start(&self, env: &Env, args: &[&str]) -> Guard {
        Guard(env.command(args).env("NOTIFY_SOCKET", env.dir().join("manager")).spawn().unwrap())
    }

    fn hears(&self, what: &str) {
        let mut bytes = [0; 200];
        let n = self.0.recv(&mut bytes).unwrap_or_else(|e| panic!("not a word of {what}: {e}"));
        let said = String::from_utf8_lossy(&bytes[..n]).into_owned();
        assert_eq!(said.lines().next(), Some(what), "{said}");
    }

    fn hears_no_more(&self) {
        self.0.set_nonblocking(true).unwrap();
        assert!(self.0.recv(&mut [0; 200]).is_err());
    }
}

const BODY: &str = "[service.a]\ncommand = [\"/bin/sleep\", \"1000\"]\n";

#[test]
fn a_runner_tells_that_it_is_there_and_that_it_goes() {
    let env = Env::new(BODY);
    let manager = Manager::new(&env);
    let mut runner = manager.start(&env, &["exec", "a"]);
    manager.hears("READY=1");
    assert_eq!(env.service("a")["runner_pid"], pid_of(&runner.0), "who is ready can be asked");
    signal(pid_of(&runner.0), Signal::SIGTERM);
    manager.hears("STOPPING=1");
    assert_eq!(wait_for("its end", || runner.0.try_wait().unwrap()).code(), Some(0));
    manager.hears_no_more();
}

#[test]
fn the_daemon_tells_of_itself_and_the_runner_that_it_started_says_nothing() {
    let env = Env::new(BODY);
    let manager = Manager::new(&env);
    let mut daemon = manager.start(&env, &["run"]);
    manager.hears("READY=1");
    env.wait_status("a", "up");
    assert_eq!(env.cli(&["upgrade"]).status.code(), Some(0));
    // The program that it has become tells it again, and only that one.
    manager.hears("READY=1");
    signal(pid_of(&daemon.0), Signal::SIGTERM);
    manager.hears("STOPPING=1");
    assert_eq!(wait_for("its end", || daemon.0.try_wait().unwrap()).code(), Some(0));
    manager.hears_no_more();
}
