//! BERT's forward pass: embeddings, then layers of attention and a feed-forward part, each with the norm after the residual.

use crate::config::Config;
use crate::weights::{Tensors, Weights};
use anyhow::Result;
use kernels::encoder::{LayerNorm, add_and_norm, add_bias, attention, bias_gelu};
use kernels::{Accumulate, Matrix, gemm};

/// A model's weights. C channels, F features of the feed-forward part.
#[derive(Debug)]
pub(crate) struct Model {
    config: Config,
    /// (vocabulary, C)
    words: Vec<f32>,
    /// (positions, C), with the embedding of the first token type added.
    positions: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
    pooler: Option<Linear>,
    head: Option<Linear>,
}

#[derive(Debug)]
struct Layer {
    /// Queries, keys and values: (3 C, C)
    qkv: Linear,
    attended: Linear,
    attended_norm: Norm,
    /// (F, C)
    up: Linear,
    /// (C, F)
    down: Linear,
    norm: Norm,
}

/// A linear layer, (outputs, inputs).
#[derive(Debug)]
struct Linear {
    weights: Vec<f32>,
    bias: Vec<f32>,
}

#[derive(Debug)]
struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Model {
    /// Takes the tensors that the config says.
    pub(crate) fn new(config: Config, weights: &Weights) -> Result<Self> {
        let tensors = weights.tensors()?;
        let channels = config.hidden_size;
        let words = tensors.get("embeddings.word_embeddings.weight", &[config.vocab_size, channels])?;
        let positions = config.max_position_embeddings;
        let mut positions = tensors.get("embeddings.position_embeddings.weight", &[positions, channels])?;
        let kinds = tensors.rows("embeddings.token_type_embeddings.weight").unwrap_or_default();
        let kinds = tensors.get("embeddings.token_type_embeddings.weight", &[kinds, channels])?;
        // A text alone is of the first type.
        for row in positions.chunks_exact_mut(channels) {
            row.iter_mut().zip(&kinds).for_each(|(value, kind)| *value += kind);
        }
        let layers = (0..config.num_hidden_layers).map(|number| Layer::new(&tensors, &config, number));
        let head = match tensors.rows("classifier.weight") {
            Some(labels) => Some(linear(&tensors, "classifier", labels, channels)?),
            None => None,
        };
        let pooler = match tensors.has("pooler.dense.weight") {
            true => Some(linear(&tensors, "pooler.dense", channels, channels)?),
            false => None,
        };
        let norm = norm(&tensors, "embeddings.LayerNorm", channels)?;
        let layers = layers.collect::<Result<_>>()?;
        Ok(Self { config, words, positions, norm, layers, pooler, head })
    }

    pub(crate) fn channels(&self) -> usize {
        self.config.hidden_size
    }

    pub(crate) fn has_pooler(&self) -> bool {
        self.pooler.is_some()
    }

    /// Weights (labels, C) and bias of a classifier's linear layer.
    pub(crate) fn head(&self) -> Option<(&[f32], &[f32])> {
        self.head.as_ref().map(|head| (&head.weights[..], &head.bias[..]))
    }

    /// tanh of the pooler's linear layer of the first token (C).
    pub(crate) fn pool(&self, first: &[f32]) -> Vec<f32> {
        let Some(pooler) = &self.pooler else { return first.to_vec() };
        let mut pooled = pooler.apply(first, 1);
        add_bias(&mut pooled, &pooler.bias);
        pooled.iter_mut().for_each(|value| *value = value.tanh());
        pooled
    }

    /// The last layer's output of all sequences (T, C), and where each begins, with T at the end.
    pub(crate) fn forward(&self, sequences: &[&[u32]]) -> (Vec<f32>, Vec<usize>) {
        let mut starts = vec![0];
        let (mut x, mut added) = (Vec::new(), Vec::new());
        let channels = self.channels();
        for sequence in sequences {
            for (id, position) in sequence.iter().zip(self.positions.chunks_exact(channels)) {
                x.extend_from_slice(&self.words[*id as usize * channels..][..channels]);
                added.extend_from_slice(position);
            }
            starts.push(x.len() / channels);
        }
        add_and_norm(&mut x, &added, &vec![0.0; channels], self.norm.view(&self.config));
        for layer in &self.layers {
            layer.apply(&mut x, &starts, &self.config);
        }
        (x, starts)
    }
}

impl Layer {
    fn new(tensors: &Tensors<'_>, config: &Config, number: usize) -> Result<Self> {
        let (channels, features) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("encoder.layer.{number}.{part}");
        let of_all =
            |kind: &str| ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}.{kind}")));
        Ok(Self {
            qkv: Linear {
                weights: tensors.joined(&of_all("weight"), &[channels, channels])?,
                bias: tensors.joined(&of_all("bias"), &[channels])?,
            },
            attended: linear(tensors, &name("attention.output.dense"), channels, channels)?,
            attended_norm: norm(tensors, &name("attention.output.LayerNorm"), channels)?,
            up: linear(tensors, &name("intermediate.dense"), features, channels)?,
            down: linear(tensors, &name("output.dense"), channels, features)?,
            norm: norm(tensors, &name("output.LayerNorm"), channels)?,
        })
    }

    /// Replaces x (T, C).
    fn apply(&self, x: &mut [f32], starts: &[usize], config: &Config) {
        let tokens = x.len() / config.hidden_size;
        let mut qkv = self.qkv.apply(x, tokens);
        add_bias(&mut qkv, &self.qkv.bias);
        let mut attended = vec![0.0; x.len()];
        attention(&mut attended, &qkv, config.num_attention_heads, config.head_dim(), starts);
        let added = self.attended.apply(&attended, tokens);
        add_and_norm(x, &added, &self.attended.bias, self.attended_norm.view(config));
        let mut features = self.up.apply(x, tokens);
        bias_gelu(&mut features, &self.up.bias);
        let added = self.down.apply(&features, tokens);
        add_and_norm(x, &added, &self.down.bias, self.norm.view(config));
    }
}

impl Linear {
    /// x (T, inputs) times the weights, without the bias: (T, outputs).
    fn apply(&self, x: &[f32], tokens: usize) -> Vec<f32> {
        let (outputs, inputs) = (self.bias.len(), x.len() / tokens.max(1));
        let mut y = vec![0.0; tokens * outputs];
        let weights = Matrix::new(&self.weights, outputs, inputs).transposed();
        gemm::<f32, _, _, _>(&mut y, Matrix::new(x, tokens, inputs), weights, Accumulate::Replace);
        y
    }
}

impl Norm {
    fn view(&self, config: &Config) -> LayerNorm<'_> {
        LayerNorm { weight: &self.weight, bias: &self.bias, epsilon: config.layer_norm_eps }
    }
}

fn linear(tensors: &Tensors<'_>, name: &str, outputs: usize, inputs: usize) -> Result<Linear> {
    Ok(Linear {
        weights: tensors.get(&format!("{name}.weight"), &[outputs, inputs])?,
        bias: tensors.get(&format!("{name}.bias"), &[outputs])?,
    })
}

fn norm(tensors: &Tensors<'_>, name: &str, channels: usize) -> Result<Norm> {
    Ok(Norm {
        weight: tensors.get(&format!("{name}.weight"), &[channels])?,
        bias: tensors.get(&format!("{name}.bias"), &[channels])?,
    })
}
