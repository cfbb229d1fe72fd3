//! A checkpoint as a GGUF file, which llama.cpp and the programs built on it load: weights, tokenizer, chat template.

use super::names::{source_of, stored_row};
use super::quantize::quantize;
use super::tensor_type::TensorType;
use super::write::{Described, Field, write};
use crate::architecture::{Family, RopeScaling, Yarn};
use crate::error::Error;
use crate::folder::Checkpoint;
use crate::tensors::expected_tensors;
use std::path::Path;

mod tokenizer;

/// The divisors of rotary frequencies, which are a tensor in this format.
const DIVISORS: &str = "rope_freqs.weight";

/// How the matrices of an exported file are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// bfloat16.
    Bf16,
    /// 8 bits in blocks of 32.
    Q8_0,
    /// 4 bits in blocks of 32; the embedding and the head have 8.
    Q4_0,
}

impl ExportType {
    /// The type of a tensor. Vectors stay f32; rows that are not whole blocks, f16.
    fn of(self, name: &str, shape: &[usize]) -> TensorType {
        let &[_, columns] = shape else { return TensorType::F32 };
        let is_vocabulary = matches!(name, "model.embed_tokens.weight" | "lm_head.weight");
        let kind = match self {
            Self::F32 => TensorType::F32,
            Self::F16 => TensorType::F16,
            Self::Bf16 => TensorType::Bf16,
            Self::Q4_0 if !is_vocabulary => TensorType::Q4_0,
            Self::Q8_0 | Self::Q4_0 => TensorType::Q8_0,
        };
        if columns % kind.block() == 0 { kind } else { TensorType::F16 }
    }

    /// Its number in `general.file_type`: `llama_ftype` of
    /// <https://github.com/ggml-org/llama.cpp/blob/master/include/llama.h>.
    fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q8_0 => 7,
            Self::Bf16 => 32,
        }
    }
}

/// Writes a checkpoint as a GGUF file, which is whole or absent. Returns its length in bytes.
///
/// # Errors
/// Names what the format or llama.cpp does not have: the model's family, its tokenizer; or the file that cannot be
/// written.
pub fn export(checkpoint: &Checkpoint, path: &Path, kind: ExportType) -> Result<u64, Error> {
    let invalid = |reason: String| Error::invalid(&checkpoint.folder, reason);
    let architecture = architecture(checkpoint).map_err(invalid)?;
    let mut metadata = shape(checkpoint, architecture, kind);
    metadata.extend(tokenizer::metadata(checkpoint)?);
    let config = &checkpoint.config;
    let names: Vec<(String, Vec<usize>)> = expected_tensors(config);
    let mut tensors = Vec::with_capacity(names.len() + 1);
    for (name, shape) in &names {
        let source = source_of(architecture, config.head_dim, name)
            .ok_or_else(|| invalid(format!("GGUF has no name for the tensor {name} of {architecture}")))?;
        let described = Described { name: source.name, shape: shape.clone(), kind: kind.of(name, shape) };
        tensors.push((described, source.interleaved_head));
    }
    let divisors = divisors(&config.architecture.rope_scaling, config.head_dim, config.rope_theta);
    if let Some(divisors) = &divisors {
        let described =
            Described { name: DIVISORS.to_owned(), shape: vec![divisors.len()], kind: TensorType::F32 };
        tensors.push((described, None));
    }
    let (described, heads): (Vec<Described>, Vec<Option<usize>>) = tensors.into_iter().unzip();
    write(path, &metadata, &described, |index, bytes| match names.get(index) {
        Some((name, shape)) => {
            put_tensor(checkpoint, name, shape, described[index].kind, heads[index], bytes);
        }
        None => quantize(TensorType::F32, divisors.as_deref().unwrap_or_default(), bytes),
    })
}

/// The rows of a tensor in the order of the file.
fn put_tensor(
    checkpoint: &Checkpoint,
    name: &str,
    shape: &[usize],
    kind: TensorType,
    interleaved_head: Option<usize>,
    bytes: &mut Vec<u8>,
) {
    let rows = checkpoint.weights.rows(name);
    let columns = shape.last().copied().unwrap_or(1);
    let count = shape.iter().product::<usize>() / columns;
    let mut row_of = vec![0; count];
    (0..count).for_each(|row| row_of[stored_row(interleaved_head, row)] = row);
    let mut values = vec![0.0; columns];
    for row in row_of {
        rows.read(row, &mut values);
        quantize(kind, &values, bytes);
    }
}

/// The name of the model's architecture in the format.
fn architecture(checkpoint: &Checkpoint) -> Result<&'static str, String> {
    match checkpoint.config.architecture.family {
        Family::Llama => Ok("llama"),
        Family::Qwen2 => Ok("qwen2"),
        Family::Qwen3 => Ok("qwen3"),
        other => Err(format!(
            "is a model of the family {}, which is not exported to GGUF yet; use llama.cpp's convert_hf_to_gguf.py",
            other.model_type()
        )),
    }
}

/// The model's shape and what it is.
fn shape(checkpoint: &Checkpoint, architecture: &str, kind: ExportType) -> Vec<(String, Field)> {
    let config = &checkpoint.config;
    let name = Path::new(&checkpoint.name).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let general = |key: &str, field: Field| (format!("general.{key}"), field);
    let of_model = |key: &str, field: Field| (format!("{architecture}.{key}"), field);
    let size = |key: &str, size: usize| of_model(key, Field::Unsigned(size as u32));
    let mut metadata = vec![
        general("architecture", Field::Text(architecture.to_owned())),
        general("type", Field::Text("model".to_owned())),
        general("name", Field::Text(name)),
        general("file_type", Field::Unsigned(kind.file_type())),
        general("quantization_version", Field::Unsigned(2)),
        size("block_count", config.layers),
        size("context_length", config.max_positions),
        size("embedding_length", config.hidden_size),
        size("feed_forward_length", config.intermediate_size),
        size("attention.head_count", config.heads),
        size("attention.head_count_kv", config.kv_heads),
        size("attention.key_length", config.head_dim),
        size("attention.value_length", config.head_dim),
        size("rope.dimension_count", config.head_dim),
        size("vocab_size", config.vocab_size),
        of_model("attention.layer_norm_rms_epsilon", Field::Float(config.rms_norm_eps)),
        of_model("rope.freq_base", Field::Float(config.rope_theta)),
    ];
    let scaling: Vec<(&str, Field)> = match &config.architecture.rope_scaling {
        RopeScaling::Linear { factor } => {
            vec![("type", Field::Text("linear".to_owned())), ("factor", Field::Float(*factor))]
        }
        RopeScaling::Yarn(yarn) => {
            let recommended = Yarn::recommended_attention_factor(yarn.factor, 1.0);
            vec![
                ("type", Field::Text("yarn".to_owned())),
                ("factor", Field::Float(yarn.factor)),
                ("original_context_length", Field::Unsigned(yarn.original_positions as u32)),
                ("yarn_beta_fast", Field::Float(yarn.beta_fast)),
                ("yarn_beta_slow", Field::Float(yarn.beta_slow)),
                // What is on top of the recommended factor, which llama.cpp adds itself.
                ("attn_factor", Field::Float(yarn.attention_factor / recommended)),
            ]
        }
        _ => Vec::new(),
    };
    metadata.extend(scaling.into_iter().map(|(key, field)| of_model(&format!("rope.scaling.{key}"), field)));
    metadata
}

/// What each rotary frequency (D / 2) is divided by, where that is not one factor.
fn divisors(scaling: &RopeScaling, head_dim: usize, theta: f32) -> Option<Vec<f32>> {
    match scaling {
        RopeScaling::None
        | RopeScaling::Dynamic { .. }
        | RopeScaling::Linear { .. }
        | RopeScaling::Yarn(_) => None,
        RopeScaling::Divisors(divisors) => Some(divisors.clone()),
        RopeScaling::Llama3 { .. } => {
            let plain: Vec<f32> =
                (0..head_dim / 2).map(|index| theta.powf(-(2.0 * index as f32) / head_dim as f32)).collect();
            let mut scaled = plain.clone();
            scaling.apply(&mut scaled);
            Some(plain.iter().zip(&scaled).map(|(plain, scaled)| plain / scaled).collect())
        }
    }
}
