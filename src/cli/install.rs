//! `install`: what services.toml declares becomes jobs of launchd or systemd.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::args::Install;
use super::site::{Place, no_embedded_daemon, site, strangers};
use super::table::harmless;
use super::{Context, Output, Stop};
use crate::control::client::Daemon;
use crate::error::{Error, ErrorKind};
use crate::install::apply::Hands;
use crate::install::plan::{self, Seen, Step, Wanted};
use crate::install::verify::{self, Found};
use crate::install::{self, Record, record};
use crate::manager::driver::{Trouble, TroubleKind};
use crate::manager::drivers;
use crate::manager::job::{self, Unfit};
use crate::manager::owners::OwnerKind;
use crate::model::ManagerKind;
use crate::model::paths::Paths;
use crate::model::wire::{ReloadBody, ReloadChange};

/// How long all jobs together may take to run.
const RUNS_WITHIN: Duration = Duration::from_secs(30);

/// `install --json`.
#[derive(Serialize)]
struct Report {
    manager: ManagerKind,
    folder: PathBuf,
    /// Whether anything was written or told to the service manager.
    changed: bool,
    jobs: Vec<Line>,
    /// What else the daemon and runners that went on running have taken over from services.toml.
    reloaded: Vec<ReloadChange>,
    /// Declared, and not installed.
    unfit: Vec<Line>,
    /// Calendar jobs that the service manager cannot be told of, and why: the daemon starts them.
    by_daemon: Vec<Line>,
    /// How the jobs were found afterwards; empty when they were not loaded.
    found: Vec<Found>,
}

/// What was done for one job.
#[derive(Serialize)]
pub(super) struct Line {
    pub(super) label: String,
    pub(super) did: String,
    pub(super) ok: bool,
}

impl Line {
    /// What became of the job `label`.
    pub(super) fn of(label: &str, done: Result<String, Trouble>) -> Self {
        let ok = done.is_ok();
        Self { label: label.to_owned(), did: done.unwrap_or_else(|trouble| trouble.to_string()), ok }
    }
}

pub(super) fn run(args: &Install, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let loaded = context.sources.fleet(context.color)?;
    let Some(fleet) = &loaded.fleet else {
        output.notes.write_all(loaded.rendered.as_bytes())?;
        return Err(Error::new(ErrorKind::Config, "nothing was installed: services.toml cannot be used").into());
    };
    let paths = Paths::new(&fleet.state_dir);
    let place = Place::of(args, fleet, context)?;
    let site = site(&place, fleet, &loaded.path, context)?;
    let tool = drivers::tool(place.kind);
    let driver = drivers::driver(place.kind, &tool, &place.folder).map_err(refused)?;
    let before = match Record::read(&paths) {
        // It is written anew.
        Err(error) if error.kind == ErrorKind::Internal => None,
        other => other?,
    };
    let (jobs, mut unfit) = job::jobs(fleet, &site, false);
    let mut wanted = Vec::new();
    for job in jobs {
        match driver.render(&job) {
            Ok(files) => wanted.push(Wanted { job, files }),
            Err(why) => unfit.push(why),
        }
    }
    for unusable in &fleet.unusable {
        unfit.push(Unfit { name: unusable.name.to_string(), why: unusable.why.clone() });
    }
    let by_daemon = if site.embedded { Vec::new() } else { job::by_daemon(fleet, place.kind) };
    let by_daemon = by_daemon.into_iter().map(|(name, why)| Line {
        label: job::label(&fleet.label_prefix, name.as_str()),
        did: format!("started by the daemon: {why}"),
        ok: true,
    });
    let by_daemon: Vec<Line> = by_daemon.collect();
    for line in &by_daemon {
        say(line, context, output)?;
    }
    let mut load = !place.no_load;
    if let Some(trouble) = wanted.first().filter(|_| load && args.dry_run).and_then(|w| driver.look(&w.job).err()) {
        writeln!(output.notes, "note: what is loaded cannot be told: {trouble}")?;
        load = false;
    }
    let hands = Hands { driver: driver.as_ref(), paths: &paths, folder: &place.folder, load, by_hand: true };
    if load && !args.dry_run && !site.embedded {
        no_embedded_daemon(&paths)?;
    }
    let _alone = if args.dry_run { None } else { Some(install::alone(&paths)?) };
    let here = before.as_ref().filter(|record| record.folder == place.folder);
    let elsewhere = before.as_ref().filter(|record| record.folder != place.folder && record.loaded);
    if let (Some(record), false) = (elsewhere, place.no_load) {
        let message = format!("jobs are installed from {} already", record.folder.display());
        return Err(Error::new(ErrorKind::Refused, message).hint("run `supervisor uninstall` first").into());
    }
    let (steps, gone) = plan_all(&hands, wanted, &unfit, here, args.adopt)?;
    let strangers = strangers(fleet, &place, &paths, &site.home);
    for stranger in strangers.iter().filter(|_| !context.json) {
        writeln!(output.notes, "note: {} is started by {} too; {}", stranger.service, stranger.who, stranger.stop)?;
    }
    // A process alone may be there by chance, and does not come back by itself.
    let jobs = strangers.iter().filter(|owner| owner.kind != OwnerKind::Process);
    if load && !args.dry_run && !args.beside && jobs.clone().count() > 0 {
        let who: Vec<String> = jobs.map(|owner| format!("{}: {}; {}", owner.service, owner.who, owner.stop)).collect();
        let message =
            format!("nothing was installed, as somebody else starts the same services:\n  {}", who.join("\n  "));
        return Err(Error::new(ErrorKind::Refused, message)
            .hint("end those first, or say `supervisor install --beside` if they may stay")
            .into());
    }
    if args.dry_run {
        for unfit in &unfit {
            writeln!(output.notes, "note: {} would not be installed: {}", unfit.name, harmless(&unfit.why))?;
        }
        return dry_run(&steps, &gone, &place.folder, context, output);
    }
    let mut record = Record {
        v: Record::VERSION,
        manager: place.kind,
        embedded: site.embedded,
        loaded: load || here.is_some_and(|record| record.loaded),
        folder: place.folder.clone(),
        tool,
        program: site.program.clone(),
        config: site.config.clone(),
        home: site.home.clone(),
        logs: site.logs.clone(),
        revive: here.map(|record| record.revive.clone()).unwrap_or_default(),
        jobs: here.map(|record| record.jobs.clone()).unwrap_or_default(),
    };
    // Only written somewhere beside jobs that are loaded: those stay what is known of.
    let remembered = elsewhere.is_none();
    let mut lines = Vec::new();
    let mut done = Vec::new();
    // First what goes: under another label it would be in the way of what comes, holding its lock.
    for known in &gone {
        let has_heir =
            steps.iter().any(|(step, _)| (&step.wanted.job.name, step.wanted.job.role) == (&known.name, known.role));
        let removed = if has_heir { hands.make_room(known) } else { hands.remove(known) };
        let line = Line::of(&known.label, removed);
        if line.ok {
            record.jobs.retain(|job| job.label != known.label);
        }
        say(&line, context, output)?;
        lines.push(line);
    }
    for (step, seen) in &steps {
        let job = &step.wanted.job;
        // A job that is only written, somewhere beside those that are loaded, is not remembered.
        let result = if step.is_nothing() { Ok(()) } else { hands.perform(step, seen, &mut record, remembered) };
        let line = Line::of(&job.label, result.map(|()| step.words(true)));
        if line.ok {
            done.push(job.clone());
        }
        say(&line, context, output)?;
        lines.push(line);
    }
    if let Some(daemon) = done.first().filter(|job| load && job.role == job::Role::Daemon) {
        record.revive = driver.kick_command(daemon);
    }
    if remembered && before.as_ref() != Some(&record) {
        record.write(&paths)?;
    }
    let touched = steps.iter().filter(|(step, _)| !step.is_nothing()).map(|(step, _)| step.wanted.job.name.as_str());
    let touched: Vec<&str> = touched.chain(gone.iter().map(|known| known.name.as_str())).collect();
    let reloaded = if load { take_over(&paths, &touched, context, output)? } else { Vec::new() };
    let changed = !touched.is_empty() || !reloaded.is_empty();
    let found = if load { verify::verify(driver.as_ref(), &done, &paths, RUNS_WITHIN) } else { Vec::new() };
    let unfit: Vec<Line> = unfit.into_iter().map(|u| Line { label: u.name, did: u.why, ok: false }).collect();
    let report = Report {
        manager: place.kind,
        folder: place.folder.clone(),
        changed,
        jobs: lines,
        reloaded,
        unfit,
        by_daemon,
        found,
    };
    tell(&report, &place, context, output)?;
    Ok(match () {
        () if report.jobs.iter().any(|line| !line.ok) || !report.unfit.is_empty() => ErrorKind::Refused.exit_code(),
        () if report.found.iter().any(|found| !found.ok) => ErrorKind::NotUp.exit_code(),
        () => 0,
    })
}

/// Has a daemon that went on running take services.toml over, as what it goes by is not all in the jobs. What becomes of services
/// whose jobs were touched has been said.
fn take_over(
    paths: &Paths,
    touched: &[&str],
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<Vec<ReloadChange>, Stop> {
    let daemon = Daemon::connect_if_running(paths).ok().flatten();
    let mut reply = match daemon.map(|daemon| daemon.reload(&ReloadBody { dry_run: false })) {
        None => return Ok(Vec::new()),
        Some(Ok(reply)) => reply,
        Some(Err(error)) => {
            let why = error.message.lines().next().unwrap_or_default();
            writeln!(output.notes, "note: the daemon goes on by what it read before: {}", harmless(why))?;
            return Ok(Vec::new());
        }
    };
    reply.changes.retain(|change| !touched.contains(&change.name.as_str()));
    if !context.json && !reply.changes.is_empty() {
        write!(output.out, "{}", super::order::changes(&reply, paths))?;
    }
    Ok(reply.changes)
}

type Planned<'a> = (Vec<(Step, Seen)>, Vec<record::RecordedJob>);

/// All steps, or everything that is in the way.
fn plan_all(
    hands: &Hands<'_>,
    wanted: Vec<Wanted>,
    unfit: &[Unfit],
    before: Option<&Record>,
    adopt: bool,
) -> Result<Planned<'static>, Error> {
    let known = |label: &str| before.and_then(|record| record.job(label));
    let labels: Vec<String> = wanted.iter().map(|wanted| wanted.job.label.clone()).collect();
    let (mut steps, mut in_the_way) = (Vec::new(), Vec::new());
    for wanted in wanted {
        let seen = hands.look(&wanted).map_err(refused)?;
        let label = wanted.job.label.clone();
        match plan::step(wanted, &seen, known(&label), hands.folder, adopt) {
            Ok(step) => steps.push((step, seen)),
            Err(found) => in_the_way.push(format!("{}: {}", found.label, found.what)),
        }
    }
    if !in_the_way.is_empty() {
        let message = format!("nothing was installed, as something else is there:\n  {}", in_the_way.join("\n  "));
        return Err(Error::new(ErrorKind::Refused, message)
            .hint("`supervisor install --adopt` takes these over; `supervisor uninstall` then brings them back"));
    }
    // What is faulty now goes on as it was installed, until it is mended or taken out.
    let is_faulty = |job: &record::RecordedJob| unfit.iter().any(|unfit| unfit.name == job.name);
    let jobs = before.into_iter().flat_map(|record| &record.jobs);
    let gone = jobs.filter(|job| !labels.contains(&job.label) && !is_faulty(job));
    Ok((steps, gone.cloned().collect()))
}

pub(super) fn say(line: &Line, context: &Context<'_>, output: &mut Output<'_>) -> Result<(), Stop> {
    if !context.json {
        writeln!(output.out, "{}: {}", line.label, harmless(&line.did))?;
        output.out.flush()?;
    }
    Ok(())
}

fn tell(report: &Report, place: &Place, context: &Context<'_>, output: &mut Output<'_>) -> Result<(), Stop> {
    if context.json {
        writeln!(output.out, "{}", serde_json::to_string(report).map_err(std::io::Error::other)?)?;
        return Ok(());
    }
    for line in &report.unfit {
        writeln!(output.notes, "note: {} is not installed: {}", line.label, harmless(&line.did))?;
    }
    if !report.found.is_empty() {
        writeln!(output.out)?;
    }
    for found in &report.found {
        writeln!(output.out, "{}: {}", found.name, harmless(&found.text))?;
    }
    if !report.changed && report.jobs.iter().all(|line| line.ok) {
        writeln!(output.out, "nothing was changed: everything is installed as services.toml says")?;
    }
    if place.user.is_some() {
        let folder = report.folder.display();
        let (to, load) = match place.kind {
            ManagerKind::Launchd => (
                "/Library/LaunchDaemons",
                "for f in /Library/LaunchDaemons/PREFIX.*.plist; do sudo launchctl bootstrap system \"$f\"; done",
            ),
            _ => {
                ("/etc/systemd/system", "sudo systemctl daemon-reload && sudo systemctl enable --now PREFIX.supervisor")
            }
        };
        let prefix =
            report.jobs.first().and_then(|line| line.label.strip_suffix(".supervisor")).unwrap_or("ai.openclaw");
        writeln!(output.out, "these are for root to load:")?;
        writeln!(output.out, "  sudo install -m 644 -o root {folder}/{prefix}.* {to}")?;
        writeln!(output.out, "  {}", load.replace("PREFIX", prefix))?;
        writeln!(output.out, "and write manager = \"{}\" into services.toml", place.kind)?;
    } else if place.no_load {
        writeln!(output.out, "written to {}; nothing was loaded", report.folder.display())?;
    }
    Ok(())
}

fn dry_run(
    steps: &[(Step, Seen)],
    gone: &[record::RecordedJob],
    folder: &Path,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<u8, Stop> {
    let mut lines = Vec::new();
    for (step, seen) in steps {
        lines.push(Line { label: step.wanted.job.label.clone(), did: step.words(false), ok: true });
        for place in step.write.iter().filter(|_| !context.json) {
            let file = &step.wanted.files[*place];
            let path = folder.join(&file.name).display().to_string();
            let old = seen.disk[*place].as_deref().map(String::from_utf8_lossy);
            let from = if old.is_some() { path.clone() } else { "/dev/null".into() };
            let new = String::from_utf8_lossy(&file.bytes);
            let diff = similar::TextDiff::from_lines(old.as_deref().unwrap_or_default(), &new);
            write!(output.out, "{}", diff.unified_diff().context_radius(3).header(&from, &path))?;
        }
    }
    lines.extend(gone.iter().map(|job| Line {
        label: job.label.clone(),
        did: "to be ended and removed".into(),
        ok: true,
    }));
    if context.json {
        writeln!(output.out, "{}", serde_json::json!({ "dry_run": true, "jobs": lines }))?;
    } else {
        for line in &lines {
            writeln!(output.out, "{}: {}", line.label, line.did)?;
        }
        writeln!(output.out, "nothing was done: this was a dry run")?;
    }
    Ok(0)
}

pub(super) fn refused(trouble: Trouble) -> Error {
    let kind = if trouble.kind == TroubleKind::NoManager { ErrorKind::Unreachable } else { ErrorKind::Refused };
    Error { kind, message: trouble.message, hint: trouble.hint }
}
