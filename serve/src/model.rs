//! One served model: an engine with the tokenizer and the template that belong to it.
//!
//! Both engines end up as this; nothing behind it asks which one runs.

use anyhow::{Context, Result};
use engine::{CacheFormat, Engine, NativeEngine, WeightFormat};
use smollm::weights::Precision;
use smollm::{ChatTemplate, Checkpoint, Tokenizer};
use std::path::{Path, PathBuf};

/// A model that answers.
pub(crate) struct Model {
    /// What clients call it.
    pub(crate) name: String,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: ChatTemplate,
    /// Ids that end an answer, ascending.
    pub(crate) stop_ids: Vec<u32>,
    pub(crate) engine: Box<dyn Engine>,
    /// When it was loaded, in seconds since 1970.
    pub(crate) created: u64,
    pub(crate) engine_name: &'static str,
    /// What a user should know before trusting it; printed once.
    pub(crate) warnings: Vec<String>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Model").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Which engine runs a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum EngineKind {
    /// Ours: the Llama family on the CPU.
    Native,
    /// mistral.rs: every architecture and file format it knows.
    Mistralrs,
}

/// How models are loaded and run; the same for all of them.
#[derive(Debug, Clone)]
pub(crate) struct LoadOptions {
    pub(crate) engine: EngineKind,
    /// How weights are held; `None` is the checkpoint's own precision.
    pub(crate) weights: Option<WeightFormat>,
    /// How keys and values are held; `None` follows the weights.
    pub(crate) cache: Option<CacheFormat>,
    /// Memory for keys and values of each model; `None` is `default_cache_bytes`.
    pub(crate) cache_bytes: Option<usize>,
    pub(crate) default_cache_bytes: usize,
    pub(crate) max_sequences: usize,
    pub(crate) max_waiting: usize,
    /// Threads that compute; `None` is as many as the machine gives.
    pub(crate) threads: Option<usize>,
    pub(crate) reuse_prefixes: bool,
    pub(crate) chat_template: Option<PathBuf>,
}

impl LoadOptions {
    /// What is said of the memory for keys and values; mistral.rs sizes its own.
    pub(crate) fn cache(&self) -> String {
        let bytes = self.cache_bytes.unwrap_or(self.default_cache_bytes) as f64;
        match self.engine {
            EngineKind::Native => {
                format!(
                    "; {:.2} GiB for keys and values of each (--cache-bytes)",
                    bytes / (1u64 << 30) as f64
                )
            }
            EngineKind::Mistralrs => String::new(),
        }
    }
}

/// A model as it was asked for: `NAME=DIR_OR_HUB_ID`, or the second alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) location: String,
}

impl Source {
    /// Reads the argument of `--model`; without a name it is the location's last component.
    pub(crate) fn new(argument: &str) -> Result<Self, String> {
        let (name, location) = match argument.split_once('=') {
            Some((name, location)) if !name.contains('/') => (name.to_owned(), location),
            _ => {
                let path = Path::new(argument);
                let last = path.file_name().or_else(|| path.components().next_back().map(|c| c.as_os_str()));
                (last.unwrap_or_default().to_string_lossy().into_owned(), argument)
            }
        };
        if name.is_empty() || location.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control())
        {
            return Err(format!("`{argument}` is not [NAME=]FOLDER or [NAME=]owner/name"));
        }
        Ok(Self { name, location: location.to_owned() })
    }
}

/// Loads a model and starts its engine.
pub(crate) fn open(source: &Source, options: &LoadOptions) -> Result<Model> {
    let model = match options.engine {
        EngineKind::Native => open_native(source, options),
        #[cfg(feature = "mistralrs")]
        EngineKind::Mistralrs => open_mistralrs(source, options),
        #[cfg(not(feature = "mistralrs"))]
        EngineKind::Mistralrs => {
            anyhow::bail!("this smolserve was built without mistral.rs (cargo feature `mistralrs`)")
        }
    };
    model.with_context(|| format!("cannot serve {} from {}", source.name, source.location))
}

fn open_native(source: &Source, options: &LoadOptions) -> Result<Model> {
    if let Some(threads) = options.threads {
        // One set of threads computes for all models: the first of them sets it.
        engine::set_threads(threads);
    }
    let mut checkpoint = Checkpoint::open(&source.location, options.chat_template.as_deref())?;
    let weights = options.weights.unwrap_or_else(|| stored_format(&checkpoint));
    let cache = options.cache.unwrap_or(match weights {
        WeightFormat::F32 => CacheFormat::F32,
        _ => CacheFormat::F16,
    });
    let engine = NativeEngine::start(
        &checkpoint,
        engine::Options {
            max_sequences: options.max_sequences,
            cache_bytes: options.cache_bytes.unwrap_or(options.default_cache_bytes),
            max_waiting: options.max_waiting,
            weights,
            cache,
            reuse_prefixes: options.reuse_prefixes,
            ..engine::Options::default()
        },
    )?;
    Ok(Model {
        name: source.name.clone(),
        stop_ids: std::mem::take(&mut checkpoint.stop_ids),
        warnings: std::mem::take(&mut checkpoint.warnings),
        tokenizer: checkpoint.tokenizer,
        template: checkpoint.template,
        engine: Box::new(engine),
        created: crate::identity::now(),
        engine_name: "native",
    })
}

/// What mistral.rs cannot be told is refused where it was asked for.
#[cfg(feature = "mistralrs")]
fn open_mistralrs(source: &Source, options: &LoadOptions) -> Result<Model> {
    use crate::mistralrs::{MistralOptions, Opened, Place};
    if options.cache.is_some() || options.cache_bytes.is_some() || options.threads.is_some() {
        anyhow::bail!(
            "--cache-type, --cache-bytes and --threads are for the native engine; mistral.rs sizes its own \
             cache and threads"
        );
    }
    let max_sequences = std::num::NonZeroUsize::new(options.max_sequences);
    let settings = MistralOptions {
        max_sequences: max_sequences.context("--max-sequences is 0; expected at least 1")?,
        max_waiting: options.max_waiting,
        weights: options.weights,
        chat_template: options.chat_template.clone(),
        place: if cfg!(feature = "cuda") { Place::Cuda } else { Place::Cpu },
    };
    let opened = crate::mistralrs::open(&source.name, &source.location, &settings)?;
    let Opened { tokenizer, template, stop_ids, engine, warnings } = opened;
    let (name, created) = (source.name.clone(), crate::identity::now());
    Ok(Model { name, tokenizer, template, stop_ids, engine, created, engine_name: "mistralrs", warnings })
}

/// The format that holds the checkpoint's own numbers exactly.
fn stored_format(checkpoint: &Checkpoint) -> WeightFormat {
    match checkpoint.weights.stored() {
        Precision::Bf16 => WeightFormat::Bf16,
        Precision::F32 => WeightFormat::F32,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::Source;

    #[test]
    fn a_source_names_itself() {
        let named = |argument: &str| {
            let Source { name, location } = Source::new(argument).unwrap();
            (name, location)
        };
        let pair = |name: &str, location: &str| (name.to_owned(), location.to_owned());
        assert_eq!(named("runs/sft/final/"), pair("final", "runs/sft/final/"));
        assert_eq!(named("owner/name"), pair("name", "owner/name"));
        assert_eq!(named("tiny=runs/sft"), pair("tiny", "runs/sft"));
        assert_eq!(named("runs/lr=3/final"), pair("final", "runs/lr=3/final"));
        assert!(Source::new("=x").is_err() && Source::new("a=").is_err() && Source::new("").is_err());
    }
}
