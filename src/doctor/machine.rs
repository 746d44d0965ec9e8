//! The machine: its clocks, and whether somebody's log-in is needed for services to run.

use super::facts::Facts;
use super::{Finding, Level, MACHINE};
use crate::manager::driver::Standing;
use crate::model::{ManagerKind, Moment};

/// 2024-01-01: this program is younger.
const EARLIEST_MS: i64 = 1_704_067_200_000;

pub(super) fn clocks(now: Moment, zone: &Result<(), String>) -> Vec<Finding> {
    let right = "set it (System Settings → Date & Time, or timedatectl set-ntp true)";
    let boot_ms = i64::try_from(now.boot_ns / 1_000_000).unwrap_or(i64::MAX);
    let mut found = Vec::new();
    if now.wall_ms < EARLIEST_MS {
        let at = jiff::Timestamp::from_millisecond(now.wall_ms)
            .map_or_else(|_| now.wall_ms.to_string(), |at| at.to_string());
        found.push(
            Finding::new(
                Level::Bad,
                MACHINE,
                format!("its clock says {at}: records get wrong times, calendar jobs are missed"),
            )
            .remedy(right),
        );
    } else if now.wall_ms - boot_ms < EARLIEST_MS {
        // It runs for longer than there was time since then.
        let days = boot_ms / 86_400_000;
        found.push(
            Finding::new(
                Level::Warn,
                MACHINE,
                format!("it says to be up for {days} days, which does not go with its clock"),
            )
            .remedy(right),
        );
    } else if now.boot_ns < now.mono.0 {
        found.push(Finding::new(
            Level::Warn,
            MACHINE,
            "the time since boot is shorter than the time awake: the clocks are out of order",
        ));
    } else {
        found.push(Finding::ok(MACHINE, "its clocks are in order"));
    }
    found.push(match zone {
        Ok(()) => Finding::ok(MACHINE, "its time zone can be read"),
        Err(why) => {
            Finding::new(Level::Warn, MACHINE, format!("its time zone cannot be read, so times are UTC: {why}"))
                .remedy("correct TZ, or set the zone (System Settings → Date & Time, or timedatectl set-timezone ZONE)")
        }
    });
    found
}

/// A manager that this system does not have.
pub(super) fn manager(facts: &Facts) -> Option<Finding> {
    let word = match facts.manager {
        ManagerKind::Launchd if !facts.is_mac => "launchd",
        ManagerKind::Systemd if facts.is_mac => "systemd",
        _ => return None,
    };
    let what = format!("services.toml says manager = \"{word}\", and there is none on this system");
    Some(Finding::new(Level::Bad, MACHINE, what).remedy("write manager = \"auto\""))
}

/// Agents and user units live in a session.
pub(super) fn session(facts: &Facts) -> Vec<Finding> {
    if facts.manager == ManagerKind::Embedded {
        return Vec::new();
    }
    let is_installed =
        facts.jobs.iter().any(|job| job.state.as_ref().is_ok_and(|state| state.standing != Standing::Absent));
    let level = if is_installed || facts.manager != ManagerKind::Auto { Level::Warn } else { Level::Note };
    let (uid, user) = (facts.uid, &facts.user);
    let mut found = Vec::new();
    match facts.has_session {
        Some(true) => found.push(Finding::ok(MACHINE, format!("{user} is logged in (gui/{uid})"))),
        Some(false) => found.push(
            Finding::new(level, MACHINE, format!("nobody is logged in at the screen (there is no gui/{uid}): agents do not run"))
                .remedy("log in, have the Mac log in by itself (System Settings → Users & Groups), or: sudo supervisor install --system"),
        ),
        None => {}
    }
    match facts.lingers {
        Some(true) => found.push(Finding::ok(MACHINE, format!("systemd keeps what {user} runs after log-out"))),
        Some(false) => found.push(
            Finding::new(
                level,
                MACHINE,
                format!("systemd ends everything of {user} at log-out, and starts nothing before a log-in"),
            )
            .remedy(format!("loginctl enable-linger {user}")),
        ),
        None => {}
    }
    found
}
