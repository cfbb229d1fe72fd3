//! All weights of a model in one flat f32 buffer, in the order in which a checkpoint names them: the query, key and
//! value projections are adjacent and so one matrix, and so are the gate and up projections. Gradients and moments
//! have the same layout.

use checkpoint::ModelConfig;
use checkpoint::weights::{Weights, expected_tensors};
use rayon::prelude::*;
use std::ops::Range;

/// The named tensors that fill a flat buffer: those of a model, or those of an adapter.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Every tensor, in the order of the buffer.
    pub tensors: Vec<Tensor>,
}

/// The ranges of a model's weights in its flat buffer.
#[derive(Debug, Clone)]
pub(crate) struct ModelLayout {
    /// (V, C)
    pub(crate) embedding: Range<usize>,
    pub(crate) layers: Vec<LayerLayout>,
    /// The final norm (C).
    pub(crate) norm: Range<usize>,
    /// (V, C); the embedding's range where the head is tied to it.
    pub(crate) head: Range<usize>,
}

/// One named tensor of the flat buffer.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Its name in a checkpoint.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its range in the buffer.
    pub range: Range<usize>,
}

impl Tensor {
    /// Returns whether weight decay applies: to matrices, not to norms.
    pub fn decays(&self) -> bool {
        self.shape.len() > 1
    }
}

/// The ranges of one layer.
#[derive(Debug, Clone)]
pub(crate) struct LayerLayout {
    /// (C)
    pub(crate) attention_norm: Range<usize>,
    /// ((H + 2K) D, C)
    pub(crate) qkv: Range<usize>,
    /// (C, H D)
    pub(crate) out: Range<usize>,
    /// (C)
    pub(crate) feed_forward_norm: Range<usize>,
    /// (2F, C)
    pub(crate) gate_up: Range<usize>,
    /// (C, F)
    pub(crate) down: Range<usize>,
}

impl Layout {
    /// Returns the layout of a model of this shape.
    pub fn new(config: &ModelConfig) -> Self {
        Self::of_tensors(expected_tensors(config))
    }

    /// Returns the layout of tensors (name, shape) that follow one another.
    pub(crate) fn of_tensors(tensors: Vec<(String, Vec<usize>)>) -> Self {
        let mut end = 0;
        let place = |(name, shape): (String, Vec<usize>)| {
            let start = end;
            end += shape.iter().product::<usize>();
            Tensor { name, shape, range: start..end }
        };
        Self { tensors: tensors.into_iter().map(place).collect() }
    }

    /// Returns the number of weights.
    pub fn len(&self) -> usize {
        self.tensors.last().map_or(0, |tensor| tensor.range.end)
    }

    /// Returns whether there are no weights.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ModelLayout {
    /// Returns the ranges of a model of this shape.
    pub(crate) fn new(config: &ModelConfig) -> Self {
        let Layout { tensors } = Layout::new(config);
        let embedding = matrix(&tensors, "model.", &["embed_tokens"]);
        let head = match config.tie_word_embeddings {
            true => embedding.clone(),
            false => matrix(&tensors, "", &["lm_head"]),
        };
        Self {
            layers: (0..config.layers).map(|layer| LayerLayout::new(&tensors, layer)).collect(),
            norm: matrix(&tensors, "model.", &["norm"]),
            embedding,
            head,
        }
    }
}

impl LayerLayout {
    fn new(tensors: &[Tensor], layer: usize) -> Self {
        let prefix = format!("model.layers.{layer}.");
        let range = |parts: &[&str]| matrix(tensors, &prefix, parts);
        Self {
            attention_norm: range(&["input_layernorm"]),
            qkv: range(&["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
            out: range(&["self_attn.o_proj"]),
            feed_forward_norm: range(&["post_attention_layernorm"]),
            gate_up: range(&["mlp.gate_proj", "mlp.up_proj"]),
            down: range(&["mlp.down_proj"]),
        }
    }
}

/// Returns the range of adjacent tensors that are used as one matrix.
///
/// # Panics
/// If one of them is missing, or they are not adjacent: `expected_tensors` guarantees both.
fn matrix(tensors: &[Tensor], prefix: &str, parts: &[&str]) -> Range<usize> {
    let ranges = parts.iter().map(|part| {
        let name = format!("{prefix}{part}.weight");
        let tensor = tensors.iter().find(|tensor| tensor.name == name);
        tensor.unwrap_or_else(|| panic!("the model has no tensor {name}")).range.clone()
    });
    let joined = ranges.reduce(|joined, next| {
        assert_eq!(joined.end, next.start, "{prefix}{}: the tensors are not adjacent", parts.join(", "));
        joined.start..next.end
    });
    joined.expect("a matrix has at least one tensor")
}

/// The trained weights: a model's, or an adapter's.
#[derive(Debug, Clone)]
pub struct Parameters {
    /// The model's shape.
    pub config: ModelConfig,
    /// The range of each weight in `values`.
    pub layout: Layout,
    /// The weights.
    pub values: Vec<f32>,
}

impl Parameters {
    /// Copies a checkpoint's weights.
    pub fn from_weights(config: &ModelConfig, weights: &Weights) -> Self {
        let layout = Layout::new(config);
        let mut values = Vec::with_capacity(layout.len());
        for tensor in &layout.tensors {
            values.extend(weights.tensor(&tensor.name));
        }
        Self { config: config.clone(), layout, values }
    }

    /// Draws weights from N(0, initializer_range²) and sets norms to 1, as transformers initializes a Llama. With
    /// `scale_residual` the projections that write to the residual stream are divided by sqrt(2 layers), as nanotron
    /// does.
    pub fn random(config: &ModelConfig, seed: u64, scale_residual: bool) -> Self {
        let layout = Layout::new(config);
        let mut values = vec![1.0; layout.len()];
        // Each tensor draws from a stream of its own, so the number of threads changes nothing.
        let (mut rest, mut slices) = (values.as_mut_slice(), Vec::new());
        for (index, tensor) in layout.tensors.iter().enumerate() {
            let slice = rest.split_off_mut(..tensor.range.len()).expect("tensors fill the buffer in order");
            slices.push((index, tensor, slice));
        }
        let matrices = slices.into_par_iter().filter(|(_, tensor, _)| tensor.decays());
        matrices.for_each(|(index, tensor, slice)| {
            let mut normal = random::Normal::new(random::mix(seed, index as u64));
            let writes_residual =
                tensor.name.ends_with("o_proj.weight") || tensor.name.ends_with("down_proj.weight");
            let scale = match writes_residual && scale_residual {
                true => (2.0 * config.layers as f64).sqrt(),
                false => 1.0,
            };
            let deviation = config.initializer_range / scale;
            slice.iter_mut().for_each(|value| *value = (normal.next() * deviation) as f32);
        });
        Self { config: config.clone(), layout, values }
    }

    /// Gives the embedding (and an untied head) more rows. Each new row is the mean of the previous ones.
    ///
    /// # Panics
    /// If it has more rows already.
    pub fn resize_vocabulary(&mut self, rows: usize) {
        let previous = std::mem::replace(&mut self.config.vocab_size, rows);
        assert!(previous <= rows, "resize_vocabulary: from {previous} to {rows}");
        let channels = self.config.hidden_size;
        let layout = Layout::new(&self.config);
        let mut values = Vec::with_capacity(layout.len());
        for (tensor, resized) in self.layout.tensors.iter().zip(&layout.tensors) {
            let kept = &self.values[tensor.range.clone()];
            values.extend_from_slice(kept);
            if tensor.shape != resized.shape {
                let column =
                    |channel: usize| kept.iter().skip(channel).step_by(channels).map(|w| f64::from(*w));
                let mean = |channel: usize| (column(channel).sum::<f64>() / previous as f64) as f32;
                let mean: Vec<f32> = (0..channels).map(mean).collect();
                (previous..rows).for_each(|_| values.extend_from_slice(&mean));
            }
        }
        (self.layout, self.values) = (layout, values);
    }

    /// Returns the tensors (name, shape, values) as a checkpoint's file names them.
    pub fn named(&self) -> Vec<(String, Vec<usize>, &[f32])> {
        let named =
            |tensor: &Tensor| (tensor.name.clone(), tensor.shape.clone(), &self.values[tensor.range.clone()]);
        self.layout.tensors.iter().map(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every tensor belongs to one range, and the ranges fill the buffer.
    #[test]
    fn the_ranges_of_all_matrices_fill_the_buffer() {
        for tied in [true, false] {
            let config = ModelConfig { tie_word_embeddings: tied, ..ModelConfig::smollm2_135m() };
            let (length, layout) = (Layout::new(&config).len(), ModelLayout::new(&config));
            let mut ranges = vec![layout.embedding.clone(), layout.norm.clone()];
            if !tied {
                ranges.push(layout.head.clone());
            }
            for layer in &layout.layers {
                let LayerLayout { attention_norm, qkv, out, feed_forward_norm, gate_up, down } = layer;
                ranges.extend([attention_norm, qkv, out, feed_forward_norm, gate_up, down].map(Clone::clone));
            }
            ranges.sort_by_key(|range| range.start);
            let ends = ranges.iter().map(|range| range.end);
            assert!(ranges.iter().skip(1).map(|range| range.start).eq(ends.take(ranges.len() - 1)));
            assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (0, length));
            assert_eq!(layout.head == layout.embedding, tied);
        }
    }
}
