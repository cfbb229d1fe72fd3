//! The tensors of a Llama: their names, shapes and order in a checkpoint.

use crate::ModelConfig;

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
    for layer in 0..config.layers {
        let parts = [
            ("input_layernorm", vec![c]),
            ("self_attn.q_proj", vec![queries, c]),
            ("self_attn.k_proj", vec![keys, c]),
            ("self_attn.v_proj", vec![keys, c]),
            ("self_attn.o_proj", vec![c, queries]),
            ("post_attention_layernorm", vec![c]),
            ("mlp.gate_proj", vec![f, c]),
            ("mlp.up_proj", vec![f, c]),
            ("mlp.down_proj", vec![c, f]),
        ];
        tensors.extend(parts.map(|(part, shape)| (format!("model.layers.{layer}.{part}.weight"), shape)));
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
