//! Which key goes to which host: a key is a secret between its owner and one provider, and no other host gets it.

use crate::endpoint::{self, address_and_model, is_endpoint};
use anyhow::{Context, Result, bail};
use reqwest::Url;
use std::fmt;

/// The keys of a run's endpoints.
#[derive(Clone, Default)]
pub(crate) struct Keys(Vec<Key>);

#[derive(Clone)]
struct Key {
    /// `host`, or `host:port` for one port of it alone.
    host: String,
    /// The environment variable, which may be told.
    variable: String,
    /// What must not be.
    secret: String,
    /// Whether the host was named with it.
    is_explicit: bool,
}

impl Keys {
    /// Reads the variables that `--api-key-env` names: `NAME` for the hosts of the main teacher, `HOST=NAME` for a host
    /// of any teacher.
    pub(crate) fn read(named: &[String], main: &str, others: &[&str]) -> Result<Self> {
        let mains = bases(main)?;
        let mut all = mains.clone();
        for other in others {
            all.extend(bases(other)?);
        }
        let mut keys = Self::default();
        for entry in named {
            match entry.split_once('=') {
                Some((host, _)) if !all.iter().any(|base| is_at(base, host)) => {
                    bail!("--api-key-env {entry}: no teacher is at {host}")
                }
                Some((host, variable)) => keys.add(host, variable, true)?,
                None if mains.is_empty() => {
                    bail!(
                        "--api-key-env {entry}: --teacher is no endpoint; say whose key it is with HOST={entry}"
                    )
                }
                None => {
                    let mut hosts: Vec<&str> = mains.iter().filter_map(Url::host_str).collect();
                    hosts.sort_unstable();
                    hosts.dedup();
                    hosts.into_iter().try_for_each(|host| keys.add(host, entry, false))?;
                }
            }
        }
        Ok(keys)
    }

    fn add(&mut self, host: &str, variable: &str, is_explicit: bool) -> Result<()> {
        let same = |key: &&Key| key.host.eq_ignore_ascii_case(host) && key.is_explicit == is_explicit;
        if let Some(other) = self.0.iter().find(same) {
            bail!("--api-key-env: {} and {variable} are both keys of {host}; name one", other.variable);
        }
        let secret = endpoint::key(Some(variable))?.unwrap_or_default();
        let (host, variable) = (host.to_lowercase(), variable.to_owned());
        self.0.push(Key { host, variable, secret, is_explicit });
        Ok(())
    }

    /// The key of an endpoint; one of its port goes before one of its host, and one that names it before one that
    /// does not.
    pub(crate) fn of(&self, base: &str) -> Option<&str> {
        let base = Url::parse(base).ok()?;
        let fit = self.0.iter().filter(|key| is_at(&base, &key.host));
        let best = fit.max_by_key(|key| (key.is_explicit, Some(key.host.as_str()) != base.host_str()))?;
        Some(&best.secret)
    }

    /// What to say where keys were named and none of them is this endpoint's.
    pub(crate) fn lack(&self, base: &str) -> Option<String> {
        if self.0.is_empty() || self.of(base).is_some() {
            return None;
        }
        let whose: Vec<String> =
            self.0.iter().map(|key| format!("{} goes to {}", key.variable, key.host)).collect();
        Some(format!("teacher {base} gets no key ({} only); {}", whose.join(", "), how_to_name(base)))
    }
}

/// How an endpoint's key is named.
pub(crate) fn how_to_name(base: &str) -> String {
    let base = Url::parse(base).ok();
    let host = base.as_ref().and_then(Url::host_str).unwrap_or("HOST");
    format!("name the variable that holds one with --api-key-env {host}=NAME")
}

/// Secrets stay out of whatever is printed.
impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.0.iter().map(|key| (&key.host, &key.variable))).finish()
    }
}

/// The addresses of a teacher; a checkpoint has none.
fn bases(teacher: &str) -> Result<Vec<Url>> {
    if !is_endpoint(teacher) {
        return Ok(Vec::new());
    }
    let base = |name| {
        let (base, _) = address_and_model(name)?;
        Url::parse(base).with_context(|| format!("teacher {base} is no address"))
    };
    teacher.split(',').map(base).collect()
}

fn is_at(base: &Url, host: &str) -> bool {
    let Some(name) = base.host_str() else { return false };
    let port = base.port_or_known_default().unwrap_or_default();
    host.eq_ignore_ascii_case(name) || host.eq_ignore_ascii_case(&format!("{name}:{port}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    const MAIN: &str = "https://a.example/v1#m,https://b.example/v1#m";

    fn read(named: &[&str], others: &[&str]) -> Result<Keys> {
        let named: Vec<String> = named.iter().map(|&name| name.to_owned()).collect();
        Keys::read(&named, MAIN, others)
    }

    fn value(variable: &str) -> Option<String> {
        std::env::var(variable).ok()
    }

    #[test]
    fn a_key_goes_to_the_host_it_is_for_and_to_no_other() {
        let others = ["http://judge:8000/v1#j", "http://judge:9000/v1#k", "https://a.example:444/v1#r"];
        let keys = read(&["PATH", "judge:8000=CARGO"], &others).unwrap();
        let of = |base: &str| keys.of(base).map(str::to_owned);
        for base in ["https://a.example/v1", "https://b.example/v1", "https://a.example:444/v1"] {
            assert_eq!(of(base), value("PATH"), "{base}");
        }
        assert_eq!(of("http://judge:8000/v1"), value("CARGO"));
        for base in ["http://judge:9000/v1", "https://a.example.evil/v1", "https://evil/a.example"] {
            assert_eq!(of(base), None, "{base}");
            assert!(keys.lack(base).unwrap().contains("PATH goes to a.example"), "{base}");
        }
        assert_eq!(keys.lack("https://a.example/v1"), None);
        assert_eq!(Keys::default().lack("https://a.example/v1"), None, "nothing was named");
        let explicit = read(&["PATH", "a.example=CARGO", "a.example:444=HOME"], &others).unwrap();
        assert_eq!(explicit.of("https://a.example/v1").map(str::to_owned), value("CARGO"));
        assert_eq!(explicit.of("https://a.example:444/v1").map(str::to_owned), value("HOME"));
        assert!(!format!("{keys:?}").contains(&value("PATH").unwrap()));
    }

    #[test]
    fn a_key_that_nobody_would_get_is_refused() {
        let said = |result: Result<Keys>| result.unwrap_err().to_string();
        assert!(said(read(&["c.example=PATH"], &[])).contains("no teacher is at c.example"));
        assert!(said(read(&["PATH", "HOME"], &[])).contains("both keys of a.example"));
        assert!(said(read(&["NO_SUCH_VARIABLE"], &[])).contains("not set"));
        let local = Keys::read(&["PATH".to_owned()], "a-checkpoint", &["https://a.example/v1#m"]);
        assert!(said(local).contains("HOST=PATH"));
    }
}
