//! Named parts, out of what an answer or a check's output says.

use serde_json::Value;

use super::words::excerpt;
use crate::model::Part;

/// Most parts that are taken.
const MOST: usize = 100;

/// Characters of a name, and of what is wrong.
const NAME: usize = 80;
const TROUBLE: usize = 200;

/// The parts in a JSON object: those that a list `failing` names, as the gateway's `/readyz` has it; else each member that is
/// "ok", true, false or another text, which says what is wrong. `None` when it is no such object, or it has none.
pub(super) fn read(json: &[u8]) -> Option<Vec<Part>> {
    let Ok(Value::Object(members)) = serde_json::from_slice::<Value>(json) else { return None };
    if let Some(names) = members.get("failing").and_then(list_of_texts) {
        return Some(
            names.into_iter().take(MOST).map(|name| part(name, Some("it is in the list `failing`"))).collect(),
        );
    }
    let of = |(name, value): (&String, &Value)| match value {
        Value::Bool(true) => Some(part(name, None)),
        Value::Bool(false) => Some(part(name, Some("it is not well"))),
        Value::String(text) if text.eq_ignore_ascii_case("ok") => Some(part(name, None)),
        Value::String(text) if text.trim().is_empty() => Some(part(name, Some("it is not well"))),
        Value::String(text) => Some(part(name, Some(text))),
        _ => None,
    };
    let parts: Vec<Part> = members.iter().filter_map(of).take(MOST).collect();
    (!parts.is_empty()).then_some(parts)
}

fn list_of_texts(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}

fn part(name: &str, trouble: Option<&str>) -> Part {
    Part { name: excerpt(name, NAME), trouble: trouble.map(|text| excerpt(text, TROUBLE)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Vec<(String, Option<String>)>> {
        super::read(text.as_bytes()).map(|parts| parts.into_iter().map(|part| (part.name, part.trouble)).collect())
    }

    #[test]
    fn a_list_of_those_that_fail_goes_before_all_else() {
        let found = read(r#"{"ready":false,"failing":["telegram","startup-sidecars"],"uptimeMs":3}"#).unwrap();
        assert_eq!(found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["telegram", "startup-sidecars"]);
        assert!(found.iter().all(|(_, trouble)| trouble.is_some()));
        assert_eq!(read(r#"{"ready":true,"failing":[]}"#), Some(Vec::new()));
    }

    #[test]
    fn members_are_parts_that_are_well_or_say_what_is_wrong() {
        let found =
            read(r#"{"a":"ok","b":true,"c":false,"d":"no token","e":"","n":1,"l":[],"o":{},"z":null}"#).unwrap();
        let some = |text: &str| Some(text.to_owned());
        let wanted = [
            ("a", None),
            ("b", None),
            ("c", some("it is not well")),
            ("d", some("no token")),
            ("e", some("it is not well")),
        ];
        assert_eq!(found, wanted.map(|(name, trouble)| (name.to_owned(), trouble)));
        // A list of something else is no list of names.
        assert_eq!(read(r#"{"failing":[1],"a":"ok"}"#).unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_object_with_parts_has_none_and_nothing_is_without_bounds() {
        for none in ["", "fine\n", "[]", "{}", r#"{"n":1}"#, "{", "\u{0}"] {
            assert_eq!(read(none), None, "{none:?}");
        }
        let many: String =
            (0..300).map(|n| format!("\"{}{n}\":\"{}\",", "n".repeat(500), "t\\u001b".repeat(500))).collect();
        let found = read(&format!("{{{}}}", many.trim_end_matches(','))).unwrap();
        assert_eq!(found.len(), MOST);
        let (name, trouble) = &found[0];
        assert_eq!((name.chars().count(), trouble.as_ref().map(|text| text.chars().count())), (NAME, Some(TROUBLE)));
        assert!(!trouble.as_ref().unwrap().contains('\u{1b}'));
    }
}
