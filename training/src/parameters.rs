//! All weights of a model in one flat f32 buffer, in the order in which a checkpoint names them: the query, key and
//! value projections are adjacent and so one matrix, and so are the gate and up projections. Gradients and moments
//! have the same layout.

use crate::values::Values;
use checkpoint::weights::{Weights, expected_tensors};
use checkpoint::{Architecture, ModelConfig};
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
    /// Biases of queries, keys and values ((H + 2K) D), where the family has them.
    pub(crate) biases: Option<Range<usize>>,
    /// The norms of each head of queries and of keys (D each), where the family has them.
    pub(crate) head_norms: Option<[Range<usize>; 2]>,
    /// (C, H D)
    pub(crate) out: Range<usize>,
    /// (C)
    pub(crate) feed_forward_norm: Range<usize>,
    /// (2F, C)
    pub(crate) gate_up: Range<usize>,
    /// (C, F)
    pub(crate) down: Range<usize>,
    /// The norms of what attention and the feed-forward network add (C each), where the family has them.
    pub(crate) post_norms: Option<[Range<usize>; 2]>,
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
        let embedding = adjacent(&tensors, "model.", &["embed_tokens.weight"]);
        let head = match config.tie_word_embeddings {
            true => embedding.clone(),
            false => adjacent(&tensors, "", &["lm_head.weight"]),
        };
        Self {
            layers: (0..config.layers).map(|layer| LayerLayout::new(config, &tensors, layer)).collect(),
            norm: adjacent(&tensors, "model.", &["norm.weight"]),
            embedding,
            head,
        }
    }
}

impl LayerLayout {
    fn new(config: &ModelConfig, tensors: &[Tensor], layer: usize) -> Self {
        let prefix = format!("model.layers.{layer}.");
        let range = |parts: &[&str]| adjacent(tensors, &prefix, parts);
        let norm = |name: &str| range(&[format!("{name}.weight").as_str()]);
        let Architecture { has_biases, has_query_key_norms, has_post_norms, .. } = config.architecture;
        Self {
            attention_norm: norm("input_layernorm"),
            qkv: range(&["self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"]),
            biases: has_biases
                .then(|| range(&["self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"])),
            head_norms: has_query_key_norms.then(|| [norm("self_attn.q_norm"), norm("self_attn.k_norm")]),
            out: range(&["self_attn.o_proj.weight"]),
            feed_forward_norm: norm(match has_post_norms {
                true => "pre_feedforward_layernorm",
                false => "post_attention_layernorm",
            }),
            gate_up: range(&["mlp.gate_proj.weight", "mlp.up_proj.weight"]),
            down: range(&["mlp.down_proj.weight"]),
            post_norms: has_post_norms
                .then(|| [norm("post_attention_layernorm"), norm("post_feedforward_layernorm")]),
        }
    }
}

/// Returns the range of adjacent tensors that are used as one matrix or vector.
///
/// # Panics
/// If one of them is missing, or they are not adjacent: `expected_tensors` guarantees both.
fn adjacent(tensors: &[Tensor], prefix: &str, parts: &[&str]) -> Range<usize> {
    let ranges = parts.iter().map(|part| {
        let name = format!("{prefix}{part}");
        let tensor = tensors.iter().find(|tensor| tensor.name == name);
        tensor.unwrap_or_else(|| panic!("the model has no tensor {name}")).range.clone()
    });
    let joined = ranges.reduce(|joined, next| {
        assert_eq!(joined.end, next.start, "{prefix}{}: the tensors are not adjacent", parts.join(", "));
        joined.start..next.end
    });
    joined.expect("there is at least one tensor")
}

/// The trained weights: a model's, or an adapter's.
#[derive(Debug, Clone)]
pub struct Parameters {
    /// The model's shape.
    pub config: ModelConfig,
    /// The range of each weight in `values`.
    pub layout: Layout,
    /// The weights.
    pub values: Values,
}

impl Parameters {
    /// Copies a checkpoint's weights.
    pub fn from_weights(config: &ModelConfig, weights: &Weights) -> Self {
        let layout = Layout::new(config);
        let mut values = Vec::with_capacity(layout.len());
        for tensor in &layout.tensors {
            values.extend(weights.tensor(&tensor.name));
        }
        Self { config: config.clone(), layout, values: values.into() }
    }

    /// Draws matrices from N(0, initializer_range²), sets norms to 1 and biases to 0, as transformers does. With
    /// `scale_residual` the projections that write to the residual stream are divided by sqrt(2 layers), as nanotron
    /// does.
    pub fn random(config: &ModelConfig, seed: u64, scale_residual: bool) -> Self {
        let layout = Layout::new(config);
        let mut values = vec![1.0 - config.architecture.norm_offset; layout.len()];
        // Each tensor draws from a stream of its own, so the number of threads changes nothing.
        let (mut rest, mut slices) = (values.as_mut_slice(), Vec::new());
        for (index, tensor) in layout.tensors.iter().enumerate() {
            let slice = rest.split_off_mut(..tensor.range.len()).expect("tensors fill the buffer in order");
            slices.push((index, tensor, slice));
        }
        slices.into_par_iter().for_each(|(index, tensor, slice)| {
            if tensor.name.ends_with(".bias") {
                return slice.fill(0.0);
            }
            if !tensor.decays() {
                return;
            }
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
        Self { config: config.clone(), layout, values: values.into() }
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
        (self.layout, self.values) = (layout, values.into());
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
    fn the_ranges_of_all_tensors_fill_the_buffer() {
        let whole = Architecture {
            has_biases: true,
            has_query_key_norms: true,
            has_post_norms: true,
            ..Architecture::default()
        };
        for (tied, architecture) in [(true, Architecture::default()), (false, whole)] {
            let config =
                ModelConfig { tie_word_embeddings: tied, architecture, ..ModelConfig::smollm2_135m() };
            let (length, layout) = (Layout::new(&config).len(), ModelLayout::new(&config));
            let mut ranges = vec![layout.embedding.clone(), layout.norm.clone()];
            if !tied {
                ranges.push(layout.head.clone());
            }
            for layer in &layout.layers {
                let LayerLayout { attention_norm, qkv, biases, head_norms, out, .. } = layer.clone();
                let LayerLayout { feed_forward_norm, gate_up, down, post_norms, .. } = layer.clone();
                ranges.extend([attention_norm, qkv, out, feed_forward_norm, gate_up, down]);
                ranges.extend(biases.into_iter().chain(head_norms.into_iter().flatten()));
                ranges.extend(post_norms.into_iter().flatten());
            }
            ranges.sort_by_key(|range| range.start);
            let ends = ranges.iter().map(|range| range.end);
            assert!(ranges.iter().skip(1).map(|range| range.start).eq(ends.take(ranges.len() - 1)));
            assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (0, length));
            assert_eq!(layout.head == layout.embedding, tied);
        }
    }

    #[test]
    fn random_norms_change_nothing_and_biases_are_zero() {
        for norm_offset in [0.0, 1.0] {
            let architecture = Architecture {
                has_biases: true,
                has_post_norms: true,
                norm_offset,
                ..Architecture::default()
            };
            let config =
                ModelConfig { layers: 1, vocab_size: 32, architecture, ..ModelConfig::smollm2_135m() };
            for (name, shape, values) in Parameters::random(&config, 1, false).named() {
                let expected = if name.ends_with(".bias") { 0.0 } else { 1.0 - norm_offset };
                let is_vector = shape.len() == 1;
                assert_eq!(values.iter().all(|value| *value == expected), is_vector, "{name}");
            }
        }
    }
}
