//! The shape of a model: SmolLM2's presets and Hugging Face's `config.json`.
//!
//! The RoPE base is read and written both as `rope_theta` (transformers 4) and as `rope_parameters` (transformers 5). A
//! config that requires arithmetic this project does not have is refused, with the name of the field.

use crate::architecture::{Architecture, RopeScaling};
use crate::error::{Error, read_to_string};
use fields::{flag, number, present, size};
use serde_json::{Map, Value};
use std::path::Path;

mod families;
mod fields;
mod write;

pub(crate) use families::every_last_of;

/// A Llama-family decoder: RMSNorm, RoPE, grouped-query attention, a gated feed-forward network, and what its family has
/// beyond that.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Width of the residual stream (C).
    pub hidden_size: usize,
    /// Width of the feed-forward layer (F).
    pub intermediate_size: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads (H).
    pub heads: usize,
    /// Key/value heads (K); divides `heads`.
    pub kv_heads: usize,
    /// Width of one head (D), even.
    pub head_dim: usize,
    /// Rows of the embedding (V).
    pub vocab_size: usize,
    /// The maximum length of a sequence, in positions.
    pub max_positions: usize,
    /// RMSNorm epsilon.
    pub rms_norm_eps: f32,
    /// RoPE base.
    pub rope_theta: f32,
    /// Whether the output head is the embedding matrix.
    pub tie_word_embeddings: bool,
    /// Standard deviation of the initial weights.
    pub initializer_range: f64,
    /// Beginning-of-sequence id, if the config names one.
    pub bos_token_id: Option<u32>,
    /// End-of-sequence ids; may be empty.
    pub eos_token_ids: Vec<u32>,
    /// Padding id, if the config names one.
    pub pad_token_id: Option<u32>,
    /// What its family has beyond a plain Llama.
    pub architecture: Architecture,
}

impl ModelConfig {
    /// SmolLM2-135M (source: HuggingFaceTB/SmolLM2-135M `config.json`).
    pub fn smollm2_135m() -> Self {
        Self::smollm2(30, 576, 9, 3, 1536, 100_000.0, 1.0 / 24.0)
    }

    /// SmolLM2-360M (source: HuggingFaceTB/SmolLM2-360M `config.json`).
    pub fn smollm2_360m() -> Self {
        Self::smollm2(32, 960, 15, 5, 2560, 100_000.0, 1.0 / 31.0)
    }

    /// SmolLM2-1.7B (source: HuggingFaceTB/SmolLM2-1.7B `config.json`).
    pub fn smollm2_1_7b() -> Self {
        Self::smollm2(24, 2048, 32, 32, 8192, 130_000.0, 0.02)
    }

    fn smollm2(
        layers: usize,
        hidden_size: usize,
        heads: usize,
        kv_heads: usize,
        intermediate_size: usize,
        rope_theta: f32,
        initializer_range: f64,
    ) -> Self {
        Self {
            hidden_size,
            intermediate_size,
            layers,
            heads,
            kv_heads,
            head_dim: 64,
            vocab_size: 49_152,
            max_positions: 8192,
            rms_norm_eps: 1e-5,
            rope_theta,
            tie_word_embeddings: true,
            initializer_range,
            bos_token_id: Some(0),
            eos_token_ids: vec![0],
            pad_token_id: None,
            architecture: Architecture::default(),
        }
    }

    /// Reads a Hugging Face `config.json`.
    ///
    /// # Errors
    /// Names the file and the field when the architecture, a size or the RoPE scaling is not supported.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = read_to_string(path)?;
        let value: Value = serde_json::from_str(&text)
            .map_err(|error| Error::invalid(path, format!("not JSON: {error}")))?;
        Self::from_json(&value).map_err(|reason| Error::invalid(path, reason))
    }

    /// Whether training has this model's arithmetic and a saved `config.json` can hold it; if not, the reason.
    ///
    /// # Errors
    /// Names what the model has that cannot be trained.
    pub fn check_trainable(&self) -> Result<(), String> {
        if self.stored_scaling().is_some() {
            return Ok(());
        }
        Err("has rotary frequencies with divisors of its own, which no config.json holds, so it can be run, but not trained; give the checkpoint folder that the GGUF file was made of".to_owned())
    }

    /// Sets the RoPE base, of layers without a window where these have another one.
    pub fn set_rope_theta(&mut self, theta: f32) {
        if theta == self.rope_theta {
            return;
        }
        if let Some(scaling) = self.stored_scaling() {
            self.architecture.rope_scaling = scaling;
        }
        if let RopeScaling::Yarn(yarn) = &mut self.architecture.rope_scaling {
            yarn.theta = theta;
        }
        self.rope_theta = theta;
    }

    /// A config from JSON; the error does not name the file.
    fn from_json(value: &Value) -> Result<Self, String> {
        let config = value.as_object().ok_or("not a JSON object")?;
        let hidden_size = size(config, "hidden_size")?;
        let heads = size(config, "num_attention_heads")?;
        let head_dim = match config.get("head_dim") {
            None | Some(Value::Null) => hidden_size / heads,
            Some(_) => size(config, "head_dim")?,
        };
        let layers = size(config, "num_hidden_layers")?;
        bounded("num_hidden_layers", layers, MAX_LAYERS)?;
        let (architecture, rope_theta) = families::read(config, layers, hidden_size, head_dim)?;
        let tied = || families::is_tied_by_default(architecture.family);
        let parsed = Self {
            hidden_size,
            heads,
            head_dim,
            intermediate_size: size(config, "intermediate_size")?,
            layers,
            kv_heads: if present(config, "num_key_value_heads") {
                size(config, "num_key_value_heads")?
            } else {
                heads
            },
            vocab_size: size(config, "vocab_size")?,
            max_positions: size(config, "max_position_embeddings")?,
            rms_norm_eps: number(config, "rms_norm_eps")?.unwrap_or(1e-6) as f32,
            rope_theta,
            tie_word_embeddings: match present(config, "tie_word_embeddings") {
                true => flag(config, "tie_word_embeddings")?,
                false => tied(),
            },
            initializer_range: number(config, "initializer_range")?.unwrap_or(0.02),
            bos_token_id: token_ids(config, "bos_token_id")?.first().copied(),
            eos_token_ids: token_ids(config, "eos_token_id")?,
            pad_token_id: token_ids(config, "pad_token_id")?.first().copied(),
            architecture,
        };
        parsed.checked()
    }

    /// The config, if no model is larger and its heads fit.
    ///
    /// # Errors
    /// Names the size that is out of bounds, with its value.
    pub(crate) fn checked(self) -> Result<Self, String> {
        bounded("hidden_size", self.hidden_size, 1 << 20)?;
        bounded("intermediate_size", self.intermediate_size, 1 << 22)?;
        bounded("num_attention_heads", self.heads, 1 << 16)?;
        bounded("head_dim", self.head_dim, 1 << 16)?;
        bounded("vocab_size", self.vocab_size, 1 << 26)?;
        bounded("max_position_embeddings", self.max_positions, 1 << 24)?;
        self.check_heads()?;
        Ok(self)
    }

    fn check_heads(&self) -> Result<(), String> {
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(format!(
                "num_key_value_heads {} does not divide num_attention_heads {}",
                self.kv_heads, self.heads
            ));
        }
        if self.head_dim == 0 {
            return Err(format!("hidden_size {} is less than a pair for each head", self.hidden_size));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("head_dim {} is odd; RoPE rotates pairs", self.head_dim));
        }
        Ok(())
    }
}

/// Layers of the largest model that is read.
pub(crate) const MAX_LAYERS: usize = 1 << 12;

/// Refuses a size beyond any model: it would allocate before the weights are looked at.
pub(crate) fn bounded(name: &str, value: usize, most: usize) -> Result<(), String> {
    if value <= most {
        Ok(())
    } else {
        Err(format!("{name} {value} is beyond {most}; no model is that large"))
    }
}

/// One id, a list of ids, or nothing.
fn token_ids(config: &Map<String, Value>, name: &str) -> Result<Vec<u32>, String> {
    let id = |value: &Value| {
        value
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| format!("{name} is {value}; expected a token id"))
    };
    match config.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(ids)) => ids.iter().map(id).collect(),
        Some(value) => Ok(vec![id(value)?]),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn written_configs_read_back() {
        for config in [ModelConfig::smollm2_135m(), ModelConfig::smollm2_1_7b()] {
            assert_eq!(ModelConfig::from_json(&config.to_json()).unwrap(), config);
        }
    }

    #[test]
    fn the_rope_base_is_read_from_both_fields() {
        let mut four = ModelConfig::smollm2_135m().to_json();
        four.as_object_mut().unwrap().remove("rope_parameters");
        let mut five = ModelConfig::smollm2_135m().to_json();
        five.as_object_mut().unwrap().remove("rope_theta");
        for value in [four, five] {
            assert_eq!(ModelConfig::from_json(&value).unwrap().rope_theta, 100_000.0);
        }
    }

    #[test]
    fn unsupported_configs_are_refused_by_name() {
        let refused = |field: &str, value: Value, expected: &str| {
            let mut config = ModelConfig::smollm2_135m().to_json();
            config[field] = value;
            let reason = ModelConfig::from_json(&config).unwrap_err();
            assert!(reason.contains(expected), "{field}: {reason}");
        };
        refused("model_type", json!("mamba"), "model_type \"mamba\" is not supported");
        refused("attention_bias", json!(true), "attention_bias true");
        refused("hidden_act", json!("gelu"), "hidden_act \"gelu\"");
        refused("num_key_value_heads", json!(4), "num_key_value_heads 4 does not divide");
        refused("head_dim", json!(63), "head_dim 63 is odd");
        refused("partial_rotary_factor", json!(0.5), "partial_rotary_factor is 0.5");
        refused("rope_parameters", json!({"partial_rotary_factor": 0.25}), "partial_rotary_factor is 0.25");
        refused("rope_scaling", json!({"rope_type": "longrope"}), "rope_type \"longrope\"");
        let yarn = json!({"rope_type": "yarn", "factor": -4.0});
        refused("rope_scaling", yarn, "rope_scaling has the factor -4; expected a positive number");
        refused("rope_parameters", json!({"rope_type": "llama3"}), "rope_parameters has no positive factor");
        refused("model_type", json!("gemma3"), "reads images");
        refused("hidden_size", json!(-1), "hidden_size is -1");
        refused("vocab_size", json!("many"), "vocab_size is \"many\"");
        let mut windowed = ModelConfig::smollm2_135m().to_json();
        windowed["model_type"] = json!("smollm3");
        windowed["num_hidden_layers"] = json!(10_u64.pow(13));
        let reason = ModelConfig::from_json(&windowed).unwrap_err();
        assert!(reason.contains("num_hidden_layers 10000000000000 is beyond"), "{reason}");
        refused("num_hidden_layers", json!(100_000_000), "num_hidden_layers 100000000 is beyond 4096");
        refused(
            "max_position_embeddings",
            json!(1_u64 << 40),
            "max_position_embeddings 1099511627776 is beyond",
        );
    }
}
