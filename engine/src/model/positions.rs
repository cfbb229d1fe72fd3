//! The rotary tables of a model: one for most layers, another one for layers with a window in some families, none for
//! rope-free layers.

use checkpoint::{ModelConfig, Rotation};
use kernels::RopeTable;

/// The rotary tables of all layers.
#[derive(Debug)]
pub(super) struct Positions {
    whole: RopeTable,
    /// The table of layers with a window, if it is another one.
    windowed: Option<RopeTable>,
    /// Which table each layer uses.
    rotations: Vec<Rotation>,
}

impl Positions {
    pub(super) fn new(config: &ModelConfig) -> Self {
        let architecture = &config.architecture;
        let (positions, head_dim) = (config.max_positions, config.head_dim);
        let mut frequencies = RopeTable::frequencies(head_dim, config.rope_theta);
        architecture.rope_scaling.apply(&mut frequencies);
        let windowed = architecture.window_rope_theta;
        let windowed = windowed.map(|theta| RopeTable::new(positions, head_dim, theta));
        let rotations = (0..config.layers).map(|layer| architecture.rotation(layer)).collect();
        let whole = RopeTable::with_frequencies(positions, &frequencies);
        Self { whole: whole.scaled(architecture.rope_scaling.attention_factor()), windowed, rotations }
    }

    /// Returns the table of a layer; `None` if it rotates nothing.
    pub(super) fn table(&self, layer: usize) -> Option<&RopeTable> {
        match self.rotations[layer] {
            Rotation::None => None,
            Rotation::Windowed => self.windowed.as_ref(),
            Rotation::Whole => Some(&self.whole),
        }
    }
}
