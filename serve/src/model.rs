//! One served model: an engine with its tokenizer and its chat template.
//!
//! Both engines end up as a [`Model`]; nothing behind it asks which one runs.

use crate::model_source::{ModelGroup, ModelSource};
use crate::traits::TemplateTraits;
use anyhow::{Context, Result};
use checkpoint::gguf::GgufFile;
use checkpoint::weights::Precision;
use checkpoint::{ChatTemplate, Checkpoint, Tokenizer};
use engine::{CacheFormat, Engine, NativeEngine, WeightFormat};
use std::path::{Path, PathBuf};

/// A loaded model.
pub(crate) struct Model {
    /// Its name in requests.
    pub(crate) name: String,
    /// The name of the base model, whose engine it shares, if it is an adapter.
    pub(crate) parent: Option<String>,
    pub(crate) tokenizer: Tokenizer,
    /// Bytes of the longest token.
    pub(crate) longest_token: usize,
    pub(crate) template: ChatTemplate,
    /// What the template says about answers.
    pub(crate) traits: TemplateTraits,
    /// Token ids that end an answer, ascending.
    pub(crate) stop_ids: Vec<u32>,
    pub(crate) engine: Box<dyn Engine>,
    /// When it was loaded, in seconds since 1970.
    pub(crate) created: u64,
    pub(crate) engine_name: &'static str,
    /// What may be wrong with the model's answers; logged once.
    pub(crate) warnings: Vec<String>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Model").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The engine that runs a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum EngineKind {
    /// This project's engine: the Llama family on the CPU
    Native,
    /// mistral.rs: every architecture and file format that it supports
    Mistralrs,
}

/// How models are loaded and run; the same for all of them.
#[derive(Debug, Clone)]
pub(crate) struct LoadOptions {
    pub(crate) engine: EngineKind,
    /// Data type of the weights; `None` is the checkpoint's own.
    pub(crate) weights: Option<WeightFormat>,
    /// Data type of keys and values; `None` follows the weights.
    pub(crate) cache: Option<CacheFormat>,
    /// Memory for keys and values of each model; `None` is `default_cache_bytes`.
    pub(crate) cache_bytes: Option<usize>,
    pub(crate) default_cache_bytes: usize,
    pub(crate) max_sequences: usize,
    pub(crate) max_waiting: usize,
    /// Number of compute threads; `None` is all of the machine's.
    pub(crate) threads: Option<usize>,
    pub(crate) reuse_prefixes: bool,
    /// Maximum number of tokens of an answer that are guessed in a step.
    pub(crate) guessed_tokens: usize,
    pub(crate) chat_template: Option<PathBuf>,
}

impl LoadOptions {
    /// The end of the line that reports the start: the memory for keys and values. mistral.rs sizes its own.
    pub(crate) fn cache_note(&self) -> String {
        let bytes = self.cache_bytes.unwrap_or(self.default_cache_bytes) as f64;
        match self.engine {
            EngineKind::Native => {
                let gibibytes = bytes / (1u64 << 30) as f64;
                format!("; {gibibytes:.2} GiB for keys and values of each (--cache-bytes)")
            }
            EngineKind::Mistralrs => String::new(),
        }
    }
}

/// Loads a model and starts its engine.
pub(crate) fn open(source: &ModelSource, options: &LoadOptions) -> Result<Model> {
    let model: Result<Model> = match options.engine {
        EngineKind::Native => {
            let mut models = open_native(&ModelGroup::alone(source.clone()), options)?;
            Ok(models.remove(0))
        }
        #[cfg(feature = "mistralrs")]
        EngineKind::Mistralrs => open_mistralrs(source, options),
        #[cfg(not(feature = "mistralrs"))]
        EngineKind::Mistralrs => {
            anyhow::bail!(
                "this smolserve was built without mistral.rs; build it with the cargo feature `mistralrs`, \
                 or use `--engine native`"
            )
        }
    };
    model.with_context(|| cannot_serve(source))
}

/// Loads a model once for itself, if it is served, and for its adapters, in this order.
pub(crate) fn open_group(group: &ModelGroup, options: &LoadOptions) -> Result<Vec<Model>> {
    match options.engine {
        EngineKind::Native if !group.adapters.is_empty() => open_native(group, options),
        _ => Ok(vec![open(&group.base, options)?]),
    }
}

fn cannot_serve(source: &ModelSource) -> String {
    format!("cannot serve {} from {}", source.name, source.location)
}

fn open_native(group: &ModelGroup, options: &LoadOptions) -> Result<Vec<Model>> {
    if let Some(threads) = options.threads {
        // All models share one set of threads; the first model sets it.
        engine::set_threads(threads);
    }
    let (base, template) = (&group.base, options.chat_template.as_deref());
    let opened = Checkpoint::open(&base.location, template);
    let opened = opened.map_err(|error| with_other_engine(error.into(), &base.location));
    let mut checkpoint = opened.with_context(|| cannot_serve(base))?;
    checkpoint.adapter_note().iter().for_each(|note| tracing::info!("{note}"));
    let open_adapter = |adapter: &ModelSource| -> Result<Checkpoint> {
        let opened = Checkpoint::open_adapter_over(&base.location, Path::new(&adapter.location), template);
        let mut opened = opened.with_context(|| cannot_serve(adapter))?;
        opened.warnings.retain(|warning| !checkpoint.warnings.contains(warning));
        Ok(opened)
    };
    let adapters = group.adapters.iter().map(open_adapter).collect::<Result<Vec<_>>>()?;
    if options.weights.is_none() {
        let note = engine::widened_types(&checkpoint);
        checkpoint.warnings.extend(note);
    }
    let engines =
        NativeEngine::start_with_adapters(&checkpoint, &adapters, engine_options(&checkpoint, options));
    let (engine, engines) = engines.with_context(|| cannot_serve(base))?;
    let parent = base.name.clone();
    let mut models = vec![native_model(parent.clone(), None, checkpoint, engine)];
    for ((source, adapter), engine) in group.adapters.iter().zip(adapters).zip(engines) {
        models.push(native_model(source.name.clone(), Some(parent.clone()), adapter, engine));
    }
    if !group.is_base_served {
        let base = models.remove(0);
        models[0].warnings.extend(base.warnings);
    }
    Ok(models)
}

fn engine_options(checkpoint: &Checkpoint, options: &LoadOptions) -> engine::Options {
    let cache = options.cache.unwrap_or(match options.weights {
        Some(WeightFormat::F32) => CacheFormat::F32,
        None if is_f32(checkpoint) => CacheFormat::F32,
        _ => CacheFormat::F16,
    });
    engine::Options {
        max_sequences: options.max_sequences,
        cache_bytes: options.cache_bytes.unwrap_or(options.default_cache_bytes),
        max_waiting: options.max_waiting,
        weights: options.weights,
        cache,
        reuse_prefixes: options.reuse_prefixes,
        guessed_tokens: options.guessed_tokens,
        ..engine::Options::default()
    }
}

fn native_model(name: String, parent: Option<String>, checkpoint: Checkpoint, engine: NativeEngine) -> Model {
    Model {
        name,
        parent,
        stop_ids: checkpoint.stop_ids,
        warnings: checkpoint.warnings,
        longest_token: longest_token(&checkpoint.tokenizer),
        tokenizer: checkpoint.tokenizer,
        traits: TemplateTraits::of(&checkpoint.template),
        template: checkpoint.template,
        engine: Box::new(engine),
        created: crate::ids::now(),
        engine_name: "native",
    }
}

/// Options that mistral.rs does not have are refused here.
#[cfg(feature = "mistralrs")]
fn open_mistralrs(source: &ModelSource, options: &LoadOptions) -> Result<Model> {
    use crate::mistralrs::{Device, MistralOptions, OpenModel};
    if options.cache.is_some() || options.cache_bytes.is_some() || options.threads.is_some() {
        anyhow::bail!(
            "`--cache-type`, `--cache-bytes` and `--threads` only apply to the native engine; mistral.rs sizes its own \
             cache and threads"
        );
    }
    let max_sequences = std::num::NonZeroUsize::new(options.max_sequences);
    let settings = MistralOptions {
        max_sequences: max_sequences.context("`--max-sequences` is 0; give at least 1")?,
        max_waiting: options.max_waiting,
        weights: options.weights,
        chat_template: options.chat_template.clone(),
        device: if cfg!(feature = "cuda") { Device::Cuda } else { Device::Cpu },
    };
    let opened = crate::mistralrs::open(&source.name, &source.location, &settings)?;
    let OpenModel { tokenizer, template, stop_ids, engine, warnings } = opened;
    let (name, created) = (source.name.clone(), crate::ids::now());
    Ok(Model {
        name,
        parent: None,
        longest_token: longest_token(&tokenizer),
        tokenizer,
        traits: TemplateTraits::of(&template),
        template,
        stop_ids,
        engine,
        created,
        engine_name: "mistralrs",
        warnings,
    })
}

/// Bytes of the longest token.
pub(crate) fn longest_token(tokenizer: &Tokenizer) -> usize {
    tokenizer.token_bytes().iter().map(Vec::len).max().unwrap_or(1)
}

/// Whether the checkpoint's own weights need f32.
fn is_f32(checkpoint: &Checkpoint) -> bool {
    !checkpoint.weights.is_gguf() && checkpoint.weights.stored() == Precision::F32
}

/// A whole GGUF file that the native engine cannot run may be one for mistral.rs.
fn with_other_engine(error: anyhow::Error, location: &str) -> anyhow::Error {
    let path = Path::new(location);
    if GgufFile::is_at(path) && GgufFile::open(path).is_ok() {
        return error.context("the native engine cannot run this file; try `--engine mistralrs`");
    }
    error
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_gguf_file_of_another_architecture_names_the_other_engine() {
        let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        let head = [&b"GGUF"[..], &3u32.to_le_bytes(), &0u64.to_le_bytes(), &1u64.to_le_bytes()].concat();
        let entry = [text("general.architecture"), 8u32.to_le_bytes().to_vec(), text("mamba")].concat();
        let whole = [head, entry].concat();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        let location = path.to_string_lossy();
        let error = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let error = Checkpoint::open(&location, None).map(drop).unwrap_err();
            format!("{:#}", with_other_engine(error.into(), &location))
        };
        let other = error(&whole);
        assert!(other.contains("try `--engine mistralrs`") && other.contains("mamba"), "{other}");
        let cut = error(&whole[..whole.len() - 2]);
        assert!(!cut.contains("mistralrs"), "{cut}");
    }
}
