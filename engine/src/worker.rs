//! The thread of the native engine: it steps all sequences in the batch together.
//!
//! A step runs one token of every sequence that generates, and a share of the prompts, so that a long prompt does not
//! delay the others. Keys and values stay within a budget of bytes: first cached prefixes are evicted, then the
//! sequences that came last are paused. A paused sequence runs again when there is room, and gives the same bits.

use crate::constraint::Guide;
use crate::engine::Status;
use crate::event::Event;
use crate::kv_cache::KvCache;
use crate::model::{Chunk, LogitPositions, Model};
use crate::options::Options;
use crate::prefix_cache::PrefixCache;
use crate::queue::Queue;
use crate::request::Request;
use crate::sequence::Sequence;
use checkpoint::Tokenizer;
use kernels::BLOCK_POSITIONS;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

/// Minimum number of shared positions for which a sequence waits until another one has computed them. Waiting costs a
/// step, which takes about as long as computing this many positions.
const WORTH_WAITING: usize = 16;

/// Maximum number of rows of a step that generates, guesses included: as many as cost little more than one, because the
/// weights are read once for all.
const GENERATED_ROWS: usize = 16;

/// How often constraints that are advanced elsewhere are asked for, where nothing else runs.
const CONSTRAINT_PAUSE: Duration = Duration::from_millis(1);

/// A checked request on its way to the thread.
pub(crate) struct Submission {
    pub(crate) request: Request,
    /// The number of the adapter that answers.
    pub(crate) adapter: Option<usize>,
    pub(crate) guide: Option<Guide>,
    pub(crate) submitted: Instant,
    pub(crate) events: UnboundedSender<Event>,
}

/// The state that the thread shares with its callers.
#[derive(Debug, Default)]
pub(crate) struct SharedState {
    /// Requests that were submitted and are not in the batch yet.
    pub(crate) queue: Queue,
    /// The status at the start of the current step, or after the last one.
    status: Mutex<Status>,
    step_start: Mutex<Option<Instant>>,
    /// Whether the thread has ended, also by a panic.
    is_stopped: AtomicBool,
}

impl SharedState {
    /// Returns the current status.
    pub(crate) fn status(&self) -> Status {
        let step_start = *lock(&self.step_start);
        Status {
            waiting: self.queue.waiting(),
            step_milliseconds: step_start.map(|start| start.elapsed().as_millis() as u64),
            stopped: self.is_stopped.load(Ordering::Relaxed),
            ..*lock(&self.status)
        }
    }
}

/// Records the end of the thread when dropped.
struct StopGuard(Arc<SharedState>);

impl Drop for StopGuard {
    fn drop(&mut self) {
        self.0.is_stopped.store(true, Ordering::Relaxed);
    }
}

/// Locks a mutex even if a thread panicked while it held the lock. The value is consistent: every lock here is held for
/// assignments only, or by one task.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many tokens may be guessed for each of so many sequences.
fn guesses_each(sequences: usize) -> usize {
    GENERATED_ROWS.saturating_sub(sequences) / sequences.max(1)
}

/// The tokenizers of the model and of its adapters.
pub(crate) struct Tokenizers {
    pub(crate) base: Tokenizer,
    pub(crate) adapters: Vec<Tokenizer>,
}

impl Tokenizers {
    fn of(&self, adapter: Option<usize>) -> &Tokenizer {
        adapter.map_or(&self.base, |adapter| &self.adapters[adapter])
    }
}

/// What the thread owns.
pub(crate) struct Worker {
    model: Model,
    tokenizers: Tokenizers,
    options: Options,
    /// In order of arrival.
    running: Vec<Sequence>,
    waiting: VecDeque<Sequence>,
    prefixes: PrefixCache,
    cancelled: u64,
    guessed: [u64; 2],
    state: Arc<SharedState>,
}

impl Worker {
    pub(crate) fn new(
        model: Model,
        tokenizers: Tokenizers,
        options: Options,
        state: Arc<SharedState>,
    ) -> Self {
        Self {
            model,
            tokenizers,
            options,
            running: Vec::new(),
            waiting: VecDeque::new(),
            prefixes: PrefixCache::default(),
            cancelled: 0,
            guessed: [0; 2],
            state,
        }
    }

    /// Runs requests until the sender is dropped.
    pub(crate) fn run(mut self, receiver: &mpsc::Receiver<Submission>) {
        let _guard = StopGuard(Arc::clone(&self.state));
        loop {
            if self.running.is_empty() && self.waiting.is_empty() {
                self.publish_status();
                match receiver.recv() {
                    Ok(submission) => self.receive(submission),
                    Err(_) => return,
                }
            }
            receiver.try_iter().for_each(|submission| self.receive(submission));
            self.remove_finished();
            self.admit();
            self.running.iter_mut().for_each(Sequence::poll);
            self.publish_status();
            if !self.running.is_empty() && self.running.iter().all(Sequence::is_waiting) {
                // Nothing can be computed until a constraint has been advanced, or a request comes.
                match receiver.recv_timeout(CONSTRAINT_PAUSE) {
                    Ok(submission) => self.receive(submission),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => std::thread::sleep(CONSTRAINT_PAUSE),
                }
            } else if !self.running.is_empty() {
                *lock(&self.state.step_start) = Some(Instant::now());
                self.step();
                self.remove_finished();
                *lock(&self.state.step_start) = None;
            }
        }
    }

    fn receive(&mut self, submission: Submission) {
        let Submission { request, adapter, guide, submitted, events } = submission;
        let width = self.model.config().hidden_size;
        self.waiting.push_back(Sequence::new(request, adapter, guide, events, submitted, width));
    }

    /// Removes sequences that have ended or were cancelled, and caches the blocks of those in the batch.
    fn remove_finished(&mut self) {
        self.cancelled += self.waiting.iter().filter(|sequence| sequence.is_cancelled()).count() as u64;
        let queue = &self.state.queue;
        self.waiting.retain(|sequence| {
            let is_over = sequence.is_over();
            if is_over {
                queue.leave(sequence.client());
            }
            !is_over
        });
        let (prefixes, reuse) = (&mut self.prefixes, self.options.reuse_prefixes);
        for sequence in self.running.extract_if(.., |sequence| sequence.is_over()) {
            self.cancelled += u64::from(sequence.is_cancelled());
            self.guessed.iter_mut().zip(sequence.guessed()).for_each(|(sum, count)| *sum += count);
            if reuse {
                prefixes.insert(sequence.cached_ids(), &sequence.cache.blocks, sequence.prefix_scope());
            }
        }
    }

    fn publish_status(&self) {
        let block = self.model.cache_shape().block_bytes();
        *lock(&self.state.status) = Status {
            running: self.running.len(),
            cache_bytes: self.blocks_in_use() * block,
            reusable_bytes: self.prefixes.idle_blocks() * block,
            cancelled: self.cancelled,
            guessed: self.guessed,
            ..Status::default()
        };
    }

    /// Returns the number of blocks of running sequences; a shared block counts once per sequence.
    fn blocks_in_use(&self) -> usize {
        self.running.iter().map(|sequence| sequence.cache.blocks.len()).sum()
    }

    /// Moves waiting sequences to the batch while it has room for them and the budget for the blocks of all their ids.
    fn admit(&mut self) {
        while self.running.len() < self.options.max_sequences {
            let turn = self.next_in_turn();
            let Some(mut next) = self.waiting.remove(turn) else { return };
            let blocks = next.cache.blocks_for(next.pending() + 1);
            if !self.running.is_empty() && self.blocks_in_use() + blocks > self.block_budget() {
                return self.waiting.insert(turn, next);
            }
            self.state.queue.leave(next.client());
            next.begin();
            self.running.push(next);
        }
    }

    /// Returns the place of the waiting sequence whose turn it is: the first one of the client with the fewest sequences in the
    /// batch. So a client with many requests does not keep the others waiting for all of them.
    fn next_in_turn(&self) -> usize {
        if self.state.queue.clients() < 2 {
            return 0;
        }
        let mut running: HashMap<u64, usize> = HashMap::new();
        self.running.iter().for_each(|sequence| *running.entry(sequence.client()).or_default() += 1);
        let of_client = |sequence: &Sequence| running.get(&sequence.client()).copied().unwrap_or(0);
        let turns = self.waiting.iter().map(of_client).enumerate();
        turns.min_by_key(|(_, running)| *running).map_or(0, |(index, _)| index)
    }

    /// Lets each sequence that has not begun begin with what was computed for the same first ids: blocks of the prefix
    /// cache, or positions of a sequence before it in the batch. So the choices of one request compute their prompt once.
    /// Returns which sequences wait for one that still computes what they share.
    fn share_prefixes(&mut self) -> Vec<bool> {
        let mut waits = vec![false; self.running.len()];
        if !self.options.reuse_prefixes {
            return waits;
        }
        for (index, waits) in waits.iter_mut().enumerate() {
            let (earlier, rest) = self.running.split_at_mut(index);
            let sequence = &mut rest[0];
            if !sequence.can_reuse_prefix() {
                continue;
            }
            let cached = self.prefixes.find(sequence.ids(), sequence.prefix_scope());
            // The most positions that can be taken now, and from whom; the most that another prompt will have.
            let (mut ready, mut from, mut promised) = (cached.len() * BLOCK_POSITIONS, None, 0);
            for source in earlier.iter() {
                if !sequence.can_share(source, ready) {
                    continue;
                }
                let shared = sequence.shared_with(source);
                // A source that generates has one position less than ids, always.
                if source.pending() == 1 || source.cache.length >= shared {
                    let computed = shared.min(source.cache.length);
                    if computed > ready {
                        (ready, from) = (computed, Some(source));
                    }
                } else {
                    promised = promised.max(shared);
                }
            }
            if promised >= ready + WORTH_WAITING {
                *waits = true;
            } else if let Some(source) = from {
                sequence.set_prefix(source.cache.fork(self.model.cache_shape(), ready));
            } else {
                sequence.set_prefix(KvCache::with_prefix(cached));
            }
        }
        waits
    }

    fn block_budget(&self) -> usize {
        self.options.cache_bytes / self.model.cache_shape().block_bytes()
    }

    /// Makes room for the blocks of the next step: evicts cached prefixes, then pauses the sequences that came last.
    /// The first one always runs. Returns how many ids each remaining sequence runs.
    fn make_room(&mut self) -> Vec<usize> {
        let waits = self.share_prefixes();
        self.limit_guesses();
        loop {
            let counts = self.ids_per_sequence(&waits);
            let new_blocks = |(sequence, count): (&Sequence, &usize)| sequence.cache.blocks_for(*count);
            let needed =
                self.running.iter().zip(&counts).map(new_blocks).sum::<usize>() + self.blocks_in_use();
            let budget = self.block_budget();
            self.prefixes.shrink(budget.saturating_sub(needed));
            if needed <= budget || self.running.len() < 2 {
                return counts;
            }
            if let Some(mut last) = self.running.pop() {
                last.pause();
                self.state.queue.reenter(last.client());
                self.waiting.push_front(last);
            }
        }
    }

    /// Shares the rows that cost little between the guesses of all sequences; beside a prompt nothing is guessed.
    fn limit_guesses(&mut self) {
        let generating = self.running.iter().filter(|sequence| sequence.pending() == 1).count();
        let most = if generating == self.running.len() { guesses_each(generating) } else { 0 };
        self.running.iter_mut().for_each(|sequence| sequence.limit_guess(most));
    }

    /// Runs one forward pass for all sequences; then each processes its logits.
    fn step(&mut self) {
        let counts = self.make_room();
        if counts.iter().all(|count| *count == 0) {
            // Each waits for a constraint, or for one that does.
            return std::thread::sleep(CONSTRAINT_PAUSE);
        }
        let vocab_size = self.model.config().vocab_size;
        let mut stepped: Vec<(&mut Sequence, usize)> =
            self.running.iter_mut().zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect();
        // The matrices of an adapter are read once for its sequences that follow one another.
        stepped.sort_by_key(|(sequence, _)| sequence.adapter());
        let mut chunks: Vec<Chunk<'_>> = Vec::with_capacity(stepped.len());
        let mut sizes: Vec<(usize, usize)> = Vec::new(); // (ids, rows of logits) of each chunk
        for (sequence, count) in &mut stepped {
            let count = *count;
            let chunk = sequence.chunk(count);
            let rows = match chunk.logits {
                LogitPositions::None => 0,
                LogitPositions::Last => 1,
                LogitPositions::All => count,
                LogitPositions::From(index) => count.saturating_sub(index),
            };
            sizes.push((count, rows));
            chunks.push(chunk);
        }
        let mut logits = self.model.forward(&mut chunks); // (R, V)
        drop(chunks);
        let mut rest = logits.as_mut_slice();
        let mut tasks: Vec<Mutex<(&mut Sequence, usize, &mut [f32])>> = Vec::with_capacity(counts.len());
        for ((sequence, _), (count, rows)) in stepped.into_iter().zip(sizes) {
            let (own, others) = rest.split_at_mut(rows * vocab_size);
            rest = others;
            tasks.push(Mutex::new((sequence, count, own)));
        }
        // Where there is no room for guesses, none are looked for.
        let guessed_tokens = self.options.guessed_tokens.min(guesses_each(counts.len()));
        let tokenizers = &self.tokenizers;
        kernels::parallel_for(tasks.len(), |index| {
            let mut task = lock(&tasks[index]);
            let (sequence, count, logits) = &mut *task;
            let tokenizer = tokenizers.of(sequence.adapter());
            sequence.advance(*count, logits, vocab_size, tokenizer, guessed_tokens);
        });
        drop(tasks);
        self.model.recycle(logits);
    }

    /// Returns how many ids each running sequence runs in the next step: one if it generates, otherwise a share of its
    /// prompt, none if it waits for another one.
    fn ids_per_sequence(&self, waits: &[bool]) -> Vec<usize> {
        let generates = self.running.iter().any(|sequence| sequence.pending() == 1);
        let limit = self.options.prompt_tokens_per_step;
        // A generated token waits for the prompts of its step.
        let mut budget = if generates { limit.div_ceil(4) } else { limit };
        let share = |(sequence, waits): (&Sequence, &bool)| match sequence.pending() {
            _ if *waits || sequence.is_waiting() => 0,
            1 => sequence.generating(),
            pending => {
                let count = sequence.step(pending.min(budget));
                budget -= count;
                count
            }
        };
        self.running.iter().zip(waits).map(share).collect()
    }
}
