//! Which web pages may use the server, and which names it is called by.

use std::net::IpAddr;

/// Origins of pages that may use the server, beside its own and those of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origins {
    /// All origins.
    Any,
    /// These, such as `https://example.org`.
    Listed(Vec<String>),
}

/// Names that the server is called by, beside `localhost` and addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// All names.
    Any,
    /// These, in lower case.
    Listed(Vec<String>),
}

impl Origins {
    /// Whether a page of this origin may use the server that it calls `host`.
    pub(crate) fn allow(&self, origin: &str, host: &str) -> bool {
        let Self::Listed(listed) = self else { return true };
        let origin = origin.to_ascii_lowercase();
        let Some((_, authority)) = origin.split_once("://") else { return false };
        is_loopback(name(authority))
            || authority == host.to_ascii_lowercase()
            || listed.iter().any(|known| known.trim_end_matches('/').eq_ignore_ascii_case(&origin))
    }
}

impl Hosts {
    /// Whether the server may be called by this value of `Host`. An address cannot be rebound.
    pub(crate) fn allow(&self, host: &str) -> bool {
        let Self::Listed(listed) = self else { return true };
        let host = name(host).to_ascii_lowercase();
        is_loopback(&host) || host.parse::<IpAddr>().is_ok() || listed.contains(&host)
    }
}

/// The name or address in `name:port`.
pub(crate) fn name(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(name, _)| name),
    }
}

/// Whether a name or an address is this machine's own.
pub(crate) fn is_loopback(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_names_and_addresses_are_hosts() {
        let hosts = Hosts::Listed(vec!["box.lan".to_owned()]);
        for good in [
            "localhost:8000",
            "LOCALHOST",
            "127.0.0.1:1",
            "[::1]:8000",
            "192.168.1.5:8000",
            "box.lan:80",
            "a.localhost",
        ] {
            assert!(hosts.allow(good), "{good}");
        }
        for bad in ["evil.test:8000", "", "localhost.evil.test", "127.0.0.1.evil.test", "box.lan.evil"] {
            assert!(!hosts.allow(bad), "{bad}");
        }
        assert!(Hosts::Any.allow("evil.test"));
    }

    #[test]
    fn pages_of_this_machine_and_listed_ones_are_allowed() {
        let origins = Origins::Listed(vec!["https://Good.example".to_owned()]);
        for good in [
            "http://localhost:3000",
            "http://127.0.0.1",
            "https://[::1]:5",
            "https://good.example",
            "http://10.0.0.7:8000",
        ] {
            assert!(origins.allow(good, "10.0.0.7:8000"), "{good}");
        }
        for bad in [
            "https://evil.test",
            "null",
            "",
            "http://10.0.0.8:8000",
            "https://good.example.evil.test",
            "file://",
        ] {
            assert!(!origins.allow(bad, "10.0.0.7:8000"), "{bad}");
        }
        assert!(Origins::Any.allow("https://evil.test", "x"));
    }
}
