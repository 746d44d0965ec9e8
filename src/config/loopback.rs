//! Addresses of this machine, which probes ask and built-in services listen on.

use super::address;
use super::fault::code;
use super::units::{Wrong, quoted};

/// Checks `scheme://HOST[:PORT][/PATH]` with a host of this machine.
pub(super) fn url(text: &str, scheme: &str, example: &str) -> Result<(), Wrong> {
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
pub(super) fn host_with_port(text: &str, example: &str) -> Result<u16, Wrong> {
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
            assert_eq!(url(good, "http", "http://127.0.0.1/"), Ok(()), "{good}");
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
            assert_eq!(url(bad, "http", "http://127.0.0.1/").unwrap_err().code, code::ADDRESS, "{bad}");
        }
        assert_eq!(host_with_port("localhost:18790", "x"), Ok(18_790));
        assert!(host_with_port("localhost", "x").is_err());
    }
}
