//! The frozen weights under an adapter: in bf16 where the checkpoint holds nothing else, so that they take two bytes
//! each, otherwise in f32; linear layers in the blocks of a GGUF file, or quantized. Nothing else is rounded.

use crate::parameters::Layout;
use crate::quantized::{QuantizedMatrices, QuantizedMatrix, planned_bytes};
use checkpoint::ModelConfig;
use checkpoint::gguf::TensorType;
use checkpoint::weights::{Precision, Weights};
use half::bf16;
use kernels::{Element, Matrix};
use std::ops::Range;

/// A model's frozen weights.
#[derive(Debug)]
pub struct Base {
    /// The model's shape.
    pub config: ModelConfig,
    pub(crate) values: BaseValues,
}

/// The weights, by the type of those that are not quantized.
#[derive(Debug)]
pub(crate) enum BaseValues {
    F32(FrozenWeights<f32>),
    Bf16(FrozenWeights<bf16>),
}

/// Numbers in the order of a model's `Layout`, without those of the quantized matrices.
#[derive(Debug)]
pub(crate) struct FrozenWeights<W> {
    numbers: Vec<W>,
    quantized: QuantizedMatrices,
}

/// A model's weights, as the passes read them: where each is follows from its range in the model's `Layout`.
#[derive(Debug)]
pub(crate) struct ModelWeights<'a, W> {
    numbers: &'a [W],
    quantized: Option<&'a QuantizedMatrices>,
}

/// A matrix (O, I) of weights.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WeightMatrix<'a, W> {
    Numbers(Matrix<'a, W>),
    Quantized(&'a QuantizedMatrix),
}

impl<W> Clone for ModelWeights<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for ModelWeights<'_, W> {}

impl<'a, W> ModelWeights<'a, W> {
    /// Returns weights none of which is quantized.
    pub(crate) fn of_all(numbers: &'a [W]) -> Self {
        Self { numbers, quantized: None }
    }

    /// Returns the numbers of a range that is not quantized.
    pub(crate) fn numbers(&self, range: &Range<usize>) -> &'a [W] {
        let before = self.quantized.map_or(0, |quantized| quantized.numbers_before(range.start));
        &self.numbers[range.start - before..range.end - before]
    }

    /// Returns the matrix of a range, with so many rows.
    pub(crate) fn matrix(&self, range: &Range<usize>, rows: usize) -> WeightMatrix<'a, W> {
        match self.quantized.and_then(|quantized| quantized.at(range.start)) {
            Some(matrix) => WeightMatrix::Quantized(matrix),
            None => WeightMatrix::Numbers(Matrix::new(self.numbers(range), rows, range.len() / rows)),
        }
    }
}

impl<W: Element> FrozenWeights<W> {
    /// Copies a checkpoint's weights.
    fn new(config: &ModelConfig, weights: &Weights, quantized: QuantizedMatrices) -> Self {
        let layout = Layout::new(config);
        let mut numbers = Vec::with_capacity(layout.len() - quantized.numbers_before(layout.len()));
        for tensor in layout.tensors.iter().filter(|tensor| !quantized.contain(tensor.range.start)) {
            numbers.extend(weights.tensor(&tensor.name).into_iter().map(W::from_f32));
            // Not the whole file beside the whole copy.
            weights.release();
        }
        Self { numbers, quantized }
    }

    /// Returns the weights as the passes read them.
    pub(crate) fn view(&self) -> ModelWeights<'_, W> {
        ModelWeights { numbers: &self.numbers, quantized: Some(&self.quantized) }
    }

    fn bytes(&self) -> usize {
        size_of_val(self.numbers.as_slice()) + self.quantized.bytes()
    }

    fn for_each_piece(&self, update: &mut impl FnMut(&[u8])) {
        for piece in self.numbers.chunks(1 << 16) {
            let bytes: Vec<u8> = piece.iter().flat_map(|value| value.to_f32().to_le_bytes()).collect();
            update(&bytes);
        }
        self.quantized.for_each_piece(update);
    }
}

impl Base {
    /// Copies a checkpoint's weights. The linear layers of a GGUF file stay in its blocks.
    pub fn from_weights(config: &ModelConfig, weights: &Weights) -> Self {
        Self::quantized(config, weights, None)
    }

    /// As `from_weights`, with the linear layers whose rows are whole blocks quantized to a type: Q8_0 or Q4_0.
    pub fn quantized(config: &ModelConfig, weights: &Weights, kind: Option<TensorType>) -> Self {
        // What was read for a hash need not stay in memory.
        weights.release();
        let quantized = QuantizedMatrices::new(config, weights, kind);
        let values = match is_bf16(weights) {
            true => BaseValues::Bf16(FrozenWeights::new(config, weights, quantized)),
            false => BaseValues::F32(FrozenWeights::new(config, weights, quantized)),
        };
        Self { config: config.clone(), values }
    }

    /// Returns how many weights [`Base::quantized`] will hold in blocks.
    pub fn quantized_weights(config: &ModelConfig, weights: &Weights, kind: Option<TensorType>) -> usize {
        planned_bytes(config, weights, kind).1
    }

    /// Returns the bytes that the weights of [`Base::quantized`] will take, before anything is read.
    pub fn planned_bytes(config: &ModelConfig, weights: &Weights, kind: Option<TensorType>) -> u64 {
        let (bytes, numbers) = planned_bytes(config, weights, kind);
        let element = if is_bf16(weights) { 2 } else { 4 };
        (bytes + element * (config.parameters() - numbers)) as u64
    }

    /// Returns the bytes that the weights take, with the buffer of one dequantized matrix.
    pub fn bytes(&self) -> usize {
        match &self.values {
            BaseValues::F32(values) => values.bytes(),
            BaseValues::Bf16(values) => values.bytes(),
        }
    }

    /// Calls `update` with the bytes of the weights, in pieces, so that a hash of them can be made.
    pub fn for_each_piece(&self, mut update: impl FnMut(&[u8])) {
        match &self.values {
            BaseValues::F32(values) => values.for_each_piece(&mut update),
            BaseValues::Bf16(values) => values.for_each_piece(&mut update),
        }
    }
}

/// Whether bf16 holds all weights as they are.
fn is_bf16(weights: &Weights) -> bool {
    weights.stored() == Precision::Bf16 && !weights.is_adapted()
}
