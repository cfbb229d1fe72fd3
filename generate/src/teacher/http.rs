//! OpenAI-compatible endpoints as the teacher.
//!
//! A 429 waits as long as the server asks and is not a failed attempt; 5xx, broken connections and unreadable answers are
//! tried again elsewhere or later; any other refusal concerns the call. An attempt that was sent and returned nothing
//! readable may have been billed: its worst-case cost is charged. The API key is read from the environment and is sent
//! to its own host only.

use super::batch::Batches;
use super::call::{CallContext, CallError};
use super::endpoint_settings::EndpointSettings;
use super::endpoints::{Endpoint, Endpoints, Permit};
use super::rejection_policy::RejectionPolicy;
use super::reply::{completion, refusal, whole};
use super::request;
use super::worst_case::WorstCase;
use crate::api_keys::how_to_name;
use crate::budget::Cost;
use crate::endpoint::{self, address_and_model, cause, redirect_target, retry_after};
use crate::run::InFlightCall;
use crate::store::{AnswerSource, Outcome, Reply};
use anyhow::{Context, Result, anyhow, bail};
use checkpoint::ChatTemplate;
use reqwest::{Response, StatusCode, Url};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Number of attempts after which a call has failed.
const ATTEMPTS: u32 = 6;
/// Maximum time of the first request to an endpoint.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);

/// A model at one or several endpoints.
pub(crate) struct HttpTeacher {
    pub(crate) model: String,
    endpoints: Arc<Endpoints>,
    client: reqwest::Client,
    template: ChatTemplate,
    batches: Option<Batches>,
    rejections: RejectionPolicy,
}

/// A request, and its worst case.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    path: &'static str,
    body: &'a Value,
    worst_case: WorstCase,
    worst_cost: Cost,
}

/// Why an attempt failed.
enum Failure {
    /// Wait this long and try again; a failed attempt only if there is a reason.
    Busy(Option<Duration>, Option<String>),
    /// Try again.
    Temporary(String),
    /// Try again, but this attempt may have been billed: it was sent, and no refusal came back.
    Unanswered(String),
    /// Do not try again.
    Final(CallError),
}

impl HttpTeacher {
    /// Sends a request to every endpoint, and refuses a teacher none of whose endpoints responds.
    pub(crate) async fn connect(
        names: &str,
        template: ChatTemplate,
        settings: &EndpointSettings,
    ) -> Result<Self> {
        let (model, bases) = parse(names)?;
        if settings.batch_poll.is_some() && bases.len() > 1 {
            bail!(
                "`--batch` sends all calls to one provider, and {model} has {} endpoints; give one",
                bases.len()
            );
        }
        let client = endpoint::client(settings.timeout)?;
        let endpoints = Endpoints::new(&bases, client.clone(), settings);
        let mut silent = Vec::new();
        for (index, endpoint) in endpoints.list().iter().enumerate() {
            if let Err(reason) = probe(&client, endpoint, settings).await? {
                silent.push((index, format!("teacher {} does not respond: {reason}", endpoint.base)));
            }
        }
        if let Some((_, reason)) = silent.first().filter(|_| silent.len() == bases.len()) {
            bail!("{reason}; start it, or check the address");
        }
        for (index, reason) in silent {
            endpoints.watch_until_up(index, &reason);
        }
        let batches = settings.batch_poll.map(|poll| {
            Batches::new(&model, Arc::clone(&endpoints), client.clone(), settings.patience, poll)
        });
        Ok(Self { model, endpoints, client, template, batches, rejections: RejectionPolicy::default() })
    }

    /// Number of endpoints that share the calls.
    pub(crate) fn endpoints(&self) -> usize {
        self.endpoints.list().len()
    }

    /// Answers a call.
    pub(crate) async fn answer(&self, context: CallContext<'_>) -> Result<Reply, CallError> {
        match self.ask(context).await {
            Ok(reply) => {
                self.rejections.answered();
                Ok(reply)
            }
            Err(CallError::Rejected(Some(status), message)) => {
                Err(self.rejections.judge(context, &self.model, status, message)?)
            }
            other => other,
        }
    }

    async fn ask(&self, context: CallContext<'_>) -> Result<Reply, CallError> {
        let (path, body) = request::body(&self.model, &self.template, context.call)
            .map_err(|error| CallError::Rejected(None, error.to_string()))?;
        let worst_case = WorstCase::of(context.call, &body);
        if let Some(batches) = &self.batches {
            return batches.answer(context, path, body, worst_case).await;
        }
        let worst_cost = context.run.cost(&self.model, worst_case.prompt, worst_case.completion, false);
        // The budget before the permit: a call that waits for the budget with a permit would keep the permit from a call
        // that is tried again, which keeps its part of the budget from the first one.
        let reserved = context.run.reserve(worst_cost).await.ok_or(CallError::Stopped)?;
        let permit = self.permit(context, None).await?;
        let mut in_flight = context.run.begin(context.key, reserved, worst_cost)?;
        let attempt = Attempt { path, body: &body, worst_case, worst_cost };
        match self.attempt_until_answered(context, permit, &mut in_flight, attempt).await {
            Ok((mut reply, endpoint)) => {
                worst_case.estimate_prompt(&mut reply);
                in_flight.end(self.record(context, &endpoint, &reply).await?)?;
                Ok(reply)
            }
            Err(error) => {
                in_flight.end(Cost::default())?;
                Err(error)
            }
        }
    }

    /// Waits for a permit of an endpoint, unless the run stops first.
    async fn permit(&self, context: CallContext<'_>, avoid: Option<usize>) -> Result<Permit, CallError> {
        tokio::select! {
            biased; // no attempt is sent once the run is stopping
            () = context.run.until_stopping() => Err(CallError::Stopped),
            permit = self.endpoints.permit(avoid) => Ok(permit?),
        }
    }

    /// Sends the call, first with this permit, until there is an answer; returns it with the endpoint's address.
    async fn attempt_until_answered<'a>(
        &self,
        context: CallContext<'a>,
        mut permit: Permit,
        in_flight: &mut InFlightCall<'a>,
        attempt: Attempt<'_>,
    ) -> Result<(Reply, String), CallError> {
        let (mut failed, mut unanswered, mut avoid) = (0, 0, None);
        loop {
            let base = permit.endpoint().base.clone();
            let count = |outcome| context.run.store.count_calls(&self.model, &base, outcome, 1);
            let reason = match self.send(permit.endpoint(), attempt).await {
                Ok(reply) => {
                    permit.succeeded();
                    return Ok((reply, base));
                }
                Err(Failure::Final(error)) => {
                    permit.succeeded();
                    count(Outcome::Refused);
                    return Err(error);
                }
                Err(Failure::Busy(wait, reason)) => {
                    permit.turned_away(wait);
                    count(Outcome::Busy);
                    reason
                }
                Err(Failure::Temporary(reason)) => {
                    avoid = Some(permit.index());
                    permit.failed(&reason);
                    count(Outcome::Failed);
                    Some(reason)
                }
                Err(Failure::Unanswered(reason)) => {
                    avoid = Some(permit.index());
                    permit.failed(&reason);
                    unanswered += 1;
                    let entry = attempt.worst_case.unanswered(context.run, &self.model, &base, false);
                    in_flight.charge(context.run, entry).await?;
                    Some(reason)
                }
            };
            if let Some(reason) = reason {
                failed += 1;
                if failed == ATTEMPTS {
                    return Err(CallError::Failed(all_failed(&reason, unanswered)));
                }
                tokio::select! {
                    () = tokio::time::sleep(pause(failed, context.call.seed)) => {}
                    () = context.run.until_stopping() => {}
                }
            }
            if !in_flight.reserve_again(context.run, attempt.worst_cost).await {
                return Err(CallError::Stopped);
            }
            permit = self.permit(context, avoid).await?;
        }
    }

    async fn send(&self, endpoint: &Endpoint, attempt: Attempt<'_>) -> Result<Reply, Failure> {
        let request = self.client.post(format!("{}/{}", endpoint.base, attempt.path)).json(attempt.body);
        match endpoint.authorized(request).send().await {
            Ok(response) => read(response).await,
            Err(error) if error.is_connect() => Err(Failure::Temporary(cause(&error))),
            Err(error) => Err(Failure::Unanswered(cause(&error))),
        }
    }

    async fn record(&self, context: CallContext<'_>, endpoint: &str, reply: &Reply) -> Result<Cost> {
        let cost = context.run.cost(&self.model, reply.prompt_tokens, reply.completion_tokens, false);
        let (model, step) = (self.model.as_str(), context.step);
        let source = AnswerSource { model, endpoint, step, microdollars: cost.microdollars };
        context.run.store.record(context.key, &source, reply).await?;
        Ok(cost)
    }
}

/// Asks an endpoint for its models; the inner error is why it does not respond.
async fn probe(
    client: &reqwest::Client,
    endpoint: &Endpoint,
    settings: &EndpointSettings,
) -> Result<Result<(), String>> {
    let base = &endpoint.base;
    let address = Url::parse(base).with_context(|| format!("teacher {base} is not a URL"))?;
    if let Some(note) = settings.keys.missing_note(base) {
        terminal::message!("note: {note}");
    }
    if let Some(exposure) = endpoint::exposure(&address, |name| std::env::var(name).ok()) {
        terminal::message!("warning: {exposure}");
    }
    let request = endpoint.authorized(client.get(format!("{base}/models"))).timeout(PROBE_TIMEOUT);
    match request.send().await {
        Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
            bail!("teacher {base} requires an API key (401); {}", how_to_name(base))
        }
        Ok(response) if response.status().is_redirection() => {
            let target = redirect_target(&response).unwrap_or_else(|| "another address".to_owned());
            bail!("teacher {base} redirects to {target}; give that address if you trust it")
        }
        // Some servers have no list of models; any response is enough.
        Ok(_) => Ok(Ok(())),
        Err(error) => Ok(Err(cause(&error))),
    }
}

/// Reads `http://a/v1#model,http://b/v1#model` as one model and its addresses.
fn parse(names: &str) -> Result<(String, Vec<String>)> {
    let (mut model, mut bases) = (None, Vec::new());
    for name in names.split(',') {
        let (base, named) = address_and_model(name)?;
        if *model.get_or_insert(named) != named {
            bail!("the endpoints {names} serve different models; give endpoints of one model");
        }
        bases.push(base.to_owned());
    }
    let model = model.ok_or_else(|| anyhow!("the teacher has no name"))?;
    Ok((model.to_owned(), bases))
}

async fn read(response: Response) -> Result<Reply, Failure> {
    let status = response.status();
    let wait = retry_after(&response);
    if let Some(target) = redirect_target(&response) {
        let error =
            anyhow!("the teacher redirects a call to {target} ({status}); give that address if you trust it");
        return Err(Failure::Final(CallError::Unusable(error)));
    }
    if status.is_success() {
        return whole(response).await.and_then(|body| completion(&body)).map_err(Failure::Unanswered);
    }
    let body = whole(response).await.map_err(Failure::Temporary)?;
    Err(match refusal(status, &body) {
        // 429 and 503 report overload; only 503 is a failed attempt.
        CallError::Failed(_) if status == StatusCode::TOO_MANY_REQUESTS => Failure::Busy(wait, None),
        CallError::Failed(reason) if status == StatusCode::SERVICE_UNAVAILABLE => {
            Failure::Busy(wait, Some(reason))
        }
        CallError::Failed(reason) => Failure::Temporary(reason),
        error => Failure::Final(error),
    })
}

/// The message of a call whose attempts all failed.
fn all_failed(reason: &str, unanswered: u32) -> String {
    let charged = match unanswered {
        0 => String::new(),
        some => format!("; {some} of them may have been billed and are charged at their worst-case cost"),
    };
    format!("{ATTEMPTS} attempts failed, the last one with: {reason}{charged}")
}

/// Doubles from half a second to half a minute, with a jitter of a quarter that depends on the call's seed.
fn pause(failed: u32, seed: u64) -> Duration {
    let jitter = 0.75 + (seed >> 11) as f64 / (1u64 << 53) as f64 * 0.5;
    Duration::from_secs_f64((0.25 * 2f64.powi(failed as i32)).min(30.0) * jitter)
}
