//! The provider's side of batches: files, batches, and attempts until there is an answer or patience is over.

use crate::endpoint::{cause, redirect_target};
use crate::teacher::batch::files::read_lines;
use crate::teacher::endpoints::Endpoints;
use crate::teacher::reply::{MAX_MESSAGE, is_temporary, whole};
use anyhow::{Context, Result, anyhow, bail};
use openai::batch::{Batch, BatchList, BatchRequest, File};
use reqwest::multipart::{Form, Part};
use reqwest::{RequestBuilder, Response};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Maximum pause before the next attempt.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// A client of one provider.
pub(super) struct Provider {
    /// The first one is the provider's.
    pub(super) endpoints: Arc<Endpoints>,
    pub(super) client: reqwest::Client,
    pub(super) patience: Duration,
    pub(super) poll: Duration,
}

impl Provider {
    /// Uploads a file of calls; returns its id.
    pub(super) async fn upload(&self, number: i64, lines: &str) -> Result<String> {
        let response = self
            .bytes(|base| {
                let part = Part::text(lines.to_owned()).file_name(format!("smoltalk-{number}.jsonl"));
                let form = Form::new().text("purpose", "batch").part("file", part);
                self.client.post(format!("{base}/files")).multipart(form)
            })
            .await?;
        id(parsed::<File>(&response)?.id, "file", &response)
    }

    /// Makes a batch of an uploaded file; returns its id. An attempt whose response was lost may have made the batch, so
    /// each further attempt looks for it first.
    pub(super) async fn create(&self, path: &str, file: &str) -> Result<String> {
        let endpoint = format!("/v1/{path}");
        let body = BatchRequest { input_file_id: file, endpoint: &endpoint, completion_window: "24h" };
        let began = Instant::now();
        loop {
            match self.attempt(|base| self.client.post(format!("{base}/batches")).json(&body)).await? {
                Ok(response) => return id(parsed::<Batch>(&response)?.id, "batch", &response),
                Err(reason) => self.wait(began, &reason).await?,
            }
            if let Some(remote) = self.batch_of(file).await? {
                return Ok(remote);
            }
        }
    }

    /// The id of the batch of an uploaded file, if the provider has one.
    pub(super) async fn batch_of(&self, file: &str) -> Result<Option<String>> {
        let mut after = String::new();
        loop {
            let response =
                self.bytes(|base| self.client.get(format!("{base}/batches?limit=100{after}"))).await?;
            let list: BatchList = parsed(&response)?;
            if let Some(ours) = list.data.iter().find(|batch| batch.input_file_id.as_deref() == Some(file)) {
                return id(ours.id.clone(), "batch", &response).map(Some);
            }
            match list.data.last().and_then(|batch| batch.id.as_deref()).map(segment).transpose()? {
                Some(last) if list.has_more == Some(true) && !after.ends_with(last) => {
                    after = format!("&after={last}");
                }
                _ => return Ok(None),
            }
        }
    }

    /// A batch as it is now.
    pub(super) async fn batch(&self, remote: &str) -> Result<Batch> {
        let remote = segment(remote)?;
        parsed(&self.bytes(|base| self.client.get(format!("{base}/batches/{remote}"))).await?)
    }

    /// Passes the lines of a file to `each`; a file that breaks off is read from its beginning again.
    pub(super) async fn lines(&self, file: &str, mut each: impl FnMut(&[u8])) -> Result<()> {
        let began = Instant::now();
        let file = segment(file)?;
        loop {
            let response =
                self.response(|base| self.client.get(format!("{base}/files/{file}/content"))).await?;
            let read = match response {
                Ok(response) => read_lines(response, &mut each).await,
                Err(reason) => Err(reason),
            };
            match read {
                Ok(()) => return Ok(()),
                Err(reason) => self.wait(began, &reason).await?,
            }
        }
    }

    /// Sends a request until there is a body or patience is over; a refusal ends the run.
    async fn bytes(&self, request: impl Fn(&str) -> RequestBuilder) -> Result<Vec<u8>> {
        let began = Instant::now();
        loop {
            match self.attempt(&request).await? {
                Ok(bytes) => return Ok(bytes),
                Err(reason) => self.wait(began, &reason).await?,
            }
        }
    }

    /// Sends a request once; the inner error is why another attempt may succeed.
    async fn attempt(&self, request: impl Fn(&str) -> RequestBuilder) -> Result<Result<Vec<u8>, String>> {
        Ok(match self.response(request).await? {
            Ok(response) => whole(response).await,
            Err(reason) => Err(reason),
        })
    }

    /// The same, without reading the body.
    async fn response(&self, request: impl Fn(&str) -> RequestBuilder) -> Result<Result<Response, String>> {
        let endpoint = &self.endpoints.list()[0];
        let response = match endpoint.authorized(request(&endpoint.base)).send().await {
            Ok(response) => response,
            Err(error) => return Ok(Err(cause(&error))),
        };
        let status = response.status();
        if status.is_success() {
            return Ok(Ok(response));
        }
        if let Some(target) = redirect_target(&response) {
            bail!(
                "{} redirects to {target} ({status}), which is not followed because requests carry prompts and replies; give that address if you trust it",
                endpoint.base
            );
        }
        if is_temporary(status) {
            return Ok(Err(format!("status {status}")));
        }
        let message = whole(response).await.unwrap_or_else(String::into_bytes);
        let message: String = String::from_utf8_lossy(&message).chars().take(MAX_MESSAGE).collect();
        bail!("{} returns {status}: {message}", endpoint.base)
    }

    /// Waits before the next attempt, if patience is not over.
    async fn wait(&self, began: Instant, reason: &str) -> Result<()> {
        if began.elapsed() > self.patience {
            bail!(
                "{} does not process batches ({reason}); what is recorded is safe, run the same command again to resume",
                self.endpoints.list()[0].base
            );
        }
        tokio::time::sleep(self.poll.min(MAX_PAUSE)).await;
        Ok(())
    }
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).context("cannot read the response of the batch endpoint")
}

fn id(id: Option<String>, what: &str, response: &[u8]) -> Result<String> {
    let text = || String::from_utf8_lossy(response).chars().take(MAX_MESSAGE).collect::<String>();
    let id = id.ok_or_else(|| anyhow!("the provider returned no id for the {what}: {}", text()))?;
    segment(&id)?;
    Ok(id)
}

/// An id as one segment of a path. A provider's ids are words; anything else would reach other addresses of it.
fn segment(id: &str) -> Result<&str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@~".contains(&byte);
    if id.is_empty() || id.len() > 512 || id.starts_with('.') || !id.bytes().all(is_plain) {
        let shown: String = id.chars().take(100).collect();
        bail!("the provider returned the id {shown:?}, which is no plain word; its batches cannot be used");
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_segment_of_a_path() {
        for id in ["batch_68f0a", "file-AbC.1", "msgbatch:7", "a@b~c"] {
            assert!(segment(id).is_ok(), "{id}");
        }
        for id in ["", "..", ".", "../evil", "a/b", "a?x=", "a#b", "a%2fb", "a b", "\u{e9}", &"x".repeat(600)]
        {
            assert!(segment(id).is_err(), "{id}");
        }
    }
}
