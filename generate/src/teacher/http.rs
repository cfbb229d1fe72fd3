//! OpenAI-compatible endpoints as the teacher.
//!
//! A 429 waits as long as it says and is no failed try; 5xx, broken connections and answers that cannot be
//! read are tried again elsewhere or later; any other refusal is the row's. The key is read from the
//! environment and goes nowhere else.

use super::batch::Batches;
use super::endpoints::{Endpoints, Seat};
use super::{Asking, Call, Manners, Prompt, Refusal};
use crate::budget::Cost;
use crate::endpoint::{self, address_and_model, cause, retry_after};
use crate::store::{Outcome, Reply, Source};
use anyhow::{Result, anyhow, bail};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use smollm::wire::{ChatRequest, CompletionRequest, CompletionResponse, ErrorBody, SamplingFields, Usage};
use smollm::{ChatTemplate, chat};
use std::sync::Arc;
use std::time::Duration;

/// Tries before a call counts as failed.
const TRIES: u32 = 6;
/// At which a server's tokens are counted that counts none itself.
const BYTES_OF_A_TOKEN: u64 = 4;

pub(crate) struct HttpTeacher {
    pub(crate) model: String,
    endpoints: Arc<Endpoints>,
    client: reqwest::Client,
    template: ChatTemplate,
    batches: Option<Batches>,
}

/// One try's failure.
enum Failure {
    /// Wait this long; a failed try only if it says so.
    Busy(Option<Duration>, Option<String>),
    /// Try again.
    Passing(String),
    /// Do not.
    Final(Refusal),
}

impl HttpTeacher {
    pub(crate) async fn connect(names: &str, template: ChatTemplate, manners: &Manners) -> Result<Self> {
        let (model, bases) = parse(names)?;
        let key = endpoint::key(manners.key_variable.as_deref())?;
        let client = endpoint::client(manners.timeout)?;
        let endpoints = Endpoints::new(&bases, key.as_deref(), client.clone(), manners);
        for endpoint in endpoints.list() {
            let probe = endpoint.authorized(client.get(format!("{}/models", endpoint.base))).send().await;
            let base = &endpoint.base;
            match probe {
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
                    bail!("teacher {base} wants a key (401); name its variable with --api-key-env")
                }
                // Some servers have no list of models; that they answer is enough.
                Ok(_) => {}
                Err(error) => {
                    bail!("teacher {base} does not answer: {}; start it, or check the address", cause(&error))
                }
            }
        }
        let batches = manners
            .batch_poll
            .map(|poll| Batches::new(&model, Arc::clone(&endpoints), client.clone(), manners, poll));
        Ok(Self { model, endpoints, client, template, batches })
    }

    /// How many endpoints share the calls.
    pub(crate) fn endpoints(&self) -> usize {
        self.endpoints.list().len()
    }

    pub(crate) async fn answer(&self, asking: Asking<'_>) -> Result<Reply, Refusal> {
        let (path, body) = self.body(asking.call).map_err(|error| Refusal::Rejected(error.to_string()))?;
        // A token has at least a byte.
        let longest = body.to_string().len() as u64;
        let most = asking.call.max_tokens as u64;
        if let Some(batches) = &self.batches {
            let worst = asking.run.cost(&self.model, longest, most, true);
            return batches.answer(asking, path, body, worst).await;
        }
        let worst = asking.run.cost(&self.model, longest, most, false);
        // The budget before the seat: a call that waits for the budget at a seat would keep it from one that is
        // tried again, and that one's money from the call.
        let held = asking.run.hold(worst).await.ok_or(Refusal::Stopped)?;
        let seat = self.seat(asking, None).await?;
        let begun = asking.run.begin(asking.key, held)?;
        match self.ask(asking, seat, path, &body).await {
            Ok((mut reply, endpoint)) => {
                if reply.prompt_tokens == 0 {
                    reply.prompt_tokens = longest.div_ceil(BYTES_OF_A_TOKEN);
                }
                begun.end(self.record(asking, &endpoint, &reply).await?)?;
                Ok(reply)
            }
            Err(refusal) => {
                begun.end(Cost::default())?;
                Err(refusal)
            }
        }
    }

    /// A place at an endpoint, unless the run stops first.
    async fn seat(&self, asking: Asking<'_>, avoid: Option<usize>) -> Result<Seat, Refusal> {
        tokio::select! {
            biased; // no try goes out once the run is stopping
            () = asking.run.until_stopping() => Err(Refusal::Stopped),
            seat = self.endpoints.seat(avoid) => Ok(seat?),
        }
    }

    /// Asks, first at this seat, until there is an answer; returns who gave it.
    async fn ask(
        &self,
        asking: Asking<'_>,
        mut seat: Seat,
        path: &str,
        body: &Value,
    ) -> Result<(Reply, String), Refusal> {
        let (mut tries, mut avoid) = (0, None);
        loop {
            let base = seat.endpoint().base.clone();
            let request = self.client.post(format!("{base}/{path}")).json(body);
            let result = match seat.endpoint().authorized(request).send().await {
                Ok(response) => read(response).await,
                Err(error) => Err(Failure::Passing(cause(&error))),
            };
            let note = |outcome| asking.run.store.note(&self.model, &base, outcome, 1);
            let failed = match result {
                Ok(reply) => {
                    seat.succeeded();
                    return Ok((reply, base));
                }
                Err(Failure::Final(refusal)) => {
                    seat.succeeded();
                    note(Outcome::Refused);
                    return Err(refusal);
                }
                Err(Failure::Busy(wait, reason)) => {
                    seat.turned_away(wait);
                    note(Outcome::Busy);
                    reason
                }
                Err(Failure::Passing(reason)) => {
                    avoid = Some(seat.index());
                    seat.failed(&reason);
                    note(Outcome::Failed);
                    Some(reason)
                }
            };
            if let Some(reason) = failed {
                tries += 1;
                if tries == TRIES {
                    return Err(Refusal::Failed(format!("{TRIES} tries failed, the last one: {reason}")));
                }
                tokio::select! {
                    () = tokio::time::sleep(pause(tries, asking.call.seed)) => {}
                    () = asking.run.until_stopping() => {}
                }
            }
            seat = self.seat(asking, avoid).await?;
        }
    }

    async fn record(&self, asking: Asking<'_>, endpoint: &str, reply: &Reply) -> Result<Cost> {
        let cost = asking.run.cost(&self.model, reply.prompt_tokens, reply.completion_tokens, false);
        let source =
            Source { model: &self.model, endpoint, step: asking.step, microdollars: cost.microdollars };
        asking.run.store.record(asking.key, &source, reply).await?;
        Ok(cost)
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

/// `http://a/v1#model,http://b/v1#model`: one model and where it is served.
fn parse(names: &str) -> Result<(String, Vec<String>)> {
    let (mut model, mut bases) = (None, Vec::new());
    for name in names.split(',') {
        let (base, named) = address_and_model(name)?;
        if *model.get_or_insert(named) != named {
            bail!(
                "the endpoints {names} serve different models; calls are shared among endpoints of one model"
            );
        }
        bases.push(base.to_owned());
    }
    let model = model.ok_or_else(|| anyhow!("no teacher is named"))?;
    Ok((model.to_owned(), bases))
}

async fn read(response: Response) -> Result<Reply, Failure> {
    let status = response.status();
    let wait = retry_after(&response);
    let body = response.bytes().await.map_err(|error| Failure::Passing(cause(&error)))?;
    if status == StatusCode::TOO_MANY_REQUESTS {
        let words = String::from_utf8_lossy(&body);
        // An account without money answers 429 for ever.
        return Err(match words.contains("insufficient_quota") {
            true => Failure::Final(Refusal::Gone(anyhow!("the teacher answers {status}: {words}"))),
            false => Failure::Busy(wait, None),
        });
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        return Err(Failure::Busy(wait, Some(format!("status {status}"))));
    }
    if status.is_server_error() {
        return Err(Failure::Passing(format!("status {status}")));
    }
    if !status.is_success() {
        return Err(Failure::Final(refusal(status, &body)));
    }
    completion(&body).map_err(Failure::Passing)
}

/// What a completion's body says; the error is why it cannot be used.
pub(super) fn completion(body: &[u8]) -> Result<Reply, String> {
    let response: CompletionResponse =
        serde_json::from_slice(body).map_err(|error| format!("not a completion ({error})"))?;
    let choice = response.choices.into_iter().next().ok_or("no choices")?;
    let text = choice.text.or_else(|| choice.message.and_then(|message| message.content)).unwrap_or_default();
    let estimated =
        Usage { prompt_tokens: 0, completion_tokens: (text.len() as u64).div_ceil(BYTES_OF_A_TOKEN) };
    let usage = response.usage.unwrap_or(estimated);
    Ok(Reply {
        text,
        cut: choice.finish_reason.as_deref() == Some("length"),
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
    })
}

pub(super) fn refusal(status: StatusCode, body: &[u8]) -> Refusal {
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
