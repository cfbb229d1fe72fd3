//! A family's particulars from `config.json`, in the forms of transformers 4 and 5; what the arithmetic does not have is
//! refused by name.

use super::fields::{flag, number, present, size};
use crate::architecture::{Architecture, Family, RopeScaling, Yarn};
use serde_json::{Map, Value};

/// Layers of Gemma 3 and SmolLM3 come in groups: each last one sees everything (Gemma 3) or has no RoPE (SmolLM3).
const GEMMA_GROUP: usize = 6;
const SMOLLM3_GROUP: usize = 4;

/// The family and its particulars, with the RoPE base.
pub(super) fn read(
    config: &Map<String, Value>,
    layers: usize,
    hidden_size: usize,
    head_dim: usize,
) -> Result<(Architecture, f32), String> {
    let family = family(config)?;
    refuse_other_arithmetic(config, family, head_dim)?;
    let mut architecture = Architecture::of(family, hidden_size);
    let (theta, scaling) = rope(config, family)?;
    architecture.rope_scaling = scaling;
    if family == Family::Gemma3 {
        let local = rope_object(config, Some("sliding_attention"));
        let local = number(&local, "rope_theta")?.or(number(config, "rope_local_base_freq")?);
        architecture.window_rope_theta = Some(local.unwrap_or(10_000.0) as f32);
    }
    architecture.windowed_layers = windowed_layers(config, family, layers)?;
    if architecture.windowed_layers.contains(&true) {
        architecture.window = size(config, "sliding_window")?;
    } else {
        architecture.windowed_layers.clear();
    }
    if family == Family::SmolLm3 {
        architecture.rope_free_layers = rope_free_layers(config, layers)?;
        if !architecture.rope_free_layers.contains(&true) {
            architecture.rope_free_layers.clear();
        }
    }
    Ok((architecture, theta))
}

/// Whether the head is the embedding where the config does not say: the default of the family's class.
pub(super) fn is_tied_by_default(family: Family) -> bool {
    matches!(family, Family::Gemma3 | Family::SmolLm3)
}

fn family(config: &Map<String, Value>) -> Result<Family, String> {
    let model_type = config.get("model_type").and_then(Value::as_str).unwrap_or("(none)");
    if model_type == "gemma3" {
        return Err("model_type \"gemma3\" reads images, which is not supported; give a text-only checkpoint (\"gemma3_text\")".to_owned());
    }
    Family::of_model_type(model_type)
}

fn refuse_other_arithmetic(
    config: &Map<String, Value>,
    family: Family,
    head_dim: usize,
) -> Result<(), String> {
    for bias in ["attention_bias", "mlp_bias"] {
        if flag(config, bias)? {
            return Err(format!("{bias} true is not supported for model_type {:?}", family.model_type()));
        }
    }
    if flag(config, "rope_interleaved")? {
        return Err(
            "rope_interleaved true is nanotron's layout; convert the checkpoint to the Hugging Face layout"
                .into(),
        );
    }
    let activations: &[&str] = match family {
        Family::Gemma3 => &["gelu_pytorch_tanh"],
        _ => &["silu"],
    };
    for field in ["hidden_act", "hidden_activation"] {
        match config.get(field).and_then(Value::as_str) {
            Some(other) if !activations.contains(&other) => {
                return Err(format!("{field} {other:?} is not supported; expected {:?}", activations[0]));
            }
            _ => {}
        }
    }
    for field in ["attn_logit_softcapping", "final_logit_softcapping"] {
        if present(config, field) {
            return Err(format!("{field} is not supported"));
        }
    }
    if flag(config, "use_bidirectional_attention")? {
        return Err("use_bidirectional_attention true is not supported; it is an encoder's".to_owned());
    }
    match number(config, "query_pre_attn_scalar")? {
        Some(scalar) if scalar != head_dim as f64 => {
            Err(format!("query_pre_attn_scalar is {scalar}; only that of head_dim, {head_dim}, is supported"))
        }
        _ => Ok(()),
    }
}

/// The parameters of RoPE, for one kind of layer where they are given by kind.
fn rope_object(config: &Map<String, Value>, kind: Option<&str>) -> Map<String, Value> {
    let object = |value: Option<&Value>| value.and_then(Value::as_object).cloned();
    let parameters = object(config.get("rope_parameters")).unwrap_or_default();
    match kind {
        Some(kind) => object(parameters.get(kind)).unwrap_or_default(),
        None => object(parameters.get("full_attention")).unwrap_or(parameters),
    }
}

/// The RoPE base from either field, and the scaling.
fn rope(config: &Map<String, Value>, family: Family) -> Result<(f32, RopeScaling), String> {
    let parameters = rope_object(config, None);
    let scaling = config.get("rope_scaling").and_then(Value::as_object).cloned().unwrap_or_default();
    let default = match family {
        Family::Gemma3 => 1e6,
        Family::SmolLm3 => 2e6,
        _ => 10_000.0,
    };
    let theta = match number(&parameters, "rope_theta")? {
        Some(theta) => theta,
        None => number(config, "rope_theta")?.unwrap_or(default),
    };
    if theta <= 0.0 {
        return Err(format!("rope_theta is {theta}; expected a positive number"));
    }
    for object in [config, &parameters, &scaling] {
        if let Some(part) = number(object, "partial_rotary_factor")?.filter(|part| *part != 1.0) {
            return Err(format!("partial_rotary_factor is {part}; only whole heads (1) are rotated"));
        }
    }
    let mut found = RopeScaling::None;
    for (name, object) in [("rope_parameters", parameters), ("rope_scaling", scaling)] {
        let kind = object.get("rope_type").or_else(|| object.get("type")).and_then(Value::as_str);
        let value = |field: &str| {
            let value = number(&object, field)?.filter(|value| *value > 0.0);
            value.map(|value| value as f32).ok_or_else(|| format!("{name} has no positive {field}"))
        };
        match kind {
            None | Some("default") => {}
            // It begins beyond max_position_embeddings, which is the longest context.
            Some("dynamic") => found = RopeScaling::Dynamic { factor: value("factor")? },
            Some("linear") => found = RopeScaling::Linear { factor: value("factor")? },
            Some("llama3") => {
                found = RopeScaling::Llama3 {
                    factor: value("factor")?,
                    low: value("low_freq_factor")?,
                    high: value("high_freq_factor")?,
                    original_positions: value("original_max_position_embeddings")?,
                }
            }
            Some("yarn") => {
                let yarn = yarn(&object, number(config, "max_position_embeddings")?, theta);
                found = RopeScaling::Yarn(yarn.map_err(|reason| format!("{name} {reason}"))?);
            }
            Some(kind) => {
                return Err(format!(
                    "{name} has rope_type {kind:?}, which is not supported; expected one of default, linear, dynamic, llama3, yarn"
                ));
            }
        }
    }
    Ok((theta as f32, found))
}

/// The parameters of YaRN with the defaults of `_compute_yarn_parameters` in
/// <https://github.com/huggingface/transformers/blob/main/src/transformers/modeling_rope_utils.py>.
fn yarn(object: &Map<String, Value>, positions: Option<f64>, theta: f64) -> Result<Yarn, String> {
    let positive = |field: &str| match number(object, field)? {
        Some(value) if value > 0.0 => Ok(Some(value as f32)),
        // As in Python, where 0 is false.
        Some(0.0) | None => Ok(None),
        Some(value) => Err(format!("has the {field} {value}; expected a positive number")),
    };
    let positions = positions.map(|positions| positions as f32);
    let original = positive("original_max_position_embeddings")?.or(positions);
    let original_positions = original.ok_or("has no original_max_position_embeddings")?;
    let factor = positive("factor")?.or(positions.map(|positions| positions / original_positions));
    let factor = factor.ok_or("has no factor")?;
    let recommended = |scale: f32| Yarn::recommended_attention_factor(factor, scale);
    let attention_factor =
        match (positive("attention_factor")?, positive("mscale")?, positive("mscale_all_dim")?) {
            (Some(factor), ..) => factor,
            (None, Some(scale), Some(scale_all)) => recommended(scale) / recommended(scale_all),
            _ => recommended(1.0),
        };
    Ok(Yarn {
        factor,
        original_positions,
        beta_fast: positive("beta_fast")?.unwrap_or(32.0),
        beta_slow: positive("beta_slow")?.unwrap_or(1.0),
        has_whole_bounds: object.get("truncate").and_then(Value::as_bool).unwrap_or(true),
        attention_factor,
        theta: theta as f32,
    })
}

fn windowed_layers(config: &Map<String, Value>, family: Family, layers: usize) -> Result<Vec<bool>, String> {
    let is_used = match family {
        Family::Llama => false,
        Family::Qwen2 | Family::Qwen3 | Family::SmolLm3 => flag(config, "use_sliding_window")?,
        Family::Mistral | Family::Gemma3 => true,
    };
    if !is_used || !present(config, "sliding_window") {
        return Ok(Vec::new());
    }
    if let Some(Value::Array(kinds)) = config.get("layer_types") {
        let kinds = kinds.iter().map(|kind| match kind.as_str() {
            Some("sliding_attention") => Ok(true),
            Some("full_attention") => Ok(false),
            _ => Err(format!("layer_types has {kind}; expected \"full_attention\" or \"sliding_attention\"")),
        });
        return of_all(kinds.collect::<Result<_, _>>()?, layers, "layer_types");
    }
    let group = || {
        if present(config, "sliding_window_pattern") {
            size(config, "sliding_window_pattern")
        } else {
            Ok(GEMMA_GROUP)
        }
    };
    let first =
        || if present(config, "max_window_layers") { size(config, "max_window_layers") } else { Ok(layers) };
    Ok(match family {
        Family::Gemma3 => {
            let group = group()?;
            (1..=layers).map(|layer| !layer.is_multiple_of(group)).collect()
        }
        Family::Qwen2 | Family::Qwen3 => {
            let first = first()?;
            (0..layers).map(|layer| layer >= first).collect()
        }
        Family::SmolLm3 => rope_free_layers(config, layers)?,
        _ => vec![true; layers],
    })
}

fn rope_free_layers(config: &Map<String, Value>, layers: usize) -> Result<Vec<bool>, String> {
    if let Some(Value::Array(uses)) = config.get("no_rope_layers") {
        let uses = uses.iter().map(|uses| uses.as_u64().map(|uses| uses == 0));
        let free = uses.collect::<Option<_>>().ok_or("no_rope_layers is not a list of 0 and 1")?;
        return of_all(free, layers, "no_rope_layers");
    }
    let group = match present(config, "no_rope_layer_interval") {
        true => size(config, "no_rope_layer_interval")?,
        false => SMOLLM3_GROUP,
    };
    Ok(every_last_of(group, layers))
}

/// Whether each layer is the last one of its group.
pub(crate) fn every_last_of(group: usize, layers: usize) -> Vec<bool> {
    (1..=layers).map(|layer| layer.is_multiple_of(group)).collect()
}

fn of_all(values: Vec<bool>, layers: usize, name: &str) -> Result<Vec<bool>, String> {
    if values.len() == layers {
        return Ok(values);
    }
    Err(format!("{name} has {} entries, but num_hidden_layers is {layers}", values.len()))
}
