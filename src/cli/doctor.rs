//! `doctor`: asks `doctor` and prints.

use std::path::Path;

use anstyle::{AnsiColor, Style};
use serde_json::json;

use super::args::Doctor;
use super::context::{Loaded, Place};
use super::table::harmless;
use super::{Context, Output, Stop, style};
use crate::doctor::{self, Asked, Finding, Level, self_test};
use crate::error::{Error, ErrorKind};
use crate::install::Record;
use crate::manager::driver::Driver;
use crate::manager::drivers;
use crate::model::paths::Paths;
use crate::model::{Fleet, ManagerKind};
use crate::process::{clock, files};

pub(super) fn run(args: &Doctor, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let home = context.sources.surroundings().home;
    let place = context.place();
    if args.self_test {
        let kind = place.fleet().map_or(ManagerKind::Auto, |fleet| fleet.manager);
        return test(args, kind, &home, &place, context, output);
    }
    let loaded = context.sources.fleet(context.color)?;
    let Some(fleet) = &loaded.fleet else {
        let message = format!("{} cannot be used", loaded.path.display());
        return Err(Error::new(ErrorKind::Config, message)
            .hint("`supervisor check` tells what is wrong with it")
            .into());
    };
    let findings = findings(fleet, &loaded, &place.paths, &home);
    if context.json {
        let report = json!({"ok": doctor::worst(&findings) < Level::Bad, "findings": findings});
        writeln!(output.out, "{report}")?;
    } else {
        output.out.write_all(text(&findings, context.verbose > 0, context.color).as_bytes())?;
    }
    Ok(if doctor::worst(&findings) == Level::Bad { ErrorKind::NotUp.exit_code() } else { 0 })
}

/// What all checks say of this machine.
pub(super) fn findings(fleet: &Fleet, loaded: &Loaded, paths: &Paths, home: &Path) -> Vec<Finding> {
    let driver = driver(fleet.manager, home, paths);
    doctor::examine(&doctor::gather(&Asked {
        fleet,
        config: &loaded.path,
        faults: loaded.faults.len(),
        paths,
        home,
        now: clock::now(),
        driver: driver.as_deref(),
    }))
}

/// The service manager that things are installed in, else the one that they would be.
fn driver(wanted: ManagerKind, home: &Path, paths: &Paths) -> Option<Box<dyn Driver>> {
    if let Ok(Some(record)) = Record::read(paths) {
        return drivers::driver(record.manager, &record.tool, &record.folder).ok();
    }
    let kind = drivers::of_manager(wanted);
    let tool = drivers::tool(kind);
    tool.exists().then(|| drivers::driver(kind, &tool, &drivers::folder(kind, home)).ok()).flatten()
}

/// Subject by subject, in the order in which they come up; what is well on request only.
fn text(findings: &[Finding], all: bool, color: bool) -> String {
    let mut subjects: Vec<&str> = Vec::new();
    for finding in findings {
        if !subjects.contains(&finding.subject.as_str()) {
            subjects.push(&finding.subject);
        }
    }
    let mut text = String::new();
    for subject in subjects {
        let shown: Vec<&Finding> =
            findings.iter().filter(|f| f.subject == subject && (all || f.level > Level::Ok)).collect();
        if !shown.is_empty() {
            text.push_str(&format!("{}\n", harmless(subject)));
        }
        for finding in shown {
            let (word, style) = shown_as(finding.level);
            text.push_str(&format!("  {}  {}\n", style::paint(word, style, color), harmless(&finding.what)));
            if let Some(remedy) = &finding.remedy {
                text.push_str(&format!("        {}\n", harmless(remedy)));
            }
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let hidden = if all { "" } else { " (-v tells of them)" };
    let (bad, warn, note, ok) = (count(Level::Bad), count(Level::Warn), count(Level::Note), count(Level::Ok));
    text.push_str(&format!("{bad} bad, {warn} to be warned of, {note} to be known, {ok} well{hidden}\n"));
    text
}

fn shown_as(level: Level) -> (&'static str, Style) {
    match level {
        Level::Ok => ("ok  ", AnsiColor::Green.on_default()),
        Level::Note => ("note", Style::new()),
        Level::Warn => ("warn", AnsiColor::Yellow.on_default()),
        Level::Bad => ("bad ", AnsiColor::Red.on_default()),
    }
}

fn test(
    args: &Doctor,
    kind: ManagerKind,
    home: &Path,
    place: &Place<'_>,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<u8, Stop> {
    let Some(driver) = driver(kind, home, &place.paths) else {
        let message = "there is no service manager here that could be tried";
        return Err(Error::new(ErrorKind::Refused, message).hint("`supervisor run` needs none").into());
    };
    let folder = place.paths.supervisor().join("evidence");
    files::ensure_dir(&folder).map_err(|e| Error::io("cannot make", &folder, &e))?;
    let slot = args.calendar.then(|| slot(context));
    let trial = self_test::Trial { driver: driver.as_ref(), home, folder: &folder, slot };
    let mut lines = Vec::new();
    let report = self_test::run(&trial, &mut |step| {
        let line = format!(
            "{}  {:>7} ms  {}: {}\n",
            if step.ok { "ok  " } else { "bad " },
            step.took_ms,
            step.name,
            step.what
        );
        if context.json {
            return;
        }
        // Whoever has closed the output is told at the end.
        let written = output.out.write_all(line.as_bytes()).and_then(|()| output.out.flush());
        lines.extend(written.err());
    });
    if let Some(error) = lines.into_iter().next() {
        return Err(error.into());
    }
    let path = folder.join(format!("self-test-{}.json", context.now_ms));
    let bytes = serde_json::to_vec_pretty(&report).map_err(std::io::Error::other)?;
    files::write_atomic(&path, &bytes, true).map_err(|e| Error::io("cannot write", &path, &e))?;
    if context.json {
        writeln!(output.out, "{}", json!({"report": report, "path": path}))?;
    } else {
        writeln!(output.out, "all of it is in {}", path.display())?;
    }
    Ok(if report.ok { 0 } else { ErrorKind::NotUp.exit_code() })
}

/// The next whole minute that is far enough away to be told of.
fn slot(context: &Context<'_>) -> (u8, u8) {
    let ahead_ms = context.now_ms + 75_000;
    let at = jiff::Timestamp::from_millisecond(ahead_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let at = at.to_zoned(context.zone().clone());
    (at.hour().unsigned_abs(), at.minute().unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{Facts, no_config};

    fn finding(level: Level, subject: &str, what: &str, remedy: Option<&str>) -> Finding {
        Finding { level, subject: subject.into(), what: what.into(), remedy: remedy.map(str::to_owned) }
    }

    #[test]
    fn findings_stand_with_their_subject_and_what_is_well_on_request_only() {
        let found = [
            finding(Level::Ok, "supervisor", "fine", None),
            finding(Level::Bad, "gateway", "port 1 is\u{1b}taken", Some("kill 7")),
            finding(Level::Warn, "machine", "little room", None),
            finding(Level::Note, "gateway", "by the way", None),
        ];
        assert_eq!(
            text(&found, false, false),
            "gateway\n  bad   port 1 is taken\n        kill 7\n  note  by the way\nmachine\n  warn  little room\n\
             1 bad, 1 to be warned of, 1 to be known, 1 well (-v tells of them)\n"
        );
        assert!(text(&found, true, false).starts_with("supervisor\n  ok    fine\ngateway\n"));
        assert!(text(&found, false, true).contains("\u{1b}[31mbad "));
    }

    #[test]
    fn this_machine_is_looked_at_and_a_missing_program_is_bad() {
        let mut facts = Facts::new(&["a"]);
        facts.declared().services[0].program = crate::model::Program::Command(vec!["/no/such/program".into()]);
        let ran = facts.run("doctor --json");
        assert_eq!(ran.code, Ok(3), "{}", ran.out);
        let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(report["ok"], false);
        let all = report["findings"].as_array().unwrap();
        let missing = all.iter().find(|f| f["what"].as_str().unwrap().contains("/no/such/program")).unwrap();
        assert_eq!((&missing["level"], &missing["subject"]), (&json!("bad"), &json!("a")));
        assert!(missing["remedy"].is_string());
        assert!(facts.run("doctor").out.contains("the program /no/such/program does not exist\n"));
    }

    #[test]
    fn without_services_toml_the_exit_code_is_5() {
        let mut facts = Facts::new(&[]);
        facts.loaded().fleet = None;
        assert_eq!(facts.run("doctor").code.unwrap_err().kind, ErrorKind::Config);
        facts.fleet = Err(no_config());
        assert_eq!(facts.run("doctor").code.unwrap_err().kind, ErrorKind::Config);
    }

    #[test]
    fn the_slot_is_a_minute_or_two_ahead() {
        let facts = Facts::new(&[]);
        let context = Context {
            json: false,
            color: false,
            verbose: 0,
            width: None,
            // 23:58:50: over midnight.
            now_ms: crate::cli::testing::NOW + 50_150_000,
            zone: jiff::tz::TimeZone::UTC.into(),
            path_var: None,
            sources: &facts,
        };
        assert_eq!(slot(&context), (0, 0));
    }
}
