//! A failing plan is made smaller as long as it breaks the same thing.

use crate::oracle::Broken;
use crate::plan::{Plan, Timed};
use crate::story::play;

/// Plays it; what is broken, if it is `invariant` (or anything, without one).
fn breaks(plan: &Plan, invariant: Option<&'static str>) -> Option<Broken> {
    play(plan, false).1.filter(|broken| invariant.is_none_or(|wanted| wanted == broken.invariant))
}

/// The smallest plan that can be found, and what it breaks; `None` when `plan` breaks nothing.
pub fn smallest(mut plan: Plan) -> Option<(Plan, Broken)> {
    let mut broken = breaks(&plan, None)?;
    let invariant = Some(broken.invariant);
    let accept = |candidate: Plan, plan: &mut Plan, broken: &mut Broken| {
        let found = breaks(&candidate, invariant);
        let smaller = found.is_some();
        if let Some(found) = found {
            (*plan, *broken) = (candidate, found);
        }
        smaller
    };
    // What comes after the break is not needed.
    for keep in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024] {
        if keep < plan.faults.len() {
            let faults: Vec<Timed> = plan.faults[..keep].to_vec();
            let length = plan.faults[keep].at;
            if accept(Plan { faults, length, ..plan.clone() }, &mut plan, &mut broken) {
                break;
            }
        }
    }
    // Whole stretches first, then one by one, until nothing more can be left out.
    let mut stretch = plan.faults.len() / 2;
    while stretch > 0 {
        let (mut at, mut left_out) = (0, false);
        while at < plan.faults.len() {
            let mut faults = plan.faults.clone();
            faults.drain(at..(at + stretch).min(plan.faults.len()));
            if accept(Plan { faults, ..plan.clone() }, &mut plan, &mut broken) {
                left_out = true;
            } else {
                at += stretch;
            }
        }
        if !left_out || stretch > 1 {
            stretch /= 2;
        }
    }
    if let Some(last) = plan.faults.last() {
        let length = last.at + 1;
        accept(Plan { length, ..plan.clone() }, &mut plan, &mut broken);
    }
    for service in (0..plan.services.len()).rev() {
        if plan.embedded && service + 1 == plan.services.len() && service > 0 {
            let mut services = plan.services.clone();
            services.pop();
            let untouched =
                plan.faults.iter().all(|timed| !format!("{:?}", timed.fault).contains(&format!("service: {service}")));
            if untouched {
                accept(Plan { services, ..plan.clone() }, &mut plan, &mut broken);
            }
        }
    }
    Some((plan, broken))
}
