//! The parts that are read from the system, each one bounded.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::{LINE, cut, shown};
use crate::machine::words;
use crate::model::{Mono, ProcessState};
use crate::policy::redact;
use crate::process::vitals::{Seen, Thread};
use crate::process::{clock, describe, identity, inside, vitals, wait};

/// What a section says, or why there is none.
pub(super) type Section = Result<Vec<String>, String>;

/// The sections, in the order in which they come.
pub(super) const TITLES: [&str; 5] = ["processes", "threads of the main process", "descriptors", "sockets", "stacks"];

/// The longest of them, bytes.
pub(super) const MOST_BYTES: usize = 44 << 10;

/// How many processes, threads, descriptors and words of a command line are looked at.
const PROCESSES: usize = 64;
const THREADS: usize = 64;
const DESCRIPTORS: usize = 256;
const WORDS: usize = 64;

/// Longest command line and longest name, in characters.
const COMMAND: usize = 300;
const NAME: usize = 200;

/// Between two readings of processor time.
const GAP: Duration = Duration::from_millis(200);

/// What is to be looked at.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) pid: i32,
    pub(super) started: Option<u64>,
    pub(super) is_cheap: bool,
    pub(super) until: Mono,
    pub(super) scratch: PathBuf,
}

impl Look {
    /// Tells one section after the other, until all are told, the time is over, or nobody listens any more.
    pub(super) fn all(&self, tell: &Sender<Section>) {
        // Who has ended since is not looked at, nor who has its number now.
        let has_gone = match (identity::state(self.pid), self.started) {
            (identity::State::Gone, _) => true,
            (identity::State::Running(now) | identity::State::Zombie(now), Some(then)) => now != then,
            (_, None) => false,
        };
        if has_gone {
            for _ in TITLES {
                let _ = tell.send(Err(format!("pid {} is gone", self.pid)));
            }
            return;
        }
        let first = (vitals::tree(self.pid, PROCESSES), vitals::threads(self.pid, THREADS));
        let read = clock::now().mono;
        wait::until(GAP.min(self.left() / 4), || None::<()>);
        let tree = vitals::tree(self.pid, PROCESSES);
        let passed = clock::now().mono.since(read);
        if tell.send(self.processes(&first.0, &tree, passed)).is_err() || self.is_cheap {
            return;
        }
        let told = tell.send(self.threads(&first.1, passed));
        if told.is_err() || self.left().is_zero() {
            return;
        }
        let open = inside::open(self.pid, DESCRIPTORS, self.left() / 3);
        let sockets = open.as_ref().map(|open| lines(&open.sockets)).map_err(Clone::clone);
        let descriptors = open.map(|open| {
            let more = (open.unseen > 0).then(|| format!("and {} more", open.unseen));
            lines(&open.descriptors).into_iter().chain(more).collect()
        });
        if tell.send(descriptors).is_err() || tell.send(sockets).is_err() || self.left().is_zero() {
            return;
        }
        let others: Vec<i32> = tree.iter().map(|one| one.pid).filter(|pid| *pid != self.pid).collect();
        let stacks = inside::stacks(self.pid, &others, &self.scratch, self.left());
        // Names of functions look like luck, and are none of a service's secrets.
        let _ = tell.send(stacks.map(|lines| lines.iter().map(|line| harmless(line)).collect()));
    }

    fn left(&self) -> Duration {
        self.until.since(clock::now().mono)
    }

    fn processes(&self, before: &[Seen], tree: &[Seen], passed: Duration) -> Section {
        if tree.is_empty() {
            return Err(format!("pid {} is gone", self.pid));
        }
        let before: HashMap<(i32, u64), Duration> = before.iter().map(|one| ((one.pid, one.start), one.cpu)).collect();
        let mut all = Vec::new();
        for one in tree {
            if self.left().is_zero() {
                all.push("there was no time for the others".to_owned());
                break;
            }
            let used = before.get(&(one.pid, one.start)).map(|cpu| one.cpu.saturating_sub(*cpu));
            all.extend(process(one, used, passed));
        }
        if tree.len() >= PROCESSES {
            all.push(format!("these are {PROCESSES}, and there may be more"));
        }
        Ok(all)
    }

    fn threads(&self, before: &[Thread], passed: Duration) -> Section {
        let before: HashMap<u64, Duration> = before.iter().map(|thread| (thread.id, thread.cpu)).collect();
        let line = |thread: &Thread| {
            let used = before.get(&thread.id).map(|cpu| thread.cpu.saturating_sub(*cpu));
            let waits = thread.waits_in.as_ref().map(|name| format!(", waits in {name}")).unwrap_or_default();
            let Thread { id, name, state, .. } = thread;
            named(&format!("{id} {name}: {}, {}{waits}", word(*state), processor(used, thread.cpu, passed)))
        };
        Ok(vitals::threads(self.pid, THREADS).iter().map(line).collect())
    }
}

fn process(one: &Seen, used: Option<Duration>, passed: Duration) -> Vec<String> {
    let Seen { pid, ppid, name, state, threads, .. } = one;
    let age = i64::try_from(identity::age(one.start, clock::now()).as_millis()).unwrap_or(i64::MAX);
    let open = vitals::open_descriptors(*pid).map_or("unknown".to_owned(), |count| count.to_string());
    let mut lines = vec![
        named(&format!("{pid} {name}: {}, child of {ppid}", word(*state))),
        format!(
            "    {}, {} old, threads {threads}, resident {}, descriptors {open}",
            processor(used, one.cpu, passed),
            words::lasting(age),
            words::size(one.resident)
        ),
    ];
    lines.extend(vitals::waits_in(*pid).map(|name| format!("    waits in {}", harmless(&name))));
    // To read the arguments of one that waits for a device can be to wait for it too.
    if *state != ProcessState::Uninterruptible {
        let arguments = command(&describe::arguments(*pid));
        lines.extend((!arguments.is_empty()).then(|| format!("    {arguments}")));
    }
    lines
}

/// How much of a processor it has used between two readings, and how much time in all.
fn processor(used: Option<Duration>, all: Duration, passed: Duration) -> String {
    let all = format!("{:.2} s of processor time", all.as_secs_f64());
    match used {
        Some(used) if !passed.is_zero() => {
            format!("{:.0} % of a processor now, {all}", used.as_secs_f64() / passed.as_secs_f64() * 100.0)
        }
        _ => all,
    }
}

/// A command line that can be shown. A word with white space is put in quotes, so that where a secret ends is known.
fn command(arguments: &[String]) -> String {
    let word = |text: &String| {
        let text = match text.split_once('=') {
            // All of what the name says is secret, also behind its first space.
            Some((name, value)) if !name.contains(char::is_whitespace) && value.contains(char::is_whitespace) => {
                if redact(&cut(text, LINE)) == cut(text, LINE) {
                    text.clone()
                } else {
                    format!("{name}=[redacted]")
                }
            }
            _ => text.clone(),
        };
        match text.is_empty() || text.contains(char::is_whitespace) {
            true => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            false => text,
        }
    };
    let words: Vec<String> = arguments.iter().take(WORDS).map(word).collect();
    shown(&words.join(" "), COMMAND)
}

fn lines(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| named(text)).collect()
}

/// A line with a name of anybody's choice in it.
fn named(line: &str) -> String {
    shown(line, NAME)
}

/// Without characters that do something.
fn harmless(line: &str) -> String {
    line.chars().take(LINE).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn word(state: ProcessState) -> &'static str {
    match state {
        ProcessState::Running => "running",
        ProcessState::Sleeping => "sleeping",
        ProcessState::Uninterruptible => "waiting for a device",
        ProcessState::Stopped => "stopped",
        ProcessState::Traced => "stopped by a debugger",
        ProcessState::Zombie => "ended, not reaped",
        ProcessState::Unknown => "in an unknown state",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_has_no_secrets_and_no_line_ends() {
        let shown = |words: &[&str]| command(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(shown(&["node", "/a b/c", "--port", "1"]), "node \"/a b/c\" --port 1");
        assert_eq!(shown(&["x", "--token", "a b c", "y"]), "x --token \"[redacted]\" y");
        assert_eq!(shown(&["env", "PASSPHRASE=correct horse", "x"]), "env PASSPHRASE=[redacted] x");
        assert_eq!(shown(&["env", "NAME=two words", "x"]), "env \"NAME=two words\" x");
        assert_eq!(shown(&["x", "https://u:hunter2@h/"]), "x https://u:[redacted]@h/");
        assert_eq!(shown(&["a\nb\x1b[2Jc", ""]), "\"a bc\" \"\"");
        assert_eq!(shown(&[]), "");
        let much = shown(&["word"; 5000]);
        assert!(much.ends_with("...") && much.chars().count() == COMMAND + 3, "{much}");
        // Nothing of a secret stands at the cut.
        let cut = shown(&[&"x ".repeat(COMMAND / 2 - 8), &format!("token={}", "s3cret".repeat(99))]);
        assert!(!cut.contains("s3c"), "{cut}");
    }

    #[test]
    fn processor_time_is_told_with_its_share() {
        let ms = Duration::from_millis;
        assert_eq!(processor(Some(ms(196)), ms(1234), ms(200)), "98 % of a processor now, 1.23 s of processor time");
        assert_eq!(processor(None, ms(0), ms(200)), "0.00 s of processor time");
        assert_eq!(processor(Some(ms(1)), ms(1), ms(0)), "0.00 s of processor time");
    }
}
