//! The native engine: it validates requests and hands them to its thread, see [`Worker`].

use crate::constraint::ConstraintCompiler;
use crate::engine::{Engine, Status};
use crate::event::Events;
use crate::model::Model;
use crate::options::Options;
use crate::request::{Limits, Request, RequestError};
use crate::worker::{SharedState, Submission, Worker};
use checkpoint::Checkpoint;
use std::sync::{Arc, mpsc};
use tokio::sync::mpsc::unbounded_channel;

/// Bytes of the engine's stack.
const STACK: usize = 64 << 20;

/// An engine that runs a Llama-family checkpoint on the CPU.
pub struct NativeEngine {
    submissions: mpsc::Sender<Submission>,
    compiler: ConstraintCompiler,
    limits: Limits,
    max_waiting: usize,
    state: Arc<SharedState>,
}

impl NativeEngine {
    /// Loads the weights and starts the thread of the engine. The thread ends when the engine is dropped.
    ///
    /// # Errors
    /// If the vocabulary of the tokenizer cannot be used for constrained decoding, or the system refuses the thread.
    pub fn start(checkpoint: &Checkpoint, options: Options) -> Result<Self, RequestError> {
        let config = &checkpoint.config;
        // Build the token trie while the weights load.
        let (compiler, model) = std::thread::scope(|scope| {
            let compiler = scope.spawn(|| {
                ConstraintCompiler::new(&checkpoint.tokenizer, config.vocab_size, &checkpoint.stop_ids)
                    .map_err(RequestError::Constraint)
            });
            let model = Model::load(checkpoint, options.weights, options.cache);
            (compiler.join().unwrap_or(Err(RequestError::Stopped)), model)
        });
        let limits = Limits { context: config.max_positions, vocab_size: config.vocab_size };
        let (submissions, receiver) = mpsc::channel();
        let state = Arc::new(SharedState::default());
        let worker = Worker::new(model, checkpoint.tokenizer.clone(), options, Arc::clone(&state));
        std::thread::Builder::new()
            .name("engine".to_owned())
            // A constraint's expressions are walked recursively.
            .stack_size(STACK)
            .spawn(move || worker.run(&receiver))
            .map_err(|_| RequestError::Stopped)?;
        Ok(Self { submissions, compiler: compiler?, limits, max_waiting: options.max_waiting, state })
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

    fn submit(&self, mut request: Request) -> Result<Events, RequestError> {
        request.check(self.limits)?;
        let (events, receiver) = unbounded_channel();
        let constraint = request.constraint.take();
        self.state.queue.enter(self.max_waiting, || {
            let guide = constraint.map(|constraint| self.compiler.guide(constraint)).transpose()?;
            self.submissions.send(Submission { request, guide, events }).map_err(|_| RequestError::Stopped)
        })?;
        Ok(receiver.into())
    }

    fn status(&self) -> Status {
        self.state.status()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Finish;

    #[test]
    fn a_panic_of_the_thread_is_reported() {
        let default = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
        let shared = std::env::var_os("SMOL_SHARED").map_or(default, std::path::PathBuf::from);
        let folder = shared.join("data/models/stories260k");
        if !folder.is_dir() {
            assert!(std::env::var("SMOL_REQUIRE_SHARED").as_deref() != Ok("1"), "no {}", folder.display());
            return println!("skipped: no {} (set SMOL_SHARED)", folder.display());
        }
        let checkpoint = Checkpoint::open(&folder.to_string_lossy(), None).expect("a checkpoint");
        let engine = NativeEngine::start(&checkpoint, Options::default()).expect("an engine");
        assert!(!engine.status().stopped);
        // An id beyond the vocabulary, sent without validation, makes the thread panic.
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
        // The thread may drop its receiver a moment after it reported its end; no event arrives then.
        let result = engine.submit(good).map(Events::collect_blocking);
        assert!(result.is_err() || result.is_ok_and(|answer| matches!(answer.finish, Finish::Failed(_))));
    }
}
