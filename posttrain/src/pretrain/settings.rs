//! The settings of pretraining: the model to start from, sources of documents, and stages.

use crate::data::DataSettings;
use crate::schedule::ScheduleType;
use crate::settings::{TrainingSettings, settings, within};
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

settings! {
    /// The settings that only pretraining has.
    pub(crate) struct PretrainSettings, PretrainFlags {
        /// Shape of a new model: smollm2-135m, smollm2-360m, smollm2-1.7b or a config.json
        init: String = String::new(),
        /// Tokenizer of a new model: a folder, a tokenizer.json or a Hugging Face id
        tokenizer: String = String::new(),
        /// Divide the initial weights that write to the residual stream by sqrt(2 layers), as nanotron does
        [num_args = 0..=1, default_missing_value = "true"]
        scale_residual_init: bool = true,
        /// Tokens to train on, without stages; 0 means every source once
        tokens: f64 = 0.0,
        /// Tokens of an optimizer step
        batch_tokens: usize = 65_536,
        /// Tokens of a sequence
        sequence_length: usize = 1024,
        /// Mask attention between the documents of a sequence
        [num_args = 0..=1, default_missing_value = "true"]
        intra_document: bool = true,
        /// Share of each source of `--data` held out for evaluation
        held_out: f64 = 0.001,
        /// Maximum held-out tokens of each source in an evaluation; 0 means all
        eval_tokens: usize = 65_536,
    }
}

/// All settings of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    #[serde(flatten)]
    pub(super) pretrain: PretrainSettings,
    #[serde(flatten)]
    pub(super) data: DataSettings,
    #[serde(flatten)]
    pub(super) training: TrainingSettings,
    pub(super) sources: Vec<SourceSettings>,
    pub(super) stages: Vec<StageSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        let training = TrainingSettings {
            lr_scheduler_type: ScheduleType::Wsd,
            learning_rate: 5e-4,
            ..TrainingSettings::default()
        };
        let (pretrain, data) = (PretrainSettings::default(), DataSettings::default());
        Self { pretrain, data, training, sources: Vec::new(), stages: Vec::new() }
    }
}

impl Settings {
    /// Refuses shares out of range, two sources with one name, and no source at all.
    pub(super) fn check_sources(&self) -> Result<()> {
        within("`held_out`", self.pretrain.held_out, 0.0, 0.9)?;
        for source in &self.sources {
            within(&format!("source {}: `held_out`", source.name), source.held_out, 0.0, 0.9)?;
        }
        for (index, source) in self.sources.iter().enumerate() {
            ensure!(
                self.sources[..index].iter().all(|other| other.name != source.name),
                "two sources are named `{}`; give them different names with `--data NAME=PATH`",
                source.name
            );
        }
        ensure!(
            !self.sources.is_empty(),
            "there is nothing to train on; give `--data NAME=PATH`, or `[[sources]]` in the recipe"
        );
        Ok(())
    }
}

/// A source of documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceSettings {
    /// The name that stages use.
    pub(super) name: String,
    /// Its files or folders.
    pub(super) paths: Vec<PathBuf>,
    /// Share of its tokens held out for evaluation.
    #[serde(default = "default_held_out")]
    pub(super) held_out: f64,
}

impl SourceSettings {
    /// Returns the source that a value of `--data` names: NAME=PATH, or a path, whose file name is the name.
    pub(super) fn parse(text: &str, held_out: f64) -> Self {
        let (name, path) = text.split_once('=').unwrap_or_else(|| {
            let stem = Path::new(text).file_stem().and_then(|stem| stem.to_str());
            (stem.unwrap_or(text), text)
        });
        Self { name: name.to_owned(), paths: vec![path.into()], held_out }
    }
}

fn default_held_out() -> f64 {
    0.001
}

/// A stage of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StageSettings {
    /// Its name.
    pub(super) name: String,
    /// Tokens of the stage.
    pub(super) tokens: f64,
    /// Weight of each source; the weights need not add up to 1.
    pub(super) mixture: BTreeMap<String, f64>,
    /// The phase of the learning rate.
    pub(super) phase: Phase,
    /// Tokens of a sequence, where they differ from the run's.
    pub(super) sequence_length: Option<usize>,
    /// Base of the rotary position embedding from this stage on, where it changes.
    pub(super) rope_theta: Option<f32>,
}

/// The phase of the learning rate in a stage, after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// Stay at the peak.
    Stable,
    /// Decay linearly; adjacent stages that decay share one line.
    Decay,
}
