//! Each way to go wrong: its code, its place, and the words that mend it.

use super::health::in_health;
use super::{around, read, source};
use crate::config::fault::code::{
    ADDRESS, AFTER, BAD_FORM, CALENDAR, CONFLICT, CYCLE, MISSING, NAME, OUT_OF_BOUNDS, PATH, PORT, SYNTAX, UNKNOWN_KEY,
    WRONG_TYPE,
};
use crate::config::{Fault, parse, render};

/// What must be found: code, line, column, and a word of the message, label or help.
pub(super) type Want = (&'static str, usize, usize, &'static str);

fn said(fault: &Fault) -> String {
    format!("{} | {} | {}", fault.message, fault.label, fault.help.as_deref().unwrap_or_default())
}

/// `text` has exactly the wanted faults, in order; each says what to do.
pub(super) fn expect(text: &str, wanted: &[Want]) {
    let parsed = read(text);
    let shown = || format!("{text}\n{}", render(&parsed.faults, &source(text), false));
    let places: Vec<_> = parsed.faults.iter().map(|f| (f.code, f.line, f.column)).collect();
    let want: Vec<_> = wanted.iter().map(|(code, line, column, _)| (*code, *line, *column)).collect();
    assert_eq!(places, want, "{}", shown());
    for (fault, (.., word)) in parsed.faults.iter().zip(wanted) {
        assert!(said(fault).contains(word), "no {word:?} in {}", shown());
        assert!(fault.help.as_ref().is_some_and(|help| !help.is_empty()), "nothing to do in {}", shown());
    }
}

/// A line in a service that is right but for it, at line 3.
pub(super) fn in_service(line: &str, column: usize, code: &'static str, word: &'static str) {
    expect(&format!("[service.a]\ncommand = [\"x\"]\n{line}\n"), &[(code, 3, column, word)]);
}

#[test]
fn texts_that_are_not_toml() {
    expect("[service.a\ncommand = 1\n", &[(SYNTAX, 1, 11, "not TOML")]);
    expect("[service.a]\ncommand = [\"x\"]\ncommand = [\"y\"]\n", &[(SYNTAX, 3, 1, "once")]);
    expect("[service.a]\n[service.b]\n[service.a]\n", &[(SYNTAX, 3, 10, "duplicate key")]);
    let parsed = read("a = nope\n[service.b]\nc = \"open\nd = 2\n");
    assert!(parsed.faults.len() >= 2, "several at once: {:?}", parsed.faults);
}

#[test]
fn keys_and_tables_that_do_not_exist() {
    expect("[services.a]\ncommand = [\"x\"]\n", &[(UNKNOWN_KEY, 1, 2, "did you mean `service`?")]);
    expect("state_dir = \"/x\"\n", &[(UNKNOWN_KEY, 1, 1, "supervisor, service, task, alerts")]);
    in_service("throtle = \"10s\"", 1, UNKNOWN_KEY, "did you mean `throttle`?");
    in_service("stop-timeout = \"10s\"", 1, UNKNOWN_KEY, "did you mean `stop_timeout`?");
    in_service("depends_on = [\"b\"]", 1, UNKNOWN_KEY, "did you mean `after`?");
    in_service("working_directory = \"/\"", 1, UNKNOWN_KEY, "did you mean `cwd`?");
    in_service("banana = 1", 1, UNKNOWN_KEY, "possible here: command, builtin, cwd");
    in_service("log.maxsize = \"1MiB\"", 5, UNKNOWN_KEY, "did you mean `max_size`?");
}

#[test]
fn values_of_the_wrong_type() {
    in_service("throttle = 10", 12, WRONG_TYPE, "write throttle = \"10s\"");
    in_service("throttle = 10", 12, WRONG_TYPE, "not the number 10");
    in_service("enabled = \"no\"", 11, WRONG_TYPE, "write enabled = false");
    in_service("enabled = 1", 11, WRONG_TYPE, "write enabled = true");
    in_service("ports = 80", 9, WRONG_TYPE, "a list of port numbers");
    in_service("ports = [\"80\"]", 10, WRONG_TYPE, "whole number");
    in_service("env = \"A=1\"", 7, WRONG_TYPE, "a table");
    in_service("env = { PORT = 8080 }", 16, WRONG_TYPE, "write PORT = \"8080\"");
    in_service("health = true", 10, WRONG_TYPE, "http = ");
    in_service("after = \"b\"", 9, WRONG_TYPE, "a list of service names");
    in_service("restart = true", 11, WRONG_TYPE, "one of the known words");
    in_service("cwd = 5", 7, WRONG_TYPE, "a path in quotes");
    in_service("memory.growth = 10", 17, WRONG_TYPE, "\"10MB/h\"");
    in_service("log.max_size = 1024", 16, WRONG_TYPE, "a size in quotes");
    expect(
        "[service.a]\ncommand = \"node main.js\"\n",
        &[(WRONG_TYPE, 2, 11, "write command = [\"node\", \"main.js\"]")],
    );
    expect("[service.a]\ncommand = [\"x\", 5]\n", &[(WRONG_TYPE, 2, 17, "5 in quotes")]);
    expect("service = 5\n", &[(WRONG_TYPE, 1, 11, "[service.NAME]")]);
    expect("[[service]]\ncommand = [\"x\"]\n", &[(WRONG_TYPE, 1, 1, "[service.NAME]")]);
    expect("[service]\na = 5\n", &[(WRONG_TYPE, 2, 5, "a table")]);
    expect("[alerts]\nsink = \"log\"\n", &[(WRONG_TYPE, 2, 8, "a list of tables")]);
}

#[test]
fn what_has_to_be_there() {
    expect("[service.a]\n", &[(MISSING, 1, 1, "write command = ")]);
    expect("[service.a]\ncommand = []\n", &[(MISSING, 2, 11, "no program")]);
    expect("[service.a]\ncommand = [\"\"]\n", &[(BAD_FORM, 2, 12, "empty")]);
    in_service("health = { interval = \"5s\" }", 10, MISSING, "write one of http, tcp");
    in_service("health = { http = \"http://127.0.0.1\", startup = {} }", 49, MISSING, "write one of http, tcp");
    expect("[service.a]\nbuiltin = \"file-watcher\"\n", &[(MISSING, 1, 1, "`watch` table")]);
    expect(
        "[service.a]\nbuiltin = \"file-watcher\"\nwatch = [{ on = [], paths = [] }]\n",
        &[
            (MISSING, 3, 10, "`run` is missing"),
            (MISSING, 3, 17, "nothing is reacted to"),
            (MISSING, 3, 29, "no folder"),
        ],
    );
    expect("[task.t]\n", &[(MISSING, 1, 1, "`calendar`"), (MISSING, 1, 1, "`steps`")]);
    expect("[task.t]\ncalendar = []\nsteps = []\n", &[(MISSING, 2, 12, "daily"), (MISSING, 3, 9, "nothing would")]);
    in_task("steps = [{ timeout = \"1m\" }]", "", &[(MISSING, 3, 10, "`run` (or `builtin`)")]);
    in_task(STEPS, "catch_up = {}", &[(MISSING, 4, 12, "`within`")]);
    expect("[alerts]\nstorm = { count = 3 }\n", &[(MISSING, 2, 9, "`within`")]);
    expect("[[alerts.sink]]\nurl = \"https://x\"\n", &[(MISSING, 1, 1, "`type`")]);
    expect("[[alerts.sink]]\ntype = \"command\"\n", &[(MISSING, 1, 1, "write command = ")]);
    expect("[[alerts.sink]]\ntype = \"slack\"\n", &[(MISSING, 1, 1, "`url`")]);
    assert!(read("[[alerts.sink]]\ntype = \"slack\"\nsecret_file = \"/s\"\n").faults.is_empty());
}

#[test]
fn what_is_made_to_hold_is_no_calendar_job() {
    expect("[task.e]\nundo = [\"x\"]\n", &[(MISSING, 1, 1, "tailscale")]);
    expect("[task.e]\nensure = []\n", &[(MISSING, 2, 10, "no program")]);
    expect(
        "[task.e]\nensure = [\"x\"]\ncalendar = [\"daily 07:55\"]\nsteps = 1\n",
        &[(CONFLICT, 3, 1, "belongs to a calendar job"), (CONFLICT, 4, 1, "make two [task.NAME]")],
    );
    expect(
        "[task.t]\ncalendar = [\"daily 07:55\"]\nsteps = [{ run = [\"x\"] }]\ncheck = [\"x\"]\n",
        &[(CONFLICT, 4, 1, "make this a calendar job")],
    );
    expect("[task.e]\nensure = [\"x\"]\nchek = [\"x\"]\n", &[(UNKNOWN_KEY, 3, 1, "did you mean `check`?")]);
    expect(
        "[task.e]\nensure = [\"x\"]\nretry_delay = \"2m\"\nbackoff_max = \"1m\"\n",
        &[(CONFLICT, 3, 15, "above `backoff_max`")],
    );
    expect("[task.e]\nensure = [\"x\"]\nretry_delay = \"0s\"\n", &[(OUT_OF_BOUNDS, 3, 15, "10ms to 1h")]);
    expect("[task.e]\nensure = [\"x\"]\n[task.E]\nensure = [\"x\"]\n", &[(NAME, 3, 7, "second one of this name")]);
    expect(
        "[service.e]\ncommand = [\"x\"]\n[task.e]\nensure = [\"x\"]\n",
        &[(NAME, 3, 7, "as service \"e\" on line 1")],
    );
    expect(
        "[service.s]\ncommand = [\"x\"]\nafter = [\"e\"]\n[task.e]\nensure = [\"x\"]\n",
        &[(AFTER, 3, 10, "\"e\" is a task")],
    );
}

const STEPS: &str = "steps = [{ run = [\"x\"] }]";

/// `steps` at line 3 and one more line of a task that is right but for them.
fn in_task(steps: &str, line: &str, wanted: &[Want]) {
    expect(&format!("[task.t]\ncalendar = [\"daily 07:55\"]\n{steps}\n{line}\n"), wanted);
}

#[test]
fn texts_of_the_wrong_form() {
    in_service("throttle = \"10\"", 12, BAD_FORM, "write \"10s\"");
    in_service("throttle = \"soon\"", 12, BAD_FORM, "not a duration");
    in_service("log = { max_size = \"10mb\" }", 20, BAD_FORM, "write \"10MB\"");
    in_service("memory.growth = \"10MB\"", 17, BAD_FORM, "write \"10MB/h\"");
    in_service("restart = \"allways\"", 11, BAD_FORM, "did you mean \"always\"?");
    in_service("restart = \"sometimes\"", 11, BAD_FORM, "write one of \"always\", \"on-failure\", \"never\"");
    in_service("sweep = \"all\"", 9, BAD_FORM, "\"tree\", \"group\"");
    in_service("process_type = \"Background\"", 16, BAD_FORM, "did you mean \"background\"?");
    in_service("stop_signal = \"term\"", 15, BAD_FORM, "write \"TERM\"");
    in_service("stop_signal = \"SIGHELLO\"", 15, BAD_FORM, "write one of HUP, INT");
    in_service("stop_signal = \"SIGSTOP\"", 15, BAD_FORM, "does not ask a process to end");
    in_service("env = { \"A=B\" = \"1\" }", 17, BAD_FORM, "name of a variable");
    in_service("env = { \"\" = \"1\" }", 14, BAD_FORM, "name of a variable");
    in_service("env = { A = \"x\\u0000\" }", 13, BAD_FORM, "NUL");
    in_service("health = { notify = false }", 21, BAD_FORM, "notify = true");
}

#[test]
fn programs_and_arguments() {
    expect("[service.a]\ncommand = [\"node main.js\"]\n", &[(BAD_FORM, 2, 12, "[\"node\", \"main.js\"]")]);
    expect("[service.a]\ncommand = [\"./run\"]\n", &[(PATH, 2, 12, "a bare name")]);
    expect("[service.a]\ncommand = [\"x\", \"a\\u0000b\"]\n", &[(BAD_FORM, 2, 17, "NUL")]);
    expect("[service.a]\nbuiltin = \"filewatcher\"\n", &[(BAD_FORM, 2, 11, "did you mean \"file-watcher\"?")]);
    expect("[service.a]\ncommand = [\"x\"]\nbuiltin = \"emit-server\"\n", &[(CONFLICT, 3, 11, "either")]);
    in_service("watch = [{ paths = [\"/x\"], run = [\"y\"] }]", 9, CONFLICT, "builtin = \"file-watcher\"");
    in_service("listen = \"127.0.0.1:1\"", 10, CONFLICT, "builtin = \"emit-server\"");
}

#[test]
fn values_outside_their_bounds() {
    in_service("throttle = \"2h\"", 12, OUT_OF_BOUNDS, "0s to 1h");
    in_service("backoff_max = \"0s\"\nthrottle = \"0s\"", 15, OUT_OF_BOUNDS, "1s to 24h");
    in_service("start_timeout = \"0s\"", 17, OUT_OF_BOUNDS, "100ms to 24h");
    in_service("stop_timeout = \"0s\"", 16, OUT_OF_BOUNDS, "100ms to 1h");
    in_service("drain_timeout = \"25h\"", 17, OUT_OF_BOUNDS, "100ms to 24h");
    in_service("ports = [0]", 10, OUT_OF_BOUNDS, "1 to 65535");
    in_service("ports = [65536]", 10, OUT_OF_BOUNDS, "1 to 65535");
    in_service("success_exit_codes = [256]", 23, OUT_OF_BOUNDS, "0 to 255");
    in_service("hold_exit_codes = [-1]", 20, OUT_OF_BOUNDS, "0 to 255");
    in_service("hold_exit_codes = [99999999999999999999]", 20, OUT_OF_BOUNDS, "0 to 255");
    in_service("log = { keep = 0 }", 16, OUT_OF_BOUNDS, "1 to 1000");
    in_service("log = { max_size = \"0KB\" }", 20, OUT_OF_BOUNDS, "1KiB to 100GiB");
    in_service("memory = { limit = \"1KB\" }", 20, OUT_OF_BOUNDS, "1MiB to");
    in_service("memory = { growth = \"0MB/h\" }", 21, OUT_OF_BOUNDS, "1KB/h");
    in_service("memory = { interval = \"0s\" }", 23, OUT_OF_BOUNDS, "100ms to 24h");
    in_health("timeout = \"0s\"", 11, OUT_OF_BOUNDS, "1ms to 2m");
    in_health(
        "timeout = \"121s\"
interval = \"5m\"",
        11,
        OUT_OF_BOUNDS,
        "1ms to 2m",
    );
    in_health("failures = 0", 12, OUT_OF_BOUNDS, "1 to 1000");
    in_health("interval = \"0s\"", 12, OUT_OF_BOUNDS, "10ms to 24h");
    in_health("expect_status = 99", 17, OUT_OF_BOUNDS, "100 to 599");
    in_task("steps = [{ run = [\"x\"], retries = 101 }]", "", &[(OUT_OF_BOUNDS, 3, 35, "0 to 100")]);
    in_task("steps = [{ run = [\"x\"], timeout = \"0s\" }]", "", &[(OUT_OF_BOUNDS, 3, 35, "100ms to")]);
    in_task(STEPS, "max_runtime = \"0s\"", &[(OUT_OF_BOUNDS, 4, 15, "100ms to")]);
    in_task(STEPS, "start_within = \"0s\"", &[(OUT_OF_BOUNDS, 4, 16, "1s to")]);
    in_task(STEPS, "catch_up = { within = \"1s\" }", &[(OUT_OF_BOUNDS, 4, 23, "1m to")]);
    expect("[alerts]\nslow_loop = [{ count = 0, within = \"1h\" }]\n", &[(OUT_OF_BOUNDS, 2, 24, "1 to 1000")]);
}

#[test]
fn paths_and_variables() {
    in_service("cwd = \"here\"", 7, PATH, "write an absolute path or \"~/here\"");
    in_service("cwd = \"~other/x\"", 7, PATH, "another person's home");
    in_service("cwd = \"${NOT_SET}/x\"", 7, PATH, "\"NOT_SET\" is not set");
    in_service("env_file = \"gateway.env\"", 12, PATH, "absolute");
    in_service("watch_config = [\"/a\", \"b\"]", 23, PATH, "absolute");
    in_service("env = { A = \"${NOT_SET}\" }", 13, PATH, "launchd");
    in_service("env = { A = \"${VAR\" }", 13, PATH, "without its `}`");
    expect("[supervisor]\nstate_dir = \"state\"\n", &[(PATH, 2, 13, "~/state")]);
    expect("[[alerts.sink]]\ntype = \"webhook\"\nurl = \"https://x\"\nsecret_file = \"s\"\n", &[(PATH, 4, 15, "~/s")]);
}

#[test]
fn values_that_exclude_each_other() {
    in_service("success_exit_codes = [0, 78]", 26, CONFLICT, "hold_exit_codes = []");
    in_service("hold_exit_codes = [0]", 20, CONFLICT, "in both");
    in_service("backoff_max = \"5s\"", 15, CONFLICT, "below `throttle`");
    in_task(STEPS, "max_runtime = \"1m\"\nmin_runtime = \"2m\"", &[(CONFLICT, 5, 15, "above `max_runtime`")]);
    in_task("steps = [{ run = [\"x\"], builtin = \"prune\" }]", "", &[(CONFLICT, 3, 35, "two steps")]);
    expect("[[alerts.sink]]\ntype = \"log\"\nurl = \"https://x\"\n", &[(CONFLICT, 3, 7, "has no `url`")]);
}

#[test]
fn tasks_and_alerts() {
    let keyed = |step: &str, wanted: &[Want]| in_task(&format!("steps = [{{ {step} }}]"), "", wanted);
    keyed("builtin = \"vacuum\", events = \"1d\"", &[(CONFLICT, 3, 41, "builtin = \"prune\"")]);
    keyed("builtin = \"prune\", backups = 1", &[(CONFLICT, 3, 41, "builtin = \"vacuum\"")]);
    keyed("builtin = \"doctor\", keep = 1", &[(CONFLICT, 3, 39, "builtin = \"digest\" or builtin = \"rotate\"")]);
    keyed("run = [\"x\"], max_size = \"1MiB\"", &[(CONFLICT, 3, 36, "builtin = \"rotate\"")]);
    keyed("run = [\"x\"], max_age = \"1d\"", &[(CONFLICT, 3, 35, "builtin = \"verify-backup\"")]);
    keyed("builtin = \"verify-backup\", max_age = \"1s\"", &[(OUT_OF_BOUNDS, 3, 49, "1h to")]);
    keyed("run = [\"x\"], if = \"ok\"", &[(CONFLICT, 3, 30, "put another step before")]);
    in_task("steps = [{ run = [\"x\"] }, { run = [\"x\"], if = \"fail\" }]", "", &[(BAD_FORM, 3, 47, "\"failed\"")]);
    keyed("run = [\"x\"], timeout = \"2h\"", &[(CONFLICT, 3, 35, "longer max_runtime")]);
    keyed("run = [\"x\"], name = \" \"", &[(NAME, 3, 32, "at most 64")]);
    keyed("run = [\"x\"], success_exit_codes = []", &[(MISSING, 3, 46, "at least one")]);
    keyed("run = [\"x\"], success_exit_codes = [256]", &[(OUT_OF_BOUNDS, 3, 47, "0 to 255")]);
    keyed("run = [\"x\"], retry_delay = \"6m\"", &[(OUT_OF_BOUNDS, 3, 39, "0s to 5m")]);
    in_task(STEPS, "overlap = \"both\"", &[(BAD_FORM, 4, 11, "\"skip\", \"queue\", \"replace\"")]);
    in_task(STEPS, "stop_signal = \"STOP\"", &[(BAD_FORM, 4, 15, "\"TERM\"")]);
    in_task("steps = [{ builtin = \"prun\" }]", "", &[(BAD_FORM, 3, 22, "did you mean \"prune\"?")]);
    in_task(STEPS, "timezone = \"Middle Earth\"", &[(BAD_FORM, 4, 12, "Europe/Berlin")]);
    in_task(STEPS, "timezone = \"Europe/Berlni\"", &[(BAD_FORM, 4, 12, "did you mean \"Europe/Berlin\"?")]);
    in_task(STEPS, "timezone = \"Vienna\"", &[(BAD_FORM, 4, 12, "did you mean \"Europe/Vienna\"?")]);
    in_task(STEPS, "timezone = \"Mars/Olympus_Mons\"", &[(BAD_FORM, 4, 12, "write \"local\", \"UTC\"")]);
    in_task(STEPS, "timezone = \"Europe/Wien\"", &[(BAD_FORM, 4, 12, "did you mean \"Europe/Vienna\"?")]);
    in_task(STEPS, "timezone = \"Europe/Xyzw\"", &[(BAD_FORM, 4, 12, "write \"local\", \"UTC\"")]);
    in_task(STEPS, "timezone = \"Mumbai\"", &[(BAD_FORM, 4, 12, "did you mean \"Asia/Kolkata\"?")]);
    in_task(STEPS, "catch_up = \"twice\"", &[(BAD_FORM, 4, 12, "\"once\", \"skip\"")]);
    in_task(STEPS, "catch_up = \"always\"", &[(BAD_FORM, 4, 12, "{ within = \"6h\" }")]);
    in_task(STEPS, "throttle = \"1s\"", &[(UNKNOWN_KEY, 4, 1, "possible here: calendar")]);
    let in_calendar =
        |entry: &str, wanted: &[Want]| expect(&format!("[task.t]\n{STEPS}\ncalendar = [{entry}]\n"), wanted);
    in_calendar("\"daily 7:55\"", &[(CALENDAR, 3, 20, "daily 07:55")]);
    in_calendar("\"noon\"", &[(CALENDAR, 3, 14, "daily 12:00")]);
    in_calendar("\"61 * * * *\"", &[(CALENDAR, 3, 14, "cron minute")]);
    // Its bytes are others in the file.
    in_calendar("\"\\u0064aily 7:55\"", &[(CALENDAR, 3, 13, "daily 07:55")]);
    in_calendar("{}", &[(CALENDAR, 3, 13, "every minute")]);
    in_calendar("{ day = 31, month = 4 }", &[(CALENDAR, 3, 13, "no day 31")]);
    in_calendar("{ hour = 24 }", &[(OUT_OF_BOUNDS, 3, 22, "0 to 23")]);
    in_calendar("{ Hour = 3 }", &[(UNKNOWN_KEY, 3, 15, "did you mean `hour`?")]);
    in_calendar("{ weekday = \"Mon\" }", &[(WRONG_TYPE, 3, 25, "write weekday = 1")]);
    in_calendar("{ month = \"march\" }", &[(WRONG_TYPE, 3, 23, "write month = 3")]);
    in_calendar("{ hour = \"7\" }", &[(WRONG_TYPE, 3, 22, "write hour = 7")]);
    in_calendar("{ hour = \"seven\" }", &[(WRONG_TYPE, 3, 22, "write hour = 0")]);
    let bare = |value: &str, wanted: &[Want]| expect(&format!("[task.t]\n{STEPS}\ncalendar = {value}\n"), wanted);
    bare(
        "\"daily 7:55\"",
        &[(CALENDAR, 3, 19, "\"7:55\" is no time"), (CALENDAR, 3, 19, "write \"daily 07:55\"")][..1],
    );
    bare("{ hour = 24 }", &[(OUT_OF_BOUNDS, 3, 21, "0 to 23")]);
    bare("5", &[(WRONG_TYPE, 3, 12, "write calendar = \"daily 07:55\"")]);
    in_calendar("5", &[(WRONG_TYPE, 3, 13, "write \"daily 07:55\"")]);
    expect("[task.t]\n{STEPS}\n".replace("{STEPS}", STEPS).as_str(), &[(MISSING, 1, 1, "`calendar`")]);
    expect("[[alerts.sink]]\ntype = \"mail\"\n", &[(BAD_FORM, 2, 8, "did you mean \"email\"?")]);
    let webhook =
        |line: &str, wanted: &[Want]| expect(&format!("[[alerts.sink]]\ntype = \"webhook\"\n{line}\n"), wanted);
    webhook("url = \"example.org\"", &[(ADDRESS, 3, 7, "https://")]);
    webhook("url = \"https://\"", &[(ADDRESS, 3, 7, "https://")]);
    webhook("url = \"https://x\"\nheaders = { \"A B\" = \"1\" }", &[(BAD_FORM, 4, 21, "name of a header")]);
    webhook("url = \"https://x\"\nheaders = { A = \"1\\n2\" }", &[(BAD_FORM, 4, 17, "one line")]);
    expect("[[alerts.sink]]\ntype = \"email\"\nurl = \"https://x\"\n", &[(ADDRESS, 3, 7, "smtps://")]);
    expect(
        "[supervisor]\nlabel_prefix = \"ai..x\"\nmanager = \"upstart\"\n",
        &[(BAD_FORM, 2, 16, "launchd label"), (BAD_FORM, 3, 11, "\"systemd\"")],
    );
}

/// A sink of this type with these lines, the first of which is line 3.
fn in_sink(kind: &str, lines: &str, wanted: &[Want]) {
    expect(&format!("[[alerts.sink]]\ntype = \"{kind}\"\n{lines}\n"), wanted);
}

#[test]
fn sinks() {
    const HOOK: &str = "url = \"https://x.org/y\"";
    let hook = |line: &str, wanted: &[Want]| in_sink("webhook", &format!("{HOOK}\n{line}"), wanted);
    hook("name = \"a b\"", &[(NAME, 4, 8, "letters, digits")]);
    hook("name = \"\"", &[(NAME, 4, 8, "letters, digits")]);
    hook("min_severity = \"crit\"", &[(BAD_FORM, 4, 16, "\"critical\"")]);
    hook("timeout = \"3m\"", &[(OUT_OF_BOUNDS, 4, 11, "1s to 2m")]);
    hook("secret_env = \"MY-KEY\"", &[(BAD_FORM, 4, 14, "name of a variable")]);
    hook("secret_keychain = \"\"", &[(BAD_FORM, 4, 19, "security add-generic-password")]);
    hook("secret_env = \"A\"\nsecret_file = \"/s\"", &[(CONFLICT, 4, 14, "`secret_file` already")]);
    in_sink("log", "secret_env = \"A\"", &[(CONFLICT, 3, 14, "has no `secret_env`")]);
    in_sink("desktop", "timeout = \"10\"", &[(BAD_FORM, 3, 11, "10s")]);
    in_sink("slack", "", &[(MISSING, 1, 1, "`url` or a secret")]);
    in_sink("slack", "url = \"http://hooks.slack.com/s\"", &[(ADDRESS, 3, 7, "write https://")]);
    in_sink("slack", &format!("{HOOK}\nsecret_env = \"A\""), &[(CONFLICT, 3, 7, "take `url` out")]);
    in_sink("webhook", "url = \"http://x.org/y\"\nsecret_env = \"A\"", &[(ADDRESS, 3, 7, "for all to read")]);
    in_sink("webhook", "url = \"https://me:pw@x.org/y\"", &[(ADDRESS, 3, 7, "write a header")]);
    in_sink("webhook", "url = \"https://x.org:0/y\"", &[(ADDRESS, 3, 7, "1 to 65535")]);
    in_sink("ntfy", "url = \"https://me:pw@x.org/y\"", &[(ADDRESS, 3, 7, "secret_keychain")]);
    in_sink("ntfy", "url = \"https://ntfy.sh/\"", &[(ADDRESS, 3, 7, "no topic")]);
    in_sink("email", "url = \"smtps://x.org\"", &[(ADDRESS, 3, 7, "`to` is missing")]);
    in_sink("email", "url = \"smtps://x.org/?to=me\"", &[(ADDRESS, 3, 7, "no mail address")]);
    in_sink("email", "url = \"smtps://x.org/?to=a@b&cc=c@d\"", &[(ADDRESS, 3, 7, "neither to= nor from=")]);
    in_sink("email", "url = \"smtps://me@x.org/?to=a@b\"", &[(ADDRESS, 3, 7, "no secret_file")]);
    in_sink("email", "url = \"smtps://a@b@x.org/?to=a@b\"\nsecret_env = \"A\"", &[(ADDRESS, 3, 7, "%40")]);
    in_sink("email", "url = \"smtps://x.org/?to=a@b\"\nsecret_env = \"A\"", &[(ADDRESS, 3, 7, "no user")]);
    expect(
        "[[alerts.sink]]\ntype = \"log\"\nname = \"a\"\n[[alerts.sink]]\ntype = \"log\"\nname = \"a\"\n",
        &[(NAME, 6, 8, "line 3")],
    );
}

#[test]
fn what_is_told_of_alerts_holds_no_secret() {
    for line in [
        "url = \"https://me:hunter2@x.org/\"",
        "url = \"hooks.slack.com/services/hunter2\"",
        "url = \"http://hooks.slack.com/services/hunter2\"",
        "url = \"https://x.org/hunter2 y\"",
        "secret_env = \"hunter2!\"",
    ] {
        let parsed = read(&format!("[[alerts.sink]]\ntype = \"slack\"\n{line}\n"));
        let told: Vec<_> = parsed.faults.iter().map(|fault| fault.one_line(std::path::Path::new("f"))).collect();
        assert!(!told.is_empty() && !told.concat().contains("hunter2"), "{line}: {told:?}");
    }
}

#[test]
fn when_and_how_long_somebody_is_told() {
    let alerts = |line: &str, wanted: &[Want]| expect(&format!("[alerts]\n{line}\n"), wanted);
    alerts("reminders = \"1h\"", &[(WRONG_TYPE, 2, 13, "[\"1h\", \"4h\", \"24h\"]")]);
    alerts("reminders = [\"1h\", \"10s\", 5]", &[(OUT_OF_BOUNDS, 2, 20, "1m to 720h"), (WRONG_TYPE, 2, 27, "\"5s\"")]);
    alerts("resolve_after = \"25h\"", &[(OUT_OF_BOUNDS, 2, 17, "1m to 24h")]);
    alerts("expire_after = \"5m\"", &[(OUT_OF_BOUNDS, 2, 16, "1h to 1440h")]);
    alerts("weekly = \"no\"", &[(WRONG_TYPE, 2, 10, "weekly = false")]);
    alerts("deadman = {}", &[(MISSING, 2, 11, "secret_file with the address")]);
    alerts("deadman = { url = \"https://x.org/y\", interval = \"1s\" }", &[(OUT_OF_BOUNDS, 2, 49, "10s to 24h")]);
    alerts("deadman = { url = \"https://x.org/y\", secret_env = \"A\" }", &[(CONFLICT, 2, 19, "take `url` out")]);
    alerts("deadman = { url = \"ping\" }", &[(ADDRESS, 2, 19, "https://")]);
}

#[test]
fn names() {
    expect("[service.\"a b\"]\ncommand = [\"x\"]\n", &[(NAME, 1, 10, "write [service.a-b]")]);
    expect(
        "[task.\"\"]\ncalendar = [\"daily 07:55\"]\nsteps = [{ run = [\"x\"] }]\n",
        &[(NAME, 1, 7, "write [task.unnamed]")],
    );
    expect(
        "[service.\"a b\"]\ncommand = [\"x\"]\nthrottle = 1\n",
        &[(NAME, 1, 10, "a-b"), (WRONG_TYPE, 3, 12, "\"1s\"")],
    );
    expect("[service.a]\ncommand = [\"x\"]\n[service.A]\ncommand = [\"x\"]\n", &[(NAME, 3, 10, "line 1")]);
    expect("[service.Supervisor]\ncommand = [\"x\"]\n", &[(NAME, 1, 10, "supervisor's own")]);
    in_service("after = [\"a b\"]", 10, NAME, "[service.NAME]");
}

#[test]
fn services_that_wait_for_each_other() {
    in_service("after = [\"b\"]", 10, AFTER, "no service \"b\"");
    in_service("after = [\"gatway\"]\n[service.gateway]\ncommand = [\"x\"]", 10, AFTER, "did you mean \"gateway\"?");
    in_service("after = [\"b\"]\n[service.b]\ncommand = [\"x\"]\nenabled = false", 10, AFTER, "disabled (line 4)");
    in_service(
        "after = [\"t\"]\n[task.t]\ncalendar = [\"daily 01:00\"]\nsteps = [{ run = [\"x\"] }]",
        10,
        AFTER,
        "a task",
    );
    in_service("after = [\"a\"]", 10, CYCLE, "a -> a");
    let cycle = "[service.a]\ncommand = [\"x\"]\nafter = [\"d\", \"b\"]\n[service.b]\ncommand = [\"x\"]\nafter = [\"c\"]\n[service.c]\ncommand = [\"x\"]\nafter = [\"a\"]\n[service.d]\ncommand = [\"x\"]\n";
    expect(
        cycle,
        &[(CYCLE, 3, 15, "a -> b -> c -> a"), (CYCLE, 6, 10, "b -> c -> a -> b"), (CYCLE, 9, 10, "c -> a -> b -> c")],
    );
    let fleet = read(cycle).fleet.unwrap();
    assert_eq!(fleet.services.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["d"]);
    // Neither of two disabled ones ever waits.
    let off = "[service.a]\ncommand = [\"x\"]\nenabled = false\nafter = [\"b\"]\n[service.b]\ncommand = [\"x\"]\nenabled = false\n";
    expect(off, &[]);
}

#[test]
fn ports_that_are_taken() {
    in_service("ports = [80, 80]", 14, PORT, "this service itself");
    let two = "[service.a]\ncommand = [\"x\"]\nports = [80]\n[service.b]\ncommand = [\"x\"]\nports = [81, 80]\n";
    expect(two, &[(PORT, 6, 14, "service \"a\" already (line 3)")]);
    expect(&format!("{two}enabled = false\n"), &[]);
    expect(
        "[service.a]\ncommand = [\"x\"]\nports = [9000]\n[service.b]\nbuiltin = \"emit-server\"\nlisten = \"127.0.0.1:9000\"\n",
        &[(PORT, 6, 10, "taken")],
    );
}

#[test]
fn everything_is_told_at_once() {
    let text = "[supervisor]\nmanger = \"auto\"\n[service.a]\ncommand = \"x\"\nthrottle = 10\nenv = { A = 1, B = \"${NO}\" }\nhealth = { http = \"ftp://x\", timeout = \"0s\", interval = \"z\" }\n[service.b]\nafter = [\"c\"]\n[task.t]\ncalendar = [\"daily\", \"x\"]\nsteps = [{ run = [] }, {}]\n[alerts]\nsink = [{ type = \"log\", url = 5 }, {}]\n";
    let faults = read(text).faults;
    let lines: Vec<usize> = faults.iter().map(|f| f.line).collect();
    assert_eq!(
        lines,
        [2, 4, 5, 6, 6, 7, 7, 7, 8, 9, 11, 11, 12, 12, 14, 14, 14],
        "{}",
        render(&faults, &source(text), false)
    );
    let units: Vec<_> = faults.iter().filter_map(|f| f.unit.as_ref().map(|u| u.as_str())).collect();
    assert_eq!(units.join(""), "aaaaaaabbtttt");
}

#[test]
fn the_environment_counts_only_as_it_is_given() {
    let mut around = around();
    let source = source("[service.a]\ncommand = [\"x\"]\nenv.A = \"${EXTRA}\"\n");
    assert_eq!(parse(&source, &around).faults.len(), 1);
    around.vars.insert("EXTRA".into(), "1".into());
    assert_eq!(parse(&source, &around).fleet.unwrap().services[0].env["A"], "1");
}
