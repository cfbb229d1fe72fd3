//! Gathers calls into batches, submits the batches, and records their answers.

use crate::run::Run;
use crate::store::{AnswerSource, CallKey, OpenBatch, Outcome, Reply};
use crate::teacher::attempts::Unanswered;
use crate::teacher::batch::files::{BatchFile, BatchResult, MAX_BYTES, MAX_CALLS, into_files, result_of};
use crate::teacher::batch::provider::Provider;
use crate::teacher::call::CallError;
use crate::teacher::worst_case::WorstCase;
use anyhow::{Result, anyhow, bail};
use openai::batch::Batch;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How long no further call may come before a batch is submitted.
const QUIET: Duration = Duration::from_secs(2);
/// How often the driver checks whether the run stops.
const TICK: Duration = Duration::from_millis(200);
/// Number of answers that are written to disk together.
const RECORDED_TOGETHER: usize = 1000;
/// The endpoint's name in the ledger.
const ENDPOINT: &str = "batch";

type Answer = Result<Reply, Unanswered>;

/// A call that waits for its batch.
pub(super) struct WaitingCall {
    pub(super) key: CallKey,
    pub(super) step: String,
    pub(super) path: &'static str,
    pub(super) body: Value,
    pub(super) worst_case: WorstCase,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// A call as it is put into a batch.
#[derive(Clone)]
struct QueuedCall {
    key: CallKey,
    step: String,
    path: &'static str,
    body: Value,
}

/// The driver of one model's batches.
pub(super) struct Driver {
    model: String,
    provider: Provider,
    poll: Duration,
    run: Arc<Run>,
    queued: Vec<QueuedCall>,
    waiting: HashMap<CallKey, Vec<oneshot::Sender<Answer>>>,
    /// Of the calls that wait; after a restart a row that waits for a batch sends it again.
    worst_cases: HashMap<CallKey, WorstCase>,
    open: Vec<OpenBatch>,
    /// The calls of the open batches.
    submitted: HashSet<CallKey>,
    /// The calls that wait, for a batch that the provider takes only in parts.
    bodies: HashMap<CallKey, QueuedCall>,
    /// The most calls of one batch; with fewer than at the start, one batch is open at a time.
    most_calls: usize,
}

impl Driver {
    /// A driver without calls.
    pub(super) fn new(model: &str, provider: Provider, poll: Duration, run: Arc<Run>) -> Self {
        Self {
            model: model.to_owned(),
            provider,
            poll,
            run,
            queued: Vec::new(),
            waiting: HashMap::new(),
            worst_cases: HashMap::new(),
            open: Vec::new(),
            submitted: HashSet::new(),
            bodies: HashMap::new(),
            most_calls: MAX_CALLS,
        }
    }

    /// Runs until the channel of calls is closed, or until an error, which every waiting call gets.
    pub(super) async fn drive(mut self, mut calls: mpsc::UnboundedReceiver<WaitingCall>) {
        if let Err(error) = self.run(&mut calls).await {
            // All rows wait for the same reason; the first one ends the run.
            for answer in self.waiting.into_values().flatten() {
                let _ = answer.send(Err(CallError::Unusable(anyhow!("{error:#}")).into()));
            }
        }
    }

    async fn run(&mut self, calls: &mut mpsc::UnboundedReceiver<WaitingCall>) -> Result<()> {
        self.open = self.run.store.open_batches(&self.model)?;
        self.resume().await?;
        let mut last_look = Instant::now();
        let mut quiet_until = Instant::now() + QUIET;
        loop {
            tokio::select! {
                call = calls.recv() => {
                    let Some(call) = call else { return Ok(()) };
                    quiet_until = Instant::now() + QUIET;
                    self.receive(call)?;
                }
                () = tokio::time::sleep(TICK.min(self.poll)) => {}
            }
            let is_full = self.queued.len() >= MAX_CALLS;
            if self.run.is_stopping() {
                self.release();
            } else if !self.queued.is_empty() && (Instant::now() >= quiet_until || is_full) {
                self.submit().await?;
            }
            if last_look.elapsed() >= self.poll {
                self.look().await?;
                last_look = Instant::now();
            }
        }
    }

    /// Queues a call, unless it is in a batch or was answered while its row waited for the budget.
    fn receive(&mut self, call: WaitingCall) -> Result<()> {
        let WaitingCall { key, step, path, body, worst_case, answer } = call;
        if let Some(reply) = self.run.store.answer(&key)? {
            let _ = answer.send(Ok(reply));
            return Ok(());
        }
        self.worst_cases.insert(key, worst_case);
        let answers = self.waiting.entry(key).or_default();
        answers.push(answer);
        if answers.len() == 1 {
            let call = QueuedCall { key, step, path, body };
            self.bodies.insert(key, call.clone());
            if !self.submitted.contains(&key) {
                self.queued.push(call);
            }
        }
        Ok(())
    }

    /// Finds the batches of earlier sessions by their file, or makes them now. A batch without a file was never sent.
    async fn resume(&mut self) -> Result<()> {
        for mut batch in std::mem::take(&mut self.open) {
            let Some(file) = batch.file.clone() else {
                self.run.store.end_batch(batch.number)?;
                continue;
            };
            if batch.remote.is_none() {
                let remote = match self.provider.batch_of(&file).await? {
                    Some(remote) => remote,
                    None => self.provider.create(&batch.path, &file).await?,
                };
                self.run.store.batch_submitted(batch.number, &remote)?;
                batch.remote = Some(remote);
            }
            terminal::message!("note: batch {} with {} calls is still open", batch.number, batch.calls.len());
            self.submitted.extend(batch.calls.iter().map(|(key, _)| *key));
            self.open.push(batch);
        }
        Ok(())
    }

    async fn submit(&mut self) -> Result<()> {
        if self.is_limited() && !self.open.is_empty() {
            return Ok(());
        }
        let mut by_path: BTreeMap<&'static str, Vec<(CallKey, String, Value)>> = BTreeMap::new();
        let taken =
            if self.is_limited() { self.most_calls.min(self.queued.len()) } else { self.queued.len() };
        for QueuedCall { key, step, path, body } in self.queued.drain(..taken) {
            by_path.entry(path).or_default().push((key, step, body));
        }
        for (path, calls) in by_path {
            for file in into_files(path, calls, MAX_BYTES) {
                self.submit_file(path, file).await?;
            }
        }
        Ok(())
    }

    /// Whether the provider takes fewer calls at a time than there are.
    fn is_limited(&self) -> bool {
        self.most_calls < MAX_CALLS
    }

    /// Puts the calls of a batch that was too large for the account back, for batches of half its size.
    fn split(&mut self, batch: &OpenBatch, words: &str) -> Result<()> {
        let half = batch.calls.len().div_ceil(2).min(self.most_calls);
        if batch.calls.len() == 1 {
            bail!("the provider takes no batch of a single call: {words}");
        }
        self.most_calls = half;
        self.run.store.end_batch(batch.number)?;
        for (key, _) in &batch.calls {
            self.submitted.remove(key);
            // Rows that do not wait yet put their calls in the queue when they come.
            self.queued.extend(self.bodies.get(key).cloned());
        }
        terminal::message!(
            "note: batch {} with {} calls is too large for the account ({words}); its calls are sent in batches of {half}, one \
             after the other",
            batch.number,
            batch.calls.len()
        );
        Ok(())
    }

    async fn submit_file(&mut self, path: &str, BatchFile { lines, calls }: BatchFile) -> Result<()> {
        let number = self.run.store.begin_batch(&self.model, path, &calls)?;
        let file = self.provider.upload(number, &lines).await?;
        self.run.store.batch_uploaded(number, &file)?;
        let remote = self.provider.create(path, &file).await?;
        self.run.store.batch_submitted(number, &remote)?;
        terminal::message!("note: batch {number} with {} calls is submitted ({remote})", calls.len());
        let (file, remote) = (Some(file), Some(remote));
        self.submitted.extend(calls.iter().map(|(key, _)| *key));
        self.open.push(OpenBatch { number, path: path.to_owned(), file, remote, calls });
        Ok(())
    }

    /// Looks at the open batches and takes in those that have ended.
    async fn look(&mut self) -> Result<()> {
        for batch in std::mem::take(&mut self.open) {
            let remote = batch.remote.clone().unwrap_or_default();
            let now = self.provider.batch(&remote).await?;
            match now.status.as_deref().unwrap_or_default() {
                "completed" | "expired" | "cancelled" => self.take_in(&batch, &now).await?,
                "failed" if names_limit(&now.errors.to_string()) => {
                    self.split(&batch, &words(&now.errors))?;
                }
                "failed" => {
                    self.run.store.end_batch(batch.number)?;
                    bail!("the provider refused batch {remote}: {}", words(&now.errors));
                }
                _ => self.open.push(batch),
            }
        }
        Ok(())
    }

    /// Records the answers of a batch that has ended, and passes every call its result.
    async fn take_in(&mut self, batch: &OpenBatch, ended: &Batch) -> Result<()> {
        let mut results = self.results(batch, ended).await?;
        self.record_all(batch, &results).await?;
        let unreadable = self.charge_unreadable(&results).await?;
        self.run.store.end_batch(batch.number)?;
        let is_answered = |key| matches!(results.get(key), Some(BatchResult::Answer(_)));
        let failed = batch.calls.iter().filter(|(key, _)| !is_answered(key)).count();
        if failed > unreadable {
            let calls = (failed - unreadable) as u64;
            self.run.store.count_calls(&self.model, ENDPOINT, Outcome::Failed, calls);
        }
        let answers = batch.calls.len() - failed;
        terminal::message!(
            "note: batch {} has ended: {answers} answers, {failed} calls without one",
            batch.number
        );
        for (key, _) in &batch.calls {
            self.submitted.remove(key);
            self.worst_cases.remove(key);
            self.bodies.remove(key);
            let mut result = results.remove(key).map(BatchResult::into_answer);
            for answer in self.waiting.remove(key).into_iter().flatten() {
                let missing =
                    || Err(CallError::Failed("the batch ended without its answer".to_owned()).into());
                let _ = answer.send(result.take().unwrap_or_else(missing));
            }
        }
        Ok(())
    }

    /// The results of a batch's calls, from its files.
    async fn results(&self, batch: &OpenBatch, ended: &Batch) -> Result<HashMap<CallKey, BatchResult>> {
        let ours: HashSet<&CallKey> = batch.calls.iter().map(|(key, _)| key).collect();
        let mut results = HashMap::new();
        for file in [&ended.output_file_id, &ended.error_file_id].into_iter().flatten() {
            let add = |line: &[u8]| {
                let Some((key, mut result)) = result_of(line).filter(|(key, _)| ours.contains(key)) else {
                    return;
                };
                if let (BatchResult::Answer(reply), Some(worst_case)) =
                    (&mut result, self.worst_cases.get(&key))
                {
                    worst_case.estimate_prompt(reply);
                }
                results.insert(key, result);
            };
            self.provider.lines(file, add).await?;
        }
        Ok(results)
    }

    /// Records the answers, many at once, so that they share the disk's commits.
    async fn record_all(&self, batch: &OpenBatch, results: &HashMap<CallKey, BatchResult>) -> Result<()> {
        for calls in batch.calls.chunks(RECORDED_TOGETHER) {
            let mut recorded = Vec::new();
            for (key, step) in calls {
                // A kill at this point leaves some answers recorded; they are charged once.
                if let Some(BatchResult::Answer(reply)) = results.get(key)
                    && self.run.store.answer(key)?.is_none()
                {
                    recorded.push(self.record(key, step, reply));
                }
            }
            futures::future::try_join_all(recorded).await?;
        }
        Ok(())
    }

    async fn record(&self, key: &CallKey, step: &str, reply: &Reply) -> Result<()> {
        let cost = self.run.cost(&self.model, reply.prompt_tokens, reply.completion_tokens, true);
        self.run.budget.spend(cost);
        let (model, microdollars) = (self.model.as_str(), cost.microdollars);
        let source = AnswerSource { model, endpoint: ENDPOINT, step, microdollars };
        self.run.store.record(key, &source, reply).await
    }

    /// Charges the worst-case cost of answers that cannot be read; returns their number.
    async fn charge_unreadable(&self, results: &HashMap<CallKey, BatchResult>) -> Result<usize> {
        let unreadable = results.iter().filter(|(_, result)| matches!(result, BatchResult::Unreadable(_)));
        let worst_cases = unreadable.map(|(key, _)| self.worst_cases.get(key).copied().unwrap_or_default());
        let entries = worst_cases.map(|worst| worst.unanswered(&self.run, &self.model, ENDPOINT, true));
        let Some(sum) = entries.reduce(|mut sum, entry| {
            sum.add(&entry);
            sum
        }) else {
            return Ok(0);
        };
        let calls = sum.calls as usize;
        self.run.charge(sum).await?;
        Ok(calls)
    }

    /// Ends the waiting calls of a run that stops: their answers come in hours.
    fn release(&mut self) {
        self.queued.clear();
        for answer in std::mem::take(&mut self.waiting).into_values().flatten() {
            let _ = answer.send(Err(CallError::Stopped.into()));
        }
    }
}

/// Whether a batch failed because the account may have only so many tokens or requests in batches.
fn names_limit(errors: &str) -> bool {
    let errors = errors.to_lowercase();
    ["token_limit_exceeded", "enqueued token limit", "request_limit_exceeded", "too many requests in"]
        .iter()
        .any(|words| errors.contains(words))
}

/// The provider's words about a batch that failed.
fn words(errors: &Value) -> String {
    errors["data"][0]["message"].as_str().map_or_else(|| errors.to_string(), str::to_owned)
}
