//! The tensors of a model of each family: their names, shapes and order in a checkpoint.

use crate::{Architecture, ModelConfig};

impl ModelConfig {
    /// The number of weights; an embedding that is also the output head counts once.
    pub fn parameters(&self) -> usize {
        expected_tensors(self).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }
}

/// Every tensor of a checkpoint with this config, with its shape, in the order in which they are written.
pub fn expected_tensors(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let (c, f, v) = (config.hidden_size, config.intermediate_size, config.vocab_size);
    let queries = config.heads * config.head_dim;
    let keys = config.kv_heads * config.head_dim;
    let mut tensors = vec![("model.embed_tokens.weight".to_owned(), vec![v, c])];
    let Architecture { has_biases, has_query_key_norms, has_post_norms, .. } = config.architecture;
    for layer in 0..config.layers {
        // Whether the family has it, its name, its shape.
        let parts = [
            (true, "input_layernorm.weight", vec![c]),
            (true, "self_attn.q_proj.weight", vec![queries, c]),
            (true, "self_attn.k_proj.weight", vec![keys, c]),
            (true, "self_attn.v_proj.weight", vec![keys, c]),
            (has_biases, "self_attn.q_proj.bias", vec![queries]),
            (has_biases, "self_attn.k_proj.bias", vec![keys]),
            (has_biases, "self_attn.v_proj.bias", vec![keys]),
            (has_query_key_norms, "self_attn.q_norm.weight", vec![config.head_dim]),
            (has_query_key_norms, "self_attn.k_norm.weight", vec![config.head_dim]),
            (true, "self_attn.o_proj.weight", vec![c, queries]),
            (true, "post_attention_layernorm.weight", vec![c]),
            (has_post_norms, "pre_feedforward_layernorm.weight", vec![c]),
            (has_post_norms, "post_feedforward_layernorm.weight", vec![c]),
            (true, "mlp.gate_proj.weight", vec![f, c]),
            (true, "mlp.up_proj.weight", vec![f, c]),
            (true, "mlp.down_proj.weight", vec![c, f]),
        ];
        let parts = parts.into_iter().filter(|(exists, ..)| *exists);
        tensors.extend(parts.map(|(_, part, shape)| (format!("model.layers.{layer}.{part}"), shape)));
    }
    tensors.push(("model.norm.weight".to_owned(), vec![c]));
    if !config.tie_word_embeddings {
        tensors.push(("lm_head.weight".to_owned(), vec![v, c]));
    }
    tensors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_have_the_published_sizes() {
        // Source: the parameter counts of the released checkpoints' safetensors.
        assert_eq!(ModelConfig::smollm2_135m().parameters(), 134_515_008);
        assert_eq!(ModelConfig::smollm2_360m().parameters(), 361_821_120);
        assert_eq!(ModelConfig::smollm2_1_7b().parameters(), 1_711_376_384);
    }
}
