//! `uninstall`: what `install` has done is undone.

use super::args::Uninstall;
use super::install::{Line, refused, say};
use super::{Context, Output, Stop};
use crate::error::{Error, ErrorKind};
use crate::install::apply::Hands;
use crate::install::{self, Record};
use crate::manager::drivers;
use crate::model::paths::Paths;

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
