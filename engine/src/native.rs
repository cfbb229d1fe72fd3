//! The native engine: one thread that steps every running sequence together.
//!
//! Each step runs one token of every sequence that is answering and a share of the prompts that are being
//! read, so a long prompt does not hold up the others. Keys and values stay within a byte budget: first the
//! blocks kept for later prompts go, then the sequences that came last are paused and run again, to the
//! same bits, when there is room.

use crate::Engine;
use crate::cache::KvCache;
use crate::constraint::{Compiler, Guide};
use crate::model::{Chunk, LogitsOf, Model};
use crate::prefix::Prefixes;
use crate::queue::Queue;
use crate::request::{Event, Events, Limits, Refused, Request, Status};
use crate::sequence::Sequence;
use kernels::{CacheFormat, WeightFormat};
use smollm::{Checkpoint, Tokenizer};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Instant;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// How the engine shares the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The most sequences that step together.
    pub max_sequences: usize,
    /// Prompt tokens run in one step, over all sequences.
    pub prompt_tokens_per_step: usize,
    /// Bytes for keys and values; a sequence that alone needs more still runs, by itself.
    pub cache_bytes: usize,
    /// The most requests that wait for a place; one more is refused.
    pub max_waiting: usize,
    /// How weights are held.
    pub weights: WeightFormat,
    /// How keys and values are held.
    pub cache: CacheFormat,
    /// Whether keys and values of finished requests are kept for prompts that begin alike.
    pub reuse_prefixes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_sequences: 32,
            prompt_tokens_per_step: 512,
            cache_bytes: 4 << 30,
            max_waiting: usize::MAX,
            weights: WeightFormat::F32,
            cache: CacheFormat::F32,
            reuse_prefixes: true,
        }
    }
}

/// A Llama-family checkpoint on the CPU.
pub struct NativeEngine {
    submissions: mpsc::Sender<Submission>,
    compiler: Compiler,
    limits: Limits,
    max_waiting: usize,
    board: Arc<Board>,
}

/// What the engine's thread tells the outside.
#[derive(Debug, Default)]
struct Board {
    /// Submitted and not yet taken into the batch.
    queue: Queue,
    /// As the step that runs began, or as the last one left it.
    status: Mutex<Status>,
    step_began: Mutex<Option<Instant>>,
    /// Whether the thread has ended, as it does when it panics.
    stopped: AtomicBool,
}

/// Tells of the thread's end, however it comes.
struct TellsOfEnd(Arc<Board>);

impl Drop for TellsOfEnd {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}

struct Submission {
    request: Request,
    guide: Option<Guide>,
    events: UnboundedSender<Event>,
}

impl NativeEngine {
    /// Loads the weights and starts the engine's thread, which ends when the engine is dropped.
    ///
    /// # Errors
    /// When the tokenizer's vocabulary cannot be used for constrained output.
    pub fn start(checkpoint: &Checkpoint, options: Options) -> Result<Self, Refused> {
        let config = &checkpoint.config;
        // The token trie is made while the weights are read.
        let (compiler, model) = std::thread::scope(|scope| {
            let compiler = scope.spawn(|| {
                Compiler::new(&checkpoint.tokenizer, config.vocab_size, &checkpoint.stop_ids)
                    .map_err(Refused::Constraint)
            });
            let model = Model::load(checkpoint, options.weights, options.cache);
            (compiler.join().unwrap_or(Err(Refused::Stopped)), model)
        });
        let limits = Limits { context: config.max_positions, vocab_size: config.vocab_size };
        let (submissions, receiver) = mpsc::channel();
        let board = Arc::new(Board::default());
        let worker = Worker {
            model,
            tokenizer: checkpoint.tokenizer.clone(),
            options,
            running: Vec::new(),
            waiting: VecDeque::new(),
            prefixes: Prefixes::default(),
            cancelled: 0,
            board: Arc::clone(&board),
        };
        std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || worker.run(&receiver))
            .map_err(|_| Refused::Stopped)?;
        Ok(Self { submissions, compiler: compiler?, limits, max_waiting: options.max_waiting, board })
    }

    /// The engine behind a shared pointer, as tasks hold it.
    ///
    /// # Errors
    /// As [`NativeEngine::start`].
    pub fn shared(checkpoint: &Checkpoint, options: Options) -> Result<Arc<Self>, Refused> {
        Self::start(checkpoint, options).map(Arc::new)
    }
}

impl std::fmt::Debug for NativeEngine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("NativeEngine").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Engine for NativeEngine {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn submit(&self, mut request: Request) -> Result<Events, Refused> {
        request.check(self.limits)?;
        let (events, receiver) = unbounded_channel();
        let constraint = request.constraint.take();
        self.board.queue.entering(self.max_waiting, || {
            let guide = constraint.map(|constraint| self.compiler.guide(constraint)).transpose()?;
            self.submissions.send(Submission { request, guide, events }).map_err(|_| Refused::Stopped)
        })?;
        Ok(receiver.into())
    }

    fn status(&self) -> Status {
        let began = *lock(&self.board.step_began);
        let step_milliseconds = began.map(|began| began.elapsed().as_millis() as u64);
        Status {
            waiting: self.board.queue.waiting(),
            step_milliseconds,
            stopped: self.board.stopped.load(Ordering::Relaxed),
            ..*lock(&self.board.status)
        }
    }
}

/// A thread that panicked left whole values behind: every lock here is held for plain assignments or by one task.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the engine's thread owns.
struct Worker {
    model: Model,
    tokenizer: Tokenizer,
    options: Options,
    /// In the order they came.
    running: Vec<Sequence>,
    waiting: VecDeque<Sequence>,
    prefixes: Prefixes,
    cancelled: u64,
    board: Arc<Board>,
}

impl Worker {
    fn run(mut self, receiver: &mpsc::Receiver<Submission>) {
        let _end = TellsOfEnd(Arc::clone(&self.board));
        loop {
            if self.running.is_empty() && self.waiting.is_empty() {
                self.post();
                match receiver.recv() {
                    Ok(submission) => self.receive(submission),
                    Err(_) => return,
                }
            }
            receiver.try_iter().for_each(|submission| self.receive(submission));
            self.sweep();
            self.admit();
            self.post();
            if !self.running.is_empty() {
                *lock(&self.board.step_began) = Some(Instant::now());
                self.step();
                self.sweep();
                *lock(&self.board.step_began) = None;
            }
        }
    }

    fn receive(&mut self, Submission { request, guide, events }: Submission) {
        self.waiting.push_back(Sequence::new(request, guide, events, self.model.config().hidden_size));
    }

    /// Lets go of what nobody waits for, and of what has ended; its blocks are kept for others.
    fn sweep(&mut self) {
        let before = self.waiting.len();
        self.cancelled += self.waiting.iter().filter(|sequence| sequence.is_cancelled()).count() as u64;
        self.waiting.retain(|sequence| !sequence.is_over());
        self.board.queue.leave(before - self.waiting.len());
        let (prefixes, reuse) = (&mut self.prefixes, self.options.reuse_prefixes);
        for sequence in self.running.extract_if(.., |sequence| sequence.is_over()) {
            self.cancelled += u64::from(sequence.is_cancelled());
            if reuse {
                prefixes.keep(sequence.run_ids(), &sequence.cache.blocks);
            }
        }
    }

    fn post(&self) {
        let block = self.model.cache_shape().block_bytes();
        *lock(&self.board.status) = Status {
            running: self.running.len(),
            cache_bytes: self.held_blocks() * block,
            reusable_bytes: self.prefixes.idle_blocks() * block,
            cancelled: self.cancelled,
            ..Status::default()
        };
    }

    /// Blocks of running sequences; a shared one counts for each.
    fn held_blocks(&self) -> usize {
        self.running.iter().map(|sequence| sequence.cache.blocks.len()).sum()
    }

    /// Takes in what waits for as long as there are places, and blocks for the whole of its ids.
    fn admit(&mut self) {
        while self.running.len() < self.options.max_sequences {
            let Some(mut next) = self.waiting.pop_front() else { return };
            let blocks = next.cache.blocks_for(next.wants() + 1);
            if !self.running.is_empty() && self.held_blocks() + blocks > self.block_budget() {
                return self.waiting.push_front(next);
            }
            self.board.queue.leave(1);
            if self.options.reuse_prefixes && next.may_begin_cached() {
                let found = self.prefixes.find(next.ids());
                next.begin_with(KvCache::beginning_with(found));
            }
            self.running.push(next);
        }
    }

    fn block_budget(&self) -> usize {
        self.options.cache_bytes / self.model.cache_shape().block_bytes()
    }

    /// Makes room for the step: lets kept blocks go, then pauses those that came last. The first always runs.
    /// Gives the shares of those that are left.
    fn make_room(&mut self) -> Vec<usize> {
        loop {
            let shares = self.shares();
            let new = |(sequence, count): (&Sequence, &usize)| sequence.cache.blocks_for(*count);
            let needed: usize = self.running.iter().zip(&shares).map(new).sum::<usize>() + self.held_blocks();
            let budget = self.block_budget();
            self.prefixes.shrink(budget.saturating_sub(needed));
            if needed <= budget || self.running.len() < 2 {
                return shares;
            }
            if let Some(mut last) = self.running.pop() {
                last.pause();
                self.waiting.push_front(last);
                self.board.queue.enter_again();
            }
        }
    }

    /// One forward pass for all, then each sequence takes its logits.
    fn step(&mut self) {
        let counts = self.make_room();
        let vocab_size = self.model.config().vocab_size;
        let mut chunks: Vec<Chunk<'_>> = Vec::with_capacity(counts.len());
        let mut stepping: Vec<(usize, usize)> = Vec::new(); // (ids run, rows of logits)
        for (sequence, &count) in self.running.iter_mut().zip(&counts).filter(|(_, count)| **count > 0) {
            let chunk = sequence.chunk(count);
            let rows = match chunk.logits {
                LogitsOf::None => 0,
                LogitsOf::Last => 1,
                LogitsOf::All => count,
            };
            stepping.push((count, rows));
            chunks.push(chunk);
        }
        let mut logits = self.model.forward(&mut chunks);
        drop(chunks);
        let mut rest = logits.as_mut_slice();
        let mut turns: Vec<Mutex<(&mut Sequence, usize, &mut [f32])>> = Vec::with_capacity(counts.len());
        let running = self.running.iter_mut().zip(&counts).filter(|(_, count)| **count > 0);
        for ((sequence, _), (count, rows)) in running.zip(stepping) {
            let (own, others) = rest.split_at_mut(rows * vocab_size);
            rest = others;
            turns.push(Mutex::new((sequence, count, own)));
        }
        let tokenizer = &self.tokenizer;
        kernels::each(turns.len(), |turn| {
            let mut turn = lock(&turns[turn]);
            let (sequence, count, logits) = &mut *turn;
            sequence.advance(*count, logits, vocab_size, tokenizer);
        });
        drop(turns);
        self.model.give_back(logits);
    }

    /// How many ids each running sequence runs in this step: an answer its next, prompts a share.
    fn shares(&self) -> Vec<usize> {
        let answering = self.running.iter().any(|sequence| sequence.wants() == 1);
        let whole = self.options.prompt_tokens_per_step;
        // An answer waits for the prompts that are read in the same step.
        let mut budget = if answering { whole.div_ceil(4) } else { whole };
        let share = |sequence: &Sequence| match sequence.wants() {
            1 => 1,
            wanted => {
                let count = wanted.min(budget);
                budget -= count;
                count
            }
        };
        self.running.iter().map(share).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Finish;

    #[test]
    fn a_thread_that_dies_is_noticed_at_once() {
        let beside = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
        let shared = std::env::var_os("SMOL_SHARED").map_or(beside, std::path::PathBuf::from);
        let folder = shared.join("data/models/stories260k");
        if !folder.is_dir() {
            assert!(std::env::var("SMOL_REQUIRE_SHARED").as_deref() != Ok("1"), "no {}", folder.display());
            return println!("skipped: no {} (set SMOL_SHARED)", folder.display());
        }
        let checkpoint = Checkpoint::open(&folder.to_string_lossy(), None).expect("a checkpoint");
        let engine = NativeEngine::start(&checkpoint, Options::default()).expect("an engine");
        assert!(!engine.status().stopped);
        // An id that is none, past the edge that refuses it, stands for a defect.
        let request = Request { prompt: vec![1 << 20], max_tokens: 1, ..Request::default() };
        let (events, receiver) = unbounded_channel();
        let submission = Submission { request: request.clone(), guide: None, events };
        assert!(engine.submissions.send(submission).is_ok());
        let answer = Events::from(receiver).collect_blocking();
        assert!(matches!(answer.finish, Finish::Failed(_)), "{:?}", answer.finish);
        while !engine.status().stopped {
            std::thread::yield_now();
        }
        let good = Request { prompt: vec![1], ..request };
        // What the thread listened with may go a moment after it said so; then nothing comes.
        let refused = engine.submit(good).map(Events::collect_blocking);
        assert!(refused.is_err() || refused.is_ok_and(|answer| matches!(answer.finish, Finish::Failed(_))));
    }
}
