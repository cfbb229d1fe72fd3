//! How far a run is: what a checkpoint records beside weights and moments.

use crate::order::Origin;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Steps done.
    pub(crate) step: u64,
    /// Tokens that went through the model, including those that are not trained.
    pub(crate) num_tokens: u64,
    /// Seconds of training, including those before the last resume.
    pub(crate) seconds: f64,
    /// Step and loss of the best evaluation so far.
    pub(crate) best: Option<(u64, f64)>,
    /// Evaluations since the best one.
    #[serde(default)]
    pub(crate) stale_evaluations: u64,
    /// Rows or packs of rows that were taken, of all epochs; earlier versions did not record it.
    #[serde(default)]
    pub(crate) rows: Option<u64>,
    /// Where batches of the current size began.
    #[serde(default)]
    pub(crate) origin: Origin,
    /// How far pretraining has read its sources.
    #[serde(default, rename = "drawn")]
    pub(crate) mixture: MixtureState,
}

/// How far pretraining has read its sources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct MixtureState {
    /// Tokens taken from each source since the run started.
    pub(crate) tokens: BTreeMap<String, u64>,
    /// Sequences taken from each source since the mixture last changed.
    pub(crate) sequences: BTreeMap<String, u64>,
    /// The weights of the mixture.
    pub(crate) weights: BTreeMap<String, f64>,
}
