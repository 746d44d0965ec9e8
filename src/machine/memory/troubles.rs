//! Questions to the service that are answered in no way that is of use, so that somebody learns of it.

use std::collections::BTreeMap;

use crate::model::MemoryTrouble;

/// So many in a row are told: who has just been started may not answer yet.
const TOLD: u32 = 2;

/// What goes wrong now.
#[derive(Debug, Clone, Default)]
pub(super) struct Troubles(BTreeMap<&'static str, Trouble>);

#[derive(Debug, Clone)]
struct Trouble {
    since_ms: i64,
    times: u32,
    why: String,
}

impl Troubles {
    /// Takes in what came of a question; `None` when it was answered, or is not asked.
    pub(super) fn note(&mut self, of: &'static str, why: Option<String>, now_ms: i64) {
        let Some(why) = why else {
            self.0.remove(of);
            return;
        };
        let known = self.0.entry(of).or_insert(Trouble { since_ms: now_ms, times: 0, why: String::new() });
        (known.times, known.why) = (known.times.saturating_add(1), why);
    }

    pub(super) fn told(&self) -> Vec<MemoryTrouble> {
        let told = self.0.iter().filter(|(_, trouble)| trouble.times >= TOLD);
        told.map(|(of, Trouble { since_ms, why, .. })| MemoryTrouble {
            of: (*of).to_owned(),
            since_ms: *since_ms,
            why: why.clone(),
        })
        .collect()
    }
}
