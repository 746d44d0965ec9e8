//! Questions to real servers on loopback, good ones and bad ones.

mod asked;
mod bounds;
mod classes;
mod late;
mod servers;

use std::time::Duration;

use super::{Asked, ask};
use crate::model::{Answer, ProbeKind, ProbeSpec};

/// More than any server here takes that answers at all.
const LONG: Duration = Duration::from_secs(30);

/// What is waited for one that does not.
const SHORT: Duration = Duration::from_millis(100);

fn spec(kind: ProbeKind) -> ProbeSpec {
    ProbeSpec { kind, expect_status: 200, expect_json: None }
}

fn http(port: u16) -> ProbeSpec {
    spec(ProbeKind::Http(format!("http://127.0.0.1:{port}/healthz")))
}

/// In a runtime as the daemon's, and as it does it: in a task.
fn run<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::spawn(future).await.unwrap() })
}

fn asked(probe: ProbeSpec, timeout: Duration) -> Asked {
    run(async move { ask(&probe, timeout).await })
}

fn answer(probe: ProbeSpec, timeout: Duration) -> Answer {
    asked(probe, timeout).probed.answer
}

/// The kind of an answer, and what it says.
fn of(answer: &Answer) -> (&'static str, &str) {
    match answer {
        Answer::Good => ("good", ""),
        Answer::Unwell(text) => ("unwell", text),
        Answer::Slow(text) => ("slow", text),
        Answer::Misasked(text) => ("misasked", text),
        Answer::Silent(text) => ("silent", text),
        Answer::Failed(text) => ("failed", text),
        Answer::NotAsked(text) => ("not asked", text),
        Answer::Beat(_) => ("beat", ""),
    }
}

#[track_caller]
fn is(answer: &Answer, kind: &str, word: &str) {
    let (found, text) = of(answer);
    assert!(found == kind && text.contains(word), "{answer:?} instead of {kind} with {word:?}");
}
