//! Of hangs, of starts that take long, and of parts that are not well.

use serde_json::{Map, Value};

use super::{Text, because, commands, quoted, utc};
use crate::machine::words::{capital, exactly, lasting};
use crate::model::UnitName;

/// So many restarts for the same hang did not help.
pub(in crate::machine::alerts) fn unhelped(data: &Map<String, Value>) -> u64 {
    data.get("unhelped").and_then(Value::as_u64).unwrap_or(0)
}

/// How long its restart waits, milliseconds; 0 when it does not.
pub(in crate::machine::alerts) fn restart_in_ms(data: &Map<String, Value>) -> i64 {
    data.get("restart_in_ms").and_then(Value::as_i64).unwrap_or(0).max(0)
}

/// Of a hang. `at_ms`: when it was told.
pub(in crate::machine::alerts) fn of_hang(name: &UnitName, data: &Map<String, Value>, at_ms: i64) -> Text {
    let number = |key: &str| data.get(key).and_then(Value::as_i64);
    let mut facts = Vec::new();
    if let Some(since) = number("failing_since_ms") {
        let probes = match number("failed_probes") {
            Some(1) => "; one probe had no answer".to_owned(),
            Some(many) => format!("; {many} probes in a row had no answer"),
            None => String::new(),
        };
        facts.push(format!("It has been silent since {}{probes}.", utc(since)));
    }
    facts.extend(number("tolerated_ms").map(|ms| format!("A pause of {} is tolerated.", exactly(ms))));
    let lived = number("uptime_ms").map(lasting);
    facts.extend(lived.as_ref().map(|lived| format!("It had run for {lived} until then.")));
    facts.extend(
        quoted(data, "evidence")
            .map(|file| format!("What it was doing is on record: {file} (`supervisor events --evidence`).")),
    );
    let wait = restart_in_ms(data);
    let next = || format!("in {} ({})", lasting(wait), utc(at_ms.saturating_add(wait)));
    let helped = unhelped(data);
    let (title, doing) = if helped > 0 {
        let after = lived.map_or(String::new(), |lived| format!(" after about {lived}"));
        let did_not =
            format!("{} did not help", if helped == 1 { "1 restart".into() } else { format!("{helped} restarts") });
        let then = match wait {
            0 => "The supervisor restarts it once more.".to_owned(),
            _ => format!("Restarts get rarer, the next is {}.", next()),
        };
        (
            format!("{name} hangs again, {did_not}"),
            format!("{}: it hangs again each time{after}. {then}", capital(&did_not)),
        )
    } else {
        let doing = match wait {
            0 => "The supervisor restarts it.".to_owned(),
            _ => format!("The supervisor restarts it {}, so that it is not ended by force too often.", next()),
        };
        (format!("{name} does not answer"), doing)
    };
    let mut advice = commands(name);
    advice.push(format!("supervisor events --service {name}"));
    if wait > 0 {
        advice.push(format!("supervisor restart {name}"));
    }
    Text { title: because(title, data), facts, tail: super::tail(data), doing, advice }
}

/// Of a start that takes longer than its budget and goes on.
pub(in crate::machine::alerts) fn of_slow_start(name: &UnitName, data: &Map<String, Value>) -> Text {
    Text {
        title: because(format!("{name} is not up yet"), data),
        doing: "The supervisor lets it go on as long as it makes progress, and restarts it when it makes none.".into(),
        advice: commands(name),
        ..Text::default()
    }
}

/// Of a part, a channel or a peer, that is not well.
pub(in crate::machine::alerts) fn of_part(name: &UnitName, data: &Map<String, Value>) -> Text {
    let part = quoted(data, "part").unwrap_or_else(|| "a part".into());
    Text {
        title: because(format!("{part} of {name} is not well"), data),
        facts: vec![format!("{name} itself answers.")],
        doing: format!("The supervisor does not restart {name} for one of its parts."),
        advice: commands(name),
        ..Text::default()
    }
}
