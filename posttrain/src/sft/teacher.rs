//! A model learns the distributions of another one instead of the rows' tokens (distillation, arXiv 1503.02531). With
//! `--teacher` that one runs in this process, on each micro-batch, and gives all of its logits; with `--stored-logprobs` the
//! rows have what it found likeliest when it wrote them.

use super::rows::WeightedBatch;
use super::settings::SftSettings;
use crate::vocabulary::StartingPoint;
use anyhow::{Result, ensure};
use checkpoint::Checkpoint;
use report::numbers::separated;
use serde_json::Value;
use training::{
    Base, ComputeSettings, Device, Distillation, DistilledTokens, Divergence, Learner, StoredDistributions,
    Teacher, teacher,
};

/// The settings that mean something with a teacher only.
const KEYS: [&str; 3] = ["teacher", "distill_temperature", "distill_beta"];
/// The setting of what is stored.
const STORED: &str = "stored_logprobs";

/// What is learned, and how.
pub(super) struct LoadedTeacher {
    /// The teacher's model; none where the rows have its distributions.
    model: Option<Box<dyn Teacher>>,
    divergence: Divergence,
}

/// Opens the teacher that the settings name, if they name one.
///
/// # Errors
/// When it cannot be opened or computed with, has other tokens, or fewer positions than the rows may have.
pub(super) fn open(settings: &SftSettings, start: &mut StartingPoint) -> Result<Option<Checkpoint>> {
    let name = settings.teacher.as_str();
    if name.is_empty() {
        return Ok(None);
    }
    let opened = Checkpoint::open(name, None)?;
    opened.check_trainable()?;
    start.notes.extend(opened.adapter_note().into_iter().chain(opened.warnings.iter().cloned()));
    let (theirs, ours) = (&opened.tokenizer, &start.tokenizer);
    ensure!(
        opened.config.vocab_size == start.config.vocab_size
            && theirs.token_bytes() == ours.token_bytes()
            && theirs.special_ids() == ours.special_ids(),
        "`--teacher {name}` has other tokens than the model: {} and {} embedding rows; give a teacher with the model's tokenizer, or train on its answers (`smoltalk gen`)",
        separated(opened.config.vocab_size as u64),
        separated(start.config.vocab_size as u64)
    );
    ensure!(
        settings.max_length <= opened.config.max_positions,
        "`max_length` is {}, but `--teacher {name}` has {1} positions; give `--max-length {1}`",
        settings.max_length,
        opened.config.max_positions
    );
    start.notes.push(format!(
        "the distributions of {name} are learned; its {} weights take {} MiB",
        separated(opened.config.parameters() as u64),
        Base::planned_bytes(&opened.config, &opened.weights, None) >> 20
    ));
    Ok(Some(opened))
}

/// Replaces the settings of a teacher in a run's identity: by what they mean, or by nothing where there is none.
///
/// # Errors
/// When the teacher's weights cannot be read.
pub(super) fn identify(configuration: &mut Value, teacher: Option<&Checkpoint>) -> Result<()> {
    let Some(fields) = configuration.as_object_mut() else { return Ok(()) };
    let is_stored = fields.get(STORED).is_some_and(|value| value == true);
    match teacher {
        Some(teacher) => drop(fields.insert(KEYS[0].to_owned(), teacher.weights_sha256()?.into())),
        None if is_stored => KEYS[..2].iter().for_each(|key| drop(fields.remove(*key))),
        None => KEYS.iter().for_each(|key| drop(fields.remove(*key))),
    }
    // Runs of earlier versions have no such key, and resume.
    if !is_stored {
        fields.remove(STORED);
    }
    Ok(())
}

impl LoadedTeacher {
    /// Copies the teacher's weights, if there is one; `None` where the rows' tokens are learned.
    ///
    /// # Errors
    /// When the run does not compute on the CPU.
    pub(super) fn load(
        opened: Option<&Checkpoint>,
        settings: &SftSettings,
        compute: &ComputeSettings,
    ) -> Result<Option<Self>> {
        if opened.is_none() && !settings.stored_logprobs {
            return Ok(None);
        }
        ensure!(
            compute.device == Device::Cpu,
            "the device is {}, but models only learn from a teacher (`--teacher`, `--stored-logprobs`) on the CPU; give `--device cpu`",
            compute.device
        );
        let load = |opened: &Checkpoint| {
            let base = Base::from_weights(&opened.config, &opened.weights);
            teacher(base, settings.max_length, compute)
        };
        let (beta, temperature) = (settings.distill_beta as f32, settings.distill_temperature as f32);
        let divergence = Divergence { beta, temperature };
        Ok(Some(Self { model: opened.map(load).transpose()?, divergence }))
    }

    /// Adds the gradient of the weighted divergences of a batch to the learner's.
    ///
    /// # Errors
    /// When the device fails.
    pub(super) fn gradient(
        &mut self,
        learner: &mut Learner,
        batch: &WeightedBatch,
        weights: &[f32],
    ) -> Result<DistilledTokens> {
        self.distill(learner, batch, weights, true)
    }

    /// Returns the divergences of a batch.
    ///
    /// # Errors
    /// When the device fails.
    pub(super) fn compare(
        &mut self,
        learner: &mut Learner,
        batch: &WeightedBatch,
    ) -> Result<DistilledTokens> {
        self.distill(learner, batch, &vec![0.0; batch.batch.targets.len()], false)
    }

    fn distill(
        &mut self,
        learner: &mut Learner,
        batch: &WeightedBatch,
        weights: &[f32],
        gradient: bool,
    ) -> Result<DistilledTokens> {
        let target = Distillation { divergence: self.divergence, weights };
        match &mut self.model {
            Some(model) => learner.distill(&batch.batch, model.as_mut(), target, gradient),
            None => {
                let of_targets = batch.distributions.as_deref().unwrap_or_default();
                let mut stored = StoredDistributions::new(of_targets);
                learner.distill(&batch.batch, &mut stored, target, gradient)
            }
        }
    }
}
