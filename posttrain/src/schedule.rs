//! The learning rate of every step. The schedules and their rounding are those of transformers' `get_scheduler`
//! (<https://github.com/huggingface/transformers/blob/v4.57.0/src/transformers/optimization.py>), whose warm-up starts
//! at 0; `wsd` decays linearly, as nanotron did for SmolLM2.

use clap::ValueEnum;
use std::fmt;

/// The learning-rate schedule after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub(crate) enum ScheduleType {
    /// Decay along half a cosine
    Cosine,
    /// Decay linearly
    Linear,
    /// Stay at the peak
    #[serde(alias = "constant_with_warmup")]
    #[clap(alias = "constant_with_warmup")]
    Constant,
    /// Warm-up, stable, decay: stay at the peak, then decay linearly over the last `decay_ratio` of the steps
    #[serde(alias = "warmup_stable_decay")]
    #[clap(alias = "warmup_stable_decay")]
    Wsd,
}

impl fmt::Display for ScheduleType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no schedule is hidden from the command line");
        formatter.write_str(value.get_name())
    }
}

/// The learning rate over a run of known length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Schedule {
    /// The learning rate after the warm-up.
    pub(crate) peak: f64,
    /// The final learning rate, as a share of the peak.
    pub(crate) floor: f64,
    pub(crate) schedule_type: ScheduleType,
    /// Steps of the warm-up.
    pub(crate) warmup: u64,
    /// Steps over which `wsd` decays.
    pub(crate) decay: u64,
    /// Steps of the run.
    pub(crate) total: u64,
}

impl Schedule {
    /// Returns the learning rate of a step, counted from 0.
    pub(crate) fn rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.peak * step as f64 / self.warmup as f64;
        }
        let decay_start = match self.schedule_type {
            ScheduleType::Wsd => self.total.saturating_sub(self.decay).max(self.warmup),
            _ => self.warmup,
        };
        let steps = self.total.saturating_sub(decay_start).max(1);
        let done = (step.saturating_sub(decay_start) as f64 / steps as f64).min(1.0);
        let left = match self.schedule_type {
            ScheduleType::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            ScheduleType::Linear | ScheduleType::Wsd => 1.0 - done,
            ScheduleType::Constant => 1.0,
        };
        self.peak * (self.floor + (1.0 - self.floor) * left)
    }
}

/// Returns the steps between two events: as set, or a tenth of the run.
pub(crate) fn interval(steps: u64, total: u64) -> u64 {
    if steps > 0 { steps } else { total.div_ceil(10).max(1) }
}
