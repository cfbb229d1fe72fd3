//! `--teacher`: a model learns the distributions of another one instead of the rows' tokens (distillation, arXiv 1503.02531).
//! The teacher runs in this process, on each micro-batch, and gives all of its logits: nothing is stored and nothing cut.

use super::settings::SftSettings;
use crate::vocabulary::StartingPoint;
use anyhow::{Result, ensure};
use checkpoint::Checkpoint;
use report::numbers::separated;
use serde_json::Value;
use training::{
    Base, Batch, ComputeSettings, Device, Distillation, DistilledTokens, Divergence, Learner, Teacher,
    teacher,
};

/// The settings that mean something with a teacher only.
const KEYS: [&str; 3] = ["teacher", "distill_beta", "distill_temperature"];

/// A teacher that is loaded, and what is learned from it.
pub(super) struct LoadedTeacher {
    teacher: Box<dyn Teacher>,
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
    match (teacher, configuration.as_object_mut()) {
        (Some(teacher), Some(fields)) => {
            fields.insert(KEYS[0].to_owned(), teacher.weights_sha256()?.into());
        }
        (None, Some(fields)) => KEYS.iter().for_each(|key| drop(fields.remove(*key))),
        (_, None) => {}
    }
    Ok(())
}

impl LoadedTeacher {
    /// Copies the teacher's weights.
    ///
    /// # Errors
    /// When the run does not compute on the CPU.
    pub(super) fn load(
        opened: &Checkpoint,
        settings: &SftSettings,
        compute: &ComputeSettings,
    ) -> Result<Self> {
        ensure!(
            compute.device == Device::Cpu,
            "the device is {}, but models only learn from a teacher (`--teacher`) on the CPU; give `--device cpu`",
            compute.device
        );
        let base = Base::from_weights(&opened.config, &opened.weights);
        Ok(Self {
            teacher: teacher(base, settings.max_length, compute)?,
            divergence: Divergence {
                beta: settings.distill_beta as f32,
                temperature: settings.distill_temperature as f32,
            },
        })
    }

    /// Adds the gradient of the weighted divergences of a batch to the learner's.
    ///
    /// # Errors
    /// When the device fails.
    pub(super) fn gradient(
        &mut self,
        learner: &mut Learner,
        batch: &Batch,
        weights: &[f32],
    ) -> Result<DistilledTokens> {
        let target = Distillation { divergence: self.divergence, weights };
        learner.distill(batch, self.teacher.as_mut(), target, true)
    }

    /// Returns the divergences of a batch.
    ///
    /// # Errors
    /// When the device fails.
    pub(super) fn compare(&mut self, learner: &mut Learner, batch: &Batch) -> Result<DistilledTokens> {
        let weights = vec![0.0; batch.targets.len()];
        let target = Distillation { divergence: self.divergence, weights: &weights };
        learner.distill(batch, self.teacher.as_mut(), target, false)
    }
}
