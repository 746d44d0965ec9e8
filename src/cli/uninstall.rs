//! `uninstall`: what `install` has done is undone.

use super::args::Uninstall;
use super::install::{Line, refused, say};
use super::{Context, Output, Stop};
use crate::control::client::Daemon;
use crate::error::{Error, ErrorKind};
use crate::install::apply::Hands;
use crate::install::{self, Record};
use crate::machine::ExposureSaved;
use crate::manager::drivers;
use crate::model::paths::Paths;
use crate::model::wire::{OrderBody, Verb};
use crate::model::{ExposureSpec, Intent, UnitName};
use crate::process::{files, intent};

pub(super) fn run(args: &Uninstall, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let paths = Paths::new(&context.sources.state_dir());
    let Some(mut record) = Record::read(&paths)? else {
        // Of a file that cannot be read it is not known whose state this is.
        if context.place().fault().is_some() {
            let message = format!(
                "nothing is installed for {}, and services.toml, which may name another state directory, cannot be used",
                paths.state_dir().display()
            );
            return Err(Error::new(ErrorKind::Config, message)
                .hint("mend it (`supervisor check`), or say --state-dir")
                .into());
        }
        if context.json {
            writeln!(output.out, "{}", serde_json::json!({ "jobs": [] }))?;
        } else {
            writeln!(output.out, "nothing is installed for {}", paths.state_dir().display())?;
        }
        return Ok(0);
    };
    let _alone = if args.dry_run { None } else { Some(install::alone(&paths)?) };
    let driver = drivers::driver(record.manager, &record.tool, &record.folder).map_err(refused)?;
    let folder = record.folder.clone();
    let hands = Hands { driver: driver.as_ref(), paths: &paths, folder: &folder, load: record.loaded, by_hand: true };
    let mut wanted = Wanted { paths: &paths, was: Vec::new() };
    if !args.dry_run {
        undo(&mut wanted, context, output)?;
    }
    let mut lines = Vec::new();
    // The daemon first: it would load again what it sees vanish.
    for known in record.jobs.clone() {
        let result = if args.dry_run { Ok("to be ended and removed".into()) } else { hands.remove(&known) };
        let line = Line::of(&known.label, result);
        if line.ok {
            record.jobs.retain(|job| job.label != known.label);
        }
        say(&line, context, output)?;
        lines.push(line);
        if !args.dry_run {
            record.write(&paths)?;
        }
    }
    let all = lines.iter().all(|line| line.ok);
    if all && !args.dry_run {
        std::fs::remove_file(paths.installed()).map_err(|e| Error::io("cannot remove", &paths.installed(), &e))?;
    }
    if context.json {
        writeln!(output.out, "{}", serde_json::json!({ "dry_run": args.dry_run, "jobs": lines }))?;
    } else if args.dry_run {
        writeln!(output.out, "nothing was done: this was a dry run")?;
    } else if all {
        writeln!(output.out, "nothing is installed any more; logs, database and services.toml stay where they are")?;
    }
    Ok(if all { 0 } else { ErrorKind::Refused.exit_code() })
}

/// What was wanted of what was undone: whoever installs it again wants it as before, since that it was stopped was our word. Put back
/// however we end.
struct Wanted<'a> {
    paths: &'a Paths,
    was: Vec<(UnitName, Intent)>,
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        for (name, was) in &self.was {
            // What cannot be put back shows in `status`: stopped by the operator.
            let _ = intent::write(self.paths, name, was);
        }
    }
}

/// Has the daemon, while it is there, undo what it made to hold: it stays when a daemon goes, and this time none comes after it.
fn undo(wanted: &mut Wanted<'_>, context: &Context<'_>, output: &mut Output<'_>) -> Result<(), Stop> {
    let paths = wanted.paths;
    for made in made(paths) {
        let name = &made.name;
        let Some(command) = &made.undo else {
            let ensure = shell(&made.ensure);
            writeln!(output.notes, "note: {name} has no `undo`: what `{ensure}` has made stays as it is")?;
            continue;
        };
        let was = intent::read(paths, name);
        let body = OrderBody { verb: Verb::Stop, names: vec![name.clone()], wait: true };
        let reply = Daemon::connect(paths).and_then(|daemon| daemon.order(&body));
        let failed = match reply {
            Ok(reply) => reply.outcomes.into_iter().find(|outcome| !outcome.ok).map(|outcome| outcome.text),
            Err(error) => Some(error.message),
        };
        match failed {
            None => {
                wanted.was.push((name.clone(), was));
                if !context.json {
                    writeln!(output.out, "{name}: undone")?;
                }
            }
            Some(why) => {
                let (why, command) = (super::table::harmless(&why), shell(command));
                writeln!(
                    output.notes,
                    "note: {name} still holds and was not undone ({why}); this undoes it: {command}"
                )?;
            }
        }
    }
    Ok(())
}

/// What is made to hold, as the daemon has written it down.
fn made(paths: &Paths) -> Vec<ExposureSpec> {
    let names = files::units_in(&paths.services()).unwrap_or_default();
    let saved = |name: &UnitName| serde_json::from_slice(&std::fs::read(paths.exposure(name)).ok()?).ok();
    names.iter().filter_map(saved).filter_map(|saved: ExposureSaved| saved.made).collect()
}

/// A command as it can be typed.
fn shell(argv: &[String]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    let word = |word: &String| match !word.is_empty() && word.chars().all(is_plain) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    };
    argv.iter().map(word).collect::<Vec<_>>().join(" ")
}
