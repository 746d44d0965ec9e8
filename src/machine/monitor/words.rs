//! What a hang looked like from outside, in words.

use crate::model::{Facts, ProcessState};

/// `failure` is what the last probe said, `facts` what was seen beside the first and the last one.
pub(super) fn hang(failure: &str, facts: Option<&(Facts, Facts)>) -> String {
    match facts.and_then(|(first, last)| looks(first, last)) {
        Some(looks) => format!("{failure}; {looks}"),
        None => failure.to_owned(),
    }
}

fn looks(first: &Facts, last: &Facts) -> Option<String> {
    let now = last.vitals.as_ref()?;
    match now.state {
        ProcessState::Stopped => return Some("its main process is stopped by a signal".into()),
        ProcessState::Uninterruptible => {
            return Some("its main process waits for a device and cannot be interrupted".into());
        }
        ProcessState::Zombie => return Some("its main process has ended and is not reaped".into()),
        ProcessState::Running | ProcessState::Sleeping | ProcessState::Traced | ProcessState::Unknown => {}
    }
    let before = first.vitals.as_ref()?;
    let span = now.at.since(before.at).as_secs_f64();
    if span <= 0.0 {
        return None;
    }
    let share = now.cpu.saturating_sub(before.cpu).as_secs_f64() / span * 100.0;
    // Others may have left it little.
    let wanted = || Some((now.ran? + now.waited?).saturating_sub(before.ran? + before.waited?).as_secs_f64() / span);
    Some(match share {
        share if share >= 50.0 => format!("meanwhile it used {share:.0} % of a processor: it spins"),
        share if wanted().is_some_and(|wanted| wanted >= 0.9) => {
            format!("meanwhile it used {share:.0} % of a processor, all that it could get: it spins")
        }
        share if share < 2.0 => "meanwhile it used hardly any processor time: it waits for something".into(),
        share => format!("meanwhile it used {share:.0} % of a processor"),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{HostLoad, Mono, Vitals};

    /// What is said of one that used this much in 10 s, and whose main thread ran and waited so long.
    fn said(cpu_ms: u64, ran_and_waited_ms: Option<(u64, u64)>) -> String {
        let ms = Duration::from_millis;
        let facts = |at: u64, share: u64| Facts {
            vitals: Some(Vitals {
                at: Mono(at),
                cpu: ms(7000 + share * cpu_ms),
                ran: ran_and_waited_ms.map(|(ran, _)| ms(5000 + share * ran)),
                waited: ran_and_waited_ms.map(|(_, waited)| ms(3000 + share * waited)),
                state: ProcessState::Running,
                processes: 1,
            }),
            host: HostLoad { load: 1.0, processors: 2, memory_stall: None },
            logged: 0,
        };
        hang("no answer", Some(&(facts(0, 0), facts(10_000_000_000, 1))))
    }

    #[test]
    fn one_that_spins_is_named_so_also_where_it_gets_little() {
        assert_eq!(said(9800, None), "no answer; meanwhile it used 98 % of a processor: it spins");
        let little = "no answer; meanwhile it used 29 % of a processor, all that it could get: it spins";
        assert_eq!(said(2900, Some((2800, 7000))), little);
        // With pauses of its own, or where nobody knows.
        assert_eq!(said(2900, Some((2800, 1000))), "no answer; meanwhile it used 29 % of a processor");
        assert_eq!(said(2900, None), "no answer; meanwhile it used 29 % of a processor");
        let idle = "no answer; meanwhile it used hardly any processor time: it waits for something";
        assert_eq!(said(100, Some((100, 10))), idle);
    }
}
