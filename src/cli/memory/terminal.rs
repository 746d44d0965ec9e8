//! A picture made of braille dots, two across and four down in each character.

use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;

use super::chart::{Axis, Chart, Line, Mark, MarkKind};
use crate::cli::style::paint;
use crate::cli::table::harmless;
use crate::machine::words;
use crate::store::HistoryPoint;

/// Lines of the picture, without what stands around it.
const HEIGHT: usize = 12;

/// Columns where nobody says how many there are, and the fewest and most that are used.
const USUAL: u16 = 100;
const WIDTHS: (u16, u16) = (30, 200);

/// So many marks are told in words.
const FEW: usize = 6;

/// Lines of text, each with its newline.
pub(super) fn draw(chart: &Chart, width: Option<u16>, color: bool, zone: &TimeZone) -> String {
    let axis = chart.axis();
    let ticks = axis.ticks();
    let margin = ticks.iter().map(|(_, label)| label.len()).max().unwrap_or_default();
    let width = usize::from(width.unwrap_or(USUAL).clamp(WIDTHS.0, WIDTHS.1));
    let columns = width.saturating_sub(margin + 2).max(1);
    let cells = cells(chart, &axis, columns);
    let mut text = String::new();
    for (row, line) in cells.chunks(columns).enumerate() {
        let label = ticks.iter().find(|(bytes, _)| row_of(&axis, *bytes) / 4 == row).map(|(_, label)| label.as_str());
        let edge = if label.is_some() { '┤' } else { '│' };
        let line: String = line.iter().map(|cell| cell.text(color)).collect();
        text.push_str(format!("{:>margin$} {edge}{line}", label.unwrap_or_default()).trim_end());
        text.push('\n');
    }
    text.push_str(&format!("{:>margin$} └{}\n", "", "─".repeat(columns)));
    let marks = marks(chart, columns, color);
    if !marks.is_empty() {
        text.push_str(&format!("{:>margin$}  {marks}\n", ""));
    }
    text.push_str(format!("{:>margin$}  {}", "", times(chart, columns, zone)).trim_end());
    text.push('\n');
    text.push_str(&legend(chart, &axis, width));
    text.push_str(&told(&chart.marks, color, zone));
    text
}

/// What stands in one character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    Empty,
    /// The bits of a braille character.
    Dots(u8),
    Trend,
    Limit,
}

impl Cell {
    fn text(self, color: bool) -> String {
        match self {
            Self::Empty => " ".into(),
            Self::Dots(bits) => char::from_u32(0x2800 + u32::from(bits)).unwrap_or(' ').to_string(),
            Self::Trend => paint("·", AnsiColor::Yellow.on_default(), color),
            Self::Limit => paint("╌", AnsiColor::Red.on_default(), color),
        }
    }
}

/// Which line of dots a size is on, from above.
fn row_of(axis: &Axis, bytes: f64) -> usize {
    ((1.0 - axis.up(bytes)) * (4 * HEIGHT - 1) as f64).round() as usize
}

/// All characters, line by line.
fn cells(chart: &Chart, axis: &Axis, columns: usize) -> Vec<Cell> {
    let mut cells = vec![Cell::Empty; columns * HEIGHT];
    if let Some(limit) = chart.limit_within(axis) {
        let row = row_of(axis, limit) / 4;
        cells[row * columns..(row + 1) * columns].fill(Cell::Limit);
    }
    let trend = trend(chart, axis, columns);
    for (row, column) in &trend {
        cells[row * columns + column] = Cell::Trend;
    }
    let mut dot = |x: usize, y: usize| {
        const BITS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
        let cell = &mut cells[y / 4 * columns + x / 2];
        let before = if let Cell::Dots(bits) = *cell { bits } else { 0 };
        *cell = Cell::Dots(before | BITS[x % 2][y % 4]);
    };
    let place = |point: &HistoryPoint| {
        let x = (chart.across(point.at_ms) * (2 * columns - 1) as f64).round() as usize;
        (x, row_of(axis, point.bytes as f64))
    };
    for stretch in chart.stretches() {
        let mut last = None;
        for (x, y) in stretch.iter().map(place) {
            let (from_x, from_y) = last.unwrap_or((x, y));
            let steps = from_x.abs_diff(x).max(from_y.abs_diff(y)).max(1);
            for step in 0..=steps {
                let between = |a: usize, b: usize| {
                    (a as f64 + (b as f64 - a as f64) * step as f64 / steps as f64).round() as usize
                };
                dot(between(from_x, x), between(from_y, y));
            }
            last = Some((x, y));
        }
    }
    // Where it runs through what was seen it is dashed.
    for (row, column) in trend.iter().filter(|(_, column)| column % 3 == 0) {
        cells[row * columns + column] = Cell::Trend;
    }
    cells
}

/// The characters that the trend goes through: line and column.
fn trend(chart: &Chart, axis: &Axis, columns: usize) -> Vec<(usize, usize)> {
    let Some(Line { from_ms, from_bytes, to_ms, to_bytes }) = chart.trend else { return Vec::new() };
    let (from, to) = (chart.across(from_ms), chart.across(to_ms));
    let last = columns.saturating_sub(1) as f64;
    let place = |column: usize| {
        let across = column as f64 / last.max(1.0);
        let part = if to > from { ((across - from) / (to - from)).clamp(0.0, 1.0) } else { 0.0 };
        let bytes = from_bytes + part * (to_bytes - from_bytes);
        (axis.low..=axis.high).contains(&bytes).then(|| (row_of(axis, bytes) / 4, column))
    };
    ((from * last).round() as usize..=(to * last).round() as usize).filter_map(place).collect()
}

fn style_of(kind: MarkKind) -> Style {
    match kind {
        MarkKind::Start => Style::new().bold(),
        MarkKind::Snapshot => AnsiColor::Cyan.on_default(),
        MarkKind::Growth => AnsiColor::Yellow.on_default(),
        MarkKind::Limit => AnsiColor::Red.on_default(),
    }
}

/// The letters under the axis; where several would stand in one place the one that matters most does.
fn marks(chart: &Chart, columns: usize, color: bool) -> String {
    let mut line: Vec<Option<MarkKind>> = vec![None; columns];
    for Mark { at_ms, kind, .. } in &chart.marks {
        let column = (chart.across(*at_ms) * (columns - 1) as f64).round() as usize;
        line[column] = line[column].max(Some(*kind));
    }
    let used = line.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    let letter = |kind: &Option<MarkKind>| match kind {
        Some(kind) => paint(&kind.letter().to_string(), style_of(*kind), color),
        None => " ".into(),
    };
    line[..used].iter().map(letter).collect()
}

/// The times under the axis: its ends, and its middle where there is room.
fn times(chart: &Chart, columns: usize, zone: &TimeZone) -> String {
    let label = |at_ms| chart.label(at_ms, zone);
    let (from, to) = (label(chart.from_ms), label(chart.to_ms));
    let free = columns.saturating_sub(from.chars().count() + to.chars().count());
    let middle = label(chart.from_ms.midpoint(chart.to_ms));
    match free.checked_sub(middle.chars().count()).filter(|left| *left >= 8) {
        Some(left) => format!("{from}{}{middle}{}{to}", " ".repeat(left / 2), " ".repeat(left - left / 2)),
        None => format!("{from}{}{to}", " ".repeat(free.max(1))),
    }
}

/// What of the picture's signs has to be explained.
fn legend(chart: &Chart, axis: &Axis, width: usize) -> String {
    const GAP: &str = "   ";
    let mut parts: Vec<String> = Vec::new();
    for kind in MarkKind::ALL.into_iter().filter(|kind| chart.marks.iter().any(|mark| mark.kind == *kind)) {
        parts.push(format!("{} {}", kind.letter(), kind.meaning()));
    }
    parts.extend(chart.trend.map(|_| "· the trend".into()));
    parts.extend(chart.limit_within(axis).map(|_| "╌ the limit".into()));
    parts.extend(chart.limit_beyond(axis));
    let (mut text, mut used) = (String::new(), 0);
    for part in parts {
        let length = part.chars().count();
        let fits = used > 0 && used + GAP.len() + length <= width;
        text.push_str(if fits {
            GAP
        } else if used > 0 {
            "\n"
        } else {
            ""
        });
        text.push_str(&part);
        used = if fits { used + GAP.len() + length } else { length };
    }
    if text.is_empty() { text } else { text + "\n" }
}

/// The newest marks in words.
fn told(marks: &[Mark], color: bool, zone: &TimeZone) -> String {
    let skipped = marks.len().saturating_sub(FEW);
    let mut text = String::new();
    if skipped > 0 {
        text.push_str(&format!("({skipped} before these: `--json` has all)\n"));
    }
    for Mark { at_ms, kind, text: what } in &marks[skipped..] {
        let letter = paint(&kind.letter().to_string(), style_of(*kind), color);
        text.push_str(&format!("{}  {letter}  {}\n", words::local_seconds(*at_ms, zone), harmless(what)));
    }
    text
}

/// `width` blocks, each the least of its part of the time; dots where nobody looked.
pub(super) fn sparkline(chart: &Chart, width: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let mut least: Vec<Option<u64>> = vec![None; width];
    for point in &chart.points {
        let at = (chart.across(point.at_ms) * width.saturating_sub(1) as f64).round() as usize;
        if let Some(least) = least.get_mut(at) {
            *least = Some(least.map_or(point.bytes, |bytes| bytes.min(point.bytes)));
        }
    }
    let (low, high) =
        least.iter().flatten().fold((u64::MAX, 0), |(low, high), bytes| (low.min(*bytes), high.max(*bytes)));
    // What is quiet looks quiet.
    let span = (high.saturating_sub(low)).max(high / 10).max(1) as f64;
    let up = |bytes: u64| (bytes - low) as f64 / span * (BLOCKS.len() - 1) as f64;
    let block = |bytes: Option<u64>| match bytes {
        Some(bytes) => BLOCKS[up(bytes).round() as usize],
        // A blank would be taken for the space between two columns.
        None => '·',
    };
    least.into_iter().map(block).collect()
}
