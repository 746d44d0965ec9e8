//! A runner's socket from the daemon's side: one connection that tells what changes, and one per order.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::Event;
use crate::model::wire::{RunnerReply, RunnerRequest, WireError};
use crate::process::socket;

/// Longest line of a runner, bytes: a thousand services with long reasons.
const MAX_LINE: u64 = 16 << 20;

/// A runner that does not answer within this is stopped or stuck.
const ANSWER_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

/// Connects to a runner; fails at once when there is none.
pub(super) fn connect(path: &Path) -> io::Result<UnixStream> {
    let stream = socket::connect(path)?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Subscribes on `stream` and passes on what it says, until it ends.
pub(super) async fn follow(id: String, stream: UnixStream, to: mpsc::Sender<Event>) {
    if let Err(e) = subscribe(&id, stream, &to).await {
        tracing::debug!(runner = id, error = %e, "the connection to a runner ended");
    }
    // When nobody listens the daemon is gone.
    let _ = to.send(Event::RunnerGone(id)).await;
}

async fn subscribe(id: &str, stream: UnixStream, to: &mpsc::Sender<Event>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    write.write_all(&line(&RunnerRequest::Subscribe)?).await?;
    let mut lines = Lines::new(read);
    while let Some(reply) = lines.next().await? {
        let event = match reply {
            RunnerReply::Push(info) => Event::RunnerPush(id.into(), Box::new(info)),
            RunnerReply::Journal { .. } => Event::Journaled,
            RunnerReply::Snapshot(_) | RunnerReply::Done(_) | RunnerReply::Error(_) => continue,
        };
        if to.send(event).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Asks a runner one thing on a connection of its own, for as long as it takes.
pub(super) async fn ask(path: PathBuf, request: RunnerRequest) -> Result<RunnerReply, WireError> {
    let failed = |e: io::Error| WireError {
        code: 4,
        message: format!("the runner at {} does not answer: {e}", path.display()),
        hint: Some("it is started again by itself; try once more in a moment".into()),
    };
    let exchange = async {
        let (read, mut write) = connect(&path)?.into_split();
        write.write_all(&line(&request)?).await?;
        Lines::new(read).next().await?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    };
    // An order that is waited for has its own end in the runner; everything else is answered at once by one that works.
    let waits = matches!(request, RunnerRequest::Order { wait: true, .. });
    let reply = if waits {
        exchange.await
    } else {
        tokio::time::timeout(ANSWER_WITHIN, exchange).await.unwrap_or_else(|late| Err(late.into()))
    };
    match reply.map_err(failed)? {
        RunnerReply::Error(e) => Err(e),
        reply => Ok(reply),
    }
}

fn line(request: &RunnerRequest) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(request)?;
    bytes.push(b'\n');
    Ok(bytes)
}

struct Lines<R> {
    from: BufReader<R>,
    buffer: Vec<u8>,
}

impl<R: tokio::io::AsyncRead + Unpin> Lines<R> {
    fn new(from: R) -> Self {
        Self { from: BufReader::new(from), buffer: Vec::new() }
    }

    async fn next(&mut self) -> io::Result<Option<RunnerReply>> {
        use tokio::io::AsyncReadExt;
        self.buffer.clear();
        (&mut self.from).take(MAX_LINE).read_until(b'\n', &mut self.buffer).await?;
        if self.buffer.last() != Some(&b'\n') {
            return Ok(None);
        }
        serde_json::from_slice(&self.buffer).map(Some).map_err(io::Error::from)
    }
}
