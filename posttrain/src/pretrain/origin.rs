//! What pretraining starts from: random weights of a preset or a config.json with an existing tokenizer, or a complete
//! checkpoint.

use super::settings::PretrainSettings;
use crate::compute::TrainedSize;
use crate::lora::{Frozen, LoraAdapter};
use crate::settings::TrainingSettings;
use crate::vocabulary::{RowKinds, StartingPoint};
use anyhow::{Context, Result, bail, ensure};
use checkpoint::folder::{self, CheckpointWriter};
use checkpoint::{ChatTemplate, Checkpoint, Inherited, ModelConfig, Tokenizer};
use serde_json::{Map, Value};
use std::path::Path;
use training::Parameters;
use training::memory::AdapterSize;

/// Weights, and what is saved with them.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) name: String,
    /// The weights that are trained.
    pub(super) parameters: Parameters,
    pub(super) frozen: Frozen,
    pub(super) parts: CheckpointParts,
    /// The hash of a checkpoint's weights; for new weights, what they follow from.
    pub(super) sha256: String,
    pub(super) notes: Vec<String>,
    /// Positions that the weights were trained on: a checkpoint's, or 0.
    pub(super) positions: usize,
}

/// A checkpoint without its weights and their shape.
#[derive(Debug)]
pub(super) struct CheckpointParts {
    pub(super) tokenizer: Tokenizer,
    tokenizer_config: Map<String, Value>,
    generation_config: Map<String, Value>,
    inherited: Inherited,
    pub(super) template: ChatTemplate,
    /// Whether the template is the tokenizer's own, and so is saved.
    has_own_template: bool,
    pub(super) document_end: Option<u32>,
    /// The adapter that is trained instead of the weights.
    pub(super) adapter: Option<LoraAdapter>,
}

impl CheckpointParts {
    /// Returns what a saved checkpoint contains besides weights.
    pub(super) fn outgoing<'a>(&'a self, config: &'a ModelConfig) -> CheckpointWriter<'a> {
        CheckpointWriter {
            config,
            tokenizer: &self.tokenizer,
            tokenizer_config: &self.tokenizer_config,
            generation_config: &self.generation_config,
            inherited: &self.inherited,
            template: self.has_own_template.then_some(&self.template),
            adapter: self.adapter.as_ref().map(LoraAdapter::record),
        }
    }
}

impl Origin {
    /// Returns the size of what is trained.
    pub(super) fn size(&self) -> TrainedSize<'_> {
        let config = &self.parameters.config;
        let adapter = self.parts.adapter.as_ref().map(|adapter| AdapterSize {
            weights: adapter.parameters(config),
            frozen_bytes: self.frozen.bytes(),
        });
        TrainedSize { config, adapter }
    }

    /// Opens the checkpoint, or draws weights that follow from the seed.
    pub(super) fn new(
        model: Option<&str>,
        settings: &PretrainSettings,
        training: &TrainingSettings,
    ) -> Result<Self> {
        match model {
            Some(name) => {
                let unused = [("init", &settings.init), ("tokenizer", &settings.tokenizer)];
                if let Some((key, value)) = unused.into_iter().find(|(_, value)| !value.is_empty()) {
                    bail!("`{key}` is `{value}`, but `--model` has its own; remove one of them");
                }
                from_checkpoint(name, training)
            }
            None => {
                ensure!(
                    training.lora_rank == 0 && training.lora_init.is_empty(),
                    "an adapter needs a model to adapt; give `--model CHECKPOINT`, or remove `--lora-rank`"
                );
                from_random_weights(settings, training.seed)
            }
        }
    }
}

fn from_checkpoint(name: &str, training: &TrainingSettings) -> Result<Origin> {
    let checkpoint = Checkpoint::open(name, None)?;
    checkpoint.check_trainable()?;
    let start = StartingPoint::new(checkpoint, RowKinds { conversations: false, documents: true }, &[])?
        .trained_by(training)?;
    let (parameters, frozen) = start.trained()?;
    Ok(Origin {
        name: name.to_owned(),
        sha256: start.checkpoint.weights_sha256()?,
        positions: start.config.max_positions,
        parameters,
        frozen,
        parts: CheckpointParts {
            tokenizer: start.tokenizer,
            tokenizer_config: start.tokenizer_config,
            generation_config: start.checkpoint.generation_config,
            inherited: start.checkpoint.inherited,
            template: start.template,
            has_own_template: start.checkpoint.has_own_template,
            document_end: start.document_end,
            adapter: start.adapter,
        },
        notes: start.notes,
    })
}

fn from_random_weights(settings: &PretrainSettings, seed: u64) -> Result<Origin> {
    let PretrainSettings { init, tokenizer: name, .. } = settings;
    ensure!(
        !init.is_empty() && !name.is_empty(),
        "there is no model to start from; give `--model CHECKPOINT`, or `--init smollm2-135m` and `--tokenizer FOLDER`"
    );
    let folder = folder::tokenizer_folder(name)?;
    let tokenizer = Tokenizer::open(&folder.join("tokenizer.json"))?;
    let (tokenizer_config, own_template) = folder::tokenizer_settings(&folder)?;
    let mut config = shape(init)?;
    ensure!(
        tokenizer.vocab_size() <= config.vocab_size,
        "{name} has {} tokens, but {init} has {} embedding rows; give a config.json with a larger `vocab_size`",
        tokenizer.vocab_size(),
        config.vocab_size
    );
    let token = |key: &str| {
        let value = tokenizer_config.get(key)?;
        tokenizer.id(value.as_str().or_else(|| value["content"].as_str())?)
    };
    let document_end = tokenizer.id("<|endoftext|>").or_else(|| token("eos_token"));
    let Some(end) = document_end else {
        bail!("{name} names no end of sequence; set `eos_token` in its tokenizer_config.json");
    };
    config.eos_token_ids = vec![end];
    config.bos_token_id = token("bos_token").or(document_end);
    config.pad_token_id = None;
    Ok(Origin {
        name: init.clone(),
        sha256: format!("random, seed {seed}"),
        positions: 0,
        parameters: Parameters::random(&config, seed, settings.scale_residual_init),
        frozen: Frozen::nothing(),
        parts: CheckpointParts {
            has_own_template: own_template.is_some(),
            template: own_template.unwrap_or_else(ChatTemplate::chatml),
            tokenizer,
            tokenizer_config,
            generation_config: Map::new(),
            inherited: Inherited::default(),
            document_end,
            adapter: None,
        },
        notes: Vec::new(),
    })
}

fn shape(init: &str) -> Result<ModelConfig> {
    Ok(match init {
        "smollm2-135m" => ModelConfig::smollm2_135m(),
        "smollm2-360m" => ModelConfig::smollm2_360m(),
        "smollm2-1.7b" => ModelConfig::smollm2_1_7b(),
        path => {
            let config = ModelConfig::read(Path::new(path)).with_context(|| {
                format!(
                    "`--init {path}` is neither a preset (smollm2-135m, smollm2-360m, smollm2-1.7b) nor a config.json"
                )
            })?;
            // Otherwise it would be trained as another model, with a plain Llama's arithmetic.
            config.check_trainable().map_err(|reason| anyhow::anyhow!("`--init {path}` {reason}"))?;
            config
        }
    })
}
