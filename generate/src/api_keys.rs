//! API keys: which key is sent to which host. A key is a secret of its owner and one provider; no other host gets it.

use crate::endpoint::{self, address_and_model, is_endpoint};
use anyhow::{Context, Result, bail};
use reqwest::Url;
use std::fmt;

/// The API keys of a run's endpoints.
#[derive(Clone, Default)]
pub(crate) struct ApiKeys(Vec<ApiKey>);

#[derive(Clone)]
struct ApiKey {
    /// `host`, or `host:port` for one port of it.
    host: String,
    /// The environment variable; may be printed.
    variable: String,
    /// The key; must not be printed.
    secret: String,
    /// Whether the option names the host.
    is_explicit: bool,
}

impl ApiKeys {
    /// Reads the variables that `--api-key-env` names: `NAME` for the hosts of the main teacher, `HOST=NAME` for a host of
    /// any teacher.
    pub(crate) fn read(options: &[String], main: &str, others: &[&str]) -> Result<Self> {
        let main_bases = bases(main)?;
        let mut all = main_bases.clone();
        for other in others {
            all.extend(bases(other)?);
        }
        let mut keys = Self::default();
        for option in options {
            // What is no name of a variable may be the key itself, which is not printed.
            let variable = option.split_once('=').map_or(option.as_str(), |(_, variable)| variable);
            if !endpoint::is_variable_name(variable) {
                endpoint::key(Some(variable))?;
            }
            match option.split_once('=') {
                Some((host, _)) if !all.iter().any(|base| is_at(base, host)) => {
                    bail!("`--api-key-env {option}`: no teacher is at {host}")
                }
                Some((host, variable)) => keys.add(host, variable, true)?,
                None if main_bases.is_empty() => {
                    bail!(
                        "`--api-key-env {option}` names no host, and `--teacher` is not an endpoint; give `HOST={option}`"
                    )
                }
                None => {
                    let mut hosts: Vec<&str> = main_bases.iter().filter_map(Url::host_str).collect();
                    hosts.sort_unstable();
                    hosts.dedup();
                    hosts.into_iter().try_for_each(|host| keys.add(host, option, false))?;
                }
            }
        }
        Ok(keys)
    }

    fn add(&mut self, host: &str, variable: &str, is_explicit: bool) -> Result<()> {
        let is_same = |key: &&ApiKey| key.host.eq_ignore_ascii_case(host) && key.is_explicit == is_explicit;
        if let Some(other) = self.0.iter().find(is_same) {
            bail!("`--api-key-env`: {} and {variable} are both keys of {host}; give one", other.variable);
        }
        let secret = endpoint::key(Some(variable))?.unwrap_or_default();
        let (host, variable) = (host.to_lowercase(), variable.to_owned());
        self.0.push(ApiKey { host, variable, secret, is_explicit });
        Ok(())
    }

    /// The key of an endpoint. A key for its port comes before one for its host, and an option that names the host before
    /// one that does not.
    pub(crate) fn of(&self, base: &str) -> Option<&str> {
        let base = Url::parse(base).ok()?;
        let matching = self.0.iter().filter(|key| is_at(&base, &key.host));
        let best =
            matching.max_by_key(|key| (key.is_explicit, Some(key.host.as_str()) != base.host_str()))?;
        Some(&best.secret)
    }

    /// A note for an endpoint without a key in a run that has keys.
    pub(crate) fn missing_note(&self, base: &str) -> Option<String> {
        if self.0.is_empty() || self.of(base).is_some() {
            return None;
        }
        let hosts: Vec<String> =
            self.0.iter().map(|key| format!("{} is for {}", key.variable, key.host)).collect();
        Some(format!("teacher {base} gets no key ({}); {}", hosts.join(", "), how_to_name(base)))
    }
}

/// How to give an endpoint its key.
pub(crate) fn how_to_name(base: &str) -> String {
    let base = Url::parse(base).ok();
    let host = base.as_ref().and_then(Url::host_str).unwrap_or("HOST");
    format!("give the environment variable of one with `--api-key-env {host}=NAME`")
}

/// Prints no secrets.
impl fmt::Debug for ApiKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.0.iter().map(|key| (&key.host, &key.variable))).finish()
    }
}

/// The addresses of a teacher; none for a checkpoint.
fn bases(teacher: &str) -> Result<Vec<Url>> {
    if !is_endpoint(teacher) {
        return Ok(Vec::new());
    }
    let base = |name| {
        let (base, _) = address_and_model(name)?;
        Url::parse(base).with_context(|| format!("teacher {base} is not a URL"))
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

    fn read(options: &[&str], others: &[&str]) -> Result<ApiKeys> {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        ApiKeys::read(&options, MAIN, others)
    }

    fn value(variable: &str) -> Option<String> {
        std::env::var(variable).ok()
    }

    #[test]
    fn a_key_is_sent_to_its_own_host_only() {
        let others = ["http://judge:8000/v1#j", "http://judge:9000/v1#k", "https://a.example:444/v1#r"];
        let keys = read(&["PATH", "judge:8000=CARGO"], &others).unwrap();
        let of = |base: &str| keys.of(base).map(str::to_owned);
        for base in ["https://a.example/v1", "https://b.example/v1", "https://a.example:444/v1"] {
            assert_eq!(of(base), value("PATH"), "{base}");
        }
        assert_eq!(of("http://judge:8000/v1"), value("CARGO"));
        for base in ["http://judge:9000/v1", "https://a.example.evil/v1", "https://evil/a.example"] {
            assert_eq!(of(base), None, "{base}");
            assert!(keys.missing_note(base).unwrap().contains("PATH is for a.example"), "{base}");
        }
        assert_eq!(keys.missing_note("https://a.example/v1"), None);
        assert_eq!(ApiKeys::default().missing_note("https://a.example/v1"), None, "there are no keys");
        let explicit = read(&["PATH", "a.example=CARGO", "a.example:444=HOME"], &others).unwrap();
        assert_eq!(explicit.of("https://a.example/v1").map(str::to_owned), value("CARGO"));
        assert_eq!(explicit.of("https://a.example:444/v1").map(str::to_owned), value("HOME"));
        assert!(!format!("{keys:?}").contains(&value("PATH").unwrap()));
    }

    #[test]
    fn a_key_without_a_host_is_refused() {
        let error = |result: Result<ApiKeys>| result.unwrap_err().to_string();
        assert!(error(read(&["c.example=PATH"], &[])).contains("no teacher is at c.example"));
        assert!(error(read(&["PATH", "HOME"], &[])).contains("both keys of a.example"));
        assert!(error(read(&["NO_SUCH_VARIABLE"], &[])).contains("not set"));
        let local = ApiKeys::read(&["PATH".to_owned()], "a-checkpoint", &["https://a.example/v1#m"]);
        assert!(error(local).contains("HOST=PATH"));
    }
}
