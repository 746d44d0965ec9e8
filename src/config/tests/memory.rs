//! Faults of a memory table.

use super::faults::expect;
use super::{fleet, read};
use crate::config::fault::code::{ADDRESS, BAD_FORM, CONFLICT, MISSING, OUT_OF_BOUNDS, UNKNOWN_KEY, WRONG_TYPE};
use crate::model::DayHours;

/// A line in a memory table with a limit that is right but for it, at line 5.
fn in_memory(line: &str, column: usize, code: &'static str, word: &'static str) {
    let text = format!("[service.a]\ncommand = [\"x\"]\n[service.a.memory]\nlimit = \"1GiB\"\n{line}\n");
    expect(&text, &[(code, 5, column, word)]);
}

/// The same in one without anything else, at line 4.
fn alone(line: &str, column: usize, code: &'static str, word: &'static str) {
    expect(&format!("[service.a]\ncommand = [\"x\"]\n[service.a.memory]\n{line}\n"), &[(code, 4, column, word)]);
}

#[test]
fn sizes_that_do_not_go_together() {
    in_memory("plateau = \"1GiB\"", 11, CONFLICT, "restarted before it is reached");
    in_memory("plateau = \"2GiB\"", 11, CONFLICT, "a plateau below the limit");
    in_memory("ceiling = \"1GiB\"", 11, CONFLICT, "a ceiling above the limit");
    alone("ceiling = \"1GiB\"", 11, CONFLICT, "there is no limit");
    in_memory("ceiling = \"1KB\"", 11, OUT_OF_BOUNDS, "1MiB to");
    // What is faulty is not compared.
    let text = "[service.a]\ncommand = [\"x\"]\n[service.a.memory]\nlimit = \"1 GiB\"\nceiling = \"2GiB\"\nmax_wait = \"1h\"\nidle.exec = [\"x\"]\n";
    expect(text, &[(BAD_FORM, 4, 9, "1GiB")]);
    let memory = |lines: &str| {
        let text = format!("[service.a]\ncommand = [\"x\"]\n[service.a.memory]\n{lines}\n");
        fleet(&text).services.remove(0).memory.unwrap()
    };
    assert_eq!(memory("limit = \"4GiB\"").ceiling, Some(5 << 30));
    assert_eq!(memory("plateau = \"4GiB\"").plateau, Some(4 << 30), "it needs no limit");
}

#[test]
fn what_nothing_waits_for_and_what_waits_for_nothing() {
    in_memory("max_wait = \"1h\"", 12, CONFLICT, "waits for nothing");
    in_memory("on_growth = \"restart-when-idle\"", 13, CONFLICT, "never known to be idle");
    in_memory("max_wait = \"0s\"\nquiet = [\"03:00-05:00\"]", 12, OUT_OF_BOUNDS, "1s to");
    in_memory("on_growth = \"restart\"", 13, BAD_FORM, "\"restart-when-idle\"");
    in_memory("recycle = \"0s\"", 11, OUT_OF_BOUNDS, "1s to");
    alone("max_wait = \"1h\"", 12, CONFLICT, "there is no limit");
    alone("quiet = [\"03:00-05:00\"]", 9, CONFLICT, "growth is only told");
    alone("idle = { exec = [\"x\"] }", 8, CONFLICT, "restart-when-idle");
    // Of what has a bad form nothing else is told.
    alone("quiet = [\"25:00-05:00\"]", 10, BAD_FORM, "such as \"03:00-05:00\"");
    alone("quiet = [\"03:00-05:00\", \"3-5\"]", 25, BAD_FORM, "such as \"03:00-05:00\"");
    alone("quiet = \"03:00-05:00\"", 9, WRONG_TYPE, "write quiet = [\"03:00-05:00\"]");
    alone("idle = { exec = \"x\" }", 17, WRONG_TYPE, "[");
    in_memory("quiet = [\"3-5\"]\nmax_wait = \"1h\"\non_growth = \"restart-when-idle\"", 10, BAD_FORM, "such as");
    let text =
        "[service.a]\ncommand = [\"x\"]\n[service.a.memory]\non_growth = \"restart-when-idle\"\nidle.exec = [\"x\"]\n";
    assert_eq!(read(text).faults, []);
}

#[test]
fn idle_is_asked_by_a_probe_with_an_answer() {
    in_memory("idle = {}", 8, MISSING, "write one of http, unix, exec");
    in_memory("idle = { unix = \"/x\" }", 17, CONFLICT, "write path = \"/idle\"");
    in_memory("idle = { tcp = \"127.0.0.1:1\", exec = [\"x\"] }", 10, UNKNOWN_KEY, "possible here: http, unix");
    in_memory("idle = { http = \"http://10.0.0.1/\" }", 17, ADDRESS, "127.0.0.1");
    in_memory("idle = { exec = [\"x\"], expect_status = 204 }", 40, CONFLICT, "no http probe");
}

#[test]
fn hours_of_the_day() {
    let text = "[service.a]\ncommand = [\"x\"]\nmemory = { limit = \"1GiB\", quiet = [\"00:00-24:00\", \"23:59-00:00\", \"12:00-12:01\"] }\n";
    let memory = fleet(text).services.remove(0).memory.unwrap();
    let hours = [(0, 1440), (1439, 0), (720, 721)].map(|(from, until)| DayHours { from, until });
    assert_eq!(memory.quiet, hours);
    in_memory("quiet = \"03:00-05:00\"", 9, WRONG_TYPE, "write quiet = [\"03:00-05:00\"]");
    in_memory("quiet = [\"03:00-03:00\"]", 10, BAD_FORM, "\"00:00-24:00\" for the whole day");
    in_memory("quiet = [\"24:00-03:00\"]", 10, BAD_FORM, "00:00");
    for bad in [
        "",
        "3-5",
        "03:00",
        "03:00-",
        "3:00-5:00",
        "03:00-25:00",
        "03:60-04:00",
        "03:00 - 05:00",
        "+3:00-05:00",
        "24:01-03:00",
    ] {
        in_memory(&format!("quiet = [\"{bad}\"]"), 10, BAD_FORM, "such as \"03:00-05:00\"");
    }
}

#[test]
fn figures_are_of_this_machine_and_say_where() {
    let url = "http://127.0.0.1:1/";
    in_memory(&format!("heap = {{ http = \"{url}\" }}"), 8, MISSING, "`pointer` is missing");
    in_memory("requests = { pointer = \"/x\" }", 12, MISSING, "`http` is missing");
    in_memory(&format!("heap = {{ http = \"{url}\", pointer = \"memory/heapUsed\" }}"), 50, BAD_FORM, "begin with /");
    in_memory(&format!("heap = {{ http = \"{url}\", pointer = \"\" }}"), 50, BAD_FORM, "\"/memory/heapUsed\"");
    in_memory(&format!("heap = {{ http = \"{url}\", pointer = \"/a~2\" }}"), 50, BAD_FORM, "~1");
    in_memory("heap = { http = \"http://example.org/\", pointer = \"/x\" }", 17, ADDRESS, "127.0.0.1");
    in_memory("heap = { http = \"https://127.0.0.1/\", pointer = \"/x\" }", 17, ADDRESS, "plain http");
}

#[test]
fn snapshot_signals() {
    for (signal, why) in [
        ("KILL", "ends a process"),
        ("SIGTERM", "instead of having it write a heap snapshot"),
        ("STOP", "does not write a heap snapshot"),
        ("SEGV", "crashes by"),
        ("SIGABRT", "crashes by"),
        ("CHLD", "the order to write a heap snapshot"),
    ] {
        in_memory(&format!("snapshot_signal = \"{signal}\""), 19, BAD_FORM, why);
    }
    let of = |command: &str, signal: &str| {
        format!("[service.a]\ncommand = [\"{command}\"]\nmemory.snapshot_signal = \"{signal}\"\n")
    };
    for signal in ["USR1", "SIGUSR2"] {
        expect(&of("openclaw", signal), &[(BAD_FORM, 3, 26, "--heapsnapshot-signal=SIGPROF")]);
        assert_eq!(read(&of("node", signal)).faults, []);
    }
    assert_eq!(read(&of("openclaw", "PROF")).faults, []);
    let stops = of("node", "PROF") + "stop_signal = \"PROF\"\n";
    expect(&stops, &[(BAD_FORM, 3, 26, "`stop_signal`")]);
}
