//! The program: reads the command line and becomes the daemon, a runner, or an answer. The library does the rest.

use std::process::ExitCode;

use supervisor::cli::{self, Command, Context, Early, Exec, Files, Global, Starter};
use supervisor::error::{Error, ErrorKind};
use supervisor::model::{SlotKey, Trigger, UnitName};
use supervisor::{daemon, process, runner};

fn main() -> ExitCode {
    let invocation = match cli::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(early) => return finish_early(&early),
    };
    // Whatever we write is for its owner alone.
    process::files::private_umask();
    match become_it(&invocation.global, &invocation.command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            cli::report(&error, invocation.global.json);
            ExitCode::from(error.kind.exit_code())
        }
    }
}

fn finish_early(early: &Early) -> ExitCode {
    ExitCode::from(cli::finish_early(early))
}

fn become_it(global: &Global, command: &Command) -> Result<u8, Error> {
    let files = Files::of_process(global)?;
    match command {
        Command::Run(run) => {
            let (config, surroundings) = (files.config()?, files.surroundings().clone());
            daemon::run(daemon::Options { config, surroundings, verbose: global.verbose > 0, handover: run.handover })
                .map(|()| 0)
        }
        Command::Exec(exec) => {
            let name = |text: &String| {
                UnitName::new(text).map_err(|e| Error::new(ErrorKind::Usage, format!("{text:?} is no name: {e}")))
            };
            let names = exec.names.iter().map(name).collect::<Result<Vec<_>, _>>()?;
            let (config, surroundings) = (files.config()?, files.surroundings().clone());
            runner::run(runner::Options {
                config,
                surroundings,
                names,
                embedded: exec.embedded,
                handover: exec.handover,
                wanted: wanted(exec)?,
            })
            .map(|()| 0)
        }
        Command::Ask(ask) => cli::execute(ask, &Context::of_process(global, process::clock::now(), &files)),
    }
}

/// Which run of a calendar job `exec` is to be.
fn wanted(exec: &Exec) -> Result<runner::Wanted, Error> {
    let slot = |text: &String| {
        let what = format!("{text:?} names no run");
        SlotKey::parse(text)
            .ok_or_else(|| Error::new(ErrorKind::Usage, what).hint("a run is called as 20261122T075500Z"))
    };
    let resume = exec.resume.as_ref().map(slot).transpose()?;
    Ok(match exec.trigger {
        _ if exec.extra => runner::Wanted::Extra(resume),
        Some(Starter::Daemon) => runner::Wanted::Due(Trigger::Daemon),
        None => runner::Wanted::Due(Trigger::Manager),
    })
}
