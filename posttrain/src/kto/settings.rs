//! The settings of KTO.

use super::loss::{KtoLoss, LossSettings};
use crate::checks::refuse_beyond_positions;
use crate::data::DataSettings;
use crate::examples::{Rules, TooLong};
use crate::settings::{TrainingSettings, at_least_one, settings, within};
use crate::vocabulary::StartingPoint;
use anyhow::{Result, ensure};
use serde_json::{Map, Value};
use training::memory::Lengths;

settings! {
    /// The settings that only KTO has. Names are those of TRL's KTOConfig.
    pub(crate) struct KtoSettings, KtoFlags {
        /// Passes over the replies; `steps` overrides it
        epochs: f64 = 1.0,
        /// Optimizer steps; 0 means `epochs`
        steps: u64 = 0,
        /// Replies of an optimizer step; kto measures its divergence on them, so few are noisy
        batch_size: usize = 32,
        /// Maximum tokens of a prompt with a reply
        max_length: usize = 1024,
        /// What to do with longer rows
        too_long: TooLong = TooLong::Cut,
        /// Loss
        [value_enum]
        loss_type: KtoLoss = KtoLoss::Kto,
        /// Strength of the penalty for moving away from the reference model
        beta: f64 = 0.1,
        /// Weight of good replies; with unequal counts, counts times weights should be near 1 : 1
        desirable_weight: f64 = 1.0,
        /// Weight of bad replies
        undesirable_weight: f64 = 1.0,
        /// Shuffle the replies in a new order in every epoch; off trains good ones first
        [num_args = 0..=1, default_missing_value = "true"]
        shuffle: bool = true,
        /// Share of the replies held out for evaluation
        eval_split: f64 = 0.0,
    }
}

/// All settings of a run.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    #[serde(flatten)]
    pub(crate) kto: KtoSettings,
    #[serde(flatten)]
    pub(crate) data: DataSettings,
    #[serde(flatten)]
    pub(crate) training: TrainingSettings,
}

impl Default for Settings {
    fn default() -> Self {
        // TRL's default: preferences need much smaller steps than supervised fine-tuning.
        let training = TrainingSettings { learning_rate: 1e-6, ..TrainingSettings::default() };
        Self { kto: KtoSettings::default(), data: DataSettings::default(), training }
    }
}

impl Settings {
    /// Refuses values that no run can use.
    pub(crate) fn check(&self) -> Result<()> {
        let KtoSettings { epochs, eval_split, batch_size, max_length, beta, .. } = self.kto;
        self.training.check()?;
        within("`epochs`", epochs, f64::MIN_POSITIVE, f64::MAX)?;
        within("`eval_split`", eval_split, 0.0, 0.9)?;
        within("`desirable_weight`", self.kto.desirable_weight, 0.0, f64::MAX)?;
        within("`undesirable_weight`", self.kto.undesirable_weight, 0.0, f64::MAX)?;
        at_least_one("`batch_size`", batch_size as u64)?;
        ensure!(beta.is_finite() && beta > 0.0, "`beta` is {beta}; expected a number above 0");
        ensure!(max_length >= 2, "`max_length` is {max_length}; expected at least 2");
        Ok(())
    }

    /// Returns the loss and its parameters.
    pub(super) fn loss(&self) -> LossSettings {
        let KtoSettings { loss_type, beta, desirable_weight, undesirable_weight, .. } = self.kto;
        LossSettings { loss: loss_type, beta, desirable_weight, undesirable_weight }
    }

    /// Returns how rows become sequences, with variables for the template.
    pub(super) fn rules<'a>(
        &self,
        start: &'a StartingPoint,
        template_args: &'a Map<String, Value>,
    ) -> Result<Rules<'a>> {
        refuse_beyond_positions(self.kto.max_length, start)?;
        let rules = Rules::new(&start.template, &start.tokenizer, self.kto.max_length);
        let rules = Rules { document_end: start.document_end, too_long: self.kto.too_long, ..rules };
        Ok(self.data.rules(rules, template_args))
    }

    /// Returns the maximum tokens of a reply and of a step.
    pub(super) fn lengths(&self) -> Lengths {
        let KtoSettings { max_length, batch_size, .. } = self.kto;
        Lengths { longest: max_length, step: max_length.saturating_mul(batch_size) }
    }
}
