//! `config.json` of a model of each family, for transformers 4 and 5 and for llama.cpp's converter: what both versions read,
//! each in its own fields.

use super::ModelConfig;
use crate::architecture::{Family, RopeScaling};
use serde_json::{Map, Value, json};

/// What llama.cpp's converter divided Llama 3.1's and 3.2's rotary frequencies by follows from a factor and these.
const LLAMA_3: (f32, f32, f32) = (1.0, 4.0, 8192.0);
/// How near divisors must be to those that follow from a factor.
const DIVISOR_TOLERANCE: f32 = 1e-4;

impl ModelConfig {
    /// A `config.json`, from which [`ModelConfig::read`] reads the same model.
    pub fn to_json(&self) -> Value {
        let mut config = self.llama_json();
        if let Some(fields) = config.as_object_mut() {
            self.put_family(fields);
            self.put_rope(fields);
        }
        config
    }

    /// The fields of a plain Llama.
    fn llama_json(&self) -> Value {
        json!({
            "architectures": [self.architecture.family.class_name()],
            "model_type": self.architecture.family.model_type(),
            "attention_bias": false,
            "attention_dropout": 0.0,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": match self.eos_token_ids.as_slice() {
                [] => Value::Null,
                [one] => json!(one),
                many => json!(many),
            },
            "pad_token_id": self.pad_token_id,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "initializer_range": self.initializer_range,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.max_positions,
            "mlp_bias": false,
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "rms_norm_eps": short(self.rms_norm_eps),
            "rope_scaling": null,
            "rope_theta": short(self.rope_theta),
            "rope_parameters": {"rope_theta": short(self.rope_theta), "rope_type": "default"},
            "tie_word_embeddings": self.tie_word_embeddings,
            "torch_dtype": "bfloat16",
            "use_cache": true,
            "vocab_size": self.vocab_size,
        })
    }

    /// The fields that the family has beyond a Llama, without those that only a Llama has.
    fn put_family(&self, fields: &mut Map<String, Value>) {
        let family = self.architecture.family;
        let without: &[&str] = match family {
            Family::Llama | Family::SmolLm3 => &[],
            Family::Mistral | Family::Qwen2 => &["attention_bias", "mlp_bias"],
            Family::Qwen3 => &["mlp_bias"],
            Family::Gemma3 => &["mlp_bias", "hidden_act"],
        };
        for name in without {
            fields.shift_remove(*name);
        }
        if family != Family::Llama {
            self.put_windows(fields);
        }
        let own = match family {
            Family::SmolLm3 => {
                let uses = |layer: usize| u8::from(!self.architecture.is_rope_free(layer));
                json!({"no_rope_layers": (0..self.layers).map(uses).collect::<Vec<_>>()})
            }
            Family::Gemma3 => json!({
                "hidden_activation": "gelu_pytorch_tanh",
                "query_pre_attn_scalar": self.head_dim,
                "attn_logit_softcapping": null,
                "final_logit_softcapping": null,
                "use_bidirectional_attention": false,
            }),
            _ => return,
        };
        fields.extend(own.as_object().cloned().into_iter().flatten());
    }

    fn put_windows(&self, fields: &mut Map<String, Value>) {
        let architecture = &self.architecture;
        let kind = |layer: usize| match architecture.is_windowed(layer) {
            true => "sliding_attention",
            false => "full_attention",
        };
        let kinds: Vec<&str> = (0..self.layers).map(kind).collect();
        let has_windows = !architecture.windowed_layers.is_empty();
        let width = if has_windows { json!(architecture.window) } else { Value::Null };
        fields.insert("sliding_window".to_owned(), width);
        let is_mistral = architecture.family == Family::Mistral;
        if !is_mistral || (has_windows && kinds.contains(&"full_attention")) {
            fields.insert("layer_types".to_owned(), json!(kinds));
        }
        if matches!(architecture.family, Family::Qwen2 | Family::Qwen3 | Family::SmolLm3) {
            fields.insert("use_sliding_window".to_owned(), has_windows.into());
        }
        if matches!(architecture.family, Family::Qwen2 | Family::Qwen3) {
            let first = (0..self.layers).find(|layer| architecture.is_windowed(*layer));
            fields.insert("max_window_layers".to_owned(), first.unwrap_or(self.layers).into());
        }
    }

    /// The rotary positions: `rope_scaling` and bases of their own in transformers 4, `rope_parameters` in 5.
    fn put_rope(&self, fields: &mut Map<String, Value>) {
        let scaling = self.scaling_fields();
        let mut parameters = scaling.clone().unwrap_or_else(|| json!({"rope_type": "default"}));
        if let Some(scaling) = scaling {
            fields.insert("rope_scaling".to_owned(), scaling);
            parameters["rope_theta"] = short(self.rope_theta);
            fields.insert("rope_parameters".to_owned(), parameters.clone());
        }
        let Some(theta) = self.architecture.window_rope_theta else { return };
        parameters["rope_theta"] = short(self.rope_theta);
        let windowed = json!({"rope_theta": short(theta), "rope_type": "default"});
        fields.insert("rope_local_base_freq".to_owned(), short(theta));
        fields.insert(
            "rope_parameters".to_owned(),
            json!({"full_attention": parameters, "sliding_attention": windowed}),
        );
    }

    /// The fields of the scaling; none if there is none. Divisors that no config.json can hold have a type that is not
    /// read, so that such a model has an identity.
    fn scaling_fields(&self) -> Option<Value> {
        let scaling = self.stored_scaling();
        Some(match scaling.as_ref().unwrap_or(&self.architecture.rope_scaling) {
            RopeScaling::None => return None,
            RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": short(*factor)}),
            RopeScaling::Dynamic { factor } => json!({"rope_type": "dynamic", "factor": short(*factor)}),
            RopeScaling::Divisors(divisors) => json!({"rope_type": "divisors", "divisors": divisors}),
            RopeScaling::Llama3 { factor, low, high, original_positions } => json!({
                "rope_type": "llama3",
                "factor": short(*factor),
                "low_freq_factor": short(*low),
                "high_freq_factor": short(*high),
                "original_max_position_embeddings": *original_positions as u64,
            }),
            RopeScaling::Yarn(yarn) => json!({
                "rope_type": "yarn",
                "factor": short(yarn.factor),
                "original_max_position_embeddings": yarn.original_positions as u64,
                "beta_fast": short(yarn.beta_fast),
                "beta_slow": short(yarn.beta_slow),
                "truncate": yarn.has_whole_bounds,
                "attention_factor": short(yarn.attention_factor),
            }),
        })
    }

    /// The scaling as a config.json holds it: divisors as the parameters of Llama 3.1's scaling that they follow from. None
    /// if there are no such parameters.
    pub(super) fn stored_scaling(&self) -> Option<RopeScaling> {
        let RopeScaling::Divisors(divisors) = &self.architecture.rope_scaling else {
            return Some(self.architecture.rope_scaling.clone());
        };
        let factor = divisors.iter().copied().fold(1.0, f32::max);
        if factor == 1.0 {
            return Some(RopeScaling::None);
        }
        let (low, high, original_positions) = LLAMA_3;
        let scaling = RopeScaling::Llama3 { factor, low, high, original_positions };
        let plain: Vec<f32> = (0..divisors.len())
            .map(|index| self.rope_theta.powf(-(2.0 * index as f32) / self.head_dim as f32))
            .collect();
        let mut scaled = plain.clone();
        scaling.apply(&mut scaled);
        let is_near = |((plain, scaled), divisor): ((&f32, &f32), &f32)| {
            (plain / scaled / divisor - 1.0).abs() < DIVISOR_TOLERANCE
        };
        plain.iter().zip(&scaled).zip(divisors).all(is_near).then_some(scaling)
    }
}

/// An f32 as its shortest decimal, so that 1e-5 is written as 1e-5.
fn short(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, |number| json!(number))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::architecture::{Architecture, Yarn};

    fn of(family: Family, change: impl Fn(&mut ModelConfig)) -> ModelConfig {
        let mut config = ModelConfig { layers: 6, ..ModelConfig::smollm2_135m() };
        config.architecture = Architecture::of(family, config.hidden_size);
        if family == Family::Gemma3 {
            config.architecture.window_rope_theta = Some(10_000.0);
        }
        if family == Family::SmolLm3 {
            config.architecture.rope_free_layers = vec![false, false, true, false, false, false];
        }
        change(&mut config);
        config
    }

    fn windowed(config: &mut ModelConfig) {
        config.architecture.window = 512;
        config.architecture.windowed_layers = vec![true, true, false, true, true, false];
    }

    #[test]
    fn every_family_is_read_back_as_it_was_written() {
        use Family::{Gemma3, Llama, Mistral, Qwen2, Qwen3, SmolLm3};
        let read = |config: &ModelConfig| ModelConfig::from_json(&config.to_json()).unwrap();
        for family in [Llama, Mistral, Qwen2, Qwen3, Gemma3, SmolLm3] {
            let config = of(family, |_| {});
            assert_eq!(read(&config), config);
            let untied = of(family, |config| config.tie_word_embeddings = false);
            assert_eq!(read(&untied), untied);
        }
        for family in [Mistral, Qwen2, Qwen3, Gemma3, SmolLm3] {
            let config = of(family, windowed);
            assert_eq!(read(&config), config);
            let all = of(family, |config| {
                windowed(config);
                config.architecture.windowed_layers.fill(true);
            });
            assert_eq!(read(&all), all);
        }
    }

    #[test]
    fn every_scaling_is_read_back_as_it_was_written() {
        let yarn = Yarn {
            factor: 4.0,
            original_positions: 2048.0,
            beta_fast: 16.0,
            beta_slow: 2.0,
            has_whole_bounds: false,
            attention_factor: 1.25,
            theta: 100_000.0,
        };
        for scaling in [
            RopeScaling::Linear { factor: 8.0 },
            RopeScaling::Dynamic { factor: 2.0 },
            RopeScaling::Llama3 { factor: 32.0, low: 1.0, high: 4.0, original_positions: 8192.0 },
            RopeScaling::Yarn(yarn),
        ] {
            for family in [Family::Llama, Family::Gemma3] {
                let config = of(family, |config| config.architecture.rope_scaling = scaling.clone());
                assert_eq!(ModelConfig::from_json(&config.to_json()).unwrap(), config);
                assert_eq!(config.check_trainable(), Ok(()));
            }
        }
    }

    #[test]
    fn divisors_of_llama_3_are_written_as_its_scaling_and_others_cannot_be_trained() {
        let scaling = RopeScaling::Llama3 { factor: 32.0, low: 1.0, high: 4.0, original_positions: 8192.0 };
        let mut config = of(Family::Llama, |config| config.rope_theta = 500_000.0);
        let half = config.head_dim / 2;
        let plain: Vec<f32> = (0..half).map(|index| 500_000f32.powf(-(index as f32) / half as f32)).collect();
        let mut scaled = plain.clone();
        scaling.apply(&mut scaled);
        let divisors: Vec<f32> = plain.iter().zip(&scaled).map(|(plain, scaled)| plain / scaled).collect();
        config.architecture.rope_scaling = RopeScaling::Divisors(divisors.clone());
        assert_eq!(config.check_trainable(), Ok(()));
        assert_eq!(ModelConfig::from_json(&config.to_json()).unwrap().architecture.rope_scaling, scaling);
        config.set_rope_theta(1e6);
        assert_eq!((config.rope_theta, &config.architecture.rope_scaling), (1e6, &scaling));

        config.set_rope_theta(500_000.0);
        config.architecture.rope_scaling =
            RopeScaling::Divisors(divisors.iter().map(|divisor| divisor * 1.5).collect());
        assert!(config.check_trainable().unwrap_err().contains("divisors of its own"));
        assert!(ModelConfig::from_json(&config.to_json()).unwrap_err().contains("divisors"));
    }

    #[test]
    fn another_base_is_that_of_yarn_too() {
        let json = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64});
        let mut fields = ModelConfig::smollm2_135m().to_json();
        fields["rope_scaling"] = json;
        let mut config = ModelConfig::from_json(&fields).unwrap();
        config.set_rope_theta(5000.0);
        let RopeScaling::Yarn(yarn) = &config.architecture.rope_scaling else { panic!("not YaRN") };
        assert_eq!((yarn.theta, config.rope_theta), (5000.0, 5000.0));
    }
}
