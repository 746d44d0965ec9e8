//! What the reader knows, what the schema says and what is checked in are one thing.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{EVERY_KEY, fleet, read};
use crate::config::schema_file::{File, Health, Log, Service, Startup, Supervisor, Watch};
use crate::config::schema_memory::{Idle, Memory};
use crate::config::schema_rest::{Alerts, Deadman, Exposure, Step, Task};
use crate::config::{alerts, exposure, fault::code, health, memory, parse, schema, service, sink, step, task, watch};

fn schema_value() -> Value {
    serde_json::from_str(&schema()).unwrap()
}

/// The keys of the table whose schema is at `pointer`.
fn keys_at(schema: &Value, pointer: &str) -> BTreeSet<String> {
    let table = schema.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"));
    assert_eq!(table["additionalProperties"], false, "{pointer}");
    table["properties"].as_object().unwrap().keys().cloned().collect()
}

/// Where the schema of each table is, its keys as the reader has them, and where in the file with every key to put one.
const TABLES: &[(&str, &[&str], &str)] = &[
    ("", parse::ROOT_KEYS, ""),
    ("/definitions/Supervisor", parse::SUPERVISOR_KEYS, "[supervisor]"),
    ("/definitions/Service", service::KEYS, "[service.web]"),
    ("/definitions/Log", service::LOG_KEYS, "[service.web.log]"),
    ("/definitions/Memory", memory::KEYS, "[service.web.memory]"),
    ("/definitions/Idle", memory::IDLE_KEYS, "[service.web.memory.idle]"),
    ("/definitions/Figure", memory::FIGURE_KEYS, "[service.web.memory.heap]"),
    ("/definitions/Watch", watch::KEYS, "[[service.watcher.watch]]"),
    ("/definitions/Health", health::KEYS, "[service.web.health]"),
    ("/definitions/Startup", health::STARTUP_KEYS, "[service.web.health.startup]"),
    ("/definitions/Parts", health::PARTS_KEYS, "[service.web.health.parts]"),
    ("/definitions/Task", task::KEYS, "[task.t]"),
    ("/definitions/Exposure", exposure::KEYS, "[task.e]\nensure = [\"x\"]"),
    ("/definitions/Step", step::KEYS, "[[task.t.steps]]"),
    ("/definitions/CalendarTable", task::CALENDAR_KEYS, "[[task.t.calendar]]"),
    ("/definitions/Task/properties/catch_up/anyOf/1", task::CATCH_UP_KEYS, "[task.t.catch_up]"),
    ("/definitions/Alerts", alerts::KEYS, "[alerts]"),
    ("/definitions/Window", alerts::WINDOW_KEYS, "[alerts.storm]"),
    ("/definitions/Sink", sink::KEYS, "[[alerts.sink]]"),
    ("/definitions/Deadman", alerts::DEADMAN_KEYS, "[alerts.deadman]"),
];

#[test]
fn the_checked_in_schema_is_the_one_that_is_printed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/.config/services.schema.json");
    if std::env::var_os("WRITE_SCHEMA").is_some() {
        std::fs::write(path, schema()).unwrap();
    }
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert!(checked_in == schema(), "{path} is not what `supervisor schema` prints; run this test with WRITE_SCHEMA=1");
}

#[test]
fn the_schema_has_the_keys_of_the_reader_and_the_reader_those_of_the_schema() {
    let schema = schema_value();
    for (pointer, keys, _) in TABLES {
        let known: BTreeSet<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        assert_eq!(keys_at(&schema, pointer), known, "{pointer}");
    }
    let tables = schema["definitions"].as_object().unwrap().values().filter(|d| d.get("properties").is_some()).count();
    // The file itself and `catch_up` have no definition of their own.
    assert_eq!(tables, TABLES.len() - 2, "a table of the schema is not compared");
    assert!(!super::super::schema().contains("null"), "TOML has no null");
}

/// A date is right nowhere, so a key that is read gives a fault exactly there.
#[test]
fn every_key_is_read_with_its_type() {
    for (_, keys, header) in TABLES {
        for key in *keys {
            let header = header.lines().filter(|line| !line.starts_with(&format!("{key} = "))).collect::<Vec<_>>();
            let text = format!("{}\n{key} = 1979-05-27\n", header.join("\n"));
            let parsed = read(&text);
            let (line, column) = (header.len().max(1) + 1, key.len() + 4);
            let found = parsed
                .faults
                .iter()
                .any(|f| f.code == code::WRONG_TYPE && (f.line, f.column) == (line, column) && f.help.is_some());
            assert!(found, "{text}: {:#?}", parsed.faults);
        }
    }
}

#[test]
fn a_key_that_is_not_known_is_a_fault_in_every_table() {
    for (_, keys, header) in TABLES {
        let parsed = read(&format!("{header}\nbanana = 1\n"));
        let fault = parsed.faults.iter().find(|f| f.code == code::UNKNOWN_KEY).unwrap_or_else(|| panic!("{header}"));
        assert_eq!((fault.line, fault.column), (header.lines().count().max(1) + 1, 1), "{header}");
        assert!(fault.help.as_deref().unwrap().contains(keys[0]), "{header}: the keys are listed");
        // A slip of the keyboard in each key is seen as that.
        for key in keys.iter().filter(|key| key.len() > 3) {
            let parsed = read(&format!("{header}\n{key}x = 1\n"));
            let help = format!("did you mean `{key}`?");
            assert!(parsed.faults.iter().any(|f| f.help.as_ref() == Some(&help)), "{header} {key}");
        }
    }
}

/// Defaults as the schema has them, written out, read the same as nothing written.
#[test]
fn the_defaults_of_the_schema_are_those_of_the_reader() {
    fn written<T: serde::Serialize>(header: &str, table: &T) -> String {
        let value = toml::Table::try_from(table).unwrap();
        value.iter().map(|(k, v)| format!("{k} = {v}\n")).fold(format!("{header}\n"), |all, line| all + &line)
    }
    let pairs = [
        (written("[supervisor]", &Supervisor::default()), String::new()),
        (written("[alerts]", &Alerts::default()), String::new()),
        (
            written("[alerts.deadman]", &Deadman::default()) + "url = \"https://x.org/y\"\n",
            "[alerts]\ndeadman = { url = \"https://x.org/y\" }\n".to_owned(),
        ),
        (
            written("[service.a]", &Service::default()) + "command = [\"x\"]\n",
            "[service.a]\ncommand = [\"x\"]\n".to_owned(),
        ),
        (
            written("[service.a]\ncommand = [\"x\"]\n[service.a.log]", &Log::default()),
            "[service.a]\ncommand = [\"x\"]\n".to_owned(),
        ),
        (
            written("[service.a]\ncommand = [\"x\"]\n[service.a.memory]", &Memory::default()),
            "[service.a]\ncommand = [\"x\"]\nmemory = {}\n".to_owned(),
        ),
        (
            written("[service.a]\ncommand = [\"x\"]\nmemory.limit = \"1GiB\"\n[service.a.memory.idle]", &Idle::default()) + "http = \"http://127.0.0.1:1\"\n",
            "[service.a]\ncommand = [\"x\"]\nmemory = { limit = \"1GiB\", idle.http = \"http://127.0.0.1:1\" }\n".to_owned(),
        ),
        (
            written("[service.a]\ncommand = [\"x\"]\n[service.a.health]", &Health::default()) + "http = \"http://127.0.0.1:1\"\n",
            "[service.a]\ncommand = [\"x\"]\nhealth.http = \"http://127.0.0.1:1\"\n".to_owned(),
        ),
        (
            written("[service.a]\ncommand = [\"x\"]\nhealth.tcp = \"127.0.0.1:1\"\n[service.b]\ncommand = [\"x\"]\n[service.b.health]\nhttp = \"http://127.0.0.1:1\"\n[service.b.health.startup]", &Startup::default()) + "http = \"http://127.0.0.1:1\"\n",
            "[service.a]\ncommand = [\"x\"]\nhealth.tcp = \"127.0.0.1:1\"\n[service.b]\ncommand = [\"x\"]\nhealth = { http = \"http://127.0.0.1:1\", startup = { http = \"http://127.0.0.1:1\" } }\n".to_owned(),
        ),
        (
            written("[service.a]\nbuiltin = \"file-watcher\"\n[[service.a.watch]]", &Watch::default()) + "paths = [\"/x\"]\nrun = [\"x\"]\n",
            "[service.a]\nbuiltin = \"file-watcher\"\nwatch = [{ paths = [\"/x\"], run = [\"x\"] }]\n".to_owned(),
        ),
        (
            written("[task.a]", &Task::default()) + "calendar = [\"daily 01:00\"]\nsteps = [{ builtin = \"prune\" }]\n",
            "[task.a]\ncalendar = [\"daily 01:00\"]\nsteps = [{ builtin = \"prune\" }]\n".to_owned(),
        ),
        (
            written("[task.a]", &Exposure::default()) + "ensure = [\"x\"]\n",
            "[task.a]\nensure = [\"x\"]\n".to_owned(),
        ),
        (
            written("[task.a]\ncalendar = [\"daily 01:00\"]\n[[task.a.steps]]", &Step::default()) + "builtin = \"prune\"\n",
            "[task.a]\ncalendar = [\"daily 01:00\"]\nsteps = [{ builtin = \"prune\" }]\n".to_owned(),
        ),
    ];
    for (written, short) in pairs {
        assert_eq!(fleet(&written), fleet(&short), "{written}");
    }
    let whole = toml::to_string(&File::default()).unwrap();
    assert_eq!(fleet(&whole), fleet(""), "{whole}");
}

#[test]
fn the_file_with_every_key_has_every_key() {
    fn collect(value: &toml::Value, into: &mut BTreeSet<String>) {
        match value {
            toml::Value::Table(table) => table.iter().for_each(|(key, value)| {
                into.insert(key.clone());
                collect(value, into);
            }),
            toml::Value::Array(array) => array.iter().for_each(|value| collect(value, into)),
            _ => {}
        }
    }
    let mut present = BTreeSet::new();
    collect(&toml::Value::Table(EVERY_KEY.parse().unwrap()), &mut present);
    for (_, keys, header) in TABLES {
        for key in *keys {
            assert!(present.contains(*key), "{header} {key}");
        }
    }
}
