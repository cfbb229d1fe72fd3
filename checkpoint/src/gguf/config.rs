//! The shape of a model from a GGUF file's metadata.
//!
//! Keys: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#llm>.

use super::file::GgufFile;
use crate::ModelConfig;
use crate::architecture::{Architecture, Family, RopeScaling, Yarn};
use crate::config::{MAX_LAYERS, bounded, every_last_of};

/// Reads the config; the error does not name the file.
///
/// # Errors
/// Names the key that is missing or states something that is not supported.
pub(crate) fn config(file: &GgufFile) -> Result<ModelConfig, String> {
    refuse_parts(file)?;
    let architecture = architecture(file)?;
    let family = Family::of_gguf(architecture)?;
    let keys = Keys { file, architecture };
    let embedding = file
        .tensor("token_embd.weight")
        .ok_or("has no tensor token_embd.weight; it is not a language model")?;
    let &[vocab_size, hidden_size] = embedding.shape else {
        return Err(format!(
            "tensor token_embd.weight has shape {:?}; expected rows and columns",
            embedding.shape
        ));
    };
    let heads = keys.size("attention.head_count")?;
    let head_dim = keys.optional_size("attention.key_length")?.unwrap_or(hidden_size / heads);
    keys.refuse_other_values(head_dim)?;
    let layers = keys.size("block_count")?;
    bounded("block_count", layers, MAX_LAYERS)?;
    let rope_theta = keys.number("rope.freq_base").unwrap_or(10_000.0);
    let architecture = keys.particulars(family, layers, hidden_size, head_dim, rope_theta)?;
    let id = |name: &str| {
        let id = file.value(&format!("tokenizer.ggml.{name}"))?.unsigned()?;
        u32::try_from(id).ok().filter(|id| (*id as usize) < vocab_size)
    };
    ModelConfig {
        hidden_size,
        heads,
        head_dim,
        intermediate_size: keys.size("feed_forward_length")?,
        layers,
        kv_heads: keys.optional_size("attention.head_count_kv")?.unwrap_or(heads),
        vocab_size,
        max_positions: keys.size("context_length")?,
        rms_norm_eps: keys
            .number("attention.layer_norm_rms_epsilon")
            .ok_or_else(|| keys.missing("attention.layer_norm_rms_epsilon"))?,
        rope_theta,
        tie_word_embeddings: file.tensor("output.weight").is_none(),
        initializer_range: 0.02,
        bos_token_id: id("bos_token_id"),
        eos_token_ids: id("eos_token_id").into_iter().collect(),
        pad_token_id: id("padding_token_id"),
        architecture,
    }
    .checked()
}

/// The architecture that `general.architecture` names.
pub(crate) fn architecture(file: &GgufFile) -> Result<&str, String> {
    let value = file.value("general.architecture").ok_or("has no metadata `general.architecture`")?;
    value.text().ok_or_else(|| "`general.architecture` is not text".to_owned())
}

fn refuse_parts(file: &GgufFile) -> Result<(), String> {
    let parts = file.value("split.count").and_then(|value| value.unsigned()).unwrap_or(1);
    if parts > 1 {
        return Err(format!(
            "is one of {parts} parts of a model; merge them with `llama-gguf-split --merge` of llama.cpp"
        ));
    }
    Ok(())
}

/// The keys of one architecture.
struct Keys<'a> {
    file: &'a GgufFile,
    architecture: &'a str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn missing(&self, name: &str) -> String {
        format!("has no metadata `{}`", self.key(name))
    }

    fn size(&self, name: &str) -> Result<usize, String> {
        self.optional_size(name)?.ok_or_else(|| self.missing(name))
    }

    fn optional_size(&self, name: &str) -> Result<Option<usize>, String> {
        let Some(value) = self.file.value(&self.key(name)) else { return Ok(None) };
        let size = value.unsigned().and_then(|size| usize::try_from(size).ok());
        match size.filter(|size| *size > 0 && u32::try_from(*size).is_ok()) {
            Some(size) => Ok(Some(size)),
            None if value.count.is_some() => {
                Err(format!("`{}` has a value for each layer, which is not supported", self.key(name)))
            }
            None => Err(format!("`{}` is not a positive 32-bit number", self.key(name))),
        }
    }

    fn number(&self, name: &str) -> Option<f32> {
        self.file.value(&self.key(name))?.f32()
    }

    /// Refuses what the arithmetic does not have, so that no model runs as another one.
    fn refuse_other_values(&self, head_dim: usize) -> Result<(), String> {
        for name in ["rope.dimension_count", "attention.value_length"] {
            if let Some(width) = self.optional_size(name)?.filter(|width| *width != head_dim) {
                return Err(format!(
                    "`{}` is {width}, but heads are {head_dim} wide; only equal widths are supported",
                    self.key(name)
                ));
            }
        }
        let experts = self.file.value(&self.key("expert_count")).and_then(|value| value.unsigned());
        if let Some(experts) = experts.filter(|experts| *experts > 0) {
            return Err(format!(
                "`{}` is {experts}; mixtures of experts are not supported",
                self.key("expert_count")
            ));
        }
        Ok(())
    }

    /// What the family has beyond a plain Llama. llama.cpp's source states what the metadata do not: the groups of
    /// layers (`set_swa_pattern`, `n_no_rope_layer_step` of
    /// <https://github.com/ggml-org/llama.cpp/blob/master/src/llama-model.cpp>).
    fn particulars(
        &self,
        family: Family,
        layers: usize,
        hidden_size: usize,
        head_dim: usize,
        theta: f32,
    ) -> Result<Architecture, String> {
        const GEMMA_GROUP: usize = 6;
        const SMOLLM3_GROUP: usize = 4;
        let mut architecture = Architecture {
            rope_scaling: self.rope_scaling(head_dim, theta)?,
            ..Architecture::of(family, hidden_size)
        };
        if family == Family::SmolLm3 {
            architecture.rope_free_layers = every_last_of(SMOLLM3_GROUP, layers);
        }
        if family == Family::Gemma3 {
            architecture.window_rope_theta = Some(self.number("rope.freq_base_swa").unwrap_or(10_000.0));
            architecture.window = self.size("attention.sliding_window")?;
            architecture.windowed_layers =
                every_last_of(GEMMA_GROUP, layers).into_iter().map(|is_last| !is_last).collect();
        }
        Ok(architecture)
    }

    fn rope_scaling(&self, head_dim: usize, theta: f32) -> Result<RopeScaling, String> {
        const DIVISORS: &str = "rope_freqs.weight";
        if let Some(tensor) = self.file.tensor(DIVISORS) {
            if tensor.shape != [head_dim / 2] {
                return Err(format!(
                    "tensor {DIVISORS} has shape {:?}; expected [{}]",
                    tensor.shape,
                    head_dim / 2
                ));
            }
            let mut divisors = vec![0.0; head_dim / 2];
            tensor.kind.dequantize(tensor.bytes, &mut divisors);
            return Ok(RopeScaling::Divisors(divisors));
        }
        let kind = self.file.value(&self.key("rope.scaling.type")).and_then(|value| value.text());
        match (kind, self.number("rope.scaling.factor")) {
            (Some("none"), _) | (None, None) => Ok(RopeScaling::None),
            (None | Some("linear"), Some(factor)) if factor > 0.0 => Ok(RopeScaling::Linear { factor }),
            (Some("yarn"), Some(factor)) if factor > 0.0 => self.yarn(factor, theta).map(RopeScaling::Yarn),
            (None | Some("linear" | "yarn"), _) => {
                Err(format!("`{}` is not a positive number", self.key("rope.scaling.factor")))
            }
            (Some(kind), _) => Err(format!(
                "`{}` is {kind:?}, which is not supported; expected \"none\", \"linear\" or \"yarn\"",
                self.key("rope.scaling.type")
            )),
        }
    }

    /// As llama.cpp computes it: `llama_context` in <https://github.com/ggml-org/llama.cpp/blob/master/src/llama-context.cpp>,
    /// which does not read `yarn_attn_factor`.
    fn yarn(&self, factor: f32, theta: f32) -> Result<Yarn, String> {
        let positive = |name: &str, default: f32| match self.number(&format!("rope.scaling.{name}")) {
            None => Ok(default),
            Some(value) if value > 0.0 => Ok(value),
            Some(value) => Err(format!(
                "`{}` is {value}; expected a positive number",
                self.key(&format!("rope.scaling.{name}"))
            )),
        };
        let extrapolation = positive("yarn_ext_factor", 1.0)?;
        if extrapolation != 1.0 {
            let key = self.key("rope.scaling.yarn_ext_factor");
            return Err(format!("`{key}` is {extrapolation}, which is not supported; expected 1"));
        }
        let original = match self.optional_size("rope.scaling.original_context_length")? {
            Some(original) => original,
            None => self.size("context_length")?,
        };
        let recommended = |scale: f32| Yarn::recommended_attention_factor(factor, scale);
        let attention_factor = match self.number("rope.scaling.yarn_log_multiplier").unwrap_or(0.0) {
            0.0 => recommended(1.0),
            scale => recommended(1.0) / recommended(scale),
        };
        Ok(Yarn {
            factor,
            original_positions: original as f32,
            beta_fast: positive("yarn_beta_fast", 32.0)?,
            beta_slow: positive("yarn_beta_slow", 1.0)?,
            has_whole_bounds: true,
            attention_factor: attention_factor * positive("attn_factor", 1.0)?,
            theta,
        })
    }
}
