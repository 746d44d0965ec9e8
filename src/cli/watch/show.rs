//! `watch status` as people read it. Paths, and what a handler said, are foreign text: all of it goes through [`harmless`].

use anstyle::{AnsiColor, Style};

use crate::cli::Context;
use crate::cli::table::{Grid, cut, harmless};
use crate::machine::words::{self, count};
use crate::model::{Canary, DeadLetter, WatchSetStatus, WatchState, WatchedFolder, WatcherStatus};

/// Characters of what went wrong, where lines have an end.
const WHY: usize = 60;

/// Each with its newline.
pub(super) fn text(status: &WatcherStatus, context: &Context<'_>) -> String {
    let mut text = line(&head(status, context));
    for set in &status.sets {
        text.push('\n');
        text.push_str(&self::set(set, status.pid.is_some(), context));
    }
    if !status.dead.is_empty() {
        text.push('\n');
        text.push_str(&dead(status, context));
    }
    text
}

fn line(text: &str) -> String {
    format!("{}\n", harmless(text))
}

fn ago(ms: i64, context: &Context<'_>) -> String {
    format!("{} ago", words::lasting(context.now_ms - ms))
}

/// What it is, and how it knows that it sees.
fn head(status: &WatcherStatus, context: &Context<'_>) -> String {
    let mut parts = vec![status.service.clone()];
    parts.extend(status.pid.map(|pid| format!("pid {pid}")));
    parts.extend(status.events.as_ref().map(|events| format!("told of changes by {events}")));
    if let Some(Canary { proved_ms, trouble }) = &status.canary {
        parts.extend(proved_ms.map(|ms| format!("proved on a file of its own {}", ago(ms, context))));
        parts.extend(trouble.as_ref().map(|trouble| format!("not well: {trouble}")));
    }
    parts.join(", ")
}

fn set(set: &WatchSetStatus, runs: bool, context: &Context<'_>) -> String {
    let mut text = line(&format!("{}: {}", set.name, argv(&set.run)));
    text.push_str(&folders(&set.folders, context));
    for folder in &set.folders {
        if let Some(remedy) = &folder.remedy {
            text.push_str(&line(&format!("{}: {remedy}", folder.path)));
        }
    }
    let mut now = vec![format!("{} known", set.known), format!("{} waiting", set.waiting)];
    now.push(format!("{} running", set.running));
    now.push(format!("{} retrying", set.retrying));
    now.push(format!("{} given up", set.dead));
    let mut then = Vec::new();
    if runs {
        then.push(format!("{} handled since its start", set.handled));
    }
    then.extend(set.handled_ms.map(|ms| format!("the last {}", ago(ms, context))));
    if set.scanning {
        then.push("being scanned".into());
    } else {
        then.extend(set.scanned_ms.map(|ms| format!("scanned {}", ago(ms, context))));
    }
    let then = if then.is_empty() { String::new() } else { format!("; {}", then.join(", ")) };
    text.push_str(&line(&format!("{}{then}", now.join(", "))));
    if set.behind {
        text.push_str("more wait than are kept in mind; scans find them, one after the other\n");
    }
    text
}

/// As it could be typed, near enough.
fn argv(words: &[String]) -> String {
    let word = |word: &String| match word.is_empty() || word.contains(char::is_whitespace) {
        true => format!("{word:?}"),
        false => word.clone(),
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn folders(folders: &[WatchedFolder], context: &Context<'_>) -> String {
    let header: &[&str] = match folders.iter().any(|folder| folder.why.is_some()) {
        true => &["STATE", "FOLDER", "WHY"],
        false => &["STATE", "FOLDER"],
    };
    let grid = Grid { header, right: &[], painted: (0, |word| WatchState::parse(word).and_then(style)) };
    let row = |folder: &WatchedFolder| {
        let cells = [folder.state.as_str().to_owned(), folder.path.clone(), folder.why.clone().unwrap_or_default()];
        cells.into_iter().take(header.len()).collect()
    };
    grid.render(&folders.iter().map(row).collect::<Vec<_>>(), context.width, context.color)
}

/// Green is watched, yellow may be meant so, red needs somebody.
fn style(state: WatchState) -> Option<Style> {
    match state {
        WatchState::Unknown => None,
        WatchState::Watched | WatchState::Polled => Some(AnsiColor::Green.on_default()),
        WatchState::Absent => Some(AnsiColor::Yellow.on_default()),
        WatchState::Denied | WatchState::Partly => Some(AnsiColor::Red.on_default()),
    }
}

fn dead(status: &WatcherStatus, context: &Context<'_>) -> String {
    let grid = Grid {
        header: &["ID", "SET", "EVENT", "ATTEMPTS", "WHEN", "WHY", "PATH"],
        right: &[0, 3],
        painted: (0, |_| None),
    };
    let row = |letter: &DeadLetter| {
        let why = if context.width.is_some() { cut(&letter.why, WHY) } else { letter.why.clone() };
        vec![
            letter.id.to_string(),
            letter.set.clone(),
            letter.event.as_str().to_owned(),
            letter.attempts.to_string(),
            words::local(letter.at_ms, context.zone()),
            why,
            letter.path.clone(),
        ]
    };
    let mut text = grid.render(&status.dead.iter().map(row).collect::<Vec<_>>(), context.width, context.color);
    let all: u64 = status.sets.iter().map(|set| set.dead).sum();
    let shown = status.dead.len();
    if all > shown as u64 {
        text.push_str(&format!(
            "these are the newest {shown} of {}\n",
            count(usize::try_from(all).unwrap_or(usize::MAX), "file")
        ));
    }
    text.push_str("`supervisor watch retry ID` has one of them handled again, `--all` all of them\n");
    text
}
