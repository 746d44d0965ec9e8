//! `[service.NAME.health]`: which probe asks what, and how often. Every address is one of this machine: a probe decides
//! over life and death, and a network in between would take part in that.

use toml::de::DeValue;

use super::address;
use super::bounds::{self, secs};
use super::fault::code;
use super::fields::Fields;
use super::reader::{Ctx, Field, integer};
use super::units::{Wrong, quoted};
use crate::model::{HealthSpec, ProbeKind, ProbeSpec};

pub(super) const KEYS: &[&str] = &[
    "http",
    "tcp",
    "unix",
    "ws",
    "exec",
    "heartbeat_file",
    "notify",
    "expect_status",
    "expect_json",
    "interval",
    "timeout",
    "failures",
    "startup",
];
pub(super) const STARTUP_KEYS: &[&str] =
    &["http", "tcp", "unix", "ws", "exec", "heartbeat_file", "expect_status", "expect_json"];

const HTTP_EXAMPLE: &str = "http://127.0.0.1:18789/healthz";

/// `service_notify` is the service's own `notify`, without which no NOTIFY_SOCKET is there to be heard from.
pub(super) fn read(ctx: &mut Ctx<'_>, service: &Fields<'_>, service_notify: bool) -> Option<HealthSpec> {
    let f = service.inner(ctx, "health", KEYS, &format!("{{ http = \"{HTTP_EXAMPLE}\" }}"))?;
    let probe = probe(ctx, &f);
    if matches!(&probe, Some(ProbeSpec { kind: ProbeKind::Notify, .. })) && !service_notify {
        let help = "write notify = true in the service's own table too";
        let message = "WATCHDOG=1 can only come over the NOTIFY_SOCKET that the service's `notify` offers".to_owned();
        f.conflict(ctx, "notify", message, "`notify` of the service is off", help);
    }
    let interval = f.duration(ctx, "interval", secs(10), &bounds::PROBE_INTERVAL);
    // A short interval shortens the default; what was written may not contradict.
    let timeout = f.duration(ctx, "timeout", secs(5).min(interval), &bounds::PROBE_TIMEOUT);
    if timeout > interval {
        let default = if f.get("interval").is_none() { " (10s by default)" } else { "" };
        let message = format!("it is above `interval`{default}, so one probe would run into the next");
        f.conflict(ctx, "timeout", message, "above interval", "write a timeout that is at most the interval");
    }
    let failures = f.number(ctx, "failures", 4, 1..=1000);
    let startup = f
        .inner(ctx, "startup", STARTUP_KEYS, "{ http = \"http://127.0.0.1:18789/startupz\" }")
        .and_then(|startup| self::probe(ctx, &startup));
    Some(HealthSpec { probe: probe?, interval, timeout, failures, startup, parts: None, diagnostic_signal: None })
}

/// The one probe of a table.
fn probe(ctx: &mut Ctx<'_>, f: &Fields<'_>) -> Option<ProbeSpec> {
    let kinds = ["http", "tcp", "unix", "ws", "exec", "heartbeat_file", "notify"];
    let kinds = &kinds[..if f.has_key("notify") { 7 } else { 6 }];
    let present: Vec<&str> = kinds.iter().copied().filter(|key| f.get(key).is_some()).collect();
    if present.is_empty() {
        let help = format!("write one of {}; e.g. http = \"{HTTP_EXAMPLE}\"", kinds.join(", "));
        f.missing(ctx, "the probe", &help);
    }
    for extra in present.iter().skip(1) {
        let message = format!("there is a probe already, `{}`, and a table has one", present[0]);
        f.conflict(ctx, extra, message, "a second probe", "keep one of them (`startup` may be of another kind)");
    }
    // All are read, so that a fault in the second one is told as well.
    let read: Vec<Option<ProbeKind>> =
        present.iter().map(|key| f.get(key).and_then(|field| kind(ctx, key, &field))).collect();
    let is_http = present.first().is_none_or(|key| *key == "http");
    for key in ["expect_status", "expect_json"] {
        if f.get(key).is_some() && !is_http {
            f.conflict(
                ctx,
                key,
                "only an `http` probe has an answer to look at".into(),
                "no http probe",
                "take it out",
            );
        }
    }
    let expect_status = f.number(ctx, "expect_status", 200, 100..=599);
    let expect_json = f.get("expect_json").and_then(|field| {
        field.table(ctx, "{ ok = true }")?;
        json(ctx, &field)?.as_object().cloned()
    });
    let kind = read.into_iter().next().flatten()?;
    Some(ProbeSpec { kind, expect_status: u16::try_from(expect_status).unwrap_or(200), expect_json })
}

fn kind(ctx: &mut Ctx<'_>, key: &str, field: &Field<'_>) -> Option<ProbeKind> {
    let address = |ctx: &mut Ctx<'_>, example: &str, check: &dyn Fn(&str) -> Result<(), Wrong>| {
        let text = field.text(ctx, "an address in quotes", &format!("\"{example}\""))?;
        check(text).map(|()| text.to_owned()).map_err(|wrong| field.wrong(ctx, wrong)).ok()
    };
    match key {
        "http" => address(ctx, HTTP_EXAMPLE, &|t| loopback_url(t, "http", HTTP_EXAMPLE)).map(ProbeKind::Http),
        "ws" => {
            let example = "ws://127.0.0.1:18789";
            address(ctx, example, &|t| loopback_url(t, "ws", example)).map(ProbeKind::Ws)
        }
        "tcp" => {
            let example = "127.0.0.1:18789";
            address(ctx, example, &|t| loopback_address(t, example).map(drop)).map(ProbeKind::Tcp)
        }
        "unix" => {
            /// sun_path of macOS has 104 bytes with the closing NUL, that of Linux 108.
            const LONGEST: usize = 103;
            let path = field.path(ctx)?;
            if path.as_os_str().len() > LONGEST {
                let message =
                    format!("the path has {} bytes, and a socket's has at most {LONGEST}", path.as_os_str().len());
                let wrong = Wrong::new(code::OUT_OF_BOUNDS, message, "too long for a socket");
                field.wrong(ctx, wrong.help("let the service make its socket at a shorter path"));
                return None;
            }
            Some(ProbeKind::Unix(path))
        }
        "exec" => field.argv(ctx, "[\"/usr/local/bin/is-it-well\"]").map(ProbeKind::Exec),
        "heartbeat_file" => field.path(ctx).map(ProbeKind::HeartbeatFile),
        _ => {
            if !field.boolean(ctx)? {
                let wrong = Wrong::new(code::BAD_FORM, "false is no probe", "not a probe");
                field.wrong(ctx, wrong.help("write notify = true, or another probe in its place"));
                return None;
            }
            Some(ProbeKind::Notify)
        }
    }
}

/// The value as JSON. A date has no place there, nor has a number that is none.
fn json(ctx: &mut Ctx<'_>, field: &Field<'_>) -> Option<serde_json::Value> {
    use serde_json::Value;
    let member = |name: String, value| Field::new(format!("{}{name}", field.name), value);
    match field.value() {
        DeValue::String(text) => Some(Value::String(text.to_string())),
        DeValue::Boolean(truth) => Some(Value::Bool(*truth)),
        DeValue::Integer(number) if integer(number).is_some() => integer(number).map(Value::from),
        DeValue::Float(number) if number.as_str().parse().is_ok_and(f64::is_finite) => {
            number.as_str().parse::<f64>().ok().map(Value::from)
        }
        DeValue::Array(array) => {
            let members = array.iter().enumerate().map(|(i, v)| json(ctx, &member(format!("[{i}]"), v)));
            Some(Value::Array(members.collect::<Vec<_>>().into_iter().collect::<Option<_>>()?))
        }
        DeValue::Table(table) => {
            let members = table
                .iter()
                .map(|(k, v)| Some((k.get_ref().to_string(), json(ctx, &member(format!(".{}", k.get_ref()), v))?)));
            Some(Value::Object(members.collect::<Vec<_>>().into_iter().collect::<Option<_>>()?))
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) => {
            field.wrong_type(ctx, "a value that JSON has", "\"text\", 1, true, or a list or table of these");
            None
        }
    }
}

/// Checks `scheme://HOST[:PORT][/PATH]` with a host of this machine.
fn loopback_url(text: &str, scheme: &str, example: &str) -> Result<(), Wrong> {
    let wrong = |message: String, label: &str| {
        Wrong::new(code::ADDRESS, message, label).help(format!("write e.g. \"{example}\""))
    };
    if let Some(rest) = text.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("s://")) {
        let message = format!("a probe stays on this machine and speaks plain {scheme}, not {scheme}s");
        return Err(Wrong::new(code::ADDRESS, message, "not supported")
            .help(format!("write \"{scheme}://{}\"", rest.escape_debug())));
    }
    let Some(rest) = text.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")) else {
        return Err(wrong(format!("{} does not begin with {scheme}://", quoted(text)), "not such a URL"));
    };
    if let Some(bad) = rest.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        return Err(wrong(format!("{bad:?} cannot stand in the URL of a probe"), "not a URL"));
    }
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    if authority.contains('@') {
        return Err(wrong("a user or password in the URL is not sent by a probe".into(), "holds an `@`"));
    }
    host_and_port(authority, example).map(drop)
}

/// Checks `HOST:PORT` with a host of this machine, and gives the port.
pub(super) fn loopback_address(text: &str, example: &str) -> Result<u16, Wrong> {
    host_and_port(text, example)?.ok_or_else(|| {
        let message = format!("{} has no port", quoted(text));
        Wrong::new(code::ADDRESS, message, "no port").help(format!("write HOST:PORT, e.g. \"{example}\""))
    })
}

fn host_and_port(text: &str, example: &str) -> Result<Option<u16>, Wrong> {
    let wrong = |message: String, label: &str| {
        Wrong::new(code::ADDRESS, message, label).help(format!("write e.g. \"{example}\""))
    };
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) if rest.is_empty() || rest.starts_with(':') => (host, rest.strip_prefix(':')),
        Some(_) => return Err(wrong(format!("{} is not HOST:PORT", quoted(text)), "not an address")),
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let is_v6 = text.starts_with('[');
    if !address::is_loopback(host, is_v6) {
        let message = format!("{} is not an address of this machine only", quoted(host));
        let wrong = Wrong::new(code::ADDRESS, message, "not loopback");
        return Err(wrong.help("use 127.0.0.1, localhost or [::1]; what is watched from here runs here"));
    }
    let Some(port) = port else { return Ok(None) };
    match address::port(port) {
        Some(port) => Ok(Some(port)),
        None => Err(wrong(format!("{} is not a port, 1 to 65535", quoted(port)), "not a port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_probed() {
        for good in [
            "http://127.0.0.1:18789/healthz",
            "http://localhost:1/",
            "http://LOCALHOST",
            "http://[::1]:80/x?y=z",
            "http://127.9.9.9:65535",
            "http://127.0.0.1?x",
        ] {
            assert_eq!(loopback_url(good, "http", HTTP_EXAMPLE), Ok(()), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:80",
            "https://127.0.0.1/",
            "HTTP://127.0.0.1/",
            "http://0.0.0.0:80/",
            "http://192.168.0.1/",
            "http://example.org/",
            "http://127.0.0.1.example.org/",
            "http://127.1/",
            "http://u:p@127.0.0.1/",
            "http://127.0.0.1:0/",
            "http://127.0.0.1:70000/",
            "http://127.0.0.1:+80/",
            "http://127.0.0.1:/",
            "http://127.0.0.1/a b",
            "http://127.0.0.1/#x",
            "http://::1/",
            "http://[::1/",
            "http://[::1]x/",
            "http://[::2]/",
            "http:///",
        ] {
            assert_eq!(loopback_url(bad, "http", HTTP_EXAMPLE).unwrap_err().code, code::ADDRESS, "{bad}");
        }
        assert_eq!(loopback_address("localhost:18790", "x"), Ok(18_790));
        assert!(loopback_address("localhost", "x").is_err());
    }
}
