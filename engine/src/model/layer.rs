//! The packed weights of one decoder layer. Matrices that read the same activations are packed as one.

use super::pack::Holding;
use super::scratch::padded;
use checkpoint::Checkpoint;
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

impl Layer {
    /// Packs the weights of layer `index`.
    pub(super) fn load(checkpoint: &Checkpoint, index: usize, holding: Holding) -> Self {
        let (config, weights) = (&checkpoint.config, &checkpoint.weights);
        let name = |part: &str| format!("model.layers.{index}.{part}.weight");
        let rows = |part: &str| weights.rows(&name(part));
        let (c, f) = (config.hidden_size, config.intermediate_size);
        let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let attention = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"].map(rows);
        let fused = |row: usize| match row {
            row if row < queries => Some((0, row)),
            row if row < queries + keys => Some((1, row - queries)),
            row => Some((2, row - queries - keys)),
        };
        let interleaved = |row: usize| {
            let source = row / 32 * 16 + row % 16;
            (source < f).then_some((row / 16 % 2, source))
        };
        let alone = |row: usize| Some((0, row));
        let architecture = &config.architecture;
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
            query_key_value: holding.pack(&attention, queries + 2 * keys, c, fused),
            output: holding.pack(&[rows("self_attn.o_proj")], c, queries, alone),
            feed_forward_norm: norm(true, feed_forward_norm),
            gate_up: holding.pack(&["mlp.gate_proj", "mlp.up_proj"].map(rows), 2 * padded(f), c, interleaved),
            down: holding.pack(&[rows("mlp.down_proj")], c, f, alone),
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
