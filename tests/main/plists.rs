//! The agent that starts the daemon at login, read back by another reader than launchd.

use plist::{Dictionary, Value};

fn agent() -> Dictionary {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/plists/ai.openclaw.supervisor.plist");
    Value::from_file(path).unwrap().into_dictionary().unwrap()
}

#[test]
fn the_agents_keys_are_spelt_as_launchd_spells_them_and_mean_what_we_need() {
    let agent = agent();
    // launchd passes over a key it does not know without a word, so each one is compared to the letter.
    let known = [
        "AbandonProcessGroup",
        "EnvironmentVariables",
        "ExitTimeOut",
        "KeepAlive",
        "Label",
        "ProcessType",
        "ProgramArguments",
        "RunAtLoad",
        "StandardErrorPath",
        "StandardOutPath",
        "ThrottleInterval",
        "Umask",
    ];
    let mut keys: Vec<&str> = agent.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, known);
    assert_eq!(agent["Label"].as_string(), Some("ai.openclaw.supervisor"));
    // The runner and its services outlive the daemon, and nothing is starved into false hangs.
    for (key, value) in [("KeepAlive", true), ("RunAtLoad", true), ("AbandonProcessGroup", true)] {
        assert_eq!(agent[key].as_boolean(), Some(value), "{key}");
    }
    assert_eq!(agent["ProcessType"].as_string(), Some("Interactive"));
    assert_eq!(agent["Umask"].as_signed_integer(), Some(0o077));
}

#[test]
fn launchd_gives_our_services_the_time_that_services_toml_does() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/services.toml")).unwrap();
    let file: toml::Table = text.parse().unwrap();
    let services = file["service"].as_table().unwrap();
    let seconds = |service: &toml::Value| {
        let text = service.get("stop_timeout").map_or("30s", |value| value.as_str().unwrap());
        text.strip_suffix('s').unwrap().parse::<i64>().unwrap()
    };
    let longest = services.values().map(seconds).max().unwrap();
    let grace = agent()["ExitTimeOut"].as_signed_integer().unwrap();
    assert!(grace > longest, "{grace} s for services that may take {longest} s");
}
