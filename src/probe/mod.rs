//! Asking a service how it is: one question, one deadline over connecting, first byte and whole answer.
//!
//! Never a bare look at whether the port is open where HTTP is spoken: the kernel accepts connections for a process that is
//! stopped (measured on the real gateway). No redirects, no proxies, no names to be resolved, a cap on the answer. What an
//! answer means for the service is decided by `MonitorMachine`; here it is only said which kind of answer it was.
//!
//! A question and its connection are one future, polled by who asks: no task of its own, nothing that outlives it.

mod connect;
mod exchange;
mod exec;
mod heartbeat;
mod http;
mod mcp;
mod parts;
#[cfg(test)]
mod tests;
mod words;
mod ws;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use self::connect::{Place, Progress};
use crate::model::{Answer, FigureSpec, Part, ProbeKind, ProbeSpec, Probed};

/// The rest of an answer that has begun too late is waited for no longer than this: that it has begun is the news.
const SOON: Duration = Duration::from_secs(1);

/// What came of asking.
#[derive(Debug)]
pub struct Asked {
    /// The answer, or that there was none in time.
    pub probed: Probed,
    /// The question, while nothing has come: an answer that comes too late is a sign of life all the same.
    pub pending: Option<Pending>,
}

/// A question under way: polling it speaks, and reads what comes.
type Question = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A question that was not answered in time, and is still open. Dropping it closes the connection.
pub struct Pending {
    question: Question,
    progress: Arc<Progress>,
    subject: String,
    began: Instant,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("subject", &self.subject).finish_non_exhaustive()
    }
}

impl Pending {
    /// Waits for any answer at all, at most for `within`; `None` when there was none. `took` counts from the first start.
    pub async fn answer(mut self, within: Duration) -> Option<Probed> {
        let asked_again = Instant::now();
        // `None`: a byte has come, and the rest has not yet.
        let first = poll_fn(|cx| match self.question.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if self.progress.heard() > 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        let answer = match tokio::time::timeout(within, first).await {
            Err(_) => return None,
            Ok(Some(answer)) => answer,
            Ok(None) => {
                let began_to_answer = self.began.elapsed();
                let left = within.saturating_sub(asked_again.elapsed()).min(SOON);
                let slow = |_| Answer::Slow(format!("the answer began after {}", words::millis(began_to_answer)));
                tokio::time::timeout(left, &mut self.question).await.unwrap_or_else(slow)
            }
        };
        match answer {
            // That nobody listens any more, or that we cannot go on, says nothing about the silence before.
            Answer::Silent(_) | Answer::Failed(_) | Answer::NotAsked(_) | Answer::Beat(_) => None,
            answer => Some(Probed::new(words::about(&self.subject, answer), self.began.elapsed())),
        }
    }
}

/// Asks once.
pub async fn ask(probe: &ProbeSpec, timeout: Duration) -> Asked {
    // tokio's clock: a probe's latency is a length of time, and no decision reads it.
    let began = Instant::now();
    let ended = |answer, parts| {
        let took = began.elapsed();
        Asked { probed: Probed { answer, took, late: took.saturating_sub(timeout), parts }, pending: None }
    };
    let progress = Arc::new(Progress::default());
    let mut question = match question(probe, &progress) {
        Ok(Some(question)) => question,
        Err(answer) => return ended(words::about(&words::subject(&probe.kind), answer), None),
        Ok(None) => {
            let (answer, parts) = match &probe.kind {
                ProbeKind::Exec(argv) => exec::ask(argv, timeout).await,
                ProbeKind::HeartbeatFile(path) => (heartbeat::look(path, timeout).await, None),
                _ => (
                    Answer::NotAsked("it is not asked: it says WATCHDOG=1 of its own accord, to its runner".into()),
                    None,
                ),
            };
            return ended(words::about(&words::subject(&probe.kind), answer), parts);
        }
    };
    let answer = match tokio::time::timeout(timeout, &mut question).await {
        Ok(Answer::Good) => return ended(Answer::Good, None),
        Ok(answer) => return ended(words::about(&words::subject(&probe.kind), answer), None),
        Err(_) => progress.out_of_time(timeout),
    };
    let subject = words::subject(&probe.kind);
    let silent = matches!(answer, Answer::Silent(_));
    let mut asked = ended(words::about(&subject, answer), None);
    // A connection that nothing is said over has no answer to wait for.
    if silent && !matches!(probe.kind, ProbeKind::Tcp(_) | ProbeKind::Unix(_)) {
        asked.pending = Some(Pending { question, progress, subject, began });
    }
    asked
}

/// The question that goes over a connection; `None` when it is of another kind.
fn question(probe: &ProbeSpec, progress: &Arc<Progress>) -> Result<Option<Question>, Answer> {
    let progress = Arc::clone(progress);
    Ok(Some(match &probe.kind {
        ProbeKind::Http(url) => {
            let (place, request) = http::of_url(url)?;
            let expect = http::Expect::of(probe);
            Box::pin(async move { http::ask(&place, request, &expect, &progress).await })
        }
        ProbeKind::HttpUnix { socket, path } => {
            let (place, request) = http::of_socket(socket, path)?;
            let expect = http::Expect::of(probe);
            Box::pin(async move { http::ask(&place, request, &expect, &progress).await })
        }
        ProbeKind::Mcp(url) => {
            let (place, request) = mcp::of_url(url)?;
            Box::pin(async move { mcp::ask(&place, request, &progress).await })
        }
        ProbeKind::Ws(url) => {
            let (place, request) = ws::of_url(url)?;
            Box::pin(async move { ws::ask(&place, request, &progress).await })
        }
        ProbeKind::Tcp(address) => reached(Place::of_authority(address)?, progress),
        ProbeKind::Unix(path) => reached(Place::Unix(path.clone()), progress),
        ProbeKind::Exec(_) | ProbeKind::HeartbeatFile(_) | ProbeKind::Notify => return Ok(None),
    }))
}

/// Whether somebody listens at `place`.
fn reached(place: Place, progress: Arc<Progress>) -> Question {
    Box::pin(async move { place.connect(&progress).await.map_or_else(|answer| answer, |_| Answer::Good) })
}

/// Asks once for the parts that `probe` reports on, whatever its status or exit says of the whole; an error is a sentence.
pub async fn parts(probe: &ProbeSpec, timeout: Duration) -> Result<Vec<Part>, String> {
    let found = match &probe.kind {
        ProbeKind::Http(url) => over_http(http::of_url(url), timeout).await,
        ProbeKind::HttpUnix { socket, path } => over_http(http::of_socket(socket, path), timeout).await,
        ProbeKind::Exec(argv) => match exec::ask(argv, timeout).await {
            (_, Some(parts)) => Ok(parts),
            (Answer::Good, None) => Err("it has printed no JSON object of parts, as {\"name\": \"ok\"}".into()),
            (answer, None) => Err(words::text_of(answer)),
        },
        _ => Err("only an http and an exec probe can report on parts".into()),
    };
    found.map_err(|why| format!("{}: {why}", words::subject(&probe.kind)))
}

async fn over_http(target: Result<(Place, exchange::Request), Answer>, timeout: Duration) -> Result<Vec<Part>, String> {
    let (status, body) = fetch(target, timeout).await?;
    parts::read(&body).ok_or_else(|| {
        format!(
            "its answer, of status {status}, is no JSON with a list `failing` or with parts, as {{\"name\": \"ok\"}}"
        )
    })
}

/// The status and the whole body of the answer; an error is a sentence.
async fn fetch(
    target: Result<(Place, exchange::Request), Answer>,
    timeout: Duration,
) -> Result<(u16, Vec<u8>), String> {
    let progress = Arc::new(Progress::default());
    let asked = async {
        let (place, request) = target?;
        let reply = exchange::exchange(&place, request, &progress, |_| false).await?;
        reply.end.and(Ok((reply.status, reply.body)))
    };
    let asked = tokio::time::timeout(timeout, asked).await.unwrap_or_else(|_| Err(progress.out_of_time(timeout)));
    asked.map_err(words::text_of)
}

/// Asks a service of this machine once for a number in its JSON answer; an error is a sentence.
pub async fn figure(spec: &FigureSpec, timeout: Duration) -> Result<f64, String> {
    let found = async {
        let target = http::of_url(&spec.url);
        if target.as_ref().is_ok_and(|(place, _)| !place.is_loopback()) {
            return Err("it is not an address of this machine only; use 127.0.0.1, localhost or [::1]".into());
        }
        let (status, body) = fetch(target, timeout).await?;
        if status != 200 {
            return Err(format!("it answered {status} instead of 200; check the address"));
        }
        let value: Value = serde_json::from_slice(&body)
            .map_err(|_| "the answer is not JSON; check the path (a web page answers on a wrong one)".to_owned())?;
        let pointer = &spec.pointer;
        match value.pointer(pointer) {
            Some(Value::Number(number)) => {
                number.as_f64().ok_or_else(|| format!("the number at {pointer:?} is too large"))
            }
            Some(_) => Err(format!("what stands at {pointer:?} is no number")),
            None => Err(format!("there is nothing at {pointer:?}; check the pointer, as \"/memory/heapUsed\"")),
        }
    };
    found.await.map_err(|why| format!("{}: {why}", words::without_query(&spec.url)))
}
