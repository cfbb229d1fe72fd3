//! OpenAI-compatible endpoints as the teacher: a call becomes a request, which is changed where the endpoint does not take
//! it, and its answer is recorded.
//!
//! The API key is read from the environment and is sent to its own host only.

use super::adjustments::{Adjustments, NextTry};
use super::attempts::{Attempt, Attempts, Unanswered};
use super::batch::Batches;
use super::call::{Call, CallContext, CallError, Prompt};
use super::endpoint_settings::{EndpointSettings, UserTurns};
use super::endpoints::{Endpoint, Endpoints};
use super::rejection_policy::{RejectionPolicy, step_name};
use super::request::{self, Wire};
use super::worst_case::WorstCase;
use crate::api_keys::how_to_name;
use crate::budget::Cost;
use crate::endpoint::{self, address_and_model, cause, redirect_target};
use crate::store::{AnswerSource, Reply};
use anyhow::{Context, Result, anyhow, bail};
use checkpoint::ChatTemplate;
use reqwest::{StatusCode, Url};
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Maximum time of the first request to an endpoint.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of times that one call is sent otherwise than before.
const MAX_ADJUSTMENTS: u32 = 10;

/// A model at one or several endpoints.
pub(crate) struct HttpTeacher {
    pub(crate) model: String,
    attempts: Attempts,
    template: ChatTemplate,
    batches: Option<Batches>,
    settings: EndpointSettings,
    adjustments: Mutex<Adjustments>,
}

/// How a call is sent.
#[derive(Clone, Default)]
struct Sending {
    adjustments: Adjustments,
    /// What the adjustments are for, in words; said once they have worked.
    notes: Vec<String>,
    /// The most tokens that this call has room for.
    room: Option<u64>,
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
        let policy = RejectionPolicy::default();
        Ok(Self {
            attempts: Attempts { model: model.clone(), endpoints, client, policy },
            model,
            template,
            batches,
            settings: settings.clone(),
            adjustments: Mutex::default(),
        })
    }

    /// Number of endpoints that share the calls.
    pub(crate) fn endpoints(&self) -> usize {
        self.attempts.endpoints.list().len()
    }

    /// What is known about this model's faults.
    pub(crate) fn policy(&self) -> &RejectionPolicy {
        &self.attempts.policy
    }

    /// The user's settings of requests.
    pub(crate) fn settings(&self) -> &EndpointSettings {
        &self.settings
    }

    fn adjustments(&self) -> MutexGuard<'_, Adjustments> {
        self.adjustments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a call: sent as it is, then with what the endpoint does not take left out, until nothing more can be.
    pub(crate) async fn answer(&self, context: CallContext<'_>) -> Result<Reply, CallError> {
        let mut sending = Sending { adjustments: self.adjustments().clone(), ..Sending::default() };
        for _ in 0..MAX_ADJUSTMENTS {
            let (path, body) = self.request(context, &sending)?;
            let unanswered = match self.ask(context, path, &body).await {
                Ok(reply) => {
                    self.attempts.policy.answered(context.step);
                    self.remember(&sending);
                    return Ok(reply);
                }
                Err(unanswered) => unanswered,
            };
            let refusal = unanswered.refusal.as_deref();
            let next = refusal
                .and_then(|(status, words)| sending.adjustments.after(*status, words, context.call, &body));
            match next.filter(|next| !self.is_decided_by_user(context, next, &sending, &body)) {
                Some(NextTry::Adjusted(adjustments, note)) => {
                    sending.adjustments = adjustments;
                    sending.notes.push(note);
                }
                Some(NextTry::Shorter(room)) if sending.room.is_none_or(|before| room < before) => {
                    sending.room = Some(room);
                }
                _ => return Err(self.judged(context, path, unanswered)?),
            }
        }
        Err(CallError::Failed(format!(
            "it was refused {MAX_ADJUSTMENTS} times, each time for another parameter"
        )))
    }

    /// The path and the body of a call.
    fn request(
        &self,
        context: CallContext<'_>,
        sending: &Sending,
    ) -> Result<(&'static str, Value), CallError> {
        let wire = Wire {
            model: &self.model,
            template: &self.template,
            user_turns: self.settings.user_turns,
            adjustments: &sending.adjustments,
            settings: &self.settings.request,
        };
        let shorter = sending.room.map(|room| Call {
            max_tokens: context.call.max_tokens.min(room as usize),
            ..context.call.clone()
        });
        request::body(wire, shorter.as_ref().unwrap_or(context.call), context.correction)
            .map_err(|error| CallError::Rejected(None, error.to_string()))
    }

    /// Whether a change would make no other request: the user gave the field.
    fn is_decided_by_user(
        &self,
        context: CallContext<'_>,
        next: &NextTry,
        sending: &Sending,
        body: &Value,
    ) -> bool {
        match next {
            NextTry::Adjusted(adjustments, _) => {
                let changed = Sending { adjustments: adjustments.clone(), ..sending.clone() };
                self.request(context, &changed).is_ok_and(|(_, changed)| changed == *body)
            }
            NextTry::Shorter(_) => self.settings.request.decides("max_tokens"),
        }
    }

    /// Sends all further requests as this one, which was answered, and says once what is different.
    fn remember(&self, sending: &Sending) {
        if sending.notes.is_empty() {
            return;
        }
        let mut known = self.adjustments();
        let before = known.clone();
        known.add(&sending.adjustments);
        if *known != before {
            for note in &sending.notes {
                terminal::message!("note: teacher {}: {note}", self.model);
            }
        }
    }

    /// What a call without an answer means for its row.
    fn judged(&self, context: CallContext<'_>, path: &str, unanswered: Unanswered) -> Result<CallError> {
        let is_raw_turn = matches!(context.call.prompt, Prompt::User(_)) && path == "completions";
        match (unanswered.error, unanswered.refusal.map(|refusal| *refusal)) {
            (CallError::Unusable(_) | CallError::Rejected(Some(_), _), Some((status, words)))
                if is_raw_turn
                    && is_unsupported(status, &words.message)
                    && !context.run.store.has_answer(&self.model, &step_name(context.step))? =>
            {
                bail!(
                    "teacher {} does not continue a raw prompt (/completions: {status}: {}), which user's turns are written \
                     with; give `--user-turns chat` to ask for them in a chat, or choose a task without them (smol-rewrite, \
                     smol-summarization, function-calling)",
                    self.model,
                    words.message
                )
            }
            (CallError::Unusable(error), Some((404 | 405, _))) => {
                Ok(CallError::Unusable(match self.version_hint() {
                    Some(hint) => anyhow!("{error:#}; {hint}"),
                    None => error,
                }))
            }
            (CallError::Rejected(Some(status), message), _) => {
                self.attempts.policy.refused(context, &self.model, status, message)
            }
            (error, _) => Ok(error),
        }
    }

    /// What an address lacks under which nothing is found.
    fn version_hint(&self) -> Option<String> {
        let bases = self.attempts.endpoints.list().iter().map(|endpoint| &endpoint.base);
        let base = bases.into_iter().find(|base| !base.split('/').any(is_version))?;
        Some(format!("most endpoints are at an address with /v1: try {base}/v1"))
    }

    async fn ask(
        &self,
        context: CallContext<'_>,
        path: &'static str,
        body: &Value,
    ) -> Result<Reply, Unanswered> {
        let worst_case = WorstCase::of(context.call, body);
        if let Some(batches) = &self.batches {
            return batches.answer(context, path, body.clone(), worst_case).await;
        }
        let worst_cost = context.run.cost(&self.model, worst_case.prompt, worst_case.completion, false);
        // The budget before the permit: a call that waits for the budget with a permit would keep the permit from a call
        // that is tried again, which keeps its part of the budget from the first one.
        let reserved = context.run.reserve(worst_cost).await.ok_or(CallError::Stopped)?;
        let permit = self.attempts.permit(context, None, worst_case.most_tokens()).await?;
        let mut in_flight = context.run.begin(context.key, reserved, worst_cost)?;
        let attempt = Attempt { path, body, worst_case, worst_cost };
        match self.attempts.until_answered(context, permit, &mut in_flight, attempt).await {
            Ok((mut reply, endpoint)) => {
                worst_case.estimate_prompt(&mut reply);
                in_flight.end(self.record(context, &endpoint, &reply).await?)?;
                Ok(reply)
            }
            Err(unanswered) => {
                in_flight.end(Cost::default())?;
                Err(unanswered)
            }
        }
    }

    async fn record(&self, context: CallContext<'_>, endpoint: &str, reply: &Reply) -> Result<Cost> {
        let cost = context.run.cost(&self.model, reply.prompt_tokens, reply.completion_tokens, false);
        let (model, step) = (self.model.as_str(), context.step);
        let source = AnswerSource { model, endpoint, step, microdollars: cost.microdollars };
        context.run.store.record(context.key, &source, reply).await?;
        Ok(cost)
    }

    /// Whether user's turns are asked for with a template that nobody gave.
    pub(crate) fn guesses_template(&self, is_given: bool) -> bool {
        !is_given && self.settings.user_turns == UserTurns::Raw
    }
}
/// Whether a part of an address is a version of an interface: `v1`, `v1beta`.
fn is_version(part: &str) -> bool {
    part.strip_prefix('v').is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()))
}

/// Whether a refusal says that the endpoint has no completions of raw prompts.
fn is_unsupported(status: u16, message: &str) -> bool {
    let message = message.to_lowercase();
    match status {
        404 | 405 | 410 | 501 => {
            !["model `", "model \"", "model '"].iter().any(|named| message.contains(named))
        }
        400 | 422 => {
            ["support", "chat model", "chat/completions"].iter().any(|words| message.contains(words))
        }
        _ => false,
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
