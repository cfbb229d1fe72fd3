//! All weights of a model in one flat f32 buffer, in the order a checkpoint names them, so that queries,
//! keys and values are one matrix and so are gate and up. Gradients and moments share the layout.

use rayon::prelude::*;
use smollm::ModelConfig;
use smollm::weights::{Weights, expected_tensors};
use std::ops::Range;

/// Where every weight lies in the flat buffer.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Every tensor: name, shape, place.
    pub tensors: Vec<Tensor>,
    pub(crate) embedding: Range<usize>,
    pub(crate) layers: Vec<LayerLayout>,
    pub(crate) norm: Range<usize>,
    /// The embedding's place where the head is tied to it.
    pub(crate) head: Range<usize>,
}

/// One named tensor of the flat buffer.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Its name in a checkpoint.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its place.
    pub range: Range<usize>,
}

impl Tensor {
    /// Whether weight decay applies: to matrices, not to norms.
    pub fn decayed(&self) -> bool {
        self.shape.len() > 1
    }
}

#[derive(Debug, Clone)]
pub(crate) struct LayerLayout {
    pub(crate) attention_norm: Range<usize>,
    /// ((H + 2K) D, C)
    pub(crate) qkv: Range<usize>,
    /// (C, H D)
    pub(crate) out: Range<usize>,
    pub(crate) feed_forward_norm: Range<usize>,
    /// (2F, C)
    pub(crate) gate_up: Range<usize>,
    /// (C, F)
    pub(crate) down: Range<usize>,
}

impl Layout {
    /// The layout of a model of this shape.
    pub fn new(config: &ModelConfig) -> Self {
        let mut end = 0;
        let place = |(name, shape): (String, Vec<usize>)| {
            let start = end;
            end += shape.iter().product::<usize>();
            Tensor { name, shape, range: start..end }
        };
        let tensors: Vec<Tensor> = expected_tensors(config).into_iter().map(place).collect();
        // Embedding, nine tensors a layer, final norm, and the head where it is not tied.
        let span = |first: usize, last: usize| tensors[first].range.start..tensors[last].range.end;
        let layers = (0..config.layers)
            .map(|layer| 1 + 9 * layer)
            .map(|first| LayerLayout {
                attention_norm: span(first, first),
                qkv: span(first + 1, first + 3),
                out: span(first + 4, first + 4),
                feed_forward_norm: span(first + 5, first + 5),
                gate_up: span(first + 6, first + 7),
                down: span(first + 8, first + 8),
            })
            .collect();
        let norm = 1 + 9 * config.layers;
        let head = if config.tie_word_embeddings { 0 } else { norm + 1 };
        Self { embedding: span(0, 0), layers, norm: span(norm, norm), head: span(head, head), tensors }
    }

    /// Number of weights.
    pub fn len(&self) -> usize {
        self.tensors.last().map_or(0, |tensor| tensor.range.end)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A model's weights.
#[derive(Debug, Clone)]
pub struct Parameters {
    /// The model's shape.
    pub config: ModelConfig,
    /// Where each weight lies.
    pub layout: Layout,
    /// The weights, f32.
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

    /// Weights drawn from N(0, initializer_range²), norms 1: as transformers initialises a Llama. With
    /// `scale_residual`, what writes to the residual stream is divided by sqrt(2 layers): as nanotron does.
    pub fn random(config: &ModelConfig, seed: u64, scale_residual: bool) -> Self {
        let layout = Layout::new(config);
        let mut values = vec![1.0; layout.len()];
        // Every tensor has a stream of its own, so threads change nothing.
        let (mut rest, mut places) = (values.as_mut_slice(), Vec::new());
        for (index, tensor) in layout.tensors.iter().enumerate() {
            let place = rest.split_off_mut(..tensor.range.len()).expect("tensors fill the buffer in order");
            places.push((index, tensor, place));
        }
        places.into_par_iter().filter(|(_, tensor, _)| tensor.decayed()).for_each(
            |(index, tensor, place)| {
                let mut normal = crate::random::Normal::new(crate::random::mix(seed, index as u64));
                let residual =
                    tensor.name.ends_with("o_proj.weight") || tensor.name.ends_with("down_proj.weight");
                let scale =
                    if residual && scale_residual { (2.0 * config.layers as f64).sqrt() } else { 1.0 };
                let deviation = config.initializer_range / scale;
                place.iter_mut().for_each(|value| *value = (normal.next() * deviation) as f32);
            },
        );
        Self { config: config.clone(), layout, values }
    }

    /// Gives the embedding (and an untied head) more rows, each the mean of those it had.
    ///
    /// # Panics
    /// If it has more rows already.
    pub fn resize_vocabulary(&mut self, rows: usize) {
        let old = std::mem::replace(&mut self.config.vocab_size, rows);
        assert!(old <= rows, "resize_vocabulary: from {old} to {rows}");
        let channels = self.config.hidden_size;
        let layout = Layout::new(&self.config);
        let mut values = Vec::with_capacity(layout.len());
        for (tensor, new) in self.layout.tensors.iter().zip(&layout.tensors) {
            let kept = &self.values[tensor.range.clone()];
            values.extend_from_slice(kept);
            if tensor.shape != new.shape {
                let column =
                    |channel: usize| kept.iter().skip(channel).step_by(channels).map(|w| f64::from(*w));
                let mean: Vec<f32> =
                    (0..channels).map(|channel| (column(channel).sum::<f64>() / old as f64) as f32).collect();
                (old..rows).for_each(|_| values.extend_from_slice(&mean));
            }
        }
        (self.layout, self.values) = (layout, values);
    }

    /// The tensors as a checkpoint's file names them.
    pub fn named(&self) -> Vec<(String, Vec<usize>, &[f32])> {
        let named =
            |tensor: &Tensor| (tensor.name.clone(), tensor.shape.clone(), &self.values[tensor.range.clone()]);
        self.layout.tensors.iter().map(named).collect()
    }
}
