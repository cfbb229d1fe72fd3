//! Calls as provider batches, in the shape of OpenAI's `/files` and `/batches`: half the price, hours later.
//!
//! Rows walk until each waits for an answer; what has gathered then goes out as one batch. The store learns
//! of a batch before its file is uploaded, of the file before the batch is made, and of the batch before
//! anyone waits for it, so a restart finds it again and none is submitted twice.

mod files;

pub(super) use files::MOST_CALLS;

use super::endpoints::Endpoints;
use super::http::{LONGEST_WORDS, Most, passes, whole};
use super::{Asking, Manners, Refusal};
use crate::endpoint::cause;
use crate::run::Run;
use crate::store::{Key, OpenBatch, Outcome, Reply, Source};
use anyhow::{Context, Result, anyhow, bail};
use files::{BatchFile, BatchResult, MOST_BYTES, into_files, read_lines, result_of};
use reqwest::multipart::{Form, Part};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How long no further call may come before a batch goes out.
const QUIET: Duration = Duration::from_secs(2);
/// How often a stop is looked for.
const TICK: Duration = Duration::from_millis(200);
/// Answers that wait for the disk together.
const RECORDED_TOGETHER: usize = 1000;

pub(super) struct Batches {
    model: String,
    endpoints: Arc<Endpoints>,
    client: reqwest::Client,
    patience: Duration,
    poll: Duration,
    driver: OnceLock<mpsc::UnboundedSender<Waiting>>,
}

/// A call that waits for its batch.
struct Waiting {
    key: Key,
    step: String,
    path: &'static str,
    body: Value,
    most: Most,
    answer: oneshot::Sender<Result<Reply, Refusal>>,
}

impl Batches {
    pub(super) fn new(
        model: &str,
        endpoints: Arc<Endpoints>,
        client: reqwest::Client,
        manners: &Manners,
        poll: Duration,
    ) -> Self {
        let (model, patience) = (model.to_owned(), manners.patience);
        Self { model, endpoints, client, patience, poll, driver: OnceLock::new() }
    }

    pub(super) async fn answer(
        &self,
        asking: Asking<'_>,
        path: &'static str,
        body: Value,
        most: Most,
    ) -> Result<Reply, Refusal> {
        let worst = asking.run.cost(&self.model, most.prompt, most.completion, true);
        let _held = asking.run.hold(worst).await.ok_or(Refusal::Stopped)?;
        let driver = self.driver.get_or_init(|| self.start(asking.run));
        let (answer, wait) = oneshot::channel();
        let waiting = Waiting { key: *asking.key, step: asking.step.to_owned(), path, body, most, answer };
        driver.send(waiting).map_err(|_| anyhow!("the batches have stopped"))?;
        wait.await.map_err(|_| anyhow!("the batches have stopped"))?
    }

    fn start(&self, run: &Arc<Run>) -> mpsc::UnboundedSender<Waiting> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let driver = Driver {
            model: self.model.clone(),
            endpoints: Arc::clone(&self.endpoints),
            client: self.client.clone(),
            patience: self.patience,
            poll: self.poll,
            run: Arc::clone(run),
            queued: Vec::new(),
            waiting: HashMap::new(),
            asked: HashMap::new(),
            open: Vec::new(),
            out: HashSet::new(),
        };
        tokio::spawn(driver.drive(receiver));
        sender
    }
}

/// Gathers calls, submits them, and looks after the batches that are out.
struct Driver {
    model: String,
    endpoints: Arc<Endpoints>,
    client: reqwest::Client,
    patience: Duration,
    poll: Duration,
    run: Arc<Run>,
    /// Calls that are in no batch yet.
    queued: Vec<(Key, String, &'static str, Value)>,
    waiting: HashMap<Key, Vec<oneshot::Sender<Result<Reply, Refusal>>>>,
    /// What was asked for; after a restart a row that waits for a batch says it again.
    asked: HashMap<Key, Most>,
    open: Vec<OpenBatch>,
    /// The calls of the open batches.
    out: HashSet<Key>,
}

impl Driver {
    async fn drive(mut self, mut calls: mpsc::UnboundedReceiver<Waiting>) {
        if let Err(error) = self.work(&mut calls).await {
            // All rows wait for the same reason; the first one ends the run.
            for answer in self.waiting.into_values().flatten() {
                let _ = answer.send(Err(Refusal::Gone(anyhow!("{error:#}"))));
            }
        }
    }

    async fn work(&mut self, calls: &mut mpsc::UnboundedReceiver<Waiting>) -> Result<()> {
        self.open = self.run.store.open_batches(&self.model)?;
        self.find_again().await?;
        let mut looked = Instant::now();
        let mut quiet = Instant::now() + QUIET;
        loop {
            tokio::select! {
                call = calls.recv() => {
                    let Some(call) = call else { return Ok(()) };
                    quiet = Instant::now() + QUIET;
                    self.receive(call)?;
                }
                () = tokio::time::sleep(TICK.min(self.poll)) => {}
            }
            if self.run.is_stopping() {
                self.release();
            } else if !self.queued.is_empty() && (Instant::now() >= quiet || self.queued.len() >= MOST_CALLS)
            {
                self.submit().await?;
            }
            if looked.elapsed() >= self.poll {
                self.look().await?;
                looked = Instant::now();
            }
        }
    }

    /// Queues a call, unless it is out or was answered while its row waited for the budget.
    fn receive(&mut self, call: Waiting) -> Result<()> {
        if let Some(reply) = self.run.store.answer(&call.key)? {
            let _ = call.answer.send(Ok(reply));
            return Ok(());
        }
        self.asked.insert(call.key, call.most);
        let answers = self.waiting.entry(call.key).or_default();
        answers.push(call.answer);
        if answers.len() == 1 && !self.out.contains(&call.key) {
            self.queued.push((call.key, call.step, call.path, call.body));
        }
        Ok(())
    }

    /// Batches whose making was interrupted: found by their file, or made now. One without a file never went out.
    async fn find_again(&mut self) -> Result<()> {
        for mut batch in std::mem::take(&mut self.open) {
            let Some(file) = batch.file.clone() else {
                self.run.store.end_batch(batch.number)?;
                continue;
            };
            if batch.remote.is_none() {
                let remote = match self.made_of(&file).await? {
                    Some(remote) => remote,
                    None => self.create(&batch.path, &file).await?,
                };
                self.run.store.batch_submitted(batch.number, &remote)?;
                batch.remote = Some(remote);
            }
            eprintln!("batch {} with {} calls is still out", batch.number, batch.calls.len());
            self.out.extend(batch.calls.iter().map(|(key, _)| *key));
            self.open.push(batch);
        }
        Ok(())
    }

    async fn submit(&mut self) -> Result<()> {
        let mut by_path: BTreeMap<&'static str, Vec<(Key, String, Value)>> = BTreeMap::new();
        for (key, step, path, body) in std::mem::take(&mut self.queued) {
            by_path.entry(path).or_default().push((key, step, body));
        }
        for (path, calls) in by_path {
            for file in into_files(path, calls, MOST_BYTES) {
                self.send(path, file).await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self, path: &str, BatchFile { lines, calls }: BatchFile) -> Result<()> {
        let number = self.run.store.begin_batch(&self.model, path, &calls)?;
        let file = self.upload(number, &lines).await?;
        self.run.store.batch_uploaded(number, &file)?;
        let remote = self.create(path, &file).await?;
        self.run.store.batch_submitted(number, &remote)?;
        eprintln!("batch {number} with {} calls is out ({remote})", calls.len());
        let (file, remote) = (Some(file), Some(remote));
        self.out.extend(calls.iter().map(|(key, _)| *key));
        self.open.push(OpenBatch { number, path: path.to_owned(), file, remote, calls });
        Ok(())
    }

    async fn upload(&self, number: i64, lines: &str) -> Result<String> {
        let answer = self
            .json(|base| {
                let part = Part::text(lines.to_owned()).file_name(format!("smoltalk-{number}.jsonl"));
                let form = Form::new().text("purpose", "batch").part("file", part);
                self.client.post(format!("{base}/files")).multipart(form)
            })
            .await?;
        id_of(&answer, "file")
    }

    /// Makes a batch of an uploaded file. A try whose answer was lost may have made it, so each further try
    /// looks first.
    async fn create(&self, path: &str, file: &str) -> Result<String> {
        let body =
            json!({"input_file_id": file, "endpoint": format!("/v1/{path}"), "completion_window": "24h"});
        let began = Instant::now();
        loop {
            match self.once(|base| self.client.post(format!("{base}/batches")).json(&body)).await? {
                Ok(answer) => return id_of(&parsed(&answer)?, "batch"),
                Err(reason) => self.wait(began, &reason).await?,
            }
            if let Some(remote) = self.made_of(file).await? {
                return Ok(remote);
            }
        }
    }

    /// The batch of an uploaded file, if the provider knows of one.
    async fn made_of(&self, file: &str) -> Result<Option<String>> {
        let mut after = String::new();
        loop {
            let list = self.json(|base| self.client.get(format!("{base}/batches?limit=100{after}"))).await?;
            let batches = list["data"].as_array().map_or(&[][..], Vec::as_slice);
            if let Some(ours) = batches.iter().find(|batch| batch["input_file_id"] == *file) {
                return id_of(ours, "batch").map(Some);
            }
            match batches.last().and_then(|batch| batch["id"].as_str()) {
                Some(last) if list["has_more"] == true && !after.ends_with(last) => {
                    after = format!("&after={last}");
                }
                _ => return Ok(None),
            }
        }
    }

    /// Takes in what has ended.
    async fn look(&mut self) -> Result<()> {
        for batch in std::mem::take(&mut self.open) {
            let remote = batch.remote.clone().unwrap_or_default();
            let answer = self.json(|base| self.client.get(format!("{base}/batches/{remote}"))).await?;
            match answer["status"].as_str().unwrap_or_default() {
                "completed" | "expired" | "cancelled" => self.take_in(&batch, &answer).await?,
                "failed" => {
                    self.run.store.end_batch(batch.number)?;
                    bail!("the provider refused batch {remote}: {}", answer["errors"]);
                }
                _ => self.open.push(batch),
            }
        }
        Ok(())
    }

    async fn take_in(&mut self, batch: &OpenBatch, answer: &Value) -> Result<()> {
        let mut results = self.results(batch, answer).await?;
        // Together, so that they share the disk's commits.
        for calls in batch.calls.chunks(RECORDED_TOGETHER) {
            let mut recorded = Vec::new();
            for (key, step) in calls {
                // What a kill interrupted at this point is recorded in part, and paid for once.
                if let Some(BatchResult::Answer(reply)) = results.get(key)
                    && self.run.store.answer(key)?.is_none()
                {
                    recorded.push(self.record(key, step, reply));
                }
            }
            futures::future::try_join_all(recorded).await?;
        }
        let unreadable = self.book_unreadable(&results).await?;
        self.run.store.end_batch(batch.number)?;
        let is_answered = |key| matches!(results.get(key), Some(BatchResult::Answer(_)));
        let failed = batch.calls.iter().filter(|(key, _)| !is_answered(key)).count();
        if failed > unreadable {
            self.run.store.note(&self.model, BATCH, Outcome::Failed, (failed - unreadable) as u64);
        }
        eprintln!(
            "batch {}: {} answers, {failed} calls without one",
            batch.number,
            batch.calls.len() - failed
        );
        for (key, _) in &batch.calls {
            self.out.remove(key);
            self.asked.remove(key);
            let mut result = results.remove(key).map(BatchResult::told);
            for answer in self.waiting.remove(key).into_iter().flatten() {
                let missing = || Err(Refusal::Failed("the batch ended without its answer".to_owned()));
                let _ = answer.send(result.take().unwrap_or_else(missing));
            }
        }
        Ok(())
    }

    /// What the files of a batch that has ended say of its calls.
    async fn results(&self, batch: &OpenBatch, answer: &Value) -> Result<HashMap<Key, BatchResult>> {
        let ours: HashSet<&Key> = batch.calls.iter().map(|(key, _)| key).collect();
        let mut results = HashMap::new();
        for name in ["output_file_id", "error_file_id"] {
            let Some(file) = answer[name].as_str() else { continue };
            self.lines(file, |line| {
                let Some((key, mut result)) = result_of(line).filter(|(key, _)| ours.contains(key)) else {
                    return;
                };
                if let (BatchResult::Answer(reply), Some(most)) = (&mut result, self.asked.get(&key)) {
                    most.count_prompt(reply);
                }
                results.insert(key, result);
            })
            .await?;
        }
        Ok(results)
    }

    /// Books the answers that cannot be read at the most they can have cost; returns how many they are.
    async fn book_unreadable(&self, results: &HashMap<Key, BatchResult>) -> Result<usize> {
        let unreadable = results.iter().filter(|(_, result)| matches!(result, BatchResult::Unreadable(_)));
        let most = unreadable.map(|(key, _)| self.asked.get(key).copied().unwrap_or_default());
        let lost = most.map(|most| most.lost(&self.run, &self.model, BATCH, true));
        let Some(lost) = lost.reduce(|mut sum, one| {
            sum.add(&one);
            sum
        }) else {
            return Ok(0);
        };
        let calls = lost.calls as usize;
        self.run.book(lost).await?;
        Ok(calls)
    }

    async fn record(&self, key: &Key, step: &str, reply: &Reply) -> Result<()> {
        let cost = self.run.cost(&self.model, reply.prompt_tokens, reply.completion_tokens, true);
        self.run.budget.spend(cost);
        let source = Source { model: &self.model, endpoint: BATCH, step, microdollars: cost.microdollars };
        self.run.store.record(key, &source, reply).await
    }

    /// Rows need not wait for what will come in hours.
    fn release(&mut self) {
        self.queued.clear();
        for answer in std::mem::take(&mut self.waiting).into_values().flatten() {
            let _ = answer.send(Err(Refusal::Stopped));
        }
    }

    async fn json(&self, request: impl Fn(&str) -> RequestBuilder) -> Result<Value> {
        parsed(&self.bytes(request).await?)
    }

    /// Asks until there is an answer or patience is over; a refusal ends the run.
    async fn bytes(&self, request: impl Fn(&str) -> RequestBuilder) -> Result<Vec<u8>> {
        let began = Instant::now();
        loop {
            match self.once(&request).await? {
                Ok(bytes) => return Ok(bytes),
                Err(reason) => self.wait(began, &reason).await?,
            }
        }
    }

    /// Hands on the lines of a file at the provider; one that breaks off is read from its beginning again.
    async fn lines(&self, file: &str, mut each: impl FnMut(&[u8])) -> Result<()> {
        let began = Instant::now();
        loop {
            let sent = self.sent(|base| self.client.get(format!("{base}/files/{file}/content"))).await?;
            let read = match sent {
                Ok(response) => read_lines(response, &mut each).await,
                Err(reason) => Err(reason),
            };
            match read {
                Ok(()) => return Ok(()),
                Err(reason) => self.wait(began, &reason).await?,
            }
        }
    }

    /// Asks once; the inner error is why another try may succeed.
    async fn once(&self, request: impl Fn(&str) -> RequestBuilder) -> Result<Result<Vec<u8>, String>> {
        Ok(match self.sent(request).await? {
            Ok(response) => whole(response).await,
            Err(reason) => Err(reason),
        })
    }

    /// The same, with the body still to come.
    async fn sent(&self, request: impl Fn(&str) -> RequestBuilder) -> Result<Result<Response, String>> {
        let endpoint = &self.endpoints.list()[0];
        let response = match endpoint.authorized(request(&endpoint.base)).send().await {
            Ok(response) => response,
            Err(error) => return Ok(Err(cause(&error))),
        };
        let status = response.status();
        if status.is_success() {
            return Ok(Ok(response));
        }
        if passes(status) {
            return Ok(Err(format!("status {status}")));
        }
        let words = whole(response).await.unwrap_or_else(String::into_bytes);
        let words: String = String::from_utf8_lossy(&words).chars().take(LONGEST_WORDS).collect();
        bail!("{} answers {status}: {words}", endpoint.base)
    }

    /// Waits for the next try, if patience is not over.
    async fn wait(&self, began: Instant, reason: &str) -> Result<()> {
        if began.elapsed() > self.patience {
            bail!(
                "{} gives no batches ({reason}); what is recorded is safe, run the same command again to go on",
                self.endpoints.list()[0].base
            );
        }
        tokio::time::sleep(self.poll.min(Duration::from_secs(5))).await;
        Ok(())
    }
}

fn parsed(bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).context("the batch endpoint answered no JSON")
}

/// The endpoint's name in the ledger.
const BATCH: &str = "batch";

fn id_of(answer: &Value, what: &str) -> Result<String> {
    let id = answer["id"].as_str().map(str::to_owned);
    id.ok_or_else(|| anyhow!("the provider gave the {what} no id: {answer}"))
}
