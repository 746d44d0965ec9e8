//! The texts of `print`, `print-disabled` and `list`, laid out as launchctl does.

use std::fmt::Write;

use supervisor::model::Exit;

use crate::job::Job;
use crate::spec::KeepAlive;

/// `state = ...`.
fn state(job: &Job) -> &'static str {
    match (&job.process, job.due) {
        (Some(process), _) => process.state,
        (None, Some(_)) => "spawn scheduled",
        (None, None) => "not running",
    }
}

/// `launchctl print DOMAIN/LABEL`.
pub fn service(job: &Job) -> String {
    let spec = &job.spec;
    let label = &spec.label;
    let mut text = String::new();
    let mut line = |content: &str| {
        text.push_str(content);
        text.push('\n');
    };
    let is_active = u8::from(job.process.is_some());
    line(&format!("{}/{label} = {{", job.domain));
    line(&format!("\tactive count = {is_active}"));
    line(&format!("\tpath = {}", spec.path.display()));
    line(&format!("\ttype = {}", if job.domain == "system" { "LaunchDaemon" } else { "LaunchAgent" }));
    line(&format!("\tstate = {}\n", state(job)));
    line(&format!("\tprogram = {}", spec.program));
    line("\targuments = {");
    spec.argv.iter().for_each(|argument| line(&format!("\t\t{argument}")));
    line("\t}\n");
    line(&format!("\tworking directory = {}\n", spec.cwd.display()));
    for (name, path) in [("stdout", &spec.out), ("stderr", &spec.err)] {
        if let Some(path) = path {
            line(&format!("\t{name} path = {}", path.display()));
        }
    }
    line("\tinherited environment = {\n\t\tSSH_AUTH_SOCK => /private/tmp/com.apple.launchd.XXXX/Listeners\n\t}\n");
    line("\tdefault environment = {\n\t\tPATH => /usr/bin:/bin:/usr/sbin:/sbin\n\t}\n");
    line("\tenvironment = {");
    spec.env.iter().for_each(|(name, value)| line(&format!("\t\t{name} => {value}")));
    line(&format!("\t\tOSLogRateLimit => 64\n\t\tXPC_SERVICE_NAME => {label}\n\t}}\n"));
    line(&format!("\tdomain = {}{}", job.domain, if job.domain == "system" { "" } else { " [100002]" }));
    line(&format!("\tasid = 100002\n\tminimum runtime = {}", spec.throttle_s));
    line(&format!("\texit timeout = {}\n\truns = {}", spec.exit_timeout_s, job.runs));
    line(&format!("\tsuccessive crashes = {}", job.crashes));
    if let Some(pended) = job.pended {
        line(&format!("\tpended nondemand spawn = {pended}"));
    }
    if let Some(process) = &job.process {
        line(&format!("\tpid = {}\n\timmediate reason = {}", process.pid, job.reason));
        line("\tforks = 0\n\texecs = 1\n\tinitialized = 1\n\ttrampolined = 1\n\tstarted suspended = 0");
        line("\tproxy started suspended = 0\n\tchecked allocations = 0 (queried = 1)");
    }
    line(&match job.end {
        Some(Exit::Code(78)) => "\tlast exit code = 78: EX_CONFIG".to_owned(),
        Some(Exit::Code(code)) => format!("\tlast exit code = {code}"),
        Some(Exit::Signal { signal, .. }) => format!("\tlast terminating signal = {}", signal_words(signal.0)),
        Some(Exit::Unknown) | None => "\tlast exit code = (never exited)".to_owned(),
    });
    line("");
    if !spec.slots.is_empty() {
        line("\tevent triggers = {");
        for (n, slot) in spec.slots.iter().enumerate() {
            line(&format!("\t\t{label}.{} => {{\n\t\t\tkeepalive = 0\n\t\t\tservice = {label}", 268_435_472 - n));
            line("\t\t\tstream = com.apple.launchd.calendarinterval\n\t\t\tmonitor = com.apple.UserEventAgent-Aqua");
            line("\t\t\tdescriptor = {");
            let keys = [
                ("Minute", slot.minute),
                ("Hour", slot.hour),
                ("Day", slot.day),
                ("Weekday", slot.weekday),
                ("Month", slot.month),
            ];
            keys.iter()
                .filter_map(|(key, n)| Some((key, (*n)?)))
                .for_each(|(key, n)| line(&format!("\t\t\t\t\"{key}\" => {n}")));
            line("\t\t\t}\n\t\t}");
        }
        line("\t}\n\n\tevent channels = {\n\t\t\"com.apple.launchd.calendarinterval\" = {");
        line("\t\t\tport = 0x92a03\n\t\t\tactive = 0\n\t\t\tmanaged = 1\n\t\t}\n\t}\n");
    }
    for (n, kind) in ["resource", "jetsam"].iter().enumerate() {
        line(&format!("\t{kind} coalition = {{\n\t\tID = {}\n\t\ttype = {kind}\n\t\tstate = active", 1114 + n));
        line(&format!("\t\tactive count = 1\n\t\tname = {label}\n\t}}\n"));
    }
    line("\tspawn type = daemon (3)\n\tjetsam priority = 40\n\tjetsam memory limit (active) = (unlimited)");
    line("\tjetsamproperties category = daemon\n\tjetsam thread limit = 32\n\tcpumon = default");
    match job {
        Job { is_spawn_failed: true, .. } => line("\tjob state = spawn failed"),
        Job { process: Some(_), .. } => line("\tjob state = running"),
        Job { end: Some(_), .. } => line("\tjob state = exited"),
        _ => {}
    }
    let properties: Vec<&str> = [
        (spec.keep_alive != KeepAlive::Never, "keepalive"),
        (spec.run_at_load, "runatload"),
        (true, "inferred program"),
        (true, "managed LWCR"),
        (true, "has LWCR"),
    ]
    .iter()
    .filter_map(|(has, name)| has.then_some(*name))
    .collect();
    line(&format!("\n\tproperties = {}\n}}", properties.join(" | ")));
    text
}

fn signal_words(signal: i32) -> String {
    let name = match signal {
        libc::SIGTERM => "Terminated",
        libc::SIGKILL => "Killed",
        libc::SIGSEGV => "Segmentation fault",
        libc::SIGHUP => "Hangup",
        libc::SIGINT => "Interrupt",
        libc::SIGABRT => "Abort trap",
        _ => "Signal",
    };
    format!("{name}: {signal}")
}

/// `launchctl print DOMAIN`.
pub fn domain<'a>(domain: &str, jobs: impl Iterator<Item = &'a Job>) -> String {
    let kind = domain.split('/').next().unwrap_or_default();
    let kind = if kind == "gui" { "login" } else { kind };
    let mut text = format!("{domain} = {{\n\ttype = {kind}\n\thandle = 100002\n\n\tservices = {{\n");
    for job in jobs {
        let pid = job.process.as_ref().map_or(0, |process| process.pid);
        let _ = writeln!(text, "\t\t{pid:>8} {:>6} \t{}", status(job), job.spec.label);
    }
    text + "\t}\n}\n"
}

/// `launchctl print-disabled DOMAIN`.
pub fn disabled<'a>(switched: impl Iterator<Item = (&'a str, bool)>, is_old: bool) -> String {
    let mut text = "disabled services = {\n".to_owned();
    for (label, is_off) in switched {
        let value = match (is_old, is_off) {
            (true, off) => {
                if off {
                    "true"
                } else {
                    "false"
                }
            }
            (false, true) => "disabled",
            (false, false) => "enabled",
        };
        let _ = writeln!(text, "\t\t\"{label}\" => {value}");
    }
    text + if is_old { "}\n" } else { "\t}\n\tlogin item associations = {\n\t}\n" }
}

/// The second column of `list`.
fn status(job: &Job) -> String {
    match job.end {
        Some(Exit::Code(code)) => code.to_string(),
        Some(Exit::Signal { signal, .. }) => format!("-{}", signal.0),
        Some(Exit::Unknown) | None => "-".to_owned(),
    }
}

/// `launchctl list`.
pub fn list<'a>(jobs: impl Iterator<Item = &'a Job>) -> String {
    let mut text = "PID\tStatus\tLabel\n".to_owned();
    for job in jobs {
        let pid = job.process.as_ref().map_or("-".to_owned(), |process| process.pid.to_string());
        let status = if job.end.is_none() { "0".to_owned() } else { status(job) };
        let _ = writeln!(text, "{pid}\t{status}\t{}", job.spec.label);
    }
    text
}

/// `launchctl list LABEL`, with the raw wait status.
pub fn listed(job: &Job) -> String {
    let raw = match job.end {
        Some(Exit::Code(code)) => code << 8,
        Some(Exit::Signal { signal, .. }) => signal.0,
        Some(Exit::Unknown) | None => 0,
    };
    let mut text = format!("{{\n\t\"Label\" = \"{}\";\n\t\"LastExitStatus\" = {raw};\n", job.spec.label);
    if let Some(process) = &job.process {
        let _ = writeln!(text, "\t\"PID\" = {};", process.pid);
    }
    let _ = writeln!(text, "\t\"Program\" = \"{}\";\n}};", job.spec.program);
    text
}
