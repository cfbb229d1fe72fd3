//! The settings of supervised fine-tuning.

use crate::checks::refuse_beyond_positions;
use crate::data::DataSettings;
use crate::examples::{Rules, TokenIds, TooLong, TrainOn};
use crate::settings::{TrainingSettings, at_least_one, settings, within};
use crate::vocabulary::StartingPoint;
use anyhow::{Result, ensure};
use serde_json::{Map, Value};
use training::memory::Lengths;

settings! {
    /// The settings that only supervised fine-tuning has.
    pub(crate) struct SftSettings, SftFlags {
        /// Passes over the data; `steps` overrides it
        epochs: f64 = 1.0,
        /// Optimizer steps; 0 means `epochs`
        steps: u64 = 0,
        /// Packs of an optimizer step; rows, where `packing` is off
        batch_size: usize = 16,
        /// Maximum tokens of a row and of a pack
        max_length: usize = 1024,
        /// What to do with longer rows
        too_long: TooLong = TooLong::Cut,
        /// Which tokens add to the loss
        [alias = "loss-on"]
        train_on: TrainOn = TrainOn::Assistant,
        /// Fill packs of `max_length` tokens with whole rows that do not attend to each other
        [num_args = 0..=1, default_missing_value = "true"]
        packing: bool = true,
        /// Shuffle the rows in a new order in every epoch; off keeps their order
        [num_args = 0..=1, default_missing_value = "true"]
        shuffle: bool = true,
        /// Share of the rows held out for evaluation
        eval_split: f64 = 0.0,
        /// Model whose distributions are learned instead of the tokens (distillation): a checkpoint folder, a GGUF file or a
        /// Hugging Face id, with the same tokenizer
        [value_name = "MODEL"]
        teacher: String = String::new(),
        /// Learn the distributions that replies are stored with (`smoltalk gen --keep-logprobs`) instead of their tokens
        [num_args = 0..=1, default_missing_value = "true"]
        stored_logprobs: bool = false,
        /// Divergence from the teacher: 0 is the forward KL divergence, 1 the reverse one, between them the generalized
        /// Jensen-Shannon divergence
        distill_beta: f64 = 0.0,
        /// Temperature of both distributions in the divergence
        distill_temperature: f64 = 1.0,
    }
}

/// All settings of a run.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    #[serde(flatten)]
    pub(crate) sft: SftSettings,
    #[serde(flatten)]
    pub(crate) data: DataSettings,
    #[serde(flatten)]
    pub(crate) training: TrainingSettings,
}

impl Settings {
    /// Refuses values that no run can use.
    pub(crate) fn check(&self) -> Result<()> {
        self.training.check()?;
        within("`epochs`", self.sft.epochs, f64::MIN_POSITIVE, f64::MAX)?;
        within("`eval_split`", self.sft.eval_split, 0.0, 0.9)?;
        within("`distill_beta`", self.sft.distill_beta, 0.0, 1.0)?;
        within("`distill_temperature`", self.sft.distill_temperature, 0.01, 100.0)?;
        ensure!(
            !self.sft.stored_logprobs || (self.sft.teacher.is_empty() && self.sft.distill_temperature == 1.0),
            "`stored_logprobs` takes no `teacher` and no `distill_temperature`: what is stored is the distribution at temperature 1; remove them"
        );
        at_least_one("`batch_size`", self.sft.batch_size as u64)?;
        ensure!(
            self.sft.max_length >= 2,
            "`max_length` is {}; expected at least 2, because the first token is never trained",
            self.sft.max_length
        );
        Ok(())
    }

    /// Returns how rows become sequences, with variables for the template.
    pub(super) fn rules<'a>(
        &self,
        start: &'a StartingPoint,
        template_args: &'a Map<String, Value>,
        token_ids: Option<&'a TokenIds>,
    ) -> Result<Rules<'a>> {
        refuse_beyond_positions(self.sft.max_length, start)?;
        let SftSettings { max_length, too_long, train_on, .. } = self.sft;
        let rules = Rules::new(&start.template, &start.tokenizer, max_length);
        let document_end = start.document_end;
        let rules = Rules { document_end, too_long, train_on, stored_logprobs: token_ids, ..rules };
        Ok(self.data.rules(rules, template_args))
    }

    /// Returns the maximum tokens of a pack and of a step.
    pub(super) fn lengths(&self) -> Lengths {
        let SftSettings { max_length, batch_size, .. } = self.sft;
        Lengths { longest: max_length, step: max_length.saturating_mul(batch_size) }
    }
}
