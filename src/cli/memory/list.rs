//! `memory` alone: a line for each service whose memory is looked at.

use serde_json::{Value, json};

use super::chart::Chart;
use super::{LATELY_MS, Seen, infos, is_growing, last_known, rows, spec, terminal, told};
use crate::cli::context::MemoryKept;
use crate::cli::table::Grid;
use crate::cli::{Context, Output, Stop};
use crate::machine::words;
use crate::model::{MemoryVerdict, UnitName};

/// Blocks of the last two days.
const BLOCKS: usize = 24;

pub(super) fn run(context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let place = context.place();
    let since_ms = context.now_ms - LATELY_MS;
    let mut all = context.sources.memory(&place.paths.database(), None, since_ms)?.unwrap_or_default();
    let names = place.names();
    for name in names.iter().filter(|name| spec(&place, name).is_some()) {
        if all.iter().all(|kept| kept.service != *name) {
            all.push(MemoryKept { service: name.clone(), newest: None, points: Vec::new() });
        }
    }
    // In file order; what is gone from services.toml comes last while there is something of the last two days.
    let order = |kept: &MemoryKept| names.iter().position(|name| *name == kept.service).unwrap_or(usize::MAX);
    all.retain(|kept| order(kept) < usize::MAX || !kept.points.is_empty());
    all.sort_by_key(|kept| (order(kept), kept.service.clone()));
    let said = infos(&place);
    let mut table = Vec::new();
    for kept in all {
        let known = said.iter().flatten().any(|info| info.name == kept.service && info.memory.is_some());
        let rows = if known { Vec::new() } else { rows(&kept.service, since_ms, context, &place)? };
        let seen = Seen::of(&kept.service, &said, || last_known(&kept, &rows));
        let mut chart = Chart::new(kept.points, Vec::new(), None, since_ms, context.now_ms);
        // All lines are of the same time.
        chart.from_ms = since_ms;
        table.push((kept.service, seen, chart));
    }
    if context.json {
        let services: Vec<Value> =
            table.iter().map(|(name, seen, _)| json!({ "service": name, "now": seen.info })).collect();
        writeln!(output.out, "{}", json!({ "schema": 1, "services": services }))?;
        return Ok(0);
    }
    if table.is_empty() {
        writeln!(
            output.notes,
            "note: no service's memory is looked at; services.toml has it like this:\n\n[service.NAME.memory]\n\
             growth = \"10MB/h\"\nlimit = \"3GiB\""
        )?;
        return Ok(0);
    }
    let grid = Grid {
        header: &["NAME", "VERDICT", "NOW", "TREND", "LAST 48 H"],
        right: &[2, 3],
        painted: (1, |word| {
            let verdict: Option<MemoryVerdict> = serde_json::from_value(word.into()).ok();
            verdict.filter(|verdict| is_growing(*verdict)).map(|_| anstyle::AnsiColor::Yellow.on_default())
        }),
    };
    let cells: Vec<_> = table.iter().map(|(name, seen, chart)| cells(name, seen, chart, context)).collect();
    output.out.write_all(grid.render(&cells, context.width, context.color).as_bytes())?;
    Ok(0)
}

fn cells(name: &UnitName, seen: &Seen, chart: &Chart, context: &Context<'_>) -> Vec<String> {
    let info = seen.info.as_ref();
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    vec![
        name.to_string(),
        or_dash(info.and_then(|info| info.verdict).map(|verdict| verdict.as_str().to_owned())),
        or_dash(info.map(|info| match told::age_ms(info, seen.status, context) {
            Some(age_ms) => format!("last {}, {} ago", words::size(info.bytes), words::lasting(age_ms)),
            None => words::size(info.bytes),
        })),
        or_dash(info.and_then(|info| info.bytes_per_hour).map(told::rate)),
        terminal::sparkline(chart, BLOCKS),
    ]
}
