//! The native engine: it validates requests and hands them to its thread, see [`Worker`].

use crate::constraint::ConstraintCompiler;
use crate::engine::{Engine, Status};
use crate::event::Events;
use crate::model::Model;
use crate::options::Options;
use crate::request::{Limits, Request, RequestError};
use crate::worker::{SharedState, Submission, Tokenizers, Worker};
use checkpoint::Checkpoint;
use std::sync::{Arc, mpsc};
use std::time::Instant;
use tokio::sync::mpsc::unbounded_channel;

/// Bytes of the engine's stack.
const STACK: usize = 64 << 20;

/// An engine that runs a Llama-family checkpoint on the CPU, or an adapter of it: engines of one model share its weights,
/// its thread, its queue and its memory for keys and values.
pub struct NativeEngine {
    submissions: mpsc::Sender<Submission>,
    compiler: Arc<ConstraintCompiler>,
    /// The number of the adapter that answers; `None` is the model itself.
    adapter: Option<usize>,
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
        Ok(Self::start_with_adapters(checkpoint, &[], options)?.0)
    }

    /// Loads the weights once, for the model itself and for adapters that were opened over it, and returns an engine for
    /// each. What the adapters add is computed beside the weights, in f32. The thread ends when all engines are dropped.
    ///
    /// # Errors
    /// As [`NativeEngine::start`].
    ///
    /// # Panics
    /// If one of `adapters` is no adapter, or of a model of another shape.
    pub fn start_with_adapters(
        checkpoint: &Checkpoint,
        adapters: &[Checkpoint],
        options: Options,
    ) -> Result<(Self, Vec<Self>), RequestError> {
        let config = &checkpoint.config;
        // Build the token tries while the weights load.
        let (compilers, model) = std::thread::scope(|scope| {
            let compilers = scope.spawn(|| compilers(checkpoint, adapters));
            let mut model = Model::load(checkpoint, options.weights, options.cache);
            for adapter in adapters {
                let matrices = adapter.weights.adapter().expect("start_with_adapters: no adapter");
                model.add_adapter(checkpoint, matrices);
            }
            (compilers.join().unwrap_or(Err(RequestError::Stopped)), model)
        });
        let limits = Limits { context: config.max_positions, vocab_size: config.vocab_size };
        let (submissions, receiver) = mpsc::channel();
        let state = Arc::new(SharedState::default());
        let tokenizers = Tokenizers {
            base: checkpoint.tokenizer.clone(),
            adapters: adapters.iter().map(|adapter| adapter.tokenizer.clone()).collect(),
        };
        let worker = Worker::new(model, tokenizers, options, Arc::clone(&state));
        std::thread::Builder::new()
            .name("engine".to_owned())
            // A constraint's expressions are walked recursively.
            .stack_size(STACK)
            .spawn(move || worker.run(&receiver))
            .map_err(|_| RequestError::Stopped)?;
        let max_waiting = options.max_waiting;
        let engine = |adapter, compiler| Self {
            submissions: submissions.clone(),
            compiler,
            adapter,
            limits,
            max_waiting,
            state: Arc::clone(&state),
        };
        let (of_model, of_adapters) = compilers?;
        let adapters = of_adapters.into_iter().enumerate();
        let adapters = adapters.map(|(index, compiler)| engine(Some(index), compiler)).collect();
        Ok((engine(None, of_model), adapters))
    }
}

/// What compiles constraints for a model, and for each of its adapters.
type Compilers = (Arc<ConstraintCompiler>, Vec<Arc<ConstraintCompiler>>);

/// An adapter has a compiler of its own only if it has other tokens or ends than the model.
fn compilers(checkpoint: &Checkpoint, adapters: &[Checkpoint]) -> Result<Compilers, RequestError> {
    let compiler = |one: &Checkpoint| {
        ConstraintCompiler::new(&one.tokenizer, checkpoint.config.vocab_size, &one.stop_ids)
            .map(Arc::new)
            .map_err(RequestError::Constraint)
    };
    let of_model = compiler(checkpoint)?;
    let is_same = |one: &Checkpoint| {
        let (tokenizer, other) = (&one.tokenizer, &checkpoint.tokenizer);
        one.stop_ids == checkpoint.stop_ids
            && tokenizer.special_ids() == other.special_ids()
            && tokenizer.token_bytes() == other.token_bytes()
    };
    let of_adapter = |one| if is_same(one) { Ok(Arc::clone(&of_model)) } else { compiler(one) };
    let of_adapters = adapters.iter().map(of_adapter).collect::<Result<_, _>>()?;
    Ok((of_model, of_adapters))
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
        let submitted = Instant::now();
        let constraint = request.constraint.take();
        self.state.queue.enter(request.client, self.max_waiting, || {
            let guide = constraint.map(|constraint| self.compiler.guide(constraint)).transpose()?;
            let submission = Submission { request, adapter: self.adapter, guide, submitted, events };
            self.submissions.send(submission).map_err(|_| RequestError::Stopped)
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
        let submitted = Instant::now();
        let submission =
            Submission { request: request.clone(), adapter: None, guide: None, submitted, events };
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
