//! Embeddings of texts: from an OpenAI-compatible `/v1/embeddings` endpoint, or from a checkpoint in this process
//! (the mean of the last hidden states over the text's tokens, as `smolserve` returns it).

use crate::endpoint::{self, address_and_model, cause, is_endpoint, redirect_target};
use crate::pauses::wanted_pause;
use anyhow::{Context, Result, anyhow, bail};
use base64::Engine as _;
use checkpoint::{Checkpoint, Tokenizer};
use engine::{Engine, Finish, NativeEngine, Options, Request};
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

/// Texts in one request to an endpoint.
const REQUEST_TEXTS: usize = 32;
/// Concurrent requests.
const REQUESTS: usize = 8;
/// Attempts before the endpoint counts as unavailable.
const ATTEMPTS: u32 = 8;
/// Maximum time of one request.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Characters of an endpoint's error that are shown.
const SHOWN: usize = 300;

/// An embedding model.
#[allow(clippy::large_enum_variant, reason = "a program has one")]
pub(crate) enum Embedder {
    Local { engine: NativeEngine, tokenizer: Tokenizer, name: String },
    Http { client: EmbeddingClient, runtime: tokio::runtime::Runtime },
}

/// The embedding of a text, or why there is none.
pub(crate) type Embedded = Result<Vec<f32>, String>;

impl Embedder {
    /// Opens `http://HOST:PORT/v1#MODEL`, a checkpoint folder, or a Hugging Face id.
    pub(crate) fn open(name: &str, key_variable: Option<&str>) -> Result<Self> {
        if is_endpoint(name) {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            return Ok(Self::Http { client: EmbeddingClient::new(name, key_variable)?, runtime });
        }
        let checkpoint = Checkpoint::open(name, None)?;
        let engine = NativeEngine::start(&checkpoint, Options::default())?;
        let hash = checkpoint.weights.sha256();
        Ok(Self::Local { engine, tokenizer: checkpoint.tokenizer, name: format!("checkpoint sha256:{hash}") })
    }

    /// Returns the identity of the model: the hash of its weights, or its name, wherever it is served.
    pub(crate) fn identity(&self) -> &str {
        match self {
            Self::Local { name, .. } => name,
            Self::Http { client, .. } => &client.model,
        }
    }

    /// Returns the embeddings of texts, in their order.
    pub(crate) fn embed(&self, texts: &[String]) -> Result<Vec<Embedded>> {
        match self {
            Self::Local { engine, tokenizer, .. } => local(engine, tokenizer, texts),
            Self::Http { client, runtime } => runtime.block_on(client.embed(texts)),
        }
    }
}

fn local(engine: &NativeEngine, tokenizer: &Tokenizer, texts: &[String]) -> Result<Vec<Embedded>> {
    let context = engine.limits().context;
    let mut running = Vec::new();
    for text in texts {
        let prompt = tokenizer.ids(text)?;
        running.push(match prompt.len() {
            0 => Err("the text has no tokens".to_owned()),
            // The embedding of half a text would be compared with those of whole ones.
            count if count > context => {
                Err(format!("the text has {count} tokens, the context holds {context}"))
            }
            _ => Ok(engine.submit(Request { prompt, embedding: true, ..Request::default() })?),
        });
    }
    let finished = running.into_iter().map(|running| {
        let answer = running?.collect_blocking();
        match answer.finish {
            Finish::Failed(reason) => Err(reason),
            _ => Ok(answer.embedding),
        }
    });
    Ok(finished.collect())
}

/// The client of an embedding endpoint. The key is read from the environment and sent to no other host.
pub(crate) struct EmbeddingClient {
    model: String,
    base: String,
    key: Option<String>,
    client: reqwest::Client,
}

/// Why a request returned no embeddings.
enum Failure {
    /// A later attempt may succeed; the endpoint may say when.
    Temporary(String, Option<Duration>),
    /// These texts cannot be embedded.
    Refused(String),
    /// No text can be embedded.
    Permanent(String),
}

impl EmbeddingClient {
    fn new(name: &str, key_variable: Option<&str>) -> Result<Self> {
        let (base, model) = address_and_model(name).context("`--embeddings`")?;
        let address =
            reqwest::Url::parse(base).with_context(|| format!("`--embeddings`: {base} is not a URL"))?;
        if let Some(exposure) = endpoint::exposure(&address, |name| std::env::var(name).ok()) {
            terminal::message!("warning: {exposure}");
        }
        let (key, client) = (endpoint::key(key_variable)?, endpoint::client(TIMEOUT)?);
        Ok(Self { model: model.to_owned(), base: base.to_owned(), key, client })
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Embedded>> {
        let requests: Vec<_> = texts.chunks(REQUEST_TEXTS).map(|texts| self.embed_some(texts)).collect();
        let parts: Vec<Vec<Embedded>> = stream::iter(requests).buffered(REQUESTS).try_collect().await?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// Sends one request; if it is refused, one per text, so that only the refused text has no embedding.
    async fn embed_some(&self, texts: &[String]) -> Result<Vec<Embedded>> {
        match self.request(texts).await? {
            Ok(vectors) => Ok(vectors.into_iter().map(Ok).collect()),
            Err(reason) if texts.len() == 1 => Ok(vec![Err(reason)]),
            Err(_) => {
                let mut list = Vec::with_capacity(texts.len());
                for text in texts {
                    let vectors = self.request(std::slice::from_ref(text)).await?;
                    list.push(vectors.map(|mut vectors| vectors.swap_remove(0)));
                }
                Ok(list)
            }
        }
    }

    /// Sends a request until it is answered; the inner error is the endpoint's refusal of these texts.
    async fn request(&self, texts: &[String]) -> Result<Result<Vec<Vec<f32>>, String>> {
        let mut attempts = 0;
        loop {
            match self.request_once(texts).await {
                Ok(vectors) => return Ok(Ok(vectors)),
                Err(Failure::Refused(reason)) => return Ok(Err(reason)),
                Err(Failure::Permanent(reason)) => bail!("endpoint {} cannot be used: {reason}", self.base),
                Err(Failure::Temporary(reason, wait)) => {
                    attempts += 1;
                    if attempts == ATTEMPTS {
                        bail!("endpoint {} failed {ATTEMPTS} times in a row: {reason}", self.base);
                    }
                    let backoff = Duration::from_millis(250 << attempts);
                    tokio::time::sleep(wait.unwrap_or(backoff)).await;
                }
            }
        }
    }

    async fn request_once(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Failure> {
        let failed = |error: reqwest::Error| Failure::Temporary(cause(&error), None);
        let body = json!({"model": self.model, "input": texts, "encoding_format": "float"});
        let mut request = self.client.post(format!("{}/embeddings", self.base)).json(&body);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let (after, target) = (wanted_pause(response.headers()), redirect_target(&response));
        let text = response.text().await.map_err(failed)?;
        let message = || format!("{status}: {}", text.chars().take(SHOWN).collect::<String>());
        match status {
            StatusCode::OK => vectors(&text, texts.len()).map_err(Failure::Permanent),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                Err(Failure::Permanent(message()))
            }
            status if status.is_redirection() => Err(Failure::Permanent(format!(
                "it redirects to {} ({status}); give that address if you trust it",
                target.unwrap_or_else(|| "another address".to_owned())
            ))),
            StatusCode::TOO_MANY_REQUESTS => Err(Failure::Temporary(message(), after)),
            status if status.is_server_error() => Err(Failure::Temporary(message(), None)),
            _ => Err(Failure::Refused(message())),
        }
    }
}

/// Returns the embeddings of an answer in the order of their indices.
fn vectors(body: &str, count: usize) -> Result<Vec<Vec<f32>>, String> {
    let body: Value =
        serde_json::from_str(body).map_err(|error| format!("the answer is not JSON ({error})"))?;
    let data = body["data"].as_array().ok_or("the answer has no list `data`")?;
    let mut list: Vec<Option<Vec<f32>>> = vec![None; count];
    for entry in data {
        let slot = entry["index"].as_u64().and_then(|index| list.get_mut(index as usize));
        let vector = vector(&entry["embedding"]).map_err(|error| error.to_string())?;
        let slot = slot.ok_or_else(|| format!("an embedding has the index {}", entry["index"]))?;
        *slot = Some(vector);
    }
    let complete: Option<Vec<_>> = list.into_iter().collect();
    complete.ok_or_else(|| format!("the answer has {} embeddings for {count} texts", data.len()))
}

/// Parses an embedding: numbers, or the base64 of their little-endian bytes, which some servers send whatever was
/// requested.
fn vector(value: &Value) -> Result<Vec<f32>> {
    if let Some(text) = value.as_str() {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text)?;
        return Ok(bytes
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
            .collect());
    }
    let numbers = value.as_array().ok_or_else(|| anyhow!("an embedding is not a list"))?;
    let number = |value: &Value| {
        value.as_f64().map(|x| x as f32).ok_or_else(|| anyhow!("an embedding contains {value}"))
    };
    numbers.iter().map(number).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_sorted_and_counted() {
        let body =
            r#"{"data": [{"index": 1, "embedding": "AACAPwAAAMA="}, {"index": 0, "embedding": [0.5, 3]}]}"#;
        assert_eq!(vectors(body, 2), Ok(vec![vec![0.5, 3.0], vec![1.0, -2.0]]));
        assert_eq!(vectors(body, 3), Err("the answer has 2 embeddings for 3 texts".to_owned()));
        assert_eq!(vectors(body, 1).unwrap_err(), "an embedding has the index 1");
    }
}
