//! Names as they are typed: checked, and when nobody is called so, what was probably meant.

use crate::error::{Error, ErrorKind};
use crate::model::UnitName;

/// Below this (0 nothing alike, 1 the same) a suggestion is more puzzling than helpful.
const ALIKE: f64 = 0.8;

/// Checks the form of names.
pub(super) fn parse(names: &[String]) -> Result<Vec<UnitName>, Error> {
    let mut parsed: Vec<UnitName> = Vec::new();
    for name in names {
        let name = one(name)?;
        if !parsed.contains(&name) {
            parsed.push(name);
        }
    }
    Ok(parsed)
}

/// Checks the form of one name.
pub(super) fn one(name: &str) -> Result<UnitName, Error> {
    UnitName::new(name).map_err(|bad| {
        Error::new(ErrorKind::Usage, format!("{name:?} cannot be the name of a service: {bad}"))
            .hint("`supervisor status` shows all names")
    })
}

/// The error for a name that nothing has.
pub(super) fn unknown<'a>(name: &UnitName, known: impl IntoIterator<Item = &'a UnitName>) -> Error {
    let known: Vec<&str> = known.into_iter().map(UnitName::as_str).collect();
    let error = Error::new(ErrorKind::Usage, format!("there is no service or task `{name}`"));
    match nearest(name.as_str(), known.iter().copied()).as_slice() {
        [] if known.is_empty() => error.hint("services.toml declares none"),
        [] if known.len() <= 12 => error.hint(format!("there are: {}", known.join(", "))),
        [] => error.hint("`supervisor status` shows all names"),
        [first, ..] => error.hint(format!("did you mean `{first}`?")),
    }
}

/// The error for a word that is none of `known`; `there_are` leads in the list of those that are.
pub(super) fn unknown_word<'a>(
    message: String,
    there_are: &str,
    word: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> Error {
    let near = nearest(word, known.clone());
    let hint = if near.is_empty() {
        format!("{there_are}: {}", known.into_iter().collect::<Vec<_>>().join(", "))
    } else {
        let near: Vec<_> = near.iter().take(3).map(|name| format!("`{name}`")).collect();
        format!("did you mean {}?", near.join(" or "))
    };
    Error::new(ErrorKind::Usage, message).hint(hint)
}

/// What is most like `word`, best first.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let lower = word.to_lowercase();
    // `crash` is not like `service_crash` letter by letter, but it is what was meant.
    let is_part = |candidate: &str| lower.len() >= 3 && candidate.contains(&lower);
    let likeness = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        if is_part(&candidate) { 1.0 } else { strsim::jaro_winkler(&lower, &candidate) }
    };
    let mut near: Vec<_> = candidates.into_iter().map(|c| (likeness(c), c)).filter(|(l, _)| *l >= ALIKE).collect();
    near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    near.into_iter().map(|(_, candidate)| candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UnitName {
        UnitName::new(text).unwrap()
    }

    #[test]
    fn what_was_probably_meant() {
        let known = ["gateway", "embedding-server", "file-watcher", "emit-server"].map(name);
        for (typed, meant) in
            [("gatewy", "gateway"), ("Gateway", "gateway"), ("filewatcher", "file-watcher"), ("emit", "emit-server")]
        {
            let error = unknown(&name(typed), &known);
            assert_eq!(error.kind, ErrorKind::Usage);
            assert_eq!(error.hint, Some(format!("did you mean `{meant}`?")));
        }
        let none = unknown(&name("zzz"), &known);
        assert_eq!(none.hint.as_deref(), Some("there are: gateway, embedding-server, file-watcher, emit-server"));
        assert_eq!(unknown(&name("a"), []).hint.as_deref(), Some("services.toml declares none"));
    }

    #[test]
    fn names_are_checked_and_counted_once() {
        let typed = ["a", "b", "a"].map(String::from);
        assert_eq!(parse(&typed), Ok(vec![name("a"), name("b")]));
        assert_eq!(parse(&["a/b".to_owned()]).unwrap_err().kind, ErrorKind::Usage);
    }
}
