//! Whether an alert gets out when the service that it is about is down: a sink that needs one of our own services says
//! nothing exactly then.

use std::path::Path;

use super::address::Address;
use crate::model::{Fleet, ProbeKind, Program, ServiceSpec, SinkKind, SinkSpec, UnitName};

/// The ways by which alerts leave the supervisor's own log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertPath {
    /// Sinks that need none of our services, by name.
    pub free: Vec<String>,
    /// Sinks that say nothing while a service is down.
    pub dependent: Vec<Dependence>,
}

/// A sink that needs a service which we supervise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependence {
    /// The sink's name.
    pub sink: String,
    /// The service's.
    pub service: UnitName,
    /// Why it is taken to need it, in a few words.
    pub because: String,
}

impl AlertPath {
    /// What is wrong when no way is free, and what to do; `None` when one is.
    pub fn warning(&self) -> Option<String> {
        const ADD: &str = "add one that needs none of these services, such as type = \"desktop\" or \"slack\"";
        match self.dependent.as_slice() {
            _ if !self.free.is_empty() => None,
            [] => Some(format!("alerts go to the log only, where nobody is told: {ADD}")),
            [one] => Some(format!(
                "the only sink, {}, needs {} ({}): while that is down nobody is told; {ADD}",
                one.sink, one.service, one.because
            )),
            all => {
                let each = all.iter().map(|one| format!("{} needs {} ({})", one.sink, one.service, one.because));
                let each = each.collect::<Vec<_>>().join(", ");
                Some(format!(
                    "every sink needs a service of this file: {each}: while they are down nobody is told; {ADD}"
                ))
            }
        }
    }
}

/// By which ways alerts of this fleet leave the log.
pub fn alert_path(fleet: &Fleet) -> AlertPath {
    let mut path = AlertPath::default();
    for sink in fleet.alerts.sinks.iter().filter(|sink| sink.kind != SinkKind::Log) {
        let needed = fleet.services.iter().filter(|service| service.enabled).find_map(|service| {
            let because = needs(sink, service)?;
            Some(Dependence { sink: sink.name.clone(), service: service.name.clone(), because })
        });
        match needed {
            Some(dependence) => path.dependent.push(dependence),
            None => path.free.push(sink.name.clone()),
        }
    }
    path
}

/// A sink in a few words, without its secrets: its name, its type where that is another word, and the host it leads to.
pub fn describe_sink(sink: &SinkSpec) -> String {
    let kind = Some(sink.kind.as_str()).filter(|kind| *kind != sink.name);
    let url = sink.url.as_deref().and_then(|url| Address::parse(url).ok());
    let place = url.map(|url| url.host).or(sink.command.first().map(String::as_str));
    match (kind, place) {
        (None, None) => sink.name.clone(),
        (Some(kind), None) => format!("{} ({kind})", sink.name),
        (None, Some(place)) => format!("{} ({place})", sink.name),
        (Some(kind), Some(place)) => format!("{} ({kind}, {place})", sink.name),
    }
}

fn needs(sink: &SinkSpec, service: &ServiceSpec) -> Option<String> {
    if let Some(address) = sink.url.as_deref().and_then(|url| Address::parse(url).ok()) {
        let usual = match address.scheme {
            "https" => 443,
            "http" => 80,
            "smtps" => 465,
            _ => 587,
        };
        let port = address.port.unwrap_or(usual);
        return (address.is_loopback() && ports(service).any(|its| its == port)).then(|| format!("port {port} is its"));
    }
    let Program::Command(argv) = &service.program else { return None };
    let its = work(argv)?;
    runs(&sink.command, its).then(|| format!("both run {its}"))
}

/// The ports on which it answers, as far as the file says.
fn ports(service: &ServiceSpec) -> impl Iterator<Item = u16> {
    let health = service.health.iter();
    let probes = health.flat_map(|h| [Some(&h.probe), h.startup.as_ref(), h.parts.as_ref()]).flatten();
    let of_probes = probes.filter_map(|probe| match &probe.kind {
        ProbeKind::Http(url) | ProbeKind::Ws(url) | ProbeKind::Mcp(url) => {
            Some(Address::parse(url).ok()?.port.unwrap_or(80))
        }
        ProbeKind::Tcp(place) => port_of(place),
        _ => None,
    });
    let listen = service.listen.as_deref().and_then(port_of);
    service.ports.iter().copied().chain(of_probes).chain(listen)
}

fn port_of(place: &str) -> Option<u16> {
    place.rsplit_once(':').and_then(|(_, port)| super::address::port(port))
}

/// What a command really runs: its program, or for an interpreter its script; `None` for a shell's `-c` and the like.
fn work(argv: &[String]) -> Option<&str> {
    const INTERPRETERS: [&str; 16] = [
        "sh",
        "bash",
        "zsh",
        "dash",
        "fish",
        "node",
        "nodejs",
        "bun",
        "deno",
        "python",
        "ruby",
        "perl",
        "env",
        "npx",
        "uv",
        "osascript",
    ];
    let (program, rest) = argv.split_first()?;
    let name = base(program);
    // python3, python3.12
    if !INTERPRETERS.contains(&name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.')) {
        return Some(name);
    }
    // Two scripts called main.js in two folders are two programs.
    let is_file =
        |arg: &&String| !arg.starts_with('-') && !arg.contains(char::is_whitespace) && arg.contains(['/', '.']);
    rest.iter().find(is_file).map(String::as_str)
}

/// Whether a sink's command runs it: as [`work`] has it, or as a word of a shell's script.
fn runs(command: &[String], its: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '~');
    let script =
        command.iter().skip(1).find(|arg| arg.contains(char::is_whitespace)).filter(|_| work(command).is_none());
    work(command) == Some(its)
        || script.is_some_and(|script| script.split(|c| !is_part(c)).any(|word| base(word) == its))
}

fn base(program: &str) -> &str {
    Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or(program)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Builtin, HealthSpec, ProbeSpec};

    fn argv(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn url(kind: SinkKind, url: &str) -> SinkSpec {
        SinkSpec { url: Some(url.into()), ..SinkSpec::new(kind) }
    }

    fn command(argv: Vec<String>) -> SinkSpec {
        SinkSpec { command: argv, ..SinkSpec::new(SinkKind::Command) }
    }

    /// gateway on 18789, judge behind a probe on 8123, a Python service and an emit-server.
    fn fleet(sinks: Vec<SinkSpec>) -> Fleet {
        let probe = |url: &str| ProbeSpec { kind: ProbeKind::Http(url.into()), expect_status: 200, expect_json: None };
        let health = HealthSpec {
            probe: probe("http://127.0.0.1:8123/"),
            interval: std::time::Duration::from_secs(1),
            timeout: std::time::Duration::from_secs(1),
            failures: 1,
            startup: Some(probe("http://[::1]:8124/")),
            parts: None,
            diagnostic_signal: None,
        };
        let running = |name: &str, line: &str| {
            let program = Program::Command(argv(line));
            ServiceSpec { program, ..ServiceSpec::for_tests(name) }
        };
        Fleet {
            state_dir: "/state".into(),
            label_prefix: "x".into(),
            manager: crate::model::ManagerKind::Auto,
            services: vec![
                ServiceSpec { ports: vec![18789], ..running("gateway", "/opt/homebrew/bin/openclaw gateway run") },
                ServiceSpec { health: Some(health), ..running("judge", "sh -c exec") },
                running("embed", "/usr/bin/python3.12 -m uvicorn main:app"),
                running("bot", "node /srv/bot/main.js --quiet"),
                ServiceSpec { enabled: false, ports: vec![9], ..running("off", "idle") },
                ServiceSpec {
                    program: Program::Builtin(Builtin::EmitServer),
                    listen: Some("127.0.0.1:18790".into()),
                    ..ServiceSpec::for_tests("emit")
                },
            ],
            tasks: Vec::new(),
            exposures: Vec::new(),
            unusable: Vec::new(),
            alerts: crate::model::AlertSpec { sinks, ..Default::default() },
        }
    }

    #[test]
    fn a_sink_behind_one_of_our_services_is_seen() {
        let script = |text: &str| vec!["/bin/sh".into(), "-c".into(), text.to_owned()];
        for (sink, needed) in [
            (url(SinkKind::Webhook, "http://127.0.0.1:18789/hooks/x"), Some("gateway")),
            (url(SinkKind::Slack, "https://localhost:18789"), Some("gateway")),
            (url(SinkKind::Webhook, "http://[::1]:8123/x"), Some("judge")),
            (url(SinkKind::Ntfy, "http://localhost:8124/x"), Some("judge")),
            (url(SinkKind::Webhook, "http://127.0.0.1:18790/x"), Some("emit")),
            (url(SinkKind::Webhook, "http://127.0.0.1:1/x"), None),
            (url(SinkKind::Webhook, "http://127.0.0.1/18789"), None),
            (url(SinkKind::Webhook, "http://gateway.example.org:18789/x"), None),
            (url(SinkKind::Webhook, "http://127.0.0.1:9/x"), None),
            (url(SinkKind::Email, "smtp://localhost:25/?to=a@b"), None),
            (command(argv("openclaw message send")), Some("gateway")),
            (command(argv("/usr/local/bin/openclaw message")), Some("gateway")),
            (command(script("cat | openclaw message send --to me")), Some("gateway")),
            (command(script("cat >> /tmp/openclaw-alerts")), None),
            (command(argv("node /srv/bot/main.js alert")), Some("bot")),
            (command(argv("node /srv/other/main.js")), None),
            (command(argv("python3 /usr/local/bin/on-alert")), None),
            (command(argv("sh /usr/local/bin/on-alert")), None),
            (command(argv("/usr/local/bin/on-alert openclaw")), None),
            (SinkSpec::new(SinkKind::Desktop), None),
        ] {
            let path = alert_path(&fleet(vec![sink.clone(), SinkSpec::new(SinkKind::Log)]));
            let found = path.dependent.first().map(|one| one.service.as_str());
            assert_eq!((found, path.free.len()), (needed, usize::from(needed.is_none())), "{sink:?}");
            assert_eq!(path.warning().is_some(), needed.is_some());
        }
    }

    #[test]
    fn one_free_way_is_enough() {
        let gateway = || url(SinkKind::Webhook, "http://127.0.0.1:18789/x");
        let warning = |sinks| alert_path(&fleet(sinks)).warning();
        let one = warning(vec![gateway()]).unwrap();
        assert!(
            one.starts_with("the only sink, webhook, needs gateway (port 18789 is its): while that is down"),
            "{one}"
        );
        let two = warning(vec![gateway(), command(argv("openclaw message"))]).unwrap();
        assert!(two.contains("command needs gateway (both run openclaw)"), "{two}");
        assert_eq!(warning(vec![gateway(), SinkSpec::new(SinkKind::Desktop)]), None);
        assert!(warning(vec![SinkSpec::new(SinkKind::Log)]).unwrap().contains("nobody is told"));
        assert_eq!(warning(crate::model::AlertSpec::default().sinks), None);
    }

    #[test]
    fn a_sink_is_described_without_its_secrets() {
        let slack = url(SinkKind::Slack, "https://hooks.slack.com/services/T0/B0/secret");
        assert_eq!(describe_sink(&slack), "slack (hooks.slack.com)");
        let mail = url(SinkKind::Email, "smtps://me@mail.example.org/?to=a@b");
        assert_eq!(describe_sink(&SinkSpec { name: "ops".into(), ..mail }), "ops (email, mail.example.org)");
        assert_eq!(describe_sink(&command(argv("/bin/on-alert token"))), "command (/bin/on-alert)");
        let second = SinkSpec { name: "log-2".into(), ..SinkSpec::new(SinkKind::Log) };
        assert_eq!(describe_sink(&second), "log-2 (log)");
        assert_eq!(describe_sink(&SinkSpec::new(SinkKind::Desktop)), "desktop");
    }
}
