//! The frozen weights under an adapter: in bf16 where the checkpoint holds nothing else, so that they take two bytes
//! each, otherwise in f32. Nothing of them is rounded.

use crate::parameters::Layout;
use checkpoint::ModelConfig;
use checkpoint::weights::{Precision, Weights};
use half::bf16;
use kernels::Element;

/// A model's frozen weights.
#[derive(Debug)]
pub struct Base {
    /// The model's shape.
    pub config: ModelConfig,
    pub(crate) values: BaseValues,
}

/// The weights, in the order of a model's `Layout`.
#[derive(Debug)]
pub(crate) enum BaseValues {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
}

impl Base {
    /// Copies a checkpoint's weights.
    pub fn from_weights(config: &ModelConfig, weights: &Weights) -> Self {
        let is_bf16 = weights.stored() == Precision::Bf16 && !weights.is_adapted();
        let values = match is_bf16 {
            true => BaseValues::Bf16(copied(config, weights)),
            false => BaseValues::F32(copied(config, weights)),
        };
        // Everything is copied: the pages of the file need not stay in memory.
        weights.release();
        Self { config: config.clone(), values }
    }

    /// Returns the bytes that the weights take.
    pub fn bytes(&self) -> usize {
        match &self.values {
            BaseValues::F32(values) => size_of_val(values.as_slice()),
            BaseValues::Bf16(values) => size_of_val(values.as_slice()),
        }
    }

    /// Calls `update` with the bytes of the weights, in pieces, so that a hash of them can be made.
    pub fn for_each_piece(&self, mut update: impl FnMut(&[u8])) {
        fn pieces<E: Element>(values: &[E], update: &mut impl FnMut(&[u8])) {
            for piece in values.chunks(1 << 16) {
                let bytes: Vec<u8> = piece.iter().flat_map(|value| value.to_f32().to_le_bytes()).collect();
                update(&bytes);
            }
        }
        match &self.values {
            BaseValues::F32(values) => pieces(values, &mut update),
            BaseValues::Bf16(values) => pieces(values, &mut update),
        }
    }
}

fn copied<E: Element>(config: &ModelConfig, weights: &Weights) -> Vec<E> {
    let layout = Layout::new(config);
    let mut values = Vec::with_capacity(layout.len());
    for tensor in &layout.tensors {
        values.extend(weights.tensor(&tensor.name).into_iter().map(E::from_f32));
    }
    values
}
