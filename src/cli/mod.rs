//! The command line: reads what was typed, asks the daemon (or, without one, the runners and the database), and prints.
//!
//! It asks and prints; it judges nothing, starts nothing but a run by hand (`tasks run`) and writes no state (`install` has the room of that name do it). Everything it prints goes through two
//! writers it is given, every error through [`error_text`], and every fact comes through [`Sources`] or a control
//! socket, so that each command can be tested as a whole.

mod alerts;
pub mod args;
mod check;
mod context;
mod doctor;
mod events;
mod examples;
mod gather;
mod import;
mod install;
mod logs;
mod manuals;
mod memory;
mod names;
mod order;
mod plain;
mod serve;
mod since;
mod site;
mod sources;
mod status;
mod step;
mod style;
mod table;
mod tasks;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod uninstall;
mod unread;
mod upgrade;
mod watch;
mod why;
mod wrong;

use std::io::{self, IsTerminal, Write};

pub use args::{Ask, Command, Early, Exec, Global, Invocation, Starter, parse};
pub use context::{
    AlertsSeen, AlertsWanted, Context, FaultLine, Loaded, LogFrom, LogWanted, MemoryKept, Sources, Tallies,
};
pub use sources::Files;

use crate::error::{Error, ErrorKind};

/// Does what was asked, on the process's own stdout and stderr; gives the exit code.
pub fn execute(ask: &Ask, context: &Context<'_>) -> Result<u8, Error> {
    let mut out = io::BufWriter::new(io::stdout());
    let mut notes = io::stderr();
    let code = execute_to(ask, context, &mut Output { out: &mut out, notes: &mut notes })?;
    Ok(if flush(&mut out)? { code } else { 0 })
}

/// Prints what [`parse`] has instead of an invocation; gives the exit code.
pub fn finish_early(early: &Early) -> u8 {
    match early {
        Early::Text { plain, coloured } => {
            let text = if style::is_wanted(args::Color::Auto) { coloured } else { plain };
            // Whoever closed stdout does not want the help any more.
            let _ = io::stdout().lock().write_all(text.as_bytes());
            0
        }
        Early::Wrong { error, json } => {
            report(error, *json);
            error.kind.exit_code()
        }
    }
}

/// Prints an error to stderr. The one place where errors are printed.
pub fn report(error: &Error, json: bool) {
    // With stderr closed there is nobody left to tell.
    let _ = io::stderr().lock().write_all(error_text(error, json).as_bytes());
}

/// An error as it is printed.
pub fn error_text(error: &Error, json: bool) -> String {
    if json {
        let code = error.kind.exit_code();
        return format!(
            "{}\n",
            serde_json::json!({"error": {"code": code, "message": error.message, "hint": error.hint}})
        );
    }
    let mut text = format!("supervisor: {}\n", error.message.trim_end());
    if let Some(hint) = &error.hint {
        text.push_str(&format!("  hint: {hint}\n"));
    }
    text
}

/// Where a command prints to.
pub(crate) struct Output<'a> {
    /// What was asked for.
    pub(crate) out: &'a mut dyn Write,
    /// What a person should know beside it.
    pub(crate) notes: &'a mut dyn Write,
}

/// Why a command ends before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// With an error.
    Failed(Error),
    /// Nobody reads what it prints (`supervisor events | head`): that is no error.
    Closed,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// For writes to stdout and stderr; errors of other files are told with their paths where they happen.
impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(Error::new(ErrorKind::Internal, format!("cannot write the output: {error}"))),
        }
    }
}

fn execute_to(ask: &Ask, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Error> {
    let done = match ask {
        Ask::Status(args) => status::run(args, context, output),
        Ask::Start(args) => order::run(crate::model::wire::Verb::Start, args, context, output),
        Ask::Stop(args) => order::run(crate::model::wire::Verb::Stop, args, context, output),
        Ask::Restart(args) => order::run(crate::model::wire::Verb::Restart, args, context, output),
        Ask::Reload(args) => order::reload(args, context, output),
        Ask::Upgrade => upgrade::run(context, output),
        Ask::Install(args) => install::run(args, context, output),
        Ask::Uninstall(args) => uninstall::run(args, context, output),
        Ask::Why(args) => why::run(args, context, output),
        Ask::Logs(args) => logs::run(args, context, output),
        Ask::Events(args) => events::run(args, context, output),
        Ask::Alerts(args) => alerts::run(args, context, output),
        Ask::Tasks(args) => tasks::run(args, context, output),
        Ask::Memory(args) => memory::run(args, context, output),
        Ask::Watch(args) => watch::run(args, context, output),
        Ask::Step(args) => step::run(args, context, output),
        Ask::Serve(args) => serve::run(args, context, output),
        Ask::Doctor(args) => doctor::run(args, context, output),
        Ask::Check => check::run(context, output),
        Ask::Import(args) => import::run(args, context, output),
        Ask::Schema => manuals::schema(context, output),
        Ask::Completions(args) => manuals::completions(args, output),
        Ask::Man(args) => manuals::man(args, output),
    };
    match done {
        Ok(code) => Ok(code),
        Err(Stop::Closed) => Ok(0),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// Whether somebody has read it all.
fn flush(out: &mut impl Write) -> Result<bool, Error> {
    match out.flush().map_err(Stop::from) {
        Ok(()) => Ok(true),
        Err(Stop::Closed) => Ok(false),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// How wide the output may be: COLUMNS where it is set, else the terminal's width, else (a file, a pipe) no limit.
fn width_of_stdout() -> Option<u16> {
    let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).filter(|columns| *columns > 0);
    columns.or_else(|| {
        let stdout = io::stdout();
        let size = stdout.is_terminal().then(|| terminal_size::terminal_size_of(&stdout)).flatten();
        size.map(|(width, _)| width.0).filter(|width| *width > 0)
    })
}
