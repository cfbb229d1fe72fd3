//! What the clients of OpenAI-compatible endpoints share: addresses, keys, the HTTP client, and reasons of failures.

use anyhow::{Context, Result, bail};
use reqwest::Response;
use std::time::Duration;

/// Whether a name is an endpoint's and not a checkpoint's.
pub(crate) fn is_endpoint(name: &str) -> bool {
    name.starts_with("http://") || name.starts_with("https://")
}

/// Splits `http://host:port/v1#model` into address and model. The address is written into logs, the store and the dataset's
/// folder, so it must not contain a secret.
pub(crate) fn address_and_model(name: &str) -> Result<(&str, &str)> {
    let Some((base, model)) = name.split_once('#').filter(|(_, model)| !model.is_empty()) else {
        bail!("{} names no model; give `http://host:port/v1#model`", without_secrets(name));
    };
    if without_secrets(base) != base {
        bail!(
            "{} has a user, a password or parameters, which would be written into logs and the dataset's folder; give keys in an environment variable with `--api-key-env`",
            without_secrets(base)
        );
    }
    Ok((base.trim_end_matches('/'), model))
}

/// An address without user, password and parameters.
fn without_secrets(name: &str) -> String {
    let (name, _) = name.split_once('?').unwrap_or((name, ""));
    let Some((scheme, rest)) = name.split_once("://") else { return name.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    format!("{scheme}://{}{path}", host.rsplit_once('@').map_or(host, |(_, host)| host))
}

/// Reads the key in the environment variable that `--api-key-env` names.
pub(crate) fn key(variable: Option<&str>) -> Result<Option<String>> {
    let read = |name: &str| {
        std::env::var(name).with_context(|| format!("`--api-key-env {name}`: the variable is not set"))
    };
    variable.map(read).transpose()
}

/// A client whose calls may take this long.
pub(crate) fn client(timeout: Duration) -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder().connect_timeout(Duration::from_secs(10)).timeout(timeout).build()?)
}

/// The pause that `Retry-After` asks for, in seconds or as a date; at most five minutes.
pub(crate) fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get("retry-after")?.to_str().ok()?;
    let seconds = match text.parse::<f64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
            (date.with_timezone(&chrono::Utc) - chrono::Utc::now()).as_seconds_f64()
        }
    };
    seconds.is_finite().then(|| Duration::from_secs_f64(seconds.clamp(0.0, 300.0)))
}

/// The innermost cause of a connection's failure, which is the useful one.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn an_address_contains_no_secret() {
        let (base, model) = address_and_model("http://host:80/v1/#org/model@2").unwrap();
        assert_eq!((base, model), ("http://host:80/v1", "org/model@2"));
        for name in
            ["https://user:sesame@host/v1#m", "https://host/v1?key=sesame#m", "https://a:sesame@host/v1"]
        {
            let error = address_and_model(name).unwrap_err().to_string();
            assert!(error.contains("https://host/v1") && !error.contains("sesame"), "{error}");
        }
    }
}
