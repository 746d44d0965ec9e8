//! The same picture as SVG: one file that needs no other.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use jiff::tz::TimeZone;

use super::chart::{Chart, Line, MarkKind};
use crate::error::{Error, ErrorKind};
use crate::machine::words;
use crate::process::files;

/// The whole, and the part with the lines: left, top, width, height.
const SIZE: (u32, u32) = (960, 400);
const PLOT: (f64, f64, f64, f64) = (84.0, 64.0, 856.0, 270.0);

/// The picture; `title` and `lines` stand above it.
pub(super) fn draw(chart: &Chart, title: &str, lines: &[String], zone: &TimeZone) -> String {
    let (left, top, width, height) = PLOT;
    let axis = chart.axis();
    let x = |at_ms: i64| left + chart.across(at_ms) * width;
    let y = |bytes: f64| top + (1.0 - axis.up(bytes)) * height;
    let (right, bottom) = (left + width, top + height);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" role=\"img\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n<title>{title}</title>\n<desc>{desc}</desc>\n\
         <rect width=\"{w}\" height=\"{h}\" fill=\"#fff\"/>\n",
        w = SIZE.0,
        h = SIZE.1,
        title = escaped(title),
        desc = escaped(&lines.join(" ")),
    );
    let mut text = |x: f64, y: f64, anchor: &str, more: &str, text: &str| {
        // Writing to a String cannot fail.
        let _ =
            writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{more}>{}</text>", escaped(text));
    };
    for (line, y) in lines.iter().zip([22.0, 42.0]) {
        text(16.0, y, "start", if y < 30.0 { " font-weight=\"bold\"" } else { "" }, line);
    }
    let ticks = axis.ticks();
    for (bytes, label) in &ticks {
        text(left - 8.0, y(*bytes) + 4.0, "end", "", label);
    }
    for (part, anchor) in [(0, "start"), (1, "middle"), (2, "middle"), (3, "middle"), (4, "end")] {
        let at_ms = chart.from_ms.saturating_add(chart.to_ms.saturating_sub(chart.from_ms) / 4 * part);
        text(x(at_ms), bottom + 34.0, anchor, "", &chart.label(at_ms, zone));
    }
    if let Some(beyond) = chart.limit_beyond(&axis) {
        let is_below = chart.limit.is_some_and(|limit| (limit as f64) < axis.low);
        text(
            left + width - 4.0,
            if is_below { top + height - 6.0 } else { top + 14.0 },
            "end",
            " fill=\"#c22\"",
            &beyond,
        );
    }
    let mut line = |from: (f64, f64), to: (f64, f64), more: &str, title: &str| {
        let title = if title.is_empty() { String::new() } else { format!("<title>{}</title>", escaped(title)) };
        let _ = writeln!(
            svg,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" {more}>{title}</line>",
            from.0, from.1, to.0, to.1
        );
    };
    for (bytes, _) in &ticks {
        line((left, y(*bytes)), (right, y(*bytes)), "stroke=\"#ddd\"", "");
    }
    line((left, top), (left, bottom), "stroke=\"#888\"", "");
    line((left, bottom), (right, bottom), "stroke=\"#888\"", "");
    for mark in &chart.marks {
        let stroke = format!("stroke=\"{}\" stroke-dasharray=\"2 3\"", color(mark.kind));
        let told = format!("{} {}", words::local_seconds(mark.at_ms, zone), mark.text);
        line((x(mark.at_ms), top), (x(mark.at_ms), bottom), &stroke, &told);
    }
    if let Some(limit) = chart.limit_within(&axis) {
        let told = chart.limit.map(words::size).unwrap_or_default();
        line((left, y(limit)), (right, y(limit)), "stroke=\"#c22\" stroke-dasharray=\"6 4\"", &format!("limit {told}"));
    }
    for stretch in chart.stretches() {
        let points: Vec<String> =
            stretch.iter().map(|point| format!("{:.1},{:.1}", x(point.at_ms), y(point.bytes as f64))).collect();
        let _ = match points.as_slice() {
            [_] => {
                let (x, y) = (x(stretch[0].at_ms), y(stretch[0].bytes as f64));
                writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"1.5\" fill=\"#147\"/>")
            }
            _ => writeln!(svg, "<polyline fill=\"none\" stroke=\"#147\" points=\"{}\"/>", points.join(" ")),
        };
    }
    if let Some(Line { from_ms, from_bytes, to_ms, to_bytes }) = chart.trend {
        let (from, to) = ((x(from_ms), y(from_bytes)), (x(to_ms), y(to_bytes)));
        let _ = writeln!(
            svg,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#d70\" stroke-width=\"2\"><title>the trend</title></line>",
            from.0, from.1, to.0, to.1
        );
    }
    for mark in &chart.marks {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{}\" font-weight=\"bold\">{}</text>",
            x(mark.at_ms),
            bottom + 15.0,
            color(mark.kind),
            escaped(&mark.kind.letter().to_string())
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn color(kind: MarkKind) -> &'static str {
    match kind {
        MarkKind::Start => "#555",
        MarkKind::Snapshot => "#07a",
        MarkKind::Growth => "#d70",
        MarkKind::Limit => "#c22",
    }
}

/// Text that is text in XML, whatever is in it.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            // XML 1.0 has no way to say these.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// Writes it, in place of what was there: it is asked for by its name, and can be made again.
pub(super) fn write(path: &Path, svg: &str) -> Result<(), Error> {
    if path.is_dir() {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("cannot write the picture to {}: it is a folder", path.display()),
        )
        .hint(format!("name a file in it, such as {}", path.join("memory.svg").display())));
    }
    let file = match File::create_new(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => File::create(path),
        // It may be for a web page or a mail: it is as private as the user makes their files.
        new => new.and_then(|file| files::for_the_user(&file).map(|()| file)),
    };
    let written = file.and_then(|mut file| file.write_all(svg.as_bytes()));
    written.map_err(|error| {
        Error::io("cannot write the picture to", path, &error).hint("name a file in a folder that you may write to")
    })
}
