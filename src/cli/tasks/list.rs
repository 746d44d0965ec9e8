//! `tasks` alone: a line for each job.

use serde_json::{Value, json};

use super::{Known, object, or_dash, style_of, took};
use crate::cli::table::{Grid, harmless};
use crate::cli::{Context, Output, Stop};
use crate::machine::words::{self, Starter, TaskSeen};
use crate::model::{SlotState, TaskSpec};

pub(super) fn run(since_ms: Option<i64>, context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let place = context.place();
    let Some(fleet) = place.fleet() else {
        // Nobody knows which jobs there are.
        return place.fault().map_or(Ok(0), |fault| Err(fault.into()));
    };
    let known = Known::look(context, &place)?;
    let jobs: Vec<(&TaskSpec, TaskSeen)> =
        fleet.tasks.iter().map(|task| (task, known.seen(task, context, &place))).collect();
    if context.json {
        let from_ms = since_ms.unwrap_or(i64::MIN);
        let counts = context.sources.slot_counts(&place.paths.database(), from_ms)?.unwrap_or_default();
        let jobs: Vec<Value> =
            jobs.iter().map(|(task, seen)| object(task, seen, counts.get(&task.name), context)).collect();
        writeln!(output.out, "{}", json!({ "schema": 1, "jobs": jobs }))?;
        return Ok(0);
    }
    if jobs.is_empty() {
        writeln!(
            output.notes,
            "note: there are no calendar jobs; services.toml has them like this:\n\n[task.NAME]\ncalendar = \"daily 07:55\"\n\
             steps = [{{ run = [\"/usr/local/bin/backup\"] }}]"
        )?;
        return Ok(0);
    }
    let grid = Grid {
        header: &["JOB", "LAST", "WHEN", "TOOK", "NEXT", "SCHEDULE"],
        right: &[],
        painted: (1, |word| SlotState::parse(word).map(style_of)),
    };
    let rows: Vec<_> = jobs.iter().map(|(task, seen)| cells(task, seen, context)).collect();
    output.out.write_all(grid.render(&rows, context.width, context.color).as_bytes())?;
    let running = jobs.iter().filter_map(|(task, seen)| Some((task, seen.stands.running.as_ref()?)));
    let running: Vec<String> =
        running.map(|(task, run)| format!("{}: {}", task.name, words::under_way(run, context.reader()))).collect();
    if !running.is_empty() {
        writeln!(output.out)?;
    }
    for line in running {
        writeln!(output.out, "{}", harmless(&line))?;
    }
    if jobs.iter().any(|(task, seen)| task.enabled && seen.by == Starter::Nobody) {
        writeln!(
            output.notes,
            "note: nobody starts them, as no daemon is running: `supervisor run` does, or launchd or systemd after \
             `supervisor install`"
        )?;
    }
    Ok(0)
}

fn cells(task: &TaskSpec, seen: &TaskSeen, context: &Context<'_>) -> Vec<String> {
    let when = |ms| words::day_time(ms, seen.clock(context.reader()));
    let last = seen.stands.last.as_ref();
    let [state, at, took] = match &seen.stands.running {
        Some(run) => {
            let so_far = run.started_ms.map(|started| words::so_far(context.now_ms - started));
            [Some("running".to_owned()), Some(when(run.due_ms)), so_far]
        }
        None => [
            last.and_then(|last| last.state).map(|state| state.as_str().to_owned()),
            last.map(|last| when(last.due_ms)),
            last.and_then(took),
        ],
    };
    let next = match (task.enabled, seen.held_ms) {
        (false, _) => "disabled".into(),
        (true, Some(_)) => "held back".into(),
        (true, None) => or_dash(seen.next_ms.map(when)),
    };
    vec![task.name.to_string(), or_dash(state), or_dash(at), or_dash(took), next, words::schedule(&task.calendar)]
}
