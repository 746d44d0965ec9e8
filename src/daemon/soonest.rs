//! When of many something is due next: they are looked through only then, and not after each answer.

use crate::model::{Mono, UnitName};

/// Nothing is due before.
#[derive(Debug, Default)]
pub(super) struct Soonest(Option<Mono>);

impl Soonest {
    /// Something may be due then, and nothing before.
    pub(super) fn at(&self) -> Option<Mono> {
        self.0
    }

    /// One of them may be due then.
    pub(super) fn note(&mut self, due: Option<Mono>) {
        self.0 = [self.0, due].into_iter().flatten().min();
    }

    /// Of all those whose moment has come.
    pub(super) fn due_by<'a>(
        &mut self,
        now: Mono,
        all: impl Iterator<Item = (&'a UnitName, Option<Mono>)>,
    ) -> Vec<UnitName> {
        if self.0.is_none_or(|soonest| soonest > now) {
            return Vec::new();
        }
        self.0 = None;
        let mut due = Vec::new();
        for (name, at) in all {
            match at {
                Some(at) if at <= now => due.push(name.clone()),
                at => self.note(at),
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_looked_through_when_one_is_due_and_not_before() {
        let names = ["a", "b", "c"].map(|name| UnitName::new(name).unwrap());
        let at = [Some(Mono(5)), None, Some(Mono(9))];
        let all = || names.iter().zip(at);
        let mut soonest = Soonest::default();
        assert_eq!(soonest.due_by(Mono(100), all()), []);
        at.into_iter().for_each(|at| soonest.note(at));
        assert_eq!((soonest.at(), soonest.due_by(Mono(4), all())), (Some(Mono(5)), vec![]));
        assert_eq!(soonest.due_by(Mono(5), all()), [names[0].clone()]);
        assert_eq!(soonest.at(), Some(Mono(9)));
        assert_eq!(soonest.due_by(Mono(9), all()), [names[0].clone(), names[2].clone()]);
        assert_eq!(soonest.at(), None);
    }
}
