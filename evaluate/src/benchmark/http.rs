//! A client of OpenAI-compatible endpoints, for models that are evaluated and for judges.

use anyhow::{Context, Result, ensure};
use reqwest::redirect::Policy;
use serde::Serialize;
use serde_json::Value;
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use terminal::Stop;

/// Requests that are in flight at a time.
const CONCURRENCY: usize = 16;
/// Attempts of one request, with growing pauses between them.
const ATTEMPTS: u32 = 4;
/// Maximum time of one request.
const TIMEOUT: Duration = Duration::from_secs(600);

/// An endpoint.
pub(super) struct Client {
    client: reqwest::blocking::Client,
    /// Without a slash at its end, such as `http://localhost:8000/v1`.
    url: String,
    key: Option<String>,
}

impl Client {
    /// A client of the endpoint at a URL, with the key in the first of these variables that has one.
    ///
    /// # Errors
    /// When the system has no HTTP client.
    pub(super) fn new(url: &str, key_variables: &[&str]) -> Result<Self> {
        // A redirect would carry the prompts, and the key, to another host.
        let client = reqwest::blocking::Client::builder().timeout(TIMEOUT).redirect(Policy::none()).build();
        let key = |name: &&str| std::env::var(name).ok().filter(|key| !key.is_empty());
        Ok(Self {
            client: client.context("the HTTP client cannot be made")?,
            url: url.trim_end_matches('/').to_owned(),
            key: key_variables.iter().find_map(key),
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Sends a request, several times if the server is busy or does not answer.
    ///
    /// # Errors
    /// What the server says, or why it does not answer.
    pub(super) fn post(&self, path: &str, body: &impl Serialize) -> Result<Value> {
        let url = format!("{}/{path}", self.url);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut request = self.client.post(&url).json(body);
            if let Some(key) = &self.key {
                request = request.bearer_auth(key);
            }
            let answered = request.send().and_then(|response| Ok((response.status(), response.text()?)));
            let reason = match answered {
                Ok((status, text)) => {
                    if status.is_success() {
                        return serde_json::from_str(&text)
                            .with_context(|| format!("{url} did not return JSON"));
                    }
                    let reason = format!("{url} returned {}: {}", status.as_u16(), text.trim());
                    ensure!(status == 429 || status.is_server_error(), "{reason}");
                    reason
                }
                Err(error) => format!("{url} did not answer, or broke off: {error:#}"),
            };
            ensure!(attempt < ATTEMPTS, "{reason}");
            std::thread::sleep(Duration::from_millis(500 << attempt));
        }
    }
}

/// Does work on several items at a time, and hands each result over as it comes. Nothing is begun after a signal or an
/// error; what is in flight then is still handed over, because it is paid for.
///
/// # Errors
/// The first error of the work or of `finish`.
pub(super) fn concurrently<Item: Sync, Output: Send>(
    items: &[Item],
    stop: &Stop,
    work: impl Fn(&Item) -> Result<Output> + Sync,
    mut finish: impl FnMut(Output) -> Result<()>,
) -> Result<()> {
    let waiting = Mutex::new(items.iter());
    let (results, received) = mpsc::channel::<Result<Output>>();
    std::thread::scope(|scope| {
        for _ in 0..CONCURRENCY.min(items.len()) {
            let (results, waiting, work) = (results.clone(), &waiting, &work);
            scope.spawn(move || {
                while !stop.is_requested() {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(item) = next else { return };
                    if results.send(work(item)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(results);
        let mut outcome = Ok(());
        for result in received {
            if let Err(error) = result.and_then(&mut finish)
                && outcome.is_ok()
            {
                outcome = Err(error);
                *waiting.lock().unwrap_or_else(PoisonError::into_inner) = [].iter();
            }
        }
        outcome
    })
}
