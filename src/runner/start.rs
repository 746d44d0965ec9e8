//! How a runner comes to be: from nothing, from what a dead predecessor left, or from the program that this process was before.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::os::unix::net::UnixListener;

use super::begin::Traces;
use super::changes::Changes;
use super::control::Control;
use super::environment::Base;
use super::poll::{Poll, Token};
use super::signals::Signals;
use super::sweep::Sweeper;
use super::upgrade::Note;
use super::{Options, Runner, Turn, orders, reload, runner_id};
use crate::error::{Error, ErrorKind};
use crate::journal;
use crate::logs::Block;
use crate::model::paths::Paths;
use crate::model::{EventType, ServiceSpec, UnitName};
use crate::process::handover::{self, Received};
use crate::process::lock::Lock;
use crate::process::oom::Kills;
use crate::process::{clock, files, identity, notify, tune};

impl Runner {
    pub(super) fn start(options: &Options) -> Result<Self, Error> {
        // First of all: low descriptors are free now.
        tune::raise_descriptor_limit();
        tune::own_session();
        tune::become_subreaper();
        let received = options.handover.and_then(|fd| {
            let received = Received::take::<Note>(fd);
            // Then everything is found as after a death.
            received.inspect_err(|e| anstream::eprintln!("the upgrade goes on as after a death: {e}")).ok()
        });
        let (note, mut received) = received.unzip();
        let (state_dir, specs) = match (&note, &options.surroundings.state_dir) {
            (Some(_), Some(dir)) => (dir.clone(), Vec::new()),
            _ => reload::first_specs(options)?,
        };
        let paths = Paths::new(&state_dir);
        for dir in [paths.supervisor(), paths.runners(), paths.services(), paths.logs()] {
            files::ensure_dir(&dir).map_err(|e| Error::io("cannot make the folder", &dir, &e))?;
        }
        let id = runner_id(&options.names, options.embedded);
        let mut fd = |name: &str| received.as_mut().and_then(|received| received.fd(name));
        let lock = match fd("lock") {
            Some(fd) => Lock::from(fd),
            None => Lock::acquire(&paths.runner_lock(&id)).map_err(|held| {
                let who = held.pid().map_or(String::new(), |pid| format!(" (pid {pid})"));
                Error::new(ErrorKind::Refused, format!("a runner for {id} is already running{who}"))
                    .hint("use `supervisor status` to see it; `supervisor stop` to stop its services")
            })?,
        };
        let listener = fd("listener").map(UnixListener::from).zip(note.as_ref().map(|note| note.control.path.clone()));
        let now = clock::now();
        let boot_id = clock::boot_id();
        let internal = |what: &str, e: std::io::Error| Error::new(ErrorKind::Internal, format!("{what}: {e}"));
        let poll = Poll::new().map_err(|e| internal("cannot wait for events", e))?;
        let signals = Signals::open().map_err(|e| internal("cannot catch signals", e))?;
        poll.add(&signals, Token::Signals, false).map_err(|e| internal("cannot wait for signals", e))?;
        let control = Control::open(&paths, &id, &poll, listener)
            .map_err(|e| Error::io("cannot open the control socket", &paths.runner_socket(&id), &e))?;
        let journal = journal::Writer::open(&paths.runners(), &id, &boot_id, now.boot_ns)
            .map_err(|e| Error::io("cannot open the journal in", &paths.runners(), &e))?;
        let block = Block::open(&state_dir, &id).map_err(|e| internal("there is no memory", e))?;
        let changes = Changes::new().map_err(|e| internal("cannot watch folders", e))?;
        poll.add(&changes, Token::Changes, false).map_err(|e| internal("cannot watch folders", e))?;
        let mut runner = Self {
            id,
            options: options.clone(),
            paths,
            boot_id,
            base: Base::of_process(),
            poll,
            signals,
            services: Vec::new(),
            names: BTreeMap::new(),
            pids: HashMap::new(),
            timers: BinaryHeap::new(),
            journal,
            block,
            synced_by: None,
            look_again: None,
            control,
            guard: Default::default(),
            changes,
            sweeper: Sweeper::default(),
            kills: Kills::default(),
            orders: orders::Orders::default(),
            troubles: BTreeSet::new(),
            going_down: false,
            leaving: false,
            upgrade: None,
            upgrades: 0,
            program: handover::own_program().ok().and_then(|path| identity::program_id(&path)),
            lock,
        };
        runner.guard.begin(now.mono);
        match note.zip(received) {
            Some((note, received)) => runner.resume(note, received)?,
            None => {
                runner.take_over(specs);
                // A daemon that is there learns from the knock alone that there is a runner to follow.
                drop(crate::process::socket::connect(&runner.paths.daemon_socket()));
            }
        }
        // Of ourselves, and of no service: who waits for us wants to know that somebody looks after it. After an upgrade
        // systemd hears it a second time, and does not mind.
        notify::tell(&format!("READY=1\nSTATUS=runner for {}", runner.id));
        Ok(runner)
    }

    /// The first turn: all services begin.
    fn take_over(&mut self, specs: Vec<ServiceSpec>) {
        let mut turn = Turn::new();
        let data = serde_json::json!({
            "run_id": null, "pid": std::process::id(), "version": env!("CARGO_PKG_VERSION"), "services": specs.len(),
        });
        self.record(EventType::RunnerStarted, None, data.as_object().cloned().unwrap_or_default(), &turn);
        let traces = Traces::read(&self.paths, &self.id);
        let declared: BTreeSet<UnitName> = specs.iter().map(|spec| spec.name.clone()).collect();
        let undeclared = self.undeclared(&traces, &declared);
        self.recover_output(specs.iter().chain(&undeclared), turn.now);
        for spec in specs {
            self.admit(spec, &traces, &mut turn);
        }
        for spec in undeclared {
            self.end_undeclared(spec, &traces, &mut turn);
        }
        self.finish(turn);
    }
}
