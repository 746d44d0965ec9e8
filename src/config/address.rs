//! The parts of a URL, as far as they matter here: where it leads, and whether it carries a secret.

use std::net::{Ipv4Addr, Ipv6Addr};

/// `scheme://[user@]host[:port][/path][?query]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address<'t> {
    pub(super) scheme: &'t str,
    /// What stands before the `@`, with the password if there is one.
    pub(super) user: Option<&'t str>,
    /// Without the brackets of an IPv6 address.
    pub(super) host: &'t str,
    pub(super) is_v6: bool,
    pub(super) port: Option<u16>,
    /// From the first `/` on.
    pub(super) path: &'t str,
    /// After the `?`.
    pub(super) query: &'t str,
}

impl<'t> Address<'t> {
    /// Takes `text` apart, or says in a few words what is wrong with it. The words hold nothing of the text, which may
    /// have a secret in it.
    pub(super) fn parse(text: &'t str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or("it has no scheme://")?;
        if !rest.chars().all(|c| c.is_ascii_graphic() && c != '#') {
            return Err("it holds a blank, a `#` or a character that is not ASCII");
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (user, place) = authority.rsplit_once('@').map_or((None, authority), |(user, place)| (Some(user), place));
        let (host, port, is_v6) = match place.strip_prefix('[') {
            Some(inner) => {
                let (host, after) = inner.split_once(']').ok_or("its host has a `[` without its `]`")?;
                let port = match after.strip_prefix(':') {
                    Some(port) => Some(port),
                    None if after.is_empty() => None,
                    None => return Err("what stands after its host is no :port"),
                };
                (host, port, true)
            }
            None => {
                let (host, port) = place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port)));
                (host, port, false)
            }
        };
        let is_host = match is_v6 {
            true => host.parse::<Ipv6Addr>().is_ok(),
            false => {
                !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
            }
        };
        if !is_host {
            return Err("it has no host");
        }
        let port = port.map(|port| self::port(port).ok_or("its port is not one of 1 to 65535")).transpose()?;
        Ok(Self { scheme, user, host, is_v6, port, path, query })
    }

    pub(super) fn is_loopback(&self) -> bool {
        is_loopback(self.host, self.is_v6)
    }
}

/// Whether this host (without brackets) is this machine and nothing else.
pub(super) fn is_loopback(host: &str, is_v6: bool) -> bool {
    match is_v6 {
        true => host.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback()),
        false => host.eq_ignore_ascii_case("localhost") || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()),
    }
}

/// A port as it is written; `parse` alone would take a plus sign too.
pub(super) fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let found = Address::parse("smtps://me%40x:pw@mail.example.org:465/?to=a@b&from=c").unwrap();
        assert_eq!((found.scheme, found.user, found.host), ("smtps", Some("me%40x:pw"), "mail.example.org"));
        assert_eq!((found.port, found.path, found.query), (Some(465), "/", "to=a@b&from=c"));
        let found = Address::parse("http://[::1]/x").unwrap();
        assert_eq!((found.host, found.port, found.path, found.is_loopback()), ("::1", None, "/x", true));
        for (text, loopback) in [("https://localhost?x", true), ("https://127.1.2.3:1", true), ("https://x.org", false)]
        {
            assert_eq!(Address::parse(text).map(|a| a.is_loopback()), Ok(loopback), "{text}");
        }
        for bad in
            ["", "x.org/y", "https://", "https:///x", "https://u@/x", "https://x:0", "https://x:+1", "https://x y"]
        {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
        for bad in ["https://[::1", "https://[::1]x", "https://[x]", "https://x/#y", "https://ü.org", "https://x:y:1"]
        {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
