//! A check of the owner's own: a program that exits with 0 when all is well, and may print parts.

use std::io;
use std::time::Duration;

use nix::errno::Errno;
use tokio::sync::Semaphore;

use super::exchange::MAX_BODY;
use super::parts;
use super::words::{excerpt, millis};
use crate::model::{Answer, Exit, Part};
use crate::process::command::{self, Finished, Given, NoAnswer};

/// `EX_TEMPFAIL` of sysexits.h: it lives and is not well.
const TEMPFAIL: i32 = 75;

/// What a shell says when it cannot execute what it was told to, and when there is no such program.
const NO_PROGRAM: [i32; 2] = [126, 127];

/// Questions that may be under way on threads at a time. One that waits for a dead disk does not end, whatever is done to it, and when all of
/// the daemon's threads waited there, nothing else could be looked at either.
const MOST: usize = 256;

static UNDER_WAY: Semaphore = Semaphore::const_new(MOST);

/// How long what was killed may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// Does `work` on a thread and waits for it; `None` when it is not done in time, and is left behind.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    within: Duration,
) -> Result<Option<T>, String> {
    one_of(&UNDER_WAY, work, within).await
}

async fn one_of<T: Send + 'static>(
    under_way: &'static Semaphore,
    work: impl FnOnce() -> T + Send + 'static,
    within: Duration,
) -> Result<Option<T>, String> {
    let permit = under_way.try_acquire().map_err(|_| "too many earlier ones have not ended; does a disk hang?")?;
    let done = tokio::task::spawn_blocking(move || {
        let _held = permit;
        work()
    });
    match tokio::time::timeout(within, done).await {
        Ok(done) => done.map(Some).map_err(|error| error.to_string()),
        Err(_) => Ok(None),
    }
}

/// Runs it for at most `timeout`. On a thread, since a child's end is waited for there.
pub(super) async fn ask(argv: &[String], timeout: Duration) -> (Answer, Option<Vec<Part>>) {
    let argv = argv.to_vec();
    let run = move || {
        let program = match command::find(argv.first().map_or("", String::as_str)) {
            Ok(program) => program,
            Err(why) => return (Answer::Misasked(why), None),
        };
        let environment = command::kept_environment();
        let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let given = Given { environment: &environment, only_these: true, keep: Some(MAX_BODY), ..Given::default() };
        judge(command::run_with(&program, &argv[1..], &given, timeout), timeout)
    };
    match aside(run, timeout.saturating_add(GONE_WITHIN)).await {
        Ok(Some(found)) => found,
        Ok(None) => (Answer::NotAsked("the check was killed and does not end; does a disk hang?".into()), None),
        Err(error) => (Answer::NotAsked(format!("the check could not be waited for: {error}")), None),
    }
}

fn judge(ended: Result<Finished, NoAnswer>, timeout: Duration) -> (Answer, Option<Vec<Part>>) {
    let done = match ended {
        Ok(done) => done,
        Err(NoAnswer::NotStarted { source, .. }) => return (not_started(&source), None),
        Err(NoAnswer::TimedOut { .. }) => {
            let text = format!(
                "the check did not end within {}, and was killed with all that it had started",
                millis(timeout)
            );
            return (Answer::Silent(text), None);
        }
    };
    let said = last_line(&done);
    let answer = match done.exit {
        Exit::Code(0) => Answer::Good,
        Exit::Code(TEMPFAIL) => Answer::Unwell(format!("the check ended with {}{said}", done.exit)),
        Exit::Code(code) if NO_PROGRAM.contains(&code) => Answer::Misasked(format!(
            "the check ended with {}, so a program in it is missing or cannot be executed{said}",
            done.exit
        )),
        // Somebody else has reaped it.
        Exit::Unknown => Answer::NotAsked(format!("the check ended with {}", done.exit)),
        exit => Answer::Failed(format!("the check ended with {exit}{said}")),
    };
    (answer, parts::read(done.stdout.as_bytes()))
}

fn not_started(error: &io::Error) -> Answer {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(
            Errno::ENOENT
            | Errno::EACCES
            | Errno::EPERM
            | Errno::ENOEXEC
            | Errno::ENOTDIR
            | Errno::ELOOP
            | Errno::E2BIG,
        ) => Answer::Misasked(format!(
            "the check cannot be executed: {error}; check its path, its mode and its first line"
        )),
        _ => Answer::NotAsked(format!("the check could not be started: {error}")),
    }
}

/// The last thing it said, of its errors before the rest.
fn last_line(done: &Finished) -> String {
    let last =
        |text: &str| text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(|line| excerpt(line, 200));
    last(&done.stderr).or_else(|| last(&done.stdout)).map_or(String::new(), |line| format!(": {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_end_is_left_behind_and_does_not_pile_up() {
        static ONE: Semaphore = Semaphore::const_new(1);
        let long = Duration::from_secs(20);
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        assert_eq!(one_of(&ONE, move || stopped.recv().is_ok(), Duration::ZERO).await, Ok(None));
        one_of(&ONE, || true, long).await.unwrap_err();
        drop(stop);
        drop(ONE.acquire().await.unwrap());
        assert_eq!(one_of(&ONE, || true, long).await, Ok(Some(true)));
    }

    #[test]
    fn who_could_not_start_it_is_told_apart() {
        for errno in [libc::EAGAIN, libc::ENOMEM, libc::EMFILE, libc::ENFILE] {
            let answer = not_started(&io::Error::from_raw_os_error(errno));
            assert!(matches!(answer, Answer::NotAsked(_)), "{errno}: {answer:?}");
        }
        for errno in [libc::ENOENT, libc::ENOEXEC, libc::EACCES] {
            let answer = not_started(&io::Error::from_raw_os_error(errno));
            assert!(matches!(answer, Answer::Misasked(_)), "{errno}: {answer:?}");
        }
    }
}
