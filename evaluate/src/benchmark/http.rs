//! A client of OpenAI-compatible endpoints, for models that are evaluated and for judges.

use anyhow::{Context, Error, Result, ensure};
use reqwest::blocking::Response;
use reqwest::redirect::Policy;
use serde::Serialize;
use serde_json::Value;
use std::io::Read;
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

/// Maximum size of an answer: the log-probabilities of a long prompt are a tenth of it.
const MAX_BODY: u64 = 128 << 20;
/// Maximum number of characters that are repeated of an error.
const MAX_REASON: usize = 2000;

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
            let answered = request.send().map_err(Error::from);
            let answered = answered.and_then(|response| Ok((response.status(), body_of(response)?)));
            let reason = match answered {
                Ok((status, body)) => {
                    ensure!(
                        body.len() as u64 <= MAX_BODY,
                        "{url} returned more than {} MiB; it is no answer to this request",
                        MAX_BODY >> 20
                    );
                    if status.is_success() {
                        return serde_json::from_slice(&body)
                            .with_context(|| format!("{url} did not return JSON"));
                    }
                    let text: String =
                        String::from_utf8_lossy(&body).trim().chars().take(MAX_REASON).collect();
                    let reason = format!("{url} returned {}: {text}", status.as_u16());
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

/// Reads a body, and no more than one byte beyond the bound.
fn body_of(response: Response) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    response.take(MAX_BODY + 1).read_to_end(&mut body)?;
    Ok(body)
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};

    /// A server that answers every request by `answer`, and counts them.
    fn served(answer: fn(TcpStream)) -> (Client, std::sync::Arc<Mutex<usize>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let count = std::sync::Arc::new(Mutex::new(0));
        let requests = count.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    line.clear();
                }
                // The body: null.
                reader.read_exact(&mut [0; 4]).unwrap();
                *requests.lock().unwrap() += 1;
                answer(stream);
            }
        });
        (Client::new(&url, &[]).unwrap(), count)
    }

    #[test]
    fn an_endless_answer_is_cut_off() {
        let (client, count) = served(|mut stream| {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n\"";
            let _ = stream.write_all(head.as_bytes());
            while stream.write_all(&[b'a'; 1 << 16]).is_ok() {}
        });
        let error = client.post("chat/completions", &Value::Null).unwrap_err().to_string();
        assert!(error.contains("returned more than 128 MiB"), "{error}");
        assert_eq!(*count.lock().unwrap(), 1, "it is not asked for again");
    }

    #[test]
    fn no_redirect_is_followed() {
        let (client, count) = served(|mut stream| {
            let head =
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: /v1/elsewhere\r\nContent-Length: 0\r\n\r\n";
            let _ = stream.write_all(head.as_bytes());
        });
        let error = client.post("chat/completions", &Value::Null).unwrap_err().to_string();
        assert!(error.contains("returned 307"), "{error}");
        assert_eq!(*count.lock().unwrap(), 1);
    }
}
