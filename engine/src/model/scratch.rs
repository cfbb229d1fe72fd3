//! The buffers of a forward pass, reused from call to call.

use super::adapters::AdapterStep;
use super::stride::padded;
use checkpoint::ModelConfig;
use kernels::Activations;

/// The buffers of a forward pass. Rows are padded to whole vectors unless stated otherwise.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) x: Vec<f32>,                // (T, C): the residual stream
    pub(super) normed: Vec<f32>,           // (T, C), rows not padded
    pub(super) qkv: Vec<f32>,              // (T, (H + 2 K) D)
    pub(super) attention_output: Vec<f32>, // (T, H D)
    pub(super) gate_up: Vec<f32>,          // (T, 2 F), alternating; only where an adapter changes gate or up
    pub(super) gated: Vec<f32>,            // (T, F)
    pub(super) branch: Vec<f32>,           // (T, C): what a norm follows before it is added to x
    pub(super) activations: Activations,
    pub(super) adapters: AdapterStep,
    pub(super) logits: Vec<f32>, // (R, V), rows not padded; empty if the caller did not return them
}

impl Scratch {
    /// Resizes the buffers to a number of tokens.
    pub(super) fn resize(&mut self, config: &ModelConfig, tokens: usize) {
        let heads = (config.heads + 2 * config.kv_heads) * config.head_dim;
        self.x.resize(tokens * padded(config.hidden_size), 0.0);
        self.normed.resize(tokens * config.hidden_size, 0.0);
        self.qkv.resize(tokens * padded(heads), 0.0);
        self.attention_output.resize(tokens * padded(config.heads * config.head_dim), 0.0);
        self.gated.resize(tokens * padded(config.intermediate_size), 0.0);
        if config.architecture.has_post_norms {
            self.branch.resize(tokens * padded(config.hidden_size), 0.0);
        }
    }
}
