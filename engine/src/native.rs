//! The native engine: one thread that steps every running sequence together.
//!
//! Each step runs one token of every sequence that is answering and a share of the prompts that are being
//! read, so a long prompt does not hold up the others. A request enters when its whole cache fits the
//! byte budget, so nothing is evicted half-way.

use crate::Engine;
use crate::constraint::{Compiler, Guide};
use crate::model::{Chunk, LogitsOf, Model};
use crate::request::{Event, Events, Limits, Refused, Request};
use crate::sequence::Sequence;
use smollm::{Checkpoint, Tokenizer};
use std::collections::VecDeque;
use std::sync::{Arc, mpsc};
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
}

impl Default for Options {
    fn default() -> Self {
        Self { max_sequences: 32, prompt_tokens_per_step: 512, cache_bytes: 4 << 30 }
    }
}

/// A Llama-family checkpoint on the CPU.
pub struct NativeEngine {
    submissions: mpsc::Sender<Submission>,
    compiler: Compiler,
    limits: Limits,
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
        let compiler =
            Compiler::new(&checkpoint.tokenizer, config.vocab_size, checkpoint.stop_ids.first().copied())
                .map_err(Refused::Constraint)?;
        let limits = Limits { context: config.max_positions, vocab_size: config.vocab_size };
        let (submissions, receiver) = mpsc::channel();
        let worker = Worker {
            model: Model::load(checkpoint),
            tokenizer: checkpoint.tokenizer.clone(),
            options,
            running: Vec::new(),
            waiting: VecDeque::new(),
        };
        std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || worker.run(&receiver))
            .map_err(|_| Refused::Stopped)?;
        Ok(Self { submissions, compiler, limits })
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

    fn submit(&self, request: Request) -> Result<Events, Refused> {
        request.check(self.limits)?;
        let guide =
            request.constraint.as_ref().map(|constraint| self.compiler.guide(constraint)).transpose()?;
        let (events, receiver) = unbounded_channel();
        self.submissions.send(Submission { request, guide, events }).map_err(|_| Refused::Stopped)?;
        Ok(Events { receiver })
    }
}

/// What the engine's thread owns.
struct Worker {
    model: Model,
    tokenizer: Tokenizer,
    options: Options,
    running: Vec<(Sequence, usize)>, // with the cache bytes it reserved
    waiting: VecDeque<Submission>,
}

impl Worker {
    fn run(mut self, receiver: &mpsc::Receiver<Submission>) {
        loop {
            if self.running.is_empty() && self.waiting.is_empty() {
                match receiver.recv() {
                    Ok(submission) => self.waiting.push_back(submission),
                    Err(_) => return,
                }
            }
            self.waiting.extend(receiver.try_iter());
            self.waiting.retain(|submission| !submission.events.is_closed());
            self.admit();
            self.step();
            self.running.retain(|(sequence, _)| !sequence.is_over());
        }
    }

    fn admit(&mut self) {
        let mut reserved: usize = self.running.iter().map(|(_, bytes)| bytes).sum();
        while self.running.len() < self.options.max_sequences {
            let Some(next) = self.waiting.front() else { return };
            let positions = next.request.prompt.len() + next.request.max_tokens;
            let bytes = positions * self.model.cache_bytes_per_position();
            if reserved + bytes > self.options.cache_bytes && !self.running.is_empty() {
                return;
            }
            let Some(Submission { request, guide, events }) = self.waiting.pop_front() else { return };
            let cache = self.model.cache(positions);
            self.running.push((Sequence::new(request, guide, events, cache), bytes));
            reserved += bytes;
        }
    }

    /// One forward pass for all, then each sequence takes its logits.
    fn step(&mut self) {
        let vocab_size = self.model.config().vocab_size;
        let counts = self.shares();
        let mut rows = Vec::with_capacity(counts.len());
        let mut chunks: Vec<Chunk<'_>> = Vec::with_capacity(counts.len());
        for ((sequence, _), &count) in self.running.iter_mut().zip(&counts) {
            if count > 0 {
                let chunk = sequence.chunk(count);
                rows.push(match chunk.logits {
                    LogitsOf::None => 0,
                    LogitsOf::Last => 1,
                    LogitsOf::All => count,
                });
                chunks.push(chunk);
            } else {
                rows.push(0);
            }
        }
        if chunks.is_empty() {
            return;
        }
        let mut logits = self.model.forward(&mut chunks);
        let mut rest = logits.as_mut_slice();
        for (((sequence, _), count), rows) in self.running.iter_mut().zip(counts).zip(rows) {
            let (own, others) = rest.split_at_mut(rows * vocab_size);
            rest = others;
            if count > 0 {
                sequence.advance(count, own, vocab_size, &self.tokenizer);
            }
        }
    }

    /// How many ids each running sequence runs in this step.
    fn shares(&self) -> Vec<usize> {
        let mut budget = self.options.prompt_tokens_per_step;
        let share = |(sequence, _): &(Sequence, usize)| match sequence.is_over() {
            true => 0,
            false if sequence.in_prompt() => {
                let count = sequence.wants().min(budget);
                budget -= count;
                count
            }
            false => sequence.wants(),
        };
        self.running.iter().map(share).collect()
    }
}
