//! From an engine's events to what a client reads.
//!
//! All answers of a request run together as [`Running`]. Its parts are the only source of both the streamed and the
//! whole answer, so the two cannot differ. Dropping it cancels everything that still runs.

pub(crate) mod chat;
mod collect;
pub(crate) mod completion;
mod fold;
mod stream;
mod tokens;

pub(crate) use collect::{Call, Collected, collect};
pub(crate) use fold::{End, Fold, Part, ScoredToken};
pub(crate) use stream::{Frame, Writer, stream};
pub(crate) use tokens::chat_logprobs;

use crate::error::ApiError;
use crate::metrics::Stopwatch;
use crate::model::Model;
use crate::prompt::{Raw, off_thread};
use crate::server::Server;
use crate::tools::ToolPlan;
use crate::valid::Held;
use engine::{Done, Event, Events, Finish, Refused, Request, Sampling};
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The most answers one request keeps in the engine at a time; the rest follow as these end.
const MOST_IN_FLIGHT: usize = 64;
/// How long answers that found the queue full wait before they try again.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(50);

/// The answers to come. Each one's request and fold are made when its turn comes, so that many answers to a long
/// prompt take no more memory than those that run.
#[derive(Debug)]
pub(crate) struct Asked {
    /// What the engine is asked each time, but for the prompt; further answers to one prompt count the seed up, so
    /// that their number does not change the first.
    pub(crate) request: Request,
    pub(crate) prompts: Vec<Arc<Raw>>,
    /// Answers to each prompt.
    pub(crate) each: usize,
    /// Whether an answer begins with its prompt.
    pub(crate) echo: bool,
    /// The tools whose calls are looked for.
    pub(crate) tools: Option<ToolPlan>,
}

/// What the client calls the things an engine may refuse.
#[derive(Debug)]
pub(crate) struct Named {
    /// The parameter that became the prompt.
    pub(crate) prompt: &'static str,
    /// What the text is held to.
    pub(crate) held: Option<Held>,
}

/// Answers that run together.
pub(crate) struct Running {
    model: Arc<Model>,
    asked: Asked,
    named: Named,
    /// The first answer that the engine was not yet asked for.
    next: usize,
    events: SelectAll<BoxStream<'static, (usize, Option<Event>)>>,
    /// Of the answers in flight.
    folds: HashMap<usize, Fold>,
    ready: VecDeque<(usize, Part)>,
    usage: Usage,
    limits: Limits,
    stopwatch: Stopwatch,
}

/// What ends answers from outside.
struct Limits {
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    closing: watch::Receiver<bool>,
}

/// Token counts of a whole request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: usize,
    pub(crate) completion_tokens: usize,
    pub(crate) cached_tokens: usize,
}

impl Usage {
    /// As chat and completions spell it.
    pub(crate) fn to_json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        })
    }
}

impl Asked {
    /// What the engine is asked for one answer.
    fn request(&self, index: usize) -> Request {
        let Request { prompt: _, sampling, constraint, stop_ids, stop_strings, .. } = &self.request;
        let seed = sampling.seed.wrapping_add((index % self.each) as u64);
        Request {
            prompt: self.prompts[index / self.each].ids.clone(),
            sampling: Sampling { seed, ..sampling.clone() },
            constraint: constraint.clone(),
            stop_ids: stop_ids.clone(),
            stop_strings: stop_strings.clone(),
            ..self.request
        }
    }

    /// What becomes of its events.
    fn fold(&self, model: &Arc<Model>, index: usize) -> Fold {
        match self.echo {
            true => {
                let prompt = Arc::clone(&self.prompts[index / self.each]);
                Fold::echoing(model, prompt, self.request.prompt_logprobs.is_some())
            }
            false => Fold::new(model, self.tools.as_ref().map(ToolPlan::reader)),
        }
    }
}

impl Running {
    /// Submits every request that the engine has room for. All faults of a request show here, before a stream
    /// has begun.
    pub(crate) async fn start(
        server: &Server,
        model: Arc<Model>,
        asked: Asked,
        named: Named,
    ) -> Result<Self, ApiError> {
        let timeout = server.settings.request_timeout;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut running = Self {
            next: 0,
            events: SelectAll::new(),
            folds: HashMap::new(),
            ready: VecDeque::new(),
            usage: Usage::default(),
            limits: Limits { timeout, deadline, closing: server.closing() },
            stopwatch: server.metrics.stopwatch(asked.prompts.len() * asked.each),
            model,
            asked,
            named,
        };
        running.check()?;
        running.fill(false).await?;
        running.usage.prompt_tokens = running.asked.prompts.iter().map(|prompt| prompt.ids.len()).sum();
        running.stopwatch.accepted(running.usage.prompt_tokens);
        Ok(running)
    }

    /// Looks at every prompt once, and at the rest once for all.
    fn check(&self) -> Result<(), ApiError> {
        let (limits, request) = (self.model.engine.limits(), &self.asked.request);
        if let Some(id) = request.stop_ids.iter().find(|id| **id as usize >= limits.vocab_size) {
            let message = format!("`stop_token_ids` holds {id}; expected ids below {}", limits.vocab_size);
            return Err(ApiError::invalid("stop_token_ids", message));
        }
        let mut prompts = self.asked.prompts.iter();
        let checked = prompts.try_for_each(|prompt| request.check_prompt(&prompt.ids, limits));
        checked.and_then(|()| request.check_parameters(limits)).map_err(|refused| self.name(refused))
    }

    /// How many answers there are.
    pub(crate) fn answers(&self) -> usize {
        self.asked.prompts.len() * self.asked.each
    }

    /// Token counts so far; whole once [`Self::next`] has returned `None`.
    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    /// The next part of any answer, with the answer's index; `None` after the last answer's end.
    pub(crate) async fn next(&mut self) -> Result<Option<(usize, Part)>, ApiError> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                return Ok(Some(part));
            }
            if self.folds.is_empty() && self.next == self.answers() {
                return Ok(None);
            }
            if self.folds.is_empty() {
                // Others filled the queue while the answers before these ended.
                self.limits.guard(tokio::time::sleep(FULL_QUEUE_PAUSE)).await?;
                self.fill(true).await?;
                continue;
            }
            let (index, event) = self.limits.guard(self.events.next()).await?.unwrap_or((0, None));
            let event = event.ok_or_else(|| ApiError::from(Refused::Stopped))?;
            self.stopwatch.event(index, &event);
            let ended =
                if let Event::Done(done) = &event { self.count(index, done).map(|()| true)? } else { false };
            let parts = self.folds.get_mut(&index).map(|fold| fold.add(event)).unwrap_or_default();
            self.ready.extend(parts.into_iter().map(|part| (index, part)));
            if ended {
                self.folds.remove(&index);
                self.fill(true).await?;
            }
        }
    }

    /// Counts an answer, unless it is none.
    fn count(&mut self, index: usize, done: &Done) -> Result<(), ApiError> {
        match &done.finish {
            Finish::Failed(reason) => Err(ApiError::internal(format!("the engine failed: {reason}"))),
            Finish::Unfit(reason) => Err(self.name(Refused::Constraint(reason.clone()))),
            Finish::Stop | Finish::Length => {
                self.usage.completion_tokens += done.completion_tokens;
                if index.is_multiple_of(self.asked.each) {
                    self.usage.cached_tokens += done.cached_tokens;
                }
                Ok(())
            }
        }
    }

    /// Submits requests while there is room. A full queue is an error only to a request of which nothing has begun;
    /// otherwise the rest is tried again when an answer ends.
    async fn fill(&mut self, begun: bool) -> Result<(), ApiError> {
        while self.folds.len() < MOST_IN_FLIGHT && self.next < self.answers() {
            let index = self.next;
            match self.limits.guard(submit(&self.model, self.asked.request(index))).await? {
                Ok(events) => self.events.push(until_done(index, events)),
                Err(Refused::Full { .. }) if begun || index > 0 => return Ok(()),
                Err(refused) => return Err(self.name(refused)),
            }
            let mut fold = self.asked.fold(&self.model, index);
            self.ready.extend(fold.begin().map(|part| (index, part)));
            self.folds.insert(index, fold);
            self.next += 1;
        }
        Ok(())
    }

    /// Names the parameter as the client does, where the engine has another word for it.
    fn name(&self, refused: Refused) -> ApiError {
        let param = match (&refused, &self.named.held) {
            (Refused::TooLong { .. } | Refused::Value { parameter: "prompt", .. }, _) => self.named.prompt,
            (Refused::Constraint(_) | Refused::Keyword { .. }, Some(held)) => &held.param,
            _ => return refused.into(),
        };
        ApiError { param: Some(param.to_owned()), ..ApiError::from(refused) }
    }
}

impl Limits {
    /// Waits, but not past the deadline or the server's end.
    async fn guard<T>(&mut self, work: impl Future<Output = T>) -> Result<T, ApiError> {
        let deadline = self.deadline;
        let expired = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.closing.wait_for(|closing| *closing) => {
                Err(ApiError::unavailable("shutting_down", "the server is shutting down"))
            }
            () = expired => Err(ApiError::timeout(self.timeout.unwrap_or_default().as_secs_f64())),
            done = work => Ok(done),
        }
    }
}

/// Compiling a constraint takes a while; everything else in a submission is quick.
async fn submit(model: &Arc<Model>, request: Request) -> Result<Events, Refused> {
    if request.constraint.is_none() {
        return model.engine.submit(request);
    }
    let model = Arc::clone(model);
    let submitted = off_thread(move || Ok(model.engine.submit(request))).await;
    submitted.unwrap_or(Err(Refused::Stopped))
}

/// A request's events with its index, and `None` where they end without a `Done`.
fn until_done(index: usize, events: Events) -> BoxStream<'static, (usize, Option<Event>)> {
    let step = move |events: Option<Events>| async move {
        let mut events = events?;
        let event = events.next().await;
        let rest = match event {
            Some(Event::Done(_)) | None => None,
            Some(_) => Some(events),
        };
        Some(((index, event), rest))
    };
    futures::stream::unfold(Some(events), step).boxed()
}
