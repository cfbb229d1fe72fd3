//! The learning rate of every step. Shapes and their rounding are those of transformers' `get_scheduler`
//! (<https://github.com/huggingface/transformers/blob/v4.57.0/src/transformers/optimization.py>), whose
//! warm-up begins at 0; `wsd` decays in a line, as nanotron did for SmolLM2.

use crate::recipe::Training;

/// What happens after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum Shape {
    /// Half a cosine down to the end.
    Cosine,
    /// A line down to the end.
    Linear,
    /// Stays at the peak.
    #[serde(alias = "constant_with_warmup")]
    #[clap(alias = "constant_with_warmup")]
    Constant,
    /// Warm-up, stable, decay: stays, then a line down over the last `decay_ratio`.
    #[serde(alias = "warmup_stable_decay")]
    #[clap(alias = "warmup_stable_decay")]
    Wsd,
}

/// The learning rate over a run of known length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    peak: f64,
    /// Where it ends, as a share of the peak.
    floor: f64,
    shape: Shape,
    warmup: u64,
    decay: u64,
    total: u64,
}

impl Schedule {
    /// The schedule of a run of `total` steps.
    pub fn new(training: &Training, total: u64) -> Self {
        let share = |ratio: f64| (total as f64 * ratio).ceil() as u64;
        Self {
            peak: training.learning_rate,
            floor: training.min_lr_ratio,
            shape: training.lr_scheduler_type,
            warmup: training.warmup(total),
            decay: share(training.decay_ratio),
            total,
        }
    }

    /// The learning rate of a step, counted from 0.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.peak * step as f64 / self.warmup as f64;
        }
        let decay_begins = match self.shape {
            Shape::Wsd => self.total.saturating_sub(self.decay).max(self.warmup),
            _ => self.warmup,
        };
        let steps = self.total.saturating_sub(decay_begins).max(1);
        let done = (step.saturating_sub(decay_begins) as f64 / steps as f64).min(1.0);
        let left = match self.shape {
            Shape::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            Shape::Linear | Shape::Wsd => 1.0 - done,
            Shape::Constant => 1.0,
        };
        self.peak * (self.floor + (1.0 - self.floor) * left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(shape: Shape, warmup_steps: u64, total: u64, steps: &[u64]) -> Vec<f64> {
        let training = Training {
            learning_rate: 1.0,
            lr_scheduler_type: shape,
            warmup_steps,
            decay_ratio: 0.2,
            ..Training::default()
        };
        let schedule = Schedule::new(&training, total);
        steps.iter().map(|step| (schedule.rate(*step) * 1e6).round() / 1e6).collect()
    }

    /// Numbers by transformers 5.23's get_scheduler(...).get_last_lr() after that many steps.
    #[test]
    fn shapes_are_those_of_transformers() {
        let steps = [0, 1, 2, 5, 9];
        assert_eq!(rates(Shape::Cosine, 2, 10, &steps), [0.0, 0.5, 1.0, 0.691_342, 0.038_06]);
        assert_eq!(rates(Shape::Linear, 2, 10, &steps), [0.0, 0.5, 1.0, 0.625, 0.125]);
        assert_eq!(rates(Shape::Constant, 2, 10, &steps), [0.0, 0.5, 1.0, 1.0, 1.0]);
        assert_eq!(rates(Shape::Wsd, 2, 10, &[0, 2, 7, 8, 9, 10]), [0.0, 1.0, 1.0, 1.0, 0.5, 0.0]);
    }

    #[test]
    fn a_floor_is_where_it_ends() {
        let training = Training { learning_rate: 2.0, min_lr_ratio: 0.1, ..Training::default() };
        let schedule = Schedule::new(&training, 4);
        assert_eq!((schedule.rate(0), schedule.rate(4)), (2.0, 0.2));
    }
}
