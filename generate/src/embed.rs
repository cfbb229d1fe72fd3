//! Vectors of texts: from an OpenAI-shaped `/v1/embeddings` endpoint, or from a checkpoint in this process (the mean
//! of its last hidden states over the text's tokens, as smolserve gives them).

use crate::endpoint::{self, address_and_model, cause, is_endpoint, retry_after};
use anyhow::{Context, Result, anyhow, bail};
use base64::Engine as _;
use engine::{Engine, Finish, NativeEngine, Options, Request};
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::StatusCode;
use serde_json::{Value, json};
use smollm::{Checkpoint, Tokenizer};
use std::time::Duration;

/// Texts of one request to an endpoint.
const TEXTS_A_REQUEST: usize = 32;
/// Requests on their way at a time.
const REQUESTS: usize = 8;
/// Tries before an endpoint that fails counts as gone.
const TRIES: u32 = 8;
/// How long one request may take.
const LONGEST: Duration = Duration::from_secs(300);

/// What makes vectors.
#[allow(clippy::large_enum_variant, reason = "there is one of them")]
pub(crate) enum Embedder {
    Local { engine: NativeEngine, tokenizer: Tokenizer, name: String },
    Http { client: Endpoint, runtime: tokio::runtime::Runtime },
}

/// A text's vector, or why there is none.
pub(crate) type Embedded = Result<Vec<f32>, String>;

impl Embedder {
    /// Opens `http://host:port/v1#model`, a checkpoint folder, or a hub id.
    pub(crate) fn open(name: &str, key_variable: Option<&str>) -> Result<Self> {
        if is_endpoint(name) {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            return Ok(Self::Http { client: Endpoint::new(name, key_variable)?, runtime });
        }
        let checkpoint = Checkpoint::open(name, None)?;
        let engine = NativeEngine::start(&checkpoint, Options::default())?;
        let hash = checkpoint.weights.sha256();
        Ok(Self::Local { engine, tokenizer: checkpoint.tokenizer, name: format!("checkpoint sha256:{hash}") })
    }

    /// What the vectors come from: the weights' hash, or the model's name wherever it is served.
    pub(crate) fn identity(&self) -> &str {
        match self {
            Self::Local { name, .. } => name,
            Self::Http { client, .. } => &client.model,
        }
    }

    /// The vectors of texts, in their order.
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
        let prompt = tokenizer.encode(text)?.ids;
        running.push(match prompt.len() {
            0 => Err("it has no token".to_owned()),
            // Half a text's vector would be compared with whole ones.
            count if count > context => Err(format!("{count} tokens in a context of {context}")),
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

/// An endpoint. The key is read from the environment and goes nowhere else.
pub(crate) struct Endpoint {
    model: String,
    base: String,
    key: Option<String>,
    client: reqwest::Client,
}

/// Why a request has no vectors.
enum Failure {
    /// Ask again, at once or when it says.
    Passing(String, Option<Duration>),
    /// These texts will not be embedded.
    Refused(String),
    /// Nothing will.
    Gone(String),
}

impl Endpoint {
    fn new(name: &str, key_variable: Option<&str>) -> Result<Self> {
        let (base, model) = address_and_model(name).context("--embeddings")?;
        let (key, client) = (endpoint::key(key_variable)?, endpoint::client(LONGEST)?);
        Ok(Self { model: model.to_owned(), base: base.to_owned(), key, client })
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Embedded>> {
        let asked: Vec<_> = texts.chunks(TEXTS_A_REQUEST).map(|texts| self.embed_some(texts)).collect();
        let parts: Vec<Vec<Embedded>> = stream::iter(asked).buffered(REQUESTS).try_collect().await?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// One request; where it is refused, one for each text, so that only the text at fault goes without.
    async fn embed_some(&self, texts: &[String]) -> Result<Vec<Embedded>> {
        match self.ask(texts).await? {
            Ok(vectors) => Ok(vectors.into_iter().map(Ok).collect()),
            Err(reason) if texts.len() == 1 => Ok(vec![Err(reason)]),
            Err(_) => {
                let mut list = Vec::with_capacity(texts.len());
                for text in texts {
                    let one = self.ask(std::slice::from_ref(text)).await?;
                    list.push(one.map(|mut vectors| vectors.swap_remove(0)));
                }
                Ok(list)
            }
        }
    }

    /// Asks until there is an answer; the inner error is the endpoint's refusal of these texts.
    async fn ask(&self, texts: &[String]) -> Result<Result<Vec<Vec<f32>>, String>> {
        let mut tries = 0;
        loop {
            match self.ask_once(texts).await {
                Ok(vectors) => return Ok(Ok(vectors)),
                Err(Failure::Refused(reason)) => return Ok(Err(reason)),
                Err(Failure::Gone(reason)) => bail!("{}: {reason}", self.base),
                Err(Failure::Passing(reason, wait)) => {
                    tries += 1;
                    if tries == TRIES {
                        bail!("{} failed {TRIES} times, last: {reason}", self.base);
                    }
                    let growing = Duration::from_millis(250 << tries);
                    tokio::time::sleep(wait.unwrap_or(growing)).await;
                }
            }
        }
    }

    async fn ask_once(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Failure> {
        let passing = |error: reqwest::Error| Failure::Passing(cause(&error), None);
        let body = json!({"model": self.model, "input": texts, "encoding_format": "float"});
        let mut request = self.client.post(format!("{}/embeddings", self.base)).json(&body);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let response = request.send().await.map_err(passing)?;
        let status = response.status();
        let after = retry_after(&response);
        let text = response.text().await.map_err(passing)?;
        let said = || format!("{status}: {}", text.chars().take(300).collect::<String>());
        match status {
            StatusCode::OK => vectors(&text, texts.len()).map_err(Failure::Gone),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                Err(Failure::Gone(said()))
            }
            StatusCode::TOO_MANY_REQUESTS => Err(Failure::Passing(said(), after)),
            status if status.is_server_error() => Err(Failure::Passing(said(), None)),
            _ => Err(Failure::Refused(said())),
        }
    }
}

/// The vectors of an answer, put into the order of their indices.
fn vectors(body: &str, count: usize) -> Result<Vec<Vec<f32>>, String> {
    let body: Value = serde_json::from_str(body).map_err(|error| format!("not JSON ({error})"))?;
    let data = body["data"].as_array().ok_or("an answer without data")?;
    let mut list: Vec<Option<Vec<f32>>> = vec![None; count];
    for entry in data {
        let place = entry["index"].as_u64().and_then(|index| list.get_mut(index as usize));
        let vector = vector(&entry["embedding"]).map_err(|error| error.to_string())?;
        *place.ok_or_else(|| format!("an embedding with the index {}", entry["index"]))? = Some(vector);
    }
    let whole: Option<Vec<_>> = list.into_iter().collect();
    whole.ok_or_else(|| format!("{} embeddings for {count} texts", data.len()))
}

/// Numbers, or what some servers send whatever they were asked: the base64 of their little-endian bytes.
fn vector(value: &Value) -> Result<Vec<f32>> {
    if let Some(text) = value.as_str() {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text)?;
        return Ok(bytes
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
            .collect());
    }
    let numbers = value.as_array().ok_or_else(|| anyhow!("an embedding that is no list"))?;
    let number =
        |value: &Value| value.as_f64().map(|x| x as f32).ok_or_else(|| anyhow!("{value} in an embedding"));
    numbers.iter().map(number).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_put_in_order_and_counted() {
        let body =
            r#"{"data": [{"index": 1, "embedding": "AACAPwAAAMA="}, {"index": 0, "embedding": [0.5, 3]}]}"#;
        assert_eq!(vectors(body, 2), Ok(vec![vec![0.5, 3.0], vec![1.0, -2.0]]));
        assert_eq!(vectors(body, 3), Err("2 embeddings for 3 texts".to_owned()));
        assert_eq!(vectors(body, 1).unwrap_err(), "an embedding with the index 1");
    }
}
