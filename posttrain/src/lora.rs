//! `--lora-rank`: a run that trains an adapter over frozen weights instead of the weights themselves. What such a run
//! starts from, and what of it is saved.

use crate::compute::TrainedSize;
use crate::settings::{TrainingFlags, TrainingSettings, within};
use crate::vocabulary::StartingPoint;
use anyhow::{Context, Result, bail, ensure};
use checkpoint::adapter::{AdapterConfig, AdapterMatrices, LinearModule};
use checkpoint::folder::AdapterRecord;
use checkpoint::weights::Precision;
use checkpoint::{Checkpoint, ModelConfig, is_hub_id};
use std::path::Path;
use training::memory::AdapterSize;
use training::{
    AdapterSettings, Base, ComputeSettings, Learner, OptimizerSettings, Parameters, TrainingState,
};

/// The value of `lora_modules` for all linear layers.
pub(crate) const ALL_LINEAR: &str = "all-linear";
/// Largest rank: beyond it an adapter is larger than what it adapts.
const MAX_RANK: usize = 8192;

/// An adapter that is trained.
#[derive(Clone, Debug)]
pub(crate) struct LoraAdapter {
    /// As it is saved.
    config: AdapterConfig,
    base_sha256: String,
    settings: AdapterSettings,
    /// The folder of the adapter that is continued.
    init: Option<String>,
}

/// What a run trains, besides its state: nothing more, or frozen weights with an adapter's settings.
#[derive(Debug)]
pub(crate) struct Frozen(Option<(Base, AdapterSettings)>);

/// Refuses values that no adapter can have.
///
/// # Errors
/// Names the key and its value.
pub(crate) fn check(settings: &TrainingSettings) -> Result<()> {
    within("`lora_alpha`", settings.lora_alpha, 0.0, f64::MAX)?;
    within("`lora_dropout`", settings.lora_dropout, 0.0, 0.9)?;
    ensure!(
        settings.lora_rank <= MAX_RANK,
        "`lora_rank` is {}; expected at most {MAX_RANK}",
        settings.lora_rank
    );
    modules(&settings.lora_modules).map(drop)
}

/// Refuses flags that would have no effect.
///
/// # Errors
/// Names the flag.
pub(crate) fn check_flags(flags: &TrainingFlags, settings: &TrainingSettings) -> Result<()> {
    let of_new = [
        ("--lora-alpha", flags.lora_alpha.is_some()),
        ("--lora-modules", flags.lora_modules.is_some()),
        ("--lora-rslora", flags.lora_rslora.is_some()),
    ];
    let given =
        |flags: &[(&'static str, bool)]| flags.iter().find(|(_, is_given)| *is_given).map(|flag| flag.0);
    if !settings.lora_init.is_empty() {
        let rank = ("--lora-rank", flags.lora_rank.is_some());
        if let Some(flag) = given(&[&of_new[..], &[rank]].concat()) {
            bail!("`{flag}` has no effect with `--lora-init`, whose adapter has its own; remove one of them");
        }
    } else if settings.lora_rank == 0 {
        let dropout = ("--lora-dropout", flags.lora_dropout.is_some());
        if let Some(flag) = given(&[&of_new[..], &[dropout]].concat()) {
            bail!("`{flag}` has no effect without an adapter; give `--lora-rank 16` or remove it");
        }
    }
    Ok(())
}

fn modules(names: &[String]) -> Result<Vec<LinearModule>> {
    if names == [ALL_LINEAR] {
        return Ok(LinearModule::ALL.to_vec());
    }
    let module = |name: &String| {
        LinearModule::of_name(name).with_context(|| {
            let known = LinearModule::ALL.map(LinearModule::name).join(", ");
            format!("`lora_modules` contains `{name}`; expected `{ALL_LINEAR}` alone, or some of {known}")
        })
    };
    let mut modules = names.iter().map(module).collect::<Result<Vec<_>>>()?;
    modules.sort_unstable();
    modules.dedup();
    ensure!(!modules.is_empty(), "`lora_modules` is empty; give `{ALL_LINEAR}` or some layers");
    Ok(modules)
}

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

    /// Returns the adapter's weights before the first step, and the frozen weights under it.
    ///
    /// # Errors
    /// When the adapter to continue does not fit the model.
    fn start(&self, start: &StartingPoint) -> Result<(Parameters, Frozen)> {
        let config = &start.config;
        ensure!(
            config.vocab_size == start.checkpoint.config.vocab_size,
            "the vocabulary grows from {} to {} tokens, but an adapter does not train the embedding; train all weights first, or give a template without new special tokens",
            start.checkpoint.config.vocab_size,
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
        let base = Base::from_weights(config, &start.checkpoint.weights);
        Ok((parameters, Frozen(Some((base, self.settings.clone())))))
    }

    /// Returns the number of the adapter's weights.
    pub(crate) fn parameters(&self, config: &ModelConfig) -> usize {
        self.settings.parameters(config)
    }

    /// Returns what it and the frozen weights of this precision take.
    pub(crate) fn size(&self, config: &ModelConfig, stored: Precision) -> AdapterSize {
        let bytes = if stored == Precision::Bf16 { 2 } else { 4 };
        AdapterSize { weights: self.parameters(config), frozen_bytes: bytes * config.parameters() as u64 }
    }
}

/// Returns the name of the base model as the adapter records it: a hub id, or the whole path of a folder or file.
fn base_name(name: &str) -> String {
    let path = Path::new(name);
    match path.canonicalize() {
        Ok(whole) if path.exists() || !is_hub_id(name) => whole.display().to_string(),
        _ => name.to_owned(),
    }
}

impl StartingPoint {
    /// Returns the size of what a run trains from here.
    pub(crate) fn size(&self) -> TrainedSize<'_> {
        let stored = self.checkpoint.weights.stored();
        let adapter = self.adapter.as_ref().map(|adapter| adapter.size(&self.config, stored));
        TrainedSize { config: &self.config, adapter }
    }

    /// Returns the weights that a run trains from here, and what is frozen under them.
    ///
    /// # Errors
    /// When the vocabulary grows under an adapter, or the adapter to continue does not fit.
    pub(crate) fn trained(&self) -> Result<(Parameters, Frozen)> {
        match &self.adapter {
            None => Ok((self.load(), Frozen(None))),
            Some(adapter) => adapter.start(self),
        }
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
