//! The packed weights of one decoder layer. Matrices that read the same activations are packed as one.

use super::scratch::padded;
use checkpoint::Checkpoint;
use kernels::{PackedMatrix, WeightFormat};

/// One decoder layer.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) attention_norm: Vec<f32>,      // (C)
    pub(super) query_key_value: PackedMatrix, // ((H + 2 K) D, C)
    pub(super) output: PackedMatrix,          // (C, H D)
    pub(super) feed_forward_norm: Vec<f32>,   // (C)
    pub(super) gate_up: PackedMatrix,         // (2 F, C): alternately sixteen rows of gate, sixteen of up
    pub(super) down: PackedMatrix,            // (C, F)
}

impl Layer {
    /// Packs the weights of layer `index`.
    pub(super) fn load(checkpoint: &Checkpoint, index: usize, format: WeightFormat) -> Self {
        let (config, weights) = (&checkpoint.config, &checkpoint.weights);
        let name = |part: &str| format!("model.layers.{index}.{part}.weight");
        let rows = |part: &str| weights.rows(&name(part));
        let (c, f) = (config.hidden_size, config.intermediate_size);
        let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let (query, key, value) =
            (rows("self_attn.q_proj"), rows("self_attn.k_proj"), rows("self_attn.v_proj"));
        let (output, gate, up, down) =
            (rows("self_attn.o_proj"), rows("mlp.gate_proj"), rows("mlp.up_proj"), rows("mlp.down_proj"));
        let fused = |row: usize, out: &mut [f32]| match row {
            row if row < queries => query.read(row, out),
            row if row < queries + keys => key.read(row - queries, out),
            row => value.read(row - queries - keys, out),
        };
        let interleaved = |row: usize, out: &mut [f32]| {
            let source = row / 32 * 16 + row % 16;
            match row / 16 % 2 {
                _ if source >= f => out.fill(0.0),
                0 => gate.read(source, out),
                _ => up.read(source, out),
            }
        };
        Self {
            attention_norm: weights.tensor(&name("input_layernorm")),
            query_key_value: PackedMatrix::pack(format, queries + 2 * keys, c, fused),
            output: PackedMatrix::pack(format, c, queries, |row, out| output.read(row, out)),
            feed_forward_norm: weights.tensor(&name("post_attention_layernorm")),
            gate_up: PackedMatrix::pack(format, 2 * padded(f), c, interleaved),
            down: PackedMatrix::pack(format, c, f, |row, out| down.read(row, out)),
        }
    }
}
