//! The packed weights of one decoder layer. Matrices that read the same activations are packed as one.

use super::pack::{Arrangement, Holding};
use checkpoint::Checkpoint;
use checkpoint::weights::{Rows, Weights};
use kernels::PackedMatrix;

/// One decoder layer.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) attention_norm: Vec<f32>,      // (C)
    pub(super) query_key_value: PackedMatrix, // ((H + 2 K) D, C)
    pub(super) output: PackedMatrix,          // (C, H D)
    pub(super) feed_forward_norm: Vec<f32>,   // (C)
    pub(super) gate_up: PackedMatrix,         // (2 F, C): alternately sixteen rows of gate, sixteen of up
    pub(super) down: PackedMatrix,            // (C, F)
    // What only some families have; empty in the others.
    pub(super) biases: Vec<f32>,                 // ((H + 2 K) D)
    pub(super) query_norm: Vec<f32>,             // (D)
    pub(super) key_norm: Vec<f32>,               // (D)
    pub(super) post_attention_norm: Vec<f32>,    // (C)
    pub(super) post_feed_forward_norm: Vec<f32>, // (C)
}

/// Matrices of a layer that are packed as one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Group {
    QueryKeyValue,
    Output,
    GateUp,
    Down,
}

impl Group {
    pub(super) const ALL: [Self; 4] = [Self::QueryKeyValue, Self::Output, Self::GateUp, Self::Down];

    /// The names of its matrices in layer `index`.
    pub(super) fn names(self, index: usize) -> Vec<String> {
        let parts: &[&str] = match self {
            Self::QueryKeyValue => &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            Self::Output => &["self_attn.o_proj"],
            Self::GateUp => &["mlp.gate_proj", "mlp.up_proj"],
            Self::Down => &["mlp.down_proj"],
        };
        parts.iter().map(|part| format!("model.layers.{index}.{part}.weight")).collect()
    }

    /// Its matrices in layer `index`.
    pub(super) fn rows(self, weights: &Weights, index: usize) -> Vec<Rows<'_>> {
        self.names(index).iter().map(|name| weights.rows(name)).collect()
    }

    pub(super) fn arrangement(self) -> Arrangement {
        match self {
            Self::GateUp => Arrangement::Alternating,
            _ => Arrangement::Stacked,
        }
    }
}

impl Layer {
    /// Packs the weights of layer `index`.
    pub(super) fn load(checkpoint: &Checkpoint, index: usize, holding: Holding) -> Self {
        let name = |part: &str| format!("model.layers.{index}.{part}.weight");
        let pack = |group: Group| holding.pack(&group.rows(&checkpoint.weights, index), group.arrangement());
        let architecture = &checkpoint.config.architecture;
        let norm = |exists: bool, part: &str| match exists {
            true => norm_weights(checkpoint, &name(part)),
            false => Vec::new(),
        };
        let has_post_norms = architecture.has_post_norms;
        let feed_forward_norm =
            if has_post_norms { "pre_feedforward_layernorm" } else { "post_attention_layernorm" };
        Self {
            biases: biases(checkpoint, index),
            query_norm: norm(architecture.has_query_key_norms, "self_attn.q_norm"),
            key_norm: norm(architecture.has_query_key_norms, "self_attn.k_norm"),
            post_attention_norm: norm(has_post_norms, "post_attention_layernorm"),
            post_feed_forward_norm: norm(has_post_norms, "post_feedforward_layernorm"),
            attention_norm: norm(true, "input_layernorm"),
            query_key_value: pack(Group::QueryKeyValue),
            output: pack(Group::Output),
            feed_forward_norm: norm(true, feed_forward_norm),
            gate_up: pack(Group::GateUp),
            down: pack(Group::Down),
        }
    }
}

/// The weights (C) of a norm, by their name.
pub(super) fn norm_weights(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let mut weights = checkpoint.weights.tensor(name);
    weights.iter_mut().for_each(|weight| *weight += checkpoint.config.architecture.norm_offset);
    weights
}

/// The biases of queries, keys and values, one after the other; empty if the family has none.
fn biases(checkpoint: &Checkpoint, index: usize) -> Vec<f32> {
    if !checkpoint.config.architecture.has_biases {
        return Vec::new();
    }
    let bias = |part: &str| checkpoint.weights.tensor(&format!("model.layers.{index}.self_attn.{part}.bias"));
    ["q_proj", "k_proj", "v_proj"].into_iter().flat_map(bias).collect()
}
