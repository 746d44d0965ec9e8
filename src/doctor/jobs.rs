//! What the service manager has, and who else would like to have it.

use super::facts::{JobFacts, PortFacts};
use super::{Finding, Level};
use crate::manager::driver::{JobState, Standing};
use crate::manager::job::Unfit;
use crate::manager::owners::Owner;
use crate::model::ManagerKind;

pub(super) fn port(facts: &PortFacts) -> Finding {
    let (unit, port) = (facts.unit.as_str(), facts.port);
    match &facts.stranger {
        None => Finding::ok(unit, format!("port {port} is free, or its own")),
        Some(owner) => {
            let pid = owner.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            let stop = match owner.pid {
                Some(pid) => format!("end it: kill {pid}; or give the service another port"),
                None => format!("sudo lsof -nP -iTCP:{port} -sTCP:LISTEN tells who it is"),
            };
            Finding::new(Level::Bad, unit, format!("port {port} is taken by {}{pid}", owner.command)).remedy(stop)
        }
    }
}

pub(super) fn unfit(unfit: &Unfit) -> Finding {
    Finding::new(Level::Bad, &unfit.name, format!("it cannot be installed: {}", unfit.why))
}

pub(super) fn owner(owner: &Owner) -> Finding {
    let label = if owner.same_label { ", under the label that ours is to have" } else { "" };
    Finding::new(Level::Bad, owner.service.as_str(), format!("somebody else starts it too{label}: {}", owner.who))
        .remedy(owner.stop.clone())
}

pub(super) fn job(facts: &JobFacts) -> Vec<Finding> {
    let name = facts.job.name.as_str();
    let mut found = match &facts.state {
        Err(trouble) => {
            let finding = Finding::new(Level::Warn, name, trouble.message.clone());
            vec![Finding { remedy: trouble.hint.clone(), ..finding }]
        }
        Ok(state) => standing(facts, state),
    };
    found.extend(facts.warnings.iter().map(|warning| Finding::new(Level::Note, name, warning.clone())));
    found
}

fn standing(facts: &JobFacts, state: &JobState) -> Vec<Finding> {
    let (name, label) = (facts.job.name.as_str(), facts.job.label.as_str());
    let place = Place { facts, domain: state.domain.as_deref() };
    let mut found = Vec::new();
    if state.disabled {
        found.push(
            Finding::new(Level::Warn, name, format!("{label} is switched off for the next log-in or boot"))
                .remedy(place.enable()),
        );
    }
    let of = |level, what: String| Finding::new(level, name, what);
    found.push(match &state.standing {
        Standing::Absent if facts.wanted => {
            of(Level::Warn, format!("{label} is not installed")).remedy("supervisor install")
        }
        Standing::Absent => {
            of(Level::Note, format!("{label} is not installed: after a log-in or boot nothing starts it"))
                .remedy("supervisor install")
        }
        Standing::CannotStart(why) => {
            let last = state.last_exit.as_ref().map(|exit| format!(", last exit {exit}")).unwrap_or_default();
            of(Level::Bad, format!("{label} is loaded, and cannot be started: {why}{last}")).remedy(
                "see that its program, its log folder and its working directory are there, then: supervisor install",
            )
        }
        Standing::Pended(why) => {
            of(Level::Bad, format!("{label} is due, and its start is held back ({why})")).remedy(place.kick())
        }
        Standing::Running => running(facts, state),
        Standing::Delayed => of(Level::Warn, format!("{label} waits for its next start")),
        Standing::Stopping => of(Level::Note, format!("{label} is being ended")),
        Standing::Stopped if facts.job.is_kept() => {
            let last = state.last_exit.as_deref().unwrap_or("not known");
            of(Level::Warn, format!("{label} is loaded and does not run (last exit: {last})")).remedy(place.kick())
        }
        Standing::Stopped => of(Level::Ok, format!("{label} is loaded, and waits for its time")),
    });
    found
}

fn running(facts: &JobFacts, state: &JobState) -> Finding {
    let (name, label) = (facts.job.name.as_str(), facts.job.label.as_str());
    let pid = state.pid.map_or("?".to_owned(), |pid| pid.to_string());
    match (state.pid, facts.runner) {
        (Some(theirs), Some(ours)) if theirs != ours => {
            let what = format!(
                "{label} runs as pid {theirs}, and another runner (pid {ours}) has it: that one waits for nobody to end it"
            );
            Finding::new(Level::Warn, name, what)
                .remedy(format!("kill {ours}: the one of {label} takes its services over as they are"))
        }
        _ => Finding::ok(name, format!("{label} runs, pid {pid}")),
    }
}

/// How a person tells the manager.
struct Place<'a> {
    facts: &'a JobFacts,
    domain: Option<&'a str>,
}

impl Place<'_> {
    fn target(&self) -> String {
        format!("{}/{}", self.domain.unwrap_or("gui/$(id -u)"), self.facts.job.label)
    }

    fn enable(&self) -> String {
        match self.facts.manager {
            ManagerKind::Systemd => {
                format!("systemctl --user unmask {0} && systemctl --user enable {0}", self.facts.job.label)
            }
            _ => format!("launchctl enable {} (or System Settings → General → Login Items)", self.target()),
        }
    }

    fn kick(&self) -> String {
        match self.facts.manager {
            ManagerKind::Systemd => format!("systemctl --user start {}", self.facts.job.label),
            _ => format!("launchctl kickstart {}", self.target()),
        }
    }
}
