//! Colours: what they mean, and when they are used.

use std::io;

use anstyle::{AnsiColor, Style};

use super::args::Color;
use crate::model::{EventType, Status};

/// Whether stdout is to be coloured. `auto` heeds the terminal, NO_COLOR and CLICOLOR_FORCE, as anstream does.
pub(super) fn is_wanted(color: Color) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never,
    }
}

/// Green is well, yellow is on its way, red needs somebody, dim is not wanted.
pub(super) fn of_status(status: Status) -> Style {
    match status {
        Status::Up | Status::Done | Status::Scheduled | Status::Running => AnsiColor::Green.on_default(),
        Status::Starting | Status::Degraded | Status::Stopping | Status::Waiting => AnsiColor::Yellow.on_default(),
        Status::Held | Status::Hung | Status::Down | Status::Failed | Status::Invalid => AnsiColor::Red.on_default(),
        Status::Disabled => Style::new().dimmed(),
    }
}

/// Red is a crash or what was lost, yellow a warning; the rest is plain.
pub(super) fn of_event(event: EventType) -> Option<Style> {
    match event {
        EventType::ServiceCrash
        | EventType::ServiceHung
        | EventType::ServiceLost
        | EventType::ServiceHeld
        | EventType::MemoryLimit
        | EventType::TaskMissed
        | EventType::ExposureFailed
        | EventType::AlertFired
        | EventType::LogGap
        | EventType::JournalGap => Some(AnsiColor::Red.on_default()),
        EventType::MemoryGrowth
        | EventType::ProbeMisconfigured
        | EventType::ProbeDegraded
        | EventType::BreakerChanged
        | EventType::DriftFound
        | EventType::ExposureDown
        | EventType::ClockGap => Some(AnsiColor::Yellow.on_default()),
        _ => None,
    }
}

/// Red is a service that is down, yellow what a person should look at.
pub(super) fn of_severity(word: &str) -> Option<Style> {
    match word {
        "critical" => Some(AnsiColor::Red.on_default()),
        "warning" => Some(AnsiColor::Yellow.on_default()),
        _ => None,
    }
}

/// `text` in `style`, when colours are wanted.
pub(super) fn paint(text: &str, style: Style, color: bool) -> String {
    if color { format!("{style}{text}{style:#}") } else { text.to_owned() }
}
