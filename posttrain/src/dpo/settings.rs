//! The settings of preference optimization.

use super::loss::{Loss, LossSettings};
use crate::checks::refuse_beyond_positions;
use crate::data::DataSettings;
use crate::examples::{Rules, TooLong};
use crate::settings::{TrainingSettings, at_least_one, settings, within};
use crate::vocabulary::StartingPoint;
use anyhow::{Result, ensure};
use serde_json::{Map, Value};
use training::memory::Lengths;

settings! {
    /// The settings that only preference optimization has. Names are those of TRL's DPOConfig.
    pub(crate) struct DpoSettings, DpoFlags {
        /// Passes over the pairs; `steps` overrides it
        epochs: f64 = 1.0,
        /// Optimizer steps; 0 means `epochs`
        steps: u64 = 0,
        /// Pairs of an optimizer step
        batch_size: usize = 16,
        /// Maximum tokens of a prompt with a reply
        max_length: usize = 1024,
        /// What to do with longer pairs
        too_long: TooLong = TooLong::Cut,
        /// Drop pairs of equal replies or equal scores, from which nothing can be learned
        [num_args = 0..=1, default_missing_value = "true"]
        drop_ties: bool = true,
        /// Losses, comma-separated; they are added up
        [value_delimiter = ',', num_args = 1.., value_enum]
        loss_type: Vec<Loss> = vec![Loss::Sigmoid],
        /// Weight of each loss, comma-separated; by default 1
        [value_delimiter = ',', num_args = 1..]
        loss_weights: Vec<f64> = Vec::new(),
        /// Strength of the penalty for moving away from the reference model
        beta: f64 = 0.1,
        /// Share of preferences assumed to be wrong, for exo_pair, robust, aot, aot_unpaired and simpo
        label_smoothing: f64 = 0.0,
        /// Temperature of discopop
        discopop_tau: f64 = 0.05,
        /// Margin of simpo, to which its paper gives beta 2 to 10
        simpo_gamma: f64 = 0.5,
        /// Shuffle the pairs in a new order in every epoch; off keeps their order
        [num_args = 0..=1, default_missing_value = "true"]
        shuffle: bool = true,
        /// Share of the pairs held out for evaluation
        eval_split: f64 = 0.0,
    }
}

/// All settings of a run.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    #[serde(flatten)]
    pub(crate) dpo: DpoSettings,
    #[serde(flatten)]
    pub(crate) data: DataSettings,
    #[serde(flatten)]
    pub(crate) training: TrainingSettings,
}

impl Default for Settings {
    fn default() -> Self {
        // TRL's default: preferences need much smaller steps than supervised fine-tuning.
        let training = TrainingSettings { learning_rate: 1e-6, ..TrainingSettings::default() };
        Self { dpo: DpoSettings::default(), data: DataSettings::default(), training }
    }
}

impl Settings {
    /// Refuses values that no run can use.
    pub(crate) fn check(&self) -> Result<()> {
        let DpoSettings { loss_type, loss_weights, .. } = &self.dpo;
        self.training.check()?;
        within("`epochs`", self.dpo.epochs, f64::MIN_POSITIVE, f64::MAX)?;
        within("`eval_split`", self.dpo.eval_split, 0.0, 0.9)?;
        at_least_one("`batch_size`", self.dpo.batch_size as u64)?;
        ensure!(
            loss_weights.is_empty() || loss_weights.len() == loss_type.len(),
            "`loss_weights` has {} values for {} losses; give one for each loss",
            loss_weights.len(),
            loss_type.len()
        );
        self.losses().check()
    }

    /// Returns the losses with their weights.
    pub(super) fn losses(&self) -> LossSettings {
        let DpoSettings { loss_type, loss_weights, beta, label_smoothing, discopop_tau, simpo_gamma, .. } =
            &self.dpo;
        let weight = |index: usize| loss_weights.get(index).copied().unwrap_or(1.0);
        LossSettings {
            losses: loss_type.iter().enumerate().map(|(index, loss)| (*loss, weight(index))).collect(),
            beta: *beta,
            label_smoothing: *label_smoothing,
            discopop_tau: *discopop_tau,
            simpo_gamma: *simpo_gamma,
        }
    }

    /// Returns how rows become sequences, with variables for the template.
    pub(super) fn rules<'a>(
        &self,
        start: &'a StartingPoint,
        template_args: &'a Map<String, Value>,
    ) -> Result<Rules<'a>> {
        refuse_beyond_positions(self.dpo.max_length, start)?;
        let rules = Rules::new(&start.template, &start.tokenizer, self.dpo.max_length);
        let DpoSettings { too_long, drop_ties, .. } = self.dpo;
        let rules = Rules { document_end: start.document_end, too_long, drop_ties, ..rules };
        Ok(self.data.rules(rules, template_args))
    }

    /// Returns the maximum tokens of a pair and of a step.
    pub(super) fn lengths(&self) -> Lengths {
        let DpoSettings { max_length, batch_size, .. } = self.dpo;
        let longest = max_length.saturating_mul(2);
        Lengths { longest, step: longest.saturating_mul(batch_size) }
    }
}
