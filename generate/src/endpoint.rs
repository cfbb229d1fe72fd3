//! What every client of an OpenAI-compatible endpoint needs: its name, its key, and how it says what is wrong.

use anyhow::{Context, Result, bail};
use reqwest::Response;
use std::time::Duration;

/// Whether a name is an endpoint's, and not a checkpoint's.
pub(crate) fn is_endpoint(name: &str) -> bool {
    name.starts_with("http://") || name.starts_with("https://")
}

/// The address and the model of `http://host:port/v1#model`.
pub(crate) fn address_and_model(name: &str) -> Result<(&str, &str)> {
    match name.split_once('#').filter(|(_, model)| !model.is_empty()) {
        Some((base, model)) => Ok((base.trim_end_matches('/'), model)),
        None => bail!("{name} names no model; write it as http://host:port/v1#model"),
    }
}

/// The key, read from the environment variable that `--api-key-env` names. It goes nowhere but to the endpoint.
pub(crate) fn key(variable: Option<&str>) -> Result<Option<String>> {
    let read = |name: &str| std::env::var(name).with_context(|| format!("--api-key-env {name}: not set"));
    variable.map(read).transpose()
}

/// A client whose calls may take so long.
pub(crate) fn client(timeout: Duration) -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder().connect_timeout(Duration::from_secs(10)).timeout(timeout).build()?)
}

/// What Retry-After asks for, in seconds or as a date; five minutes at most.
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

/// The innermost reason of a connection's failure, which is the one a person can act on.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
