//! The rotary tables that a model's layers use.

use checkpoint::{ModelConfig, Rotation};
use kernels::RopeTable;

/// The tables of most layers, and of those with a window where that is another one.
#[derive(Debug)]
pub(super) struct Positions {
    whole: RopeTable,
    windowed: Option<RopeTable>,
}

impl Positions {
    /// Returns the tables for sequences of up to `positions` tokens.
    pub(super) fn new(config: &ModelConfig, positions: usize) -> Self {
        let architecture = &config.architecture;
        let mut frequencies = RopeTable::frequencies(config.head_dim, config.rope_theta);
        architecture.rope_scaling.apply(&mut frequencies);
        let whole = RopeTable::with_frequencies(positions, &frequencies);
        let windowed = architecture.window_rope_theta;
        Self {
            whole: whole.scaled(architecture.rope_scaling.attention_factor()),
            windowed: windowed.map(|theta| RopeTable::new(positions, config.head_dim, theta)),
        }
    }

    /// Returns the table of a layer; none if its queries and keys are not rotated.
    pub(super) fn of_layer(&self, config: &ModelConfig, layer: usize) -> Option<&RopeTable> {
        match config.architecture.rotation(layer) {
            Rotation::None => None,
            Rotation::Windowed => self.windowed.as_ref(),
            Rotation::Whole => Some(&self.whole),
        }
    }
}
