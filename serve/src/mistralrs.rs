//! The second engine: mistral.rs 0.8.1 runs the forward pass, for every architecture it knows and for GGUF files.
//!
//! It is given token ids and asked for nothing but logits; each token is chosen by [`engine::Answering`], as in the
//! native engine (see `steps`). So what is known to be wrong with its sampling, logarithms, stop strings and streams
//! does not matter here, and every parameter is honoured but one: a language model's hidden states do not come out,
//! so there are no embeddings.
//!
//! What stays: on the CPU requests run one after another. Sequences of equal length that it steps together get wrong
//! logits there (seen at 0.8.1: three greedy answers differed from the first or second token on), and those of
//! unequal length it never steps together. A prompt is read to its end, even if its caller left. Scoring a prompt
//! takes a step for each of its tokens. Its prefix cache is off, because on the CPU it never lets go of anything.

mod board;
mod gguf;
mod loading;
mod service;
mod source;
mod steps;
mod words;

#[cfg(test)]
mod tests;

use anyhow::{Context, anyhow};
use board::Board;
use engine::{Answering, Compiler, Engine, Events, Limits, Refused, Request, Status, WeightFormat};
use loading::Loaded;
use service::{Service, Submission};
use smollm::{ChatTemplate, Tokenizer};
use source::Source;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use words::Words;

/// How mistral.rs is set up.
#[derive(Debug, Clone)]
pub(crate) struct MistralOptions {
    /// The most requests that are inside mistral.rs at once, on a GPU; on the CPU it is one.
    pub(crate) max_sequences: NonZeroUsize,
    /// The most requests that wait for a place; one more is refused.
    pub(crate) max_waiting: usize,
    /// How weights are held; `None` is f32 on the CPU and the checkpoint's own on a GPU. Not for GGUF files.
    pub(crate) weights: Option<WeightFormat>,
    /// A Jinja file that goes before the model's own template.
    pub(crate) chat_template: Option<PathBuf>,
    /// Where it runs.
    pub(crate) place: Place,
}

impl MistralOptions {
    /// How many requests run at once (see the top of this file).
    fn places(&self) -> NonZeroUsize {
        match self.place {
            Place::Cpu => NonZeroUsize::MIN,
            Place::Cuda => self.max_sequences,
        }
    }
}

/// Where a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Cpu,
    /// The first GPU; needs the cargo feature `cuda`.
    Cuda,
}

/// A model that mistral.rs runs, with what belongs to it.
pub(crate) struct Opened {
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: ChatTemplate,
    /// Ids that end an answer, ascending.
    pub(crate) stop_ids: Vec<u32>,
    pub(crate) engine: Box<dyn Engine>,
    /// What a user should know before trusting it; print each once.
    pub(crate) warnings: Vec<String>,
}

/// Loads a checkpoint folder, a hub id or a `.gguf` file, runs one token, and starts serving. Blocks meanwhile.
pub(crate) fn open(name: &str, path_or_id: &str, options: &MistralOptions) -> anyhow::Result<Opened> {
    let source = Source::find(path_or_id)?;
    let (submissions, received) = unbounded_channel();
    let (ready, started) = std::sync::mpsc::channel();
    let (options, name) = (options.clone(), name.to_owned());
    // mistral.rs panics over some files it cannot read; on a thread of its own that ends the loading alone.
    let run = move || match start(&name, &source, &options, submissions) {
        Ok((opened, service)) => {
            let _end = service.tells_of_end();
            if ready.send(Ok(opened)).is_ok() {
                service.run(received);
            }
        }
        Err(error) => drop(ready.send(Err(error))),
    };
    std::thread::Builder::new().name("mistralrs".to_owned()).spawn(run)?;
    started.recv().unwrap_or_else(|_| Err(anyhow!("mistral.rs panicked while it loaded the model")))
}

fn start(
    name: &str,
    source: &Source,
    options: &MistralOptions,
    submissions: UnboundedSender<Submission>,
) -> anyhow::Result<(Opened, Service)> {
    let Loaded { pipeline, words, context, position_bytes } = loading::load(name, source, options)?;
    let Words { tokenizer, template, stop_ids, mut warnings } = words;
    if options.place == Place::Cpu {
        warnings.push(format!("{name}: mistral.rs answers one request after another on the CPU"));
    }
    let board = Arc::new(Board::default());
    let service = Service::start(pipeline, &tokenizer, options.places(), Arc::clone(&board))
        .with_context(|| format!("mistral.rs loaded {name} but cannot run it"))?;
    let vocab_size = service.vocab_size();
    let ids = vocab_size.max(tokenizer.vocab_size());
    let compiler = Compiler::new(&tokenizer, ids, &stop_ids).map_err(|error| anyhow!(error))?;
    let engine = MistralEngine {
        submissions,
        compiler,
        limits: Limits { context, vocab_size },
        max_waiting: options.max_waiting,
        position_bytes,
        board,
    };
    let opened = Opened { tokenizer, template, stop_ids, engine: Box::new(engine), warnings };
    Ok((opened, service))
}

/// What the server holds.
struct MistralEngine {
    submissions: UnboundedSender<Submission>,
    compiler: Compiler,
    limits: Limits,
    max_waiting: usize,
    position_bytes: usize,
    board: Arc<Board>,
}

impl Engine for MistralEngine {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn submit(&self, mut request: Request) -> Result<Events, Refused> {
        request.check(self.limits)?;
        if request.embedding {
            return Err(Refused::Unsupported {
                parameter: "input",
                engine: "mistralrs",
                reason: "mistral.rs does not give a language model's hidden states; serve it with the native engine",
            });
        }
        let (events, receiver) = unbounded_channel();
        let constraint = request.constraint.take();
        self.board.queue.entering(self.max_waiting, || {
            let guide = constraint.map(|constraint| self.compiler.guide(constraint)).transpose()?;
            let answering = Answering::new(request, guide, events.clone());
            self.submissions.send(Submission { answering, events }).map_err(|_| Refused::Stopped)
        })?;
        Ok(receiver.into())
    }

    fn status(&self) -> Status {
        self.board.status(self.position_bytes)
    }
}
