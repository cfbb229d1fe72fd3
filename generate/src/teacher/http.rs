//! OpenAI-compatible endpoints as the teacher.
//!
//! A 429 waits as long as it says and is no failed try; 5xx, broken connections and answers that cannot be
//! read are tried again elsewhere or later; any other refusal is the row's. A try that was sent and brought nothing
//! that can be read may have been paid for: it is booked at the most it can have cost. The key is read from the
//! environment and goes nowhere else.

use super::batch::Batches;
use super::endpoints::{Endpoint, Endpoints, Seat};
use super::trust::Trust;
use super::{Asking, Call, Manners, Prompt, Refusal};
use crate::budget::Cost;
use crate::endpoint::{self, address_and_model, cause, retry_after};
use crate::keys::how_to_name;
use crate::run::{Begun, Run};
use crate::store::{Entry, Outcome, Reply, Source};
use anyhow::{Context, Result, anyhow, bail};
use reqwest::{Response, StatusCode, Url};
use serde_json::{Value, json};
use smollm::wire::{ChatRequest, CompletionRequest, CompletionResponse, ErrorBody, SamplingFields, Usage};
use smollm::{ChatTemplate, chat};
use std::sync::Arc;
use std::time::Duration;

/// Tries before a call counts as failed.
const TRIES: u32 = 6;
/// How long the first question to an endpoint may take.
const PROBE: Duration = Duration::from_secs(30);
/// At which a server's tokens are counted that counts none itself.
const BYTES_OF_A_TOKEN: u64 = 4;
/// The longest body that is read of one answer: a server that never ends must not fill the memory.
pub(super) const LONGEST_BODY: usize = 16 << 20;
/// The most characters of a server's words that are kept with a row.
pub(super) const LONGEST_WORDS: usize = 1000;
/// The most tokens of one call that are believed; the store's sums stay numbers whatever a server counts.
const MOST_TOKENS: u64 = u32::MAX as u64;

pub(crate) struct HttpTeacher {
    pub(crate) model: String,
    endpoints: Arc<Endpoints>,
    client: reqwest::Client,
    template: ChatTemplate,
    batches: Option<Batches>,
    trust: Trust,
}

/// The most tokens that a call can count.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Most {
    /// A token has at least a byte.
    pub(super) prompt: u64,
    pub(super) completion: u64,
}

impl Most {
    fn of(call: &Call, body: &Value) -> Self {
        Self { prompt: body.to_string().len() as u64, completion: call.max_tokens as u64 }
    }

    /// The line of the ledger of a call that may have been paid for and brought no answer.
    pub(super) fn lost(self, run: &Run, model: &str, endpoint: &str, batch: bool) -> Entry {
        Entry {
            model: model.to_owned(),
            endpoint: endpoint.to_owned(),
            outcome: Outcome::Failed.name().to_owned(),
            calls: 1,
            prompt_tokens: self.prompt,
            completion_tokens: self.completion,
            microdollars: run.cost(model, self.prompt, self.completion, batch).microdollars,
        }
    }

    /// Puts an estimate where a server did not count the prompt.
    pub(super) fn count_prompt(self, reply: &mut Reply) {
        if reply.prompt_tokens == 0 {
            reply.prompt_tokens = self.prompt.div_ceil(BYTES_OF_A_TOKEN);
        }
    }
}

/// What goes out, and what it may cost at most.
#[derive(Clone, Copy)]
struct Sent<'a> {
    path: &'static str,
    body: &'a Value,
    most: Most,
    worst: Cost,
}

/// One try's failure.
enum Failure {
    /// Wait this long; a failed try only if it says so.
    Busy(Option<Duration>, Option<String>),
    /// Try again.
    Passing(String),
    /// Try again, but this try may have been paid for: it was sent, and no refusal came back.
    Lost(String),
    /// Do not.
    Final(Refusal),
}

impl HttpTeacher {
    pub(crate) async fn connect(names: &str, template: ChatTemplate, manners: &Manners) -> Result<Self> {
        let (model, bases) = parse(names)?;
        if manners.batch_poll.is_some() && bases.len() > 1 {
            bail!("--batch sends all calls to one provider; {} endpoints of {model} are named", bases.len());
        }
        let client = endpoint::client(manners.timeout)?;
        let endpoints = Endpoints::new(&bases, client.clone(), manners);
        let mut silent = Vec::new();
        for (index, endpoint) in endpoints.list().iter().enumerate() {
            let base = &endpoint.base;
            let asked = Url::parse(base).with_context(|| format!("teacher {base} is no address"))?;
            if let Some(lack) = manners.keys.lack(base) {
                eprintln!("{lack}");
            }
            let probe = endpoint.authorized(client.get(format!("{base}/models"))).timeout(PROBE);
            match probe.send().await {
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
                    bail!("teacher {base} wants a key (401); {}", how_to_name(base))
                }
                // A redirected POST would go on as a GET, or without its key.
                Ok(response) if response.url().origin() != asked.origin() => {
                    let onward = response.url().origin().ascii_serialization();
                    bail!("teacher {base} sends its clients on to {onward}; name that address")
                }
                // Some servers have no list of models; that they answer is enough.
                Ok(_) => {}
                Err(error) => {
                    silent.push((index, format!("teacher {base} does not answer: {}", cause(&error))));
                }
            }
        }
        if let Some((_, reason)) = silent.first().filter(|_| silent.len() == bases.len()) {
            bail!("{reason}; start it, or check the address");
        }
        for (index, reason) in silent {
            endpoints.watch_from_now_on(index, &reason);
        }
        let batches = manners
            .batch_poll
            .map(|poll| Batches::new(&model, Arc::clone(&endpoints), client.clone(), manners, poll));
        Ok(Self { model, endpoints, client, template, batches, trust: Trust::default() })
    }

    /// How many endpoints share the calls.
    pub(crate) fn endpoints(&self) -> usize {
        self.endpoints.list().len()
    }

    pub(crate) async fn answer(&self, asking: Asking<'_>) -> Result<Reply, Refusal> {
        match self.ask(asking).await {
            Ok(reply) => {
                self.trust.earn();
                Ok(reply)
            }
            Err(Refusal::Rejected(Some(status), words)) => {
                Err(self.trust.weigh(asking, &self.model, status, words)?)
            }
            other => other,
        }
    }

    async fn ask(&self, asking: Asking<'_>) -> Result<Reply, Refusal> {
        let (path, body) =
            self.body(asking.call).map_err(|error| Refusal::Rejected(None, error.to_string()))?;
        let most = Most::of(asking.call, &body);
        if let Some(batches) = &self.batches {
            return batches.answer(asking, path, body, most).await;
        }
        let worst = asking.run.cost(&self.model, most.prompt, most.completion, false);
        // The budget before the seat: a call that waits for the budget at a seat would keep it from one that is
        // tried again, and that one's money from the call.
        let held = asking.run.hold(worst).await.ok_or(Refusal::Stopped)?;
        let seat = self.seat(asking, None).await?;
        let mut begun = asking.run.begin(asking.key, held)?;
        let sent = Sent { path, body: &body, most, worst };
        match self.try_again(asking, seat, &mut begun, sent).await {
            Ok((mut reply, endpoint)) => {
                most.count_prompt(&mut reply);
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
    async fn try_again<'a>(
        &self,
        asking: Asking<'a>,
        mut seat: Seat,
        begun: &mut Begun<'a>,
        sent: Sent<'_>,
    ) -> Result<(Reply, String), Refusal> {
        let (mut tries, mut lost, mut avoid) = (0, 0, None);
        loop {
            let base = seat.endpoint().base.clone();
            let note = |outcome| asking.run.store.note(&self.model, &base, outcome, 1);
            let failed = match self.try_once(seat.endpoint(), sent).await {
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
                Err(Failure::Lost(reason)) => {
                    avoid = Some(seat.index());
                    seat.failed(&reason);
                    lost += 1;
                    begun.book(asking.run, sent.most.lost(asking.run, &self.model, &base, false)).await?;
                    Some(reason)
                }
            };
            if let Some(reason) = failed {
                tries += 1;
                if tries == TRIES {
                    return Err(Refusal::Failed(gave_up(&reason, lost)));
                }
                tokio::select! {
                    () = tokio::time::sleep(pause(tries, asking.call.seed)) => {}
                    () = asking.run.until_stopping() => {}
                }
            }
            if !begun.hold_again(asking.run, sent.worst).await {
                return Err(Refusal::Stopped);
            }
            seat = self.seat(asking, avoid).await?;
        }
    }

    async fn try_once(&self, endpoint: &Endpoint, sent: Sent<'_>) -> Result<Reply, Failure> {
        let request = self.client.post(format!("{}/{}", endpoint.base, sent.path)).json(sent.body);
        match endpoint.authorized(request).send().await {
            Ok(response) => read(response).await,
            Err(error) if error.is_connect() => Err(Failure::Passing(cause(&error))),
            Err(error) => Err(Failure::Lost(cause(&error))),
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
    if status.is_success() {
        return whole(response).await.and_then(|body| completion(&body)).map_err(Failure::Lost);
    }
    let body = whole(response).await.map_err(Failure::Passing)?;
    Err(match refusal(status, &body) {
        // 429 and 503 say that it is too much; only the latter is a failed try.
        Refusal::Failed(_) if status == StatusCode::TOO_MANY_REQUESTS => Failure::Busy(wait, None),
        Refusal::Failed(reason) if status == StatusCode::SERVICE_UNAVAILABLE => {
            Failure::Busy(wait, Some(reason))
        }
        Refusal::Failed(reason) => Failure::Passing(reason),
        refusal => Failure::Final(refusal),
    })
}

/// What is said of a call that failed too often.
fn gave_up(reason: &str, lost: u32) -> String {
    let booked = match lost {
        0 => String::new(),
        some => format!("; {some} of them may have been paid for and are booked at the most they can cost"),
    };
    format!("{TRIES} tries failed, the last one: {reason}{booked}")
}

/// An answer's body, if it has a length that an answer can have.
pub(super) async fn whole(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| cause(&error))? {
        if body.len() + piece.len() > LONGEST_BODY {
            return Err(format!("an answer of more than {LONGEST_BODY} bytes"));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
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
        filtered: choice.finish_reason.as_deref() == Some("content_filter"),
        prompt_tokens: usage.prompt_tokens.min(MOST_TOKENS),
        completion_tokens: usage.completion_tokens.min(MOST_TOKENS),
    })
}

/// What a status that is no success means: whether it is this row's, passes, or ends the run.
pub(super) fn refusal(status: StatusCode, body: &[u8]) -> Refusal {
    let error = serde_json::from_slice::<ErrorBody>(body).map(|body| body.error).unwrap_or_default();
    let message =
        if error.message.is_empty() { String::from_utf8_lossy(body).into_owned() } else { error.message };
    let message: String = message.chars().take(LONGEST_WORDS).collect();
    let words = format!("{message} {} {}", error.kind.unwrap_or_default(), error.code.unwrap_or_default());
    let words = words.to_lowercase();
    let says = |signs: &[&str]| signs.iter().any(|sign| words.contains(sign));
    let gone = || Refusal::Gone(anyhow!("the teacher answers {status}: {message}"));
    let rejected = || Refusal::Rejected(Some(status.as_u16()), format!("{status}: {message}"));
    // An account without money says so for ever, with 402, 429 or 400.
    if says(&["insufficient_quota", "billing_hard_limit", "credit balance", "insufficient balance"]) {
        return gone();
    }
    let too_long =
        ["context_length", "exceed_context", "context size", "maximum context", "request too large"];
    if !status.is_server_error() && says(&too_long) {
        return Refusal::TooLong(message);
    }
    match status.as_u16() {
        // A moderator in front of the model refuses this prompt, not this key.
        403 if says(&["flagged", "moderation"]) => rejected(),
        300..=399 | 401..=405 => gone(),
        code if passes(status) || code >= 600 => Refusal::Failed(format!("status {status}")),
        _ => rejected(),
    }
}

/// Whether a status is of the moment: the same request may be answered later.
pub(super) fn passes(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 409 | 425 | 429)
}

/// Doubles from half a second to half a minute, each within a quarter of it by the call's own seed.
fn pause(tries: u32, seed: u64) -> Duration {
    let jitter = 0.75 + (seed >> 11) as f64 / (1u64 << 53) as f64 * 0.5;
    Duration::from_secs_f64((0.25 * 2f64.powi(tries as i32)).min(30.0) * jitter)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn kind(status: u16, body: &str) -> &'static str {
        match refusal(StatusCode::from_u16(status).unwrap(), body.as_bytes()) {
            Refusal::TooLong(_) => "too long",
            Refusal::Rejected(..) => "rejected",
            Refusal::Doubted(_) => "doubted",
            Refusal::Failed(_) => "failed",
            Refusal::Gone(_) => "gone",
            Refusal::Stopped => "stopped",
        }
    }

    #[test]
    fn an_error_of_the_account_or_the_moment_is_no_verdict_on_the_row() {
        let error = |message: &str, code: &str| {
            json!({"error": {"message": message, "type": "t", "code": code}}).to_string()
        };
        for (status, body, expected) in [
            (400, error("no good", "x"), "rejected"),
            (422, error("no good", "x"), "rejected"),
            (400, error("m", "context_length_exceeded"), "too long"),
            (429, error("Request too large for m on tokens per min", "rate_limit_exceeded"), "too long"),
            (402, error("Insufficient Balance", "invalid_request_error"), "gone"),
            (402, String::new(), "gone"),
            (400, error("Your credit balance is too low", "x"), "gone"),
            (429, error("You exceeded your current quota", "insufficient_quota"), "gone"),
            (401, error("no key", "x"), "gone"),
            (403, error("no key", "x"), "gone"),
            (403, error("your input was flagged", "x"), "rejected"),
            (307, String::new(), "gone"),
            (408, String::new(), "failed"),
            (409, String::new(), "failed"),
            (429, String::new(), "failed"),
            (500, error("the maximum context worker died", "x"), "failed"),
            (503, String::new(), "failed"),
        ] {
            assert_eq!(kind(status, &body), expected, "{status} {body}");
        }
    }

    #[test]
    fn what_a_server_says_of_itself_is_kept_within_bounds() {
        let Refusal::Rejected(_, words) = refusal(StatusCode::BAD_REQUEST, &vec![b'x'; 1 << 20]) else {
            panic!("it is the row's")
        };
        assert!(words.len() < 1100);
        let body =
            json!({"choices": [{"text": "a"}], "usage": {"prompt_tokens": u64::MAX, "completion_tokens": 1}});
        assert_eq!(completion(body.to_string().as_bytes()).unwrap().prompt_tokens, MOST_TOKENS);
        let body = json!({"choices": [{"text": "Half an ans", "finish_reason": "content_filter"}]});
        assert!(completion(body.to_string().as_bytes()).unwrap().filtered);
    }
}
