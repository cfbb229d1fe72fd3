//! The attempts of one request until there is an answer: where it is sent, what its response means, and what an attempt
//! without an answer costs.
//!
//! A 429 waits as long as the server asks and is not a failed attempt; 5xx, broken connections and unreadable answers are
//! tried again elsewhere or later; any other refusal concerns the call. An attempt that was sent and returned nothing
//! usable may have been billed: it is charged, with the counts that came or else with its worst case.

use super::call::{CallContext, CallError};
use super::endpoints::{Endpoint, Endpoints, Permit};
use super::rejection_policy::RejectionPolicy;
use super::reply::{NoAnswer, Refusal, as_far_as_it_came, completion, refusal, whole};
use super::worst_case::WorstCase;
use crate::budget::Cost;
use crate::endpoint::{cause, redirect_target};
use crate::pauses::{self, wanted_pause};
use crate::run::InFlightCall;
use crate::store::{Outcome, Reply};
use anyhow::anyhow;
use openai::reply::ErrorReply;
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Number of attempts after which a call has failed.
const ATTEMPTS: u32 = 6;

/// Sends the requests of one model.
pub(super) struct Attempts {
    pub(super) model: String,
    pub(super) endpoints: Arc<Endpoints>,
    pub(super) client: reqwest::Client,
    pub(super) policy: RejectionPolicy,
}

/// A request, and its worst case.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub(super) path: &'static str,
    pub(super) body: &'a Value,
    pub(super) worst_case: WorstCase,
    pub(super) worst_cost: Cost,
}

/// Why a request has no answer, and the provider's words if it was refused.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) error: CallError,
    pub(super) refusal: Option<Box<(u16, ErrorReply)>>,
}

impl From<CallError> for Unanswered {
    fn from(error: CallError) -> Self {
        Self { error, refusal: None }
    }
}

impl From<anyhow::Error> for Unanswered {
    fn from(error: anyhow::Error) -> Self {
        CallError::Unusable(error).into()
    }
}

/// Why an attempt failed.
enum Failure {
    /// Wait this long and try again; a failed attempt only if `is_failed`.
    Busy { wait: Option<Duration>, is_failed: bool, reason: String },
    /// Try again.
    Temporary(String),
    /// Try again, but this attempt may have been billed: it was sent, and no refusal came back. Prompt and answer had this
    /// many tokens, if that is known. `is_of_endpoint` if the endpoint did not answer as it should, and no connection broke.
    Unanswered { reason: String, tokens: Option<(u64, u64)>, is_of_endpoint: bool },
    /// Do not try again.
    Final(Unanswered),
}

impl Attempts {
    /// Waits for a permit of an endpoint, unless the run stops first. `tokens` is the most that the request may count.
    pub(super) async fn permit(
        &self,
        context: CallContext<'_>,
        avoid: Option<usize>,
        tokens: u64,
    ) -> Result<Permit, CallError> {
        tokio::select! {
            biased; // no attempt is sent once the run is stopping
            () = context.run.until_stopping() => Err(CallError::Stopped),
            permit = self.endpoints.permit(avoid, tokens) => Ok(permit?),
        }
    }

    /// Sends the call, first with this permit, until there is an answer; returns it with the endpoint's address.
    pub(super) async fn until_answered<'a>(
        &self,
        context: CallContext<'a>,
        mut permit: Permit,
        in_flight: &mut InFlightCall<'a>,
        attempt: Attempt<'_>,
    ) -> Result<(Reply, String), Unanswered> {
        let (mut failed, mut unanswered, mut avoid) = (0, 0, None);
        loop {
            let base = permit.endpoint().base.clone();
            let count = |outcome| context.run.store.count_calls(&self.model, &base, outcome, 1);
            let reason = match self.send(permit.endpoint(), attempt).await {
                Ok((reply, until)) => {
                    permit.succeeded();
                    if let Some(wait) = until {
                        self.endpoints.wait(&base, wait);
                    }
                    return Ok((reply, base));
                }
                Err(Failure::Final(refused)) => {
                    permit.succeeded();
                    count(Outcome::Refused);
                    return Err(refused);
                }
                Err(Failure::Busy { wait, is_failed, reason }) => {
                    permit.turned_away(wait, &reason);
                    count(Outcome::Busy);
                    Some(reason).filter(|_| is_failed)
                }
                Err(Failure::Temporary(reason)) => {
                    avoid = Some(permit.index());
                    permit.failed(&reason);
                    count(Outcome::Failed);
                    Some(reason)
                }
                Err(Failure::Unanswered { reason, tokens, is_of_endpoint }) => {
                    avoid = Some(permit.index());
                    permit.failed(&reason);
                    unanswered += 1;
                    let tokens = tokens.unwrap_or((attempt.worst_case.prompt, attempt.worst_case.completion));
                    let entry = WorstCase { prompt: tokens.0, completion: tokens.1 };
                    let entry = entry.unanswered(context.run, &self.model, &base, false);
                    in_flight.charge(context.run, entry).await?;
                    if is_of_endpoint {
                        self.policy.unreadable(context.step, &self.model, &reason)?;
                    }
                    Some(reason)
                }
            };
            if let Some(reason) = reason {
                failed += 1;
                if failed == ATTEMPTS {
                    return Err(CallError::Failed(all_failed(&reason, unanswered)).into());
                }
                tokio::select! {
                    () = tokio::time::sleep(pauses::after_failures(failed, context.call.seed)) => {}
                    () = context.run.until_stopping() => {}
                }
            }
            if !in_flight.reserve_again(context.run, attempt.worst_cost).await {
                return Err(CallError::Stopped.into());
            }
            permit = self.permit(context, avoid, attempt.worst_case.most_tokens()).await?;
        }
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        attempt: Attempt<'_>,
    ) -> Result<(Reply, Option<Duration>), Failure> {
        let request = self.client.post(format!("{}/{}", endpoint.base, attempt.path)).json(attempt.body);
        match endpoint.authorized(request).send().await {
            Ok(response) => read(response).await,
            Err(error) if error.is_connect() => Err(Failure::Temporary(cause(&error))),
            // A connection that breaks says nothing about the endpoint; waiting in vain again and again does.
            Err(error) => Err(lost(cause(&error), error.is_timeout())),
        }
    }
}

/// An attempt whose response did not come, or not whole.
fn lost(reason: String, is_of_endpoint: bool) -> Failure {
    Failure::Unanswered { reason, tokens: None, is_of_endpoint }
}

/// Reads a response; with an answer, how long the endpoint wants no further request.
async fn read(response: Response) -> Result<(Reply, Option<Duration>), Failure> {
    let status = response.status();
    let wait = wanted_pause(response.headers());
    if let Some(target) = redirect_target(&response) {
        let error =
            anyhow!("the teacher redirects a call to {target} ({status}); give that address if you trust it");
        return Err(Failure::Final(error.into()));
    }
    if !status.is_success() {
        let body = whole(response).await.map_err(Failure::Temporary)?;
        return Err(refused(refusal(status, &body), wait, &body));
    }
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    let (body, end) = as_far_as_it_came(response).await;
    let answer = completion(&body, &content_type);
    match answer {
        // Some servers forget the end of a body, whose JSON is whole.
        Err(_) if end.is_err() => Err(lost(end.err().unwrap_or_default(), true)),
        Ok(reply) => Ok((reply, wait)),
        Err(NoAnswer::Error(error)) => Err(refused(*error, wait, &body)),
        Err(NoAnswer::Unanswered(reason, usage)) => {
            let tokens = usage.map(|usage| (usage.prompt_tokens, usage.completion_tokens));
            Err(Failure::Unanswered { reason, tokens, is_of_endpoint: true })
        }
    }
}

fn refused(refusal: Refusal, wait: Option<Duration>, body: &[u8]) -> Failure {
    let status = refusal.status;
    // 429 and 503 report overload; only 503 is a failed attempt.
    let is_busy = matches!(status, 429 | 503);
    match refusal.meaning {
        CallError::Failed(reason) if is_busy => {
            let wait = wait.or_else(|| pauses::in_words(&String::from_utf8_lossy(body)));
            Failure::Busy { wait, is_failed: status == 503, reason }
        }
        CallError::Failed(reason) => Failure::Temporary(reason),
        error => Failure::Final(Unanswered { error, refusal: Some(Box::new((status, refusal.words))) }),
    }
}

/// The message of a call whose attempts all failed.
fn all_failed(reason: &str, unanswered: u32) -> String {
    let charged = match unanswered {
        0 => String::new(),
        some => format!("; {some} of them may have been billed and are charged"),
    };
    format!("{ATTEMPTS} attempts failed, the last one with: {reason}{charged}")
}
