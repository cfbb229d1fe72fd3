//! Which tensor of a GGUF file is which tensor of a checkpoint folder, and how its rows are ordered.
//!
//! Names: `gguf-py/gguf/tensor_mapping.py` of <https://github.com/ggml-org/llama.cpp>.

/// Where a checkpoint's tensor is in a GGUF file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TensorSource {
    /// Its name in the file.
    pub(crate) name: String,
    /// The width of a head (D) if the two halves of each head's rows are stored alternately: llama.cpp rotates
    /// neighboring rows in these architectures, where Hugging Face's layout rotates rows i and i + D/2.
    pub(crate) interleaved_head: Option<usize>,
    /// What llama.cpp's converter added to the numbers: Gemma's norms include the offset that Hugging Face's layout leaves to
    /// the arithmetic.
    pub(crate) added: f32,
}

/// The row of the file that is row `row` of the checkpoint's tensor, for this [`TensorSource::interleaved_head`].
pub(crate) fn stored_row(interleaved_head: Option<usize>, row: usize) -> usize {
    let Some(width) = interleaved_head else { return row };
    let (head, inner) = (row / width, row % width);
    head * width + inner % (width / 2) * 2 + inner / (width / 2)
}

/// Where the tensor `name` of a checkpoint folder is in a file of the architecture `architecture`, whose heads are
/// `head_dim` wide; `None` if the file's architecture has no such tensor.
pub(crate) fn source_of(architecture: &str, head_dim: usize, name: &str) -> Option<TensorSource> {
    let norm_offset = if architecture == "gemma3" { 1.0 } else { 0.0 };
    let plain =
        |name: &str, added: f32| Some(TensorSource { name: name.to_owned(), interleaved_head: None, added });
    match name {
        "model.embed_tokens.weight" => return plain("token_embd.weight", 0.0),
        "model.norm.weight" => return plain("output_norm.weight", norm_offset),
        "lm_head.weight" => return plain("output.weight", 0.0),
        _ => {}
    }
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (part, end) = part.rsplit_once('.')?;
    let stored = match part {
        "input_layernorm" => "attn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "post_attention_layernorm" if architecture == "gemma3" => "post_attention_norm",
        "post_attention_layernorm" | "pre_feedforward_layernorm" => "ffn_norm",
        "post_feedforward_layernorm" => "post_ffw_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        _ => return None,
    };
    let rotates = matches!(stored, "attn_q" | "attn_k");
    let is_interleaved = rotates && matches!(architecture, "llama" | "smollm3");
    Some(TensorSource {
        name: format!("blk.{layer}.{stored}.{end}"),
        interleaved_head: is_interleaved.then_some(head_dim),
        added: if stored.ends_with("_norm") { norm_offset } else { 0.0 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_head_are_put_back_in_halves() {
        let rows: Vec<usize> = (0..8).map(|row| stored_row(Some(4), row)).collect();
        assert_eq!(rows, [0, 2, 1, 3, 4, 6, 5, 7]);
        assert_eq!(stored_row(None, 5), 5);
    }

    #[test]
    fn only_gemmas_norms_have_something_added() {
        let added = |architecture, name| source_of(architecture, 16, name).expect("a known tensor").added;
        for name in [
            "model.norm.weight",
            "model.layers.0.self_attn.q_norm.weight",
            "model.layers.1.input_layernorm.weight",
        ] {
            assert_eq!((added("gemma3", name), added("qwen3", name)), (1.0, 0.0), "{name}");
        }
        assert_eq!(added("gemma3", "model.layers.0.mlp.up_proj.weight"), 0.0);
    }
}
