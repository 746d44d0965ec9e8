//! How it stands, for readers.

use super::round::not_undone;
use super::{ExposureMachine, Work};
use crate::machine::words::{Reader, Recorded, bare, due, lasting, lasting_time};
use crate::model::{ExposureSpec, Moment, ServiceInfo, Status, UnitKind};

impl ExposureMachine {
    /// What it is doing.
    pub fn status(&self) -> Status {
        let undoing = self.flight.is_some() || self.is_to_be_undone();
        if !self.is_wanted() {
            return match (undoing, self.spec.enabled) {
                (true, _) => Status::Stopping,
                _ if self.not_undone.is_some() => Status::Failed,
                (false, false) => Status::Disabled,
                (false, true) => Status::Down,
            };
        }
        match &self.failing {
            _ if self.anew => Status::Stopping,
            Some(failing) if failing.told => Status::Failed,
            Some(_) if self.seen => Status::Degraded,
            Some(_) => Status::Starting,
            None if self.is_up() => Status::Up,
            None => Status::Starting,
        }
    }

    /// As `status` shows it.
    pub fn info(&self, recorded: &Recorded, now: Moment, at: Reader<'_>) -> ServiceInfo {
        let since_ms = match self.status() {
            Status::Up => self.up_since_ms,
            Status::Down | Status::Disabled | Status::Stopping => Some(self.down_since_ms),
            _ => self.failing.as_ref().map(|failing| failing.since.wall_ms),
        };
        let next_run_ms = self.next_try().map(|next| in_wall(next, now));
        let why = self.why_short(now, at);
        let info = bare(&self.spec.name, UnitKind::Exposure, self.status(), why, self.spec.enabled, recorded);
        ServiceInfo { since_ms, next_run_ms, ..info }
    }

    /// A few words for the table.
    fn why_short(&self, now: Moment, at: Reader<'_>) -> String {
        let ago = |ms: i64| lasting(at.now_ms - ms);
        let failed = self.failing.as_ref().map(|failing| format!("`{}` {}", failing.work.as_str(), failing.last.why));
        let next = || {
            self.next_try().map_or("it is tried now".into(), |next| format!("next try {}", due(in_wall(next, now), at)))
        };
        let undo = || match &self.not_undone {
            Some(failure) => not_undone(failure),
            None if self.is_to_be_undone() || self.flight.is_some() => "it is being undone".into(),
            None => format!("stopped by {}", self.intent.by),
        };
        match (self.status(), failed) {
            (Status::Up, _) => {
                let checked = self.checked_ms.map_or(String::new(), |ms| format!(", checked {} ago", ago(ms)));
                format!("holds for {}{checked}", self.up_since_ms.map_or("a moment".into(), ago))
            }
            (Status::Disabled, _) => "disabled in services.toml".into(),
            (Status::Down | Status::Stopping, _) => undo(),
            (Status::Failed, None) => undo(),
            (_, Some(failed)) => {
                let tries = self.failing.as_ref().map_or(0, |failing| failing.tries);
                format!("does not hold, tried {tries}x: {failed}; {}", next())
            }
            (_, None) => match self.flight.map(|flight| flight.work) {
                Some(Work::Check) => "it is looked at".into(),
                Some(work) => format!("`{}` is run", work.as_str()),
                None => "it is about to be looked at".into(),
            },
        }
    }

    /// The paragraph of `why`.
    pub fn why(&self, now: Moment, at: Reader<'_>) -> String {
        let name = &self.spec.name;
        let mut said = vec![format!("{name}: {}", self.why_short(now, at))];
        if let Some(failing) = &self.failing {
            said.push(format!("So for {}, tried {} times", lasting(at.now_ms - failing.since.wall_ms), failing.tries));
            if let Some(line) = failing.last.stderr_tail.lines().rev().find(|line| !line.trim().is_empty()) {
                said.push(format!("The last it said, {} ago: {}", lasting(at.now_ms - failing.last_ms), line.trim()));
            }
        }
        match self.status() {
            Status::Up => {
                let look = if self.spec.check.is_some() { "looked at" } else { "made to hold" };
                said.push(format!("It is {look} again every {}", lasting_time(self.spec.interval)));
            }
            Status::Down => said.push(format!("`supervisor start {name}` makes it hold again")),
            Status::Failed if self.not_undone.is_some() => {
                said.push(format!("It may still be as it was; `supervisor stop {name}` tries to undo it once more"));
            }
            Status::Disabled => said.push("`enabled = true` and `supervisor reload` have it made to hold".into()),
            _ => said.push(format!("It is tried without end; `supervisor start {name}` tries at once")),
        }
        format!("{}.", said.join(". "))
    }
}

fn in_wall(next: crate::model::Mono, now: Moment) -> i64 {
    now.wall_ms.saturating_add(i64::try_from(next.since(now.mono).as_millis()).unwrap_or(i64::MAX / 2))
}

/// One that services.toml has, while no daemon runs.
pub fn unattended(spec: &ExposureSpec, recorded: &Recorded) -> ServiceInfo {
    let (status, why) = match spec.enabled {
        true => (Status::Down, "nobody looks after it: the daemon does, and it is not running"),
        false => (Status::Disabled, "disabled in services.toml"),
    };
    bare(&spec.name, UnitKind::Exposure, status, why.into(), spec.enabled, recorded)
}
