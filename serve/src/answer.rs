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
use crate::prompt::off_thread;
use crate::server::Server;
use crate::valid::Held;
use engine::{Event, Events, Refused, Request};
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The most answers one request keeps in the engine at a time; the rest follow as these end.
const MOST_IN_FLIGHT: usize = 64;
/// How long answers that found the queue full wait before they try again.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(50);

/// One answer to come: what the engine is asked, and what becomes of its events.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) fold: Fold,
    /// Whether its prompt is counted: of several answers to one prompt, the first.
    pub(crate) counts_prompt: bool,
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
    named: Named,
    waiting: VecDeque<(usize, Request)>,
    in_flight: usize,
    events: SelectAll<BoxStream<'static, (usize, Option<Event>)>>,
    folds: Vec<Fold>,
    counts_prompt: Vec<bool>,
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

impl Running {
    /// Submits every request that the engine has room for. All faults of a request show here, before a stream
    /// has begun.
    pub(crate) async fn start(
        server: &Server,
        model: Arc<Model>,
        asked: Vec<Asked>,
        named: Named,
    ) -> Result<Self, ApiError> {
        let timeout = server.settings.request_timeout;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut running = Self {
            waiting: VecDeque::with_capacity(asked.len()),
            in_flight: 0,
            events: SelectAll::new(),
            folds: Vec::with_capacity(asked.len()),
            counts_prompt: Vec::with_capacity(asked.len()),
            ready: VecDeque::new(),
            usage: Usage::default(),
            limits: Limits { timeout, deadline, closing: server.closing() },
            stopwatch: server.metrics.stopwatch(asked.len()),
            model,
            named,
        };
        for (index, Asked { request, mut fold, counts_prompt }) in asked.into_iter().enumerate() {
            let limits = running.model.engine.limits();
            request.check(limits).map_err(|refused| running.name(refused))?;
            if let Some(id) = request.stop_ids.iter().find(|id| **id as usize >= limits.vocab_size) {
                let message =
                    format!("`stop_token_ids` holds {id}; expected ids below {}", limits.vocab_size);
                return Err(ApiError::invalid("stop_token_ids", message));
            }
            if counts_prompt {
                running.usage.prompt_tokens += request.prompt.len();
            }
            running.ready.extend(fold.begin().map(|part| (index, part)));
            running.waiting.push_back((index, request));
            running.folds.push(fold);
            running.counts_prompt.push(counts_prompt);
        }
        running.fill(false).await?;
        running.stopwatch.prompt(running.usage.prompt_tokens);
        Ok(running)
    }

    /// How many answers there are.
    pub(crate) fn answers(&self) -> usize {
        self.folds.len()
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
            if self.in_flight == 0 && self.waiting.is_empty() {
                return Ok(None);
            }
            if self.in_flight == 0 {
                // Others filled the queue while the answers before these ended.
                self.limits.guard(tokio::time::sleep(FULL_QUEUE_PAUSE)).await?;
                self.fill(true).await?;
                continue;
            }
            let (index, event) = self.limits.guard(self.events.next()).await?.unwrap_or((0, None));
            let event = event.ok_or_else(|| ApiError::from(Refused::Stopped))?;
            self.stopwatch.event(index, &event);
            let ended = matches!(event, Event::Done(_));
            for part in self.folds[index].add(event)? {
                self.count(index, &part);
                self.ready.push_back((index, part));
            }
            if ended {
                self.in_flight -= 1;
                self.fill(true).await?;
            }
        }
    }

    fn count(&mut self, index: usize, part: &Part) {
        if let Part::End(end) = part {
            self.usage.completion_tokens += end.completion_tokens;
            if self.counts_prompt[index] {
                self.usage.cached_tokens += end.cached_tokens;
            }
        }
    }

    /// Submits waiting requests while there is room. A full queue is an error only to a request of which nothing
    /// has begun; otherwise the rest is tried again when an answer ends.
    async fn fill(&mut self, begun: bool) -> Result<(), ApiError> {
        while self.in_flight < MOST_IN_FLIGHT {
            let Some((index, request)) = self.waiting.front().cloned() else { return Ok(()) };
            match submit(&self.model, request).await {
                Ok(events) => self.events.push(until_done(index, events)),
                Err(Refused::Full { .. }) if begun || self.in_flight > 0 => return Ok(()),
                Err(refused) => return Err(self.name(refused)),
            }
            self.in_flight += 1;
            self.waiting.pop_front();
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
