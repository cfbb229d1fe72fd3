//! `--lora-rank`: a run that trains an adapter over frozen weights instead of the weights themselves. What such a run
//! starts from, and what of it is saved.

use crate::lora_modules::{BaseQuantization, modules};
use crate::settings::TrainingSettings;
use anyhow::{Context, Result, ensure};
use checkpoint::adapter::{AdapterConfig, AdapterMatrices, LinearModule};
use checkpoint::folder::AdapterRecord;
use checkpoint::gguf::TensorType;
use checkpoint::weights::Weights;
use checkpoint::{Checkpoint, ModelConfig, is_hub_id};
use report::numbers::separated;
use std::path::Path;
use training::memory::AdapterSize;
use training::{
    AdapterSettings, Base, ComputeSettings, Learner, OptimizerSettings, Parameters, TrainingState,
};

/// An adapter that is trained.
#[derive(Clone, Debug)]
pub(crate) struct LoraAdapter {
    /// As it is saved.
    config: AdapterConfig,
    base_sha256: String,
    settings: AdapterSettings,
    /// To what the frozen linear layers are quantized.
    quantization: Option<TensorType>,
    /// The folder of the adapter that is continued.
    init: Option<String>,
}

/// What a run trains, besides its state: nothing more, or frozen weights with an adapter's settings.
#[derive(Debug)]
pub(crate) struct Frozen(Option<(Base, AdapterSettings)>);

impl LoraAdapter {
    /// Returns the adapter that a run over this checkpoint trains, if its settings ask for one.
    ///
    /// # Errors
    /// When the checkpoint is an adapter itself, or the adapter to continue cannot be read.
    pub(crate) fn new(checkpoint: &Checkpoint, settings: &TrainingSettings) -> Result<Option<Self>> {
        if settings.lora_rank == 0 && settings.lora_init.is_empty() {
            return Ok(None);
        }
        ensure!(
            !checkpoint.weights.is_adapted(),
            "`--model {}` is an adapter; give its base model and `--lora-init {0}` to continue it, or merge it with `posttrain merge`",
            checkpoint.name
        );
        let base = base_name(&checkpoint.name);
        let config = match settings.lora_init.as_str() {
            "" => AdapterConfig {
                base,
                rank: settings.lora_rank,
                alpha: match settings.lora_alpha {
                    0.0 => 2.0 * settings.lora_rank as f64,
                    alpha => alpha,
                },
                dropout: settings.lora_dropout,
                rslora: settings.lora_rslora,
                modules: modules(&settings.lora_modules)?,
            },
            folder => AdapterConfig {
                base,
                dropout: settings.lora_dropout,
                ..AdapterConfig::read(Path::new(folder))?
            },
        };
        ensure!(
            !config.modules.is_empty(),
            "`--lora-init {}`: its `target_modules` names no linear layers; list them there",
            settings.lora_init
        );
        Ok(Some(Self {
            quantization: quantization(checkpoint, settings.quantize_base)?,
            settings: AdapterSettings::new(&config, settings.seed),
            base_sha256: checkpoint.weights_sha256()?,
            init: Some(settings.lora_init.clone()).filter(|folder| !folder.is_empty()),
            config,
        }))
    }

    /// Returns what is saved besides the adapter's weights.
    pub(crate) fn record(&self) -> AdapterRecord<'_> {
        AdapterRecord { config: &self.config, base_sha256: &self.base_sha256 }
    }

    /// Returns what a user should know about frozen weights that are quantized, if some are.
    pub(crate) fn quantization_note(&self, checkpoint: &Checkpoint) -> Option<String> {
        let (config, weights) = (&checkpoint.config, &checkpoint.weights);
        let quantized = Base::quantized_weights(config, weights, self.quantization);
        (quantized > 0).then(|| {
            format!(
                "{} of the frozen weights are held in blocks of few bits; all frozen weights take {} MiB",
                separated(quantized as u64),
                Base::planned_bytes(config, weights, self.quantization) >> 20
            )
        })
    }

    /// Returns the adapter's weights before the first step, and the frozen weights under it.
    ///
    /// # Errors
    /// When the adapter to continue does not fit the model.
    pub(crate) fn start(
        &self,
        checkpoint: &Checkpoint,
        config: &ModelConfig,
    ) -> Result<(Parameters, Frozen)> {
        ensure!(
            config.vocab_size == checkpoint.config.vocab_size,
            "the vocabulary grows from {} to {} tokens, but an adapter does not train the embedding; train all weights first, or give a template without new special tokens",
            checkpoint.config.vocab_size,
            config.vocab_size
        );
        let mut parameters = self.settings.start(config);
        if let Some(folder) = &self.init {
            let matrices = AdapterMatrices::open(Path::new(folder), &self.config, config)?;
            for tensor in &parameters.layout.tensors {
                let values = matrices.tensor(&tensor.name).with_context(|| {
                    format!(
                        "`--lora-init {folder}` has no {}; every layer must be adapted alike",
                        tensor.name
                    )
                })?;
                parameters.values[tensor.range.clone()].copy_from_slice(values);
            }
        }
        let base = Base::quantized(config, &checkpoint.weights, self.quantization);
        Ok((parameters, Frozen(Some((base, self.settings.clone())))))
    }

    /// Returns the number of the adapter's weights.
    pub(crate) fn parameters(&self, config: &ModelConfig) -> usize {
        self.settings.parameters(config)
    }

    /// Returns what it and the frozen weights of a checkpoint take.
    pub(crate) fn size(&self, config: &ModelConfig, weights: &Weights) -> AdapterSize {
        let frozen_bytes = Base::planned_bytes(config, weights, self.quantization);
        AdapterSize { weights: self.parameters(config), frozen_bytes }
    }
}

/// Returns the type to quantize to.
///
/// # Errors
/// When a matrix of the checkpoint is quantized already: quantizing it again would lose more.
fn quantization(checkpoint: &Checkpoint, asked: BaseQuantization) -> Result<Option<TensorType>> {
    let kind = match asked {
        BaseQuantization::None => return Ok(None),
        BaseQuantization::Q8_0 => TensorType::Q8_0,
        BaseQuantization::Q4_0 => TensorType::Q4_0,
    };
    for layer in 0..checkpoint.config.layers {
        for module in LinearModule::ALL {
            let stored = checkpoint.weights.rows(&format!("{}.weight", module.path(layer))).kind();
            ensure!(
                stored.block() == 1,
                "the weights of {} are quantized already ({}) and stay as they are; remove `--quantize-base`",
                checkpoint.name,
                stored.name()
            );
        }
    }
    Ok(Some(kind))
}

/// Returns the name of the base model as the adapter records it: a hub id, or the whole path of a folder or file.
fn base_name(name: &str) -> String {
    let path = Path::new(name);
    match path.canonicalize() {
        Ok(whole) if path.exists() || !is_hub_id(name) => whole.display().to_string(),
        _ => name.to_owned(),
    }
}

impl Frozen {
    /// Nothing is frozen.
    pub(crate) fn nothing() -> Self {
        Self(None)
    }

    /// Returns the frozen weights, if there are any.
    pub(crate) fn base(&self) -> Option<&Base> {
        self.0.as_ref().map(|(base, _)| base)
    }

    /// Returns the bytes of the frozen weights.
    pub(crate) fn bytes(&self) -> u64 {
        self.base().map_or(0, |base| base.bytes() as u64)
    }

    /// Returns the learner of a state over the frozen weights.
    ///
    /// # Errors
    /// As [`Learner::new`].
    pub(crate) fn learner(
        self,
        state: TrainingState,
        positions: usize,
        compute: &ComputeSettings,
        optimizer: OptimizerSettings,
    ) -> Result<Learner> {
        match self.0 {
            None => Learner::new(state, positions, compute, optimizer),
            Some((base, adapter)) => Learner::of_adapter(base, state, adapter, positions, compute, optimizer),
        }
    }
}
