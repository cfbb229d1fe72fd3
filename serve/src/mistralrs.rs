//! The second engine: mistral.rs 0.8.1 computes the logits, for every architecture it supports and for GGUF files.
//!
//! It gets token ids and returns logits; [`engine::Decoder`] chooses each token, as in the native engine (see `steps`).
//! So the known faults of its sampling, log-probabilities, stop strings and streams have no effect here, and every
//! parameter is supported except embeddings: it does not return the hidden states of a language model.
//!
//! Limits that remain: on the CPU, requests run one after another. Sequences of equal length that it steps together get
//! wrong logits there (seen at 0.8.1: three greedy answers differed from the first or second token on), and it never
//! steps sequences of unequal length together. It reads a prompt to its end even if the client closed the connection.
//! Scoring a prompt takes one step per token. Its prefix cache is off, because on the CPU the cache never frees memory.

mod gguf;
mod loading;
mod options;
mod service;
mod source;
mod status;
mod steps;
mod text;

#[cfg(test)]
mod tests;

pub(crate) use options::{Device, MistralOptions};

use anyhow::{Context, anyhow};
use checkpoint::{ChatTemplate, Tokenizer};
use engine::{ConstraintCompiler, Decoder, Engine, Events, Limits, Request, RequestError, Status};
use loading::Loaded;
use service::{Service, Submission};
use source::WeightsSource;
use status::SharedStatus;
use std::sync::Arc;
use text::TextFiles;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// A model that mistral.rs runs, with its tokenizer and template.
pub(crate) struct OpenModel {
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: ChatTemplate,
    /// Token ids that end an answer, ascending.
    pub(crate) stop_ids: Vec<u32>,
    pub(crate) engine: Box<dyn Engine>,
    /// What may be wrong with the model's answers; to be logged once.
    pub(crate) warnings: Vec<String>,
}

/// Loads a checkpoint folder, a Hugging Face id or a `.gguf` file, generates one token, and starts the engine's thread.
/// Blocks until then.
pub(crate) fn open(name: &str, path_or_id: &str, options: &MistralOptions) -> anyhow::Result<OpenModel> {
    let source = WeightsSource::find(path_or_id)?;
    let (submissions, received) = unbounded_channel();
    let (ready, started) = std::sync::mpsc::channel();
    let (options, name) = (options.clone(), name.to_owned());
    // mistral.rs panics on some files that it cannot read; on this thread the panic ends the loading only.
    let run = move || match start(&name, &source, &options, submissions) {
        Ok((opened, service)) => {
            let _guard = service.stop_guard();
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
    source: &WeightsSource,
    options: &MistralOptions,
    submissions: UnboundedSender<Submission>,
) -> anyhow::Result<(OpenModel, Service)> {
    let Loaded { pipeline, text, context, position_bytes } = loading::load(name, source, options)?;
    let TextFiles { tokenizer, template, stop_ids, mut warnings } = text;
    if options.device == Device::Cpu {
        warnings.push(format!("{name}: on the CPU, mistral.rs runs one request after another"));
    }
    let status = Arc::new(SharedStatus::default());
    let service = Service::start(pipeline, &tokenizer, options.permits(), Arc::clone(&status))
        .with_context(|| format!("mistral.rs loaded {name} but cannot run it"))?;
    let vocab_size = service.vocab_size();
    let ids = vocab_size.max(tokenizer.vocab_size());
    let compiler = ConstraintCompiler::new(&tokenizer, ids, &stop_ids).map_err(|error| anyhow!(error))?;
    let engine = MistralEngine {
        submissions,
        compiler,
        limits: Limits { context, vocab_size },
        max_waiting: options.max_waiting,
        position_bytes,
        status,
    };
    let opened = OpenModel { tokenizer, template, stop_ids, engine: Box::new(engine), warnings };
    Ok((opened, service))
}

/// The engine as the server uses it.
struct MistralEngine {
    submissions: UnboundedSender<Submission>,
    compiler: ConstraintCompiler,
    limits: Limits,
    max_waiting: usize,
    position_bytes: usize,
    status: Arc<SharedStatus>,
}

impl Engine for MistralEngine {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn submit(&self, mut request: Request) -> Result<Events, RequestError> {
        request.check(self.limits)?;
        if request.embedding {
            return Err(RequestError::Unsupported {
                parameter: "input",
                engine: "mistralrs",
                reason: "mistral.rs does not return a language model's hidden states; use `--engine native`",
            });
        }
        let (events, receiver) = unbounded_channel();
        let constraint = request.constraint.take();
        self.status.queue.enter(request.client, self.max_waiting, || {
            let guide = constraint.map(|constraint| self.compiler.guide(constraint)).transpose()?;
            let decoder = Decoder::new(request, guide, events.clone());
            self.submissions.send(Submission { decoder, events }).map_err(|_| RequestError::Stopped)
        })?;
        Ok(receiver.into())
    }

    fn status(&self) -> Status {
        self.status.status(self.position_bytes)
    }
}
