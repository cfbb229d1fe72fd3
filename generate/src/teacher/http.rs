//! An OpenAI-compatible endpoint as the teacher.
//!
//! A 429 waits as long as it says and is no failed try; 5xx and broken connections are tried again with
//! growing pauses; any other refusal is the row's. The key is read from the environment and goes nowhere else.

use super::{Call, Prompt, Refusal};
use crate::store::Reply;
use anyhow::{Context, Result, anyhow, bail};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use smollm::wire::{ChatRequest, CompletionRequest, CompletionResponse, ErrorBody, SamplingFields};
use smollm::{ChatTemplate, chat};
use std::time::Duration;

/// Tries before an endpoint that fails counts as gone.
const TRIES: u32 = 6;
/// Waits for 429 before an endpoint counts as gone.
const PATIENCE: u32 = 100;

pub(crate) struct HttpTeacher {
    pub(crate) model: String,
    base: String,
    key: Option<String>,
    client: reqwest::Client,
    template: ChatTemplate,
}

/// One try's failure.
enum Failure {
    /// Wait this long; not a failed try.
    Busy(Option<Duration>),
    /// Try again.
    Passing(String),
    /// Do not.
    Final(Refusal),
}

impl HttpTeacher {
    pub(crate) async fn connect(
        name: &str,
        template: ChatTemplate,
        key_variable: Option<&str>,
    ) -> Result<Self> {
        let Some((base, model)) = name.split_once('#').filter(|(_, model)| !model.is_empty()) else {
            bail!("teacher {name} names no model; write it as http://host:port/v1#model");
        };
        let key = key_variable
            .map(|variable| {
                std::env::var(variable).with_context(|| format!("--api-key-env {variable}: not set"))
            })
            .transpose()?;
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(600));
        let teacher = Self {
            model: model.to_owned(),
            base: base.trim_end_matches('/').to_owned(),
            key,
            client: client.build()?,
            template,
        };
        let probe = teacher.send(teacher.client.get(format!("{}/models", teacher.base))).await;
        match probe {
            Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
                bail!("teacher {base} wants a key (401); name its variable with --api-key-env")
            }
            // Some servers have no list of models; that they answer is enough.
            Ok(_) => Ok(teacher),
            Err(error) => Err(anyhow!(
                "teacher {base} does not answer: {}; start it, or check the address",
                cause(&error)
            )),
        }
    }

    pub(crate) async fn answer(&self, call: &Call) -> Result<Reply, Refusal> {
        let (path, body) = self.body(call).map_err(|error| Refusal::Rejected(error.to_string()))?;
        let (mut tries, mut waits) = (0, 0);
        loop {
            let request = self.client.post(format!("{}/{path}", self.base)).json(&body);
            let failure = match self.send(request).await {
                Ok(response) => match read(response).await {
                    Ok(reply) => return Ok(reply),
                    Err(failure) => failure,
                },
                Err(error) => Failure::Passing(cause(&error)),
            };
            match failure {
                Failure::Final(refusal) => return Err(refusal),
                Failure::Busy(wait) if waits < PATIENCE => {
                    waits += 1;
                    tokio::time::sleep(wait.unwrap_or(pause(waits.min(6), call.seed))).await;
                }
                Failure::Busy(_) => return Err(self.gone("answers nothing but 429")),
                Failure::Passing(reason) => {
                    tries += 1;
                    if tries == TRIES {
                        return Err(self.gone(&format!("failed {TRIES} times, last: {reason}")));
                    }
                    tokio::time::sleep(pause(tries, call.seed)).await;
                }
            }
        }
    }

    fn gone(&self, what: &str) -> Refusal {
        Refusal::Gone(anyhow!(
            "teacher {} {what}; what is recorded is safe, run the same command again to go on",
            self.base
        ))
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Response> {
        let request = match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        request.send().await
    }

    fn body(&self, call: &Call) -> Result<(&'static str, Value)> {
        let mut sampling = SamplingFields {
            temperature: Some(call.temperature),
            top_p: Some(call.top_p),
            max_tokens: Some(call.max_tokens),
            seed: Some(call.seed >> 33), // servers take 31 bits
            stop: Vec::new(),
        };
        Ok(match &call.prompt {
            Prompt::Assistant(messages) => {
                let format = call.schema.as_ref().map(|schema| {
                    json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": schema}})
                });
                let request = ChatRequest {
                    model: self.model.clone(),
                    messages: messages.clone(),
                    sampling,
                    response_format: format,
                };
                ("chat/completions", serde_json::to_value(request)?)
            }
            Prompt::User(messages) => {
                sampling.stop =
                    ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|eot_id|>"].map(str::to_owned).into();
                let prompt = chat::render_user_opening(&self.template, messages)?;
                let request = CompletionRequest { model: self.model.clone(), prompt, sampling };
                ("completions", serde_json::to_value(request)?)
            }
        })
    }
}

async fn read(response: Response) -> Result<Reply, Failure> {
    let status = response.status();
    let retry_after =
        response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
    let body = response.bytes().await.map_err(|error| Failure::Passing(cause(&error)))?;
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Err(Failure::Busy(
            retry_after.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 300.0))),
        ));
    }
    if status.is_server_error() {
        return Err(Failure::Passing(format!("status {status}")));
    }
    if !status.is_success() {
        return Err(Failure::Final(refusal(status, &body)));
    }
    let response: CompletionResponse = serde_json::from_slice(&body)
        .map_err(|error| Failure::Passing(format!("not a completion ({error})")))?;
    let usage = response.usage.unwrap_or_default();
    let choice =
        response.choices.into_iter().next().ok_or_else(|| Failure::Passing("no choices".to_owned()))?;
    let text = choice.text.or_else(|| choice.message.and_then(|message| message.content)).unwrap_or_default();
    Ok(Reply {
        text,
        cut: choice.finish_reason.as_deref() == Some("length"),
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
    })
}

fn refusal(status: StatusCode, body: &[u8]) -> Refusal {
    let error = serde_json::from_slice::<ErrorBody>(body).map(|body| body.error).unwrap_or_default();
    let message =
        if error.message.is_empty() { String::from_utf8_lossy(body).into_owned() } else { error.message };
    let words = format!("{message} {} {}", error.kind.unwrap_or_default(), error.code.unwrap_or_default());
    let too_long = ["context_length", "exceed_context", "context size", "maximum context"];
    if too_long.iter().any(|sign| words.to_lowercase().contains(sign)) {
        return Refusal::TooLong(message);
    }
    match status {
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::METHOD_NOT_ALLOWED => Refusal::Gone(anyhow!("the teacher answers {status}: {message}")),
        _ => Refusal::Rejected(format!("{status}: {message}")),
    }
}

/// Doubles from half a second to half a minute, each within a quarter of it by the call's own seed.
fn pause(tries: u32, seed: u64) -> Duration {
    let jitter = 0.75 + (seed >> 11) as f64 / (1u64 << 53) as f64 * 0.5;
    Duration::from_secs_f64((0.25 * 2f64.powi(tries as i32)).min(30.0) * jitter)
}

/// The innermost reason of a connection's failure, which is the one a person can act on.
fn cause(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
