//! Plain tables that fit the terminal: no lines, two blanks between columns, the last column takes what is left.

use anstyle::Style;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, presets};

use super::style;

/// Blanks between two columns.
const GAP: u16 = 2;

/// With fewer columns for it the last one is not read but puzzled out.
const LEAST_ROOM: usize = 20;

/// Most lines of one row; what is longer ends in `…`.
const MOST_LINES: usize = 2;

/// A table to be.
#[derive(Clone, Copy)]
pub(super) struct Grid<'a> {
    /// Column titles; the last column is the one that is wrapped.
    pub(super) header: &'a [&'a str],
    /// Which columns are numbers, and stand to the right.
    pub(super) right: &'a [usize],
    /// Which column is coloured, and how each of its words is. No column before it may hold anything but ASCII.
    pub(super) painted: (usize, fn(&str) -> Option<Style>),
}

impl Grid<'_> {
    /// The table as text, each line with its newline.
    pub(super) fn render(&self, rows: &[Vec<String>], width: Option<u16>, color: bool) -> String {
        let rows: Vec<Vec<String>> =
            rows.iter().map(|cells| cells.iter().map(|cell| harmless(cell)).collect()).collect();
        match width {
            Some(width) if self.room(&rows, width) < LEAST_ROOM => self.render_narrow(&rows, width, color),
            _ => self.render_wide(&rows, width, color),
        }
    }

    /// How many columns the last one gets.
    fn room(&self, rows: &[Vec<String>], width: u16) -> usize {
        let widest = |index: usize| {
            let cells = rows.iter().filter_map(|cells| cells.get(index)).map(|cell| cell.chars().count());
            cells.chain(self.header.get(index).map(|title| title.len())).max().unwrap_or_default()
        };
        let others: usize =
            (0..self.header.len().saturating_sub(1)).map(|index| widest(index) + usize::from(GAP)).sum();
        usize::from(width).saturating_sub(others)
    }

    /// Without room beside the others the last column stands below them, a line for each row.
    fn render_narrow(&self, rows: &[Vec<String>], width: u16, color: bool) -> String {
        let last = self.header.len().saturating_sub(1);
        let rest = Grid { header: &self.header[..last], ..*self };
        let short: Vec<Vec<String>> = rows.iter().map(|cells| cells.iter().take(last).cloned().collect()).collect();
        let mut text = String::new();
        for (number, line) in rest.render_wide(&short, None, color).lines().enumerate() {
            text.push_str(line);
            text.push('\n');
            let cell = number.checked_sub(1).and_then(|row| rows.get(row)?.get(last)).filter(|cell| !cell.is_empty());
            if let Some(cell) = cell {
                text.push_str(&format!("  {}\n", cut(cell, usize::from(width).saturating_sub(2))));
            }
        }
        text
    }

    fn render_wide(&self, rows: &[Vec<String>], width: Option<u16>, color: bool) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if let Some(width) = width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        table.set_header(self.header.iter().copied());
        for cells in rows {
            let mut row = Row::from(cells);
            if width.is_some() {
                row.max_height(MOST_LINES);
            }
            table.add_row(row);
        }
        let last = self.header.len().saturating_sub(1);
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, if index == last { 0 } else { GAP }));
            if index < last {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
            if self.right.contains(&index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let text = table.trim_fmt();
        let offset = self.header.get(self.painted.0).and_then(|title| text.lines().next()?.find(title));
        let mut out = String::new();
        for (number, line) in text.lines().enumerate() {
            match offset.filter(|_| color && number > 0).and_then(|offset| self.painted_line(line, offset)) {
                Some(painted) => out.push_str(&painted),
                None => out.push_str(line),
            }
            out.push('\n');
        }
        out
    }

    /// The line with the word at `offset` coloured. The table is laid out first and coloured after that, as colours
    /// would count as width.
    fn painted_line(&self, line: &str, offset: usize) -> Option<String> {
        let (before, rest) = line.split_at_checked(offset)?;
        let word = rest.split(' ').next().filter(|word| !word.is_empty())?;
        let style = (self.painted.1)(word)?;
        Some(format!("{before}{}{}", style::paint(word, style, true), &rest[word.len()..]))
    }
}

/// At most `width` characters, the last one `…` where some are missing.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// Control characters (a newline, an escape from a foreign row) would break the table or steer the terminal.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
