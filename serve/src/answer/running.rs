//! The answers of one request while they run.

use super::chunks::{ChunkBuilder, Delta};
use super::plan::{AnswerPlan, ParameterNames};
use super::returned_ids::ReturnedIds;
use crate::error::ApiError;
use crate::metrics::Stopwatch;
use crate::model::Model;
use crate::prompt::compile_off_thread;
use crate::state::ServerState;
use engine::{Done, Event, Events, Finish, Request, RequestError};
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Maximum number of answers that one request has in the engine at a time; the rest follow when these end.
const MAX_IN_FLIGHT: usize = 64;
/// Where so many requests wait in the engine, a request with several answers has one of them there at a time, so that it
/// does not fill the queue for others.
const BUSY_QUEUE: usize = 32;
/// How long answers that found the queue full wait before they try again.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(50);

/// Answers that run together.
pub(crate) struct RunningAnswers {
    model: Arc<Model>,
    plan: AnswerPlan,
    names: ParameterNames,
    /// The first answer that was not submitted yet.
    next: usize,
    events: SelectAll<BoxStream<'static, (usize, Option<Event>)>>,
    /// Of the answers in flight.
    builders: HashMap<usize, ChunkBuilder>,
    ready: VecDeque<(usize, Delta)>,
    counts: TokenCounts,
    /// Tokens of answers that have not ended.
    unfinished: HashMap<usize, u64>,
    limits: Limits,
    stopwatch: Stopwatch,
}

/// What ends answers from outside.
struct Limits {
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    closing: watch::Receiver<bool>,
}

/// Token counts of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TokenCounts {
    pub(crate) prompt: u64,
    pub(crate) completion: u64,
    pub(crate) cached: u64,
}

impl RunningAnswers {
    /// Submits as many requests as the engine has room for. All faults of a request show here, before a stream begins.
    pub(crate) async fn start(
        state: &ServerState,
        model: Arc<Model>,
        plan: AnswerPlan,
        names: ParameterNames,
    ) -> Result<Self, ApiError> {
        let timeout = state.settings.request_timeout;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut running = Self {
            next: 0,
            events: SelectAll::new(),
            builders: HashMap::new(),
            ready: VecDeque::new(),
            counts: TokenCounts::default(),
            unfinished: HashMap::new(),
            limits: Limits { timeout, deadline, closing: state.closing() },
            stopwatch: state.metrics.stopwatch(&model.name, plan.answers()),
            model,
            plan,
            names,
        };
        running.plan.check(&running.model, &running.names)?;
        running.fill(false).await?;
        running.counts.prompt = running.plan.prompt_tokens() as u64;
        running.stopwatch.accept(running.counts.prompt);
        Ok(running)
    }

    /// The response is a stream.
    pub(super) fn is_streamed(&mut self) {
        self.stopwatch.write_line_at_end();
    }

    /// Number of answers.
    pub(crate) fn answers(&self) -> usize {
        self.plan.answers()
    }

    /// Where the ids are collected, if the client wants to see them.
    pub(crate) fn returned_ids(&self) -> Option<ReturnedIds> {
        self.plan.returned_ids()
    }

    /// Token counts so far; complete once [`Self::next`] has returned `None`.
    pub(crate) fn counts(&self) -> TokenCounts {
        self.counts
    }

    /// Token counts so far, those of answers that have not ended included.
    pub(crate) fn counts_so_far(&self) -> TokenCounts {
        let unfinished = self.unfinished.values().sum::<u64>();
        TokenCounts { completion: self.counts.completion + unfinished, ..self.counts }
    }

    /// The next delta of any answer, with the answer's index; `None` after the last answer's end.
    pub(crate) async fn next(&mut self) -> Result<Option<(usize, Delta)>, ApiError> {
        loop {
            if let Some(delta) = self.ready.pop_front() {
                return Ok(Some(delta));
            }
            if self.builders.is_empty() && self.next == self.answers() {
                return Ok(None);
            }
            if self.builders.is_empty() {
                // Other requests filled the queue while the previous answers ended.
                self.limits.guard(tokio::time::sleep(FULL_QUEUE_PAUSE)).await?;
                self.fill(true).await?;
                continue;
            }
            let (index, event) = self.limits.guard(self.events.next()).await?.unwrap_or((0, None));
            let event = event.ok_or_else(|| ApiError::from(RequestError::Stopped))?;
            self.handle(index, event).await?;
        }
    }

    async fn handle(&mut self, index: usize, event: Event) -> Result<(), ApiError> {
        self.stopwatch.record(index, &event);
        let mut has_ended = false;
        let tokens = match &event {
            Event::Token(_) => 1,
            Event::Tokens(tokens) => tokens.len() as u64,
            _ => 0,
        };
        *self.unfinished.entry(index).or_default() += tokens;
        if let Event::Done(done) = &event {
            self.count(index, done)?;
            self.unfinished.remove(&index);
            has_ended = true;
        }
        let deltas = self.builders.get_mut(&index).map(|builder| builder.add(event)).unwrap_or_default();
        self.ready.extend(deltas.into_iter().map(|delta| (index, delta)));
        if has_ended {
            self.builders.remove(&index);
            self.fill(true).await?;
        }
        Ok(())
    }

    /// Counts an answer's tokens; an answer that failed is an error.
    fn count(&mut self, index: usize, done: &Done) -> Result<(), ApiError> {
        match &done.finish {
            Finish::Failed(reason) => Err(ApiError::internal(format!("the engine failed: {reason}"))),
            Finish::ConstraintFailed(reason) => {
                Err(self.names.error(RequestError::Constraint(reason.clone())))
            }
            Finish::Stop | Finish::Length => {
                self.counts.completion += done.completion_tokens as u64;
                if index.is_multiple_of(self.plan.answers_per_prompt) {
                    self.counts.cached += done.cached_tokens as u64;
                }
                Ok(())
            }
        }
    }

    /// Submits requests while there is room. A full queue is an error only if no answer was submitted; otherwise the
    /// rest is submitted when an answer ends.
    async fn fill(&mut self, has_begun: bool) -> Result<(), ApiError> {
        let context = self.model.engine.limits().context;
        while self.builders.len() < MAX_IN_FLIGHT && self.next < self.answers() {
            let index = self.next;
            if !self.builders.is_empty() && self.model.engine.status().waiting >= BUSY_QUEUE {
                return Ok(());
            }
            match self.limits.guard(submit(&self.model, self.plan.request(index, context))).await? {
                Ok(events) => self.events.push(until_done(index, events)),
                Err(RequestError::Full { .. }) if has_begun || index > 0 => return Ok(()),
                Err(refused) => return Err(self.names.error(refused)),
            }
            let mut builder = self.plan.builder(&self.model, index);
            self.ready.extend(builder.begin().map(|delta| (index, delta)));
            self.builders.insert(index, builder);
            self.next += 1;
        }
        Ok(())
    }
}

impl Limits {
    /// Waits for work, but not past the deadline or the server's end.
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

/// Compiling a constraint takes a while and runs on another thread; the rest of a submission is quick.
async fn submit(model: &Arc<Model>, request: Request) -> Result<Events, RequestError> {
    if request.constraint.is_none() {
        return model.engine.submit(request);
    }
    let model = Arc::clone(model);
    let submitted = compile_off_thread(move || Ok(model.engine.submit(request))).await;
    submitted.unwrap_or(Err(RequestError::Stopped))
}

/// A request's events with its index, and `None` if they end without a `Done`.
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
