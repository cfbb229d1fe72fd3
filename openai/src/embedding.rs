//! `POST /v1/embeddings`: the request and the answer.

use crate::constant::constant;
use crate::model::ListObject;
use crate::request::Input;
use schemars::JsonSchema;
use serde::Serialize;
use serde_with::skip_serializing_none;

constant! {
    /// The kind of an embedding.
    EmbeddingObject = "embedding"
}

/// Body of `POST /v1/embeddings`.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct EmbeddingRequest {
    /// Name of a served model; the first one without it.
    #[schemars(with = "Option<String>")]
    pub model: String,
    /// What to embed.
    pub input: Input,
    /// How vectors are written.
    pub encoding_format: Option<EncodingFormat>,
    /// Numbers of each vector, up to the model's own: the first ones, of length 1 again.
    #[schemars(range(min = 1))]
    pub dimensions: Option<u64>,
    /// How the hidden states of a text become one vector; a sentence encoder has its own way, and refuses it.
    pub pooling: Option<Pooling>,
    /// Whether vectors have length 1, in vLLM's spelling; what the server was started with otherwise.
    pub normalize: Option<bool>,
    /// The same in llama.cpp's spelling: 2 is length 1, -1 is the model's own.
    #[schemars(extend("enum" = [2, -1, null]))]
    pub embd_normalize: Option<i64>,
    /// Ignored.
    pub user: Option<String>,
}

/// How the hidden states of a text become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Their mean, the default.
    Mean,
    /// That of the last token.
    Last,
}

/// How vectors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EncodingFormat {
    /// Numbers.
    Float,
    /// Base64 of little-endian 32-bit floats.
    Base64,
}

/// One vector per input.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct EmbeddingList {
    /// Always `list`.
    pub object: ListObject,
    /// The vectors, in the order of the inputs.
    pub data: Vec<Embedding>,
    /// The model's name.
    pub model: String,
    /// Token counts.
    pub usage: EmbeddingUsage,
}

/// The vector of one input.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Embedding {
    /// Always `embedding`.
    pub object: EmbeddingObject,
    /// Which input, from 0.
    pub index: usize,
    /// The vector (C).
    pub embedding: Vector,
}

/// A vector.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Vector {
    /// Numbers.
    Float(Vec<f64>),
    /// Base64 of little-endian 32-bit floats.
    Base64(String),
}

/// Token counts of embeddings, which have no answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EmbeddingUsage {
    /// Tokens of all inputs.
    pub prompt_tokens: u64,
    /// The same number.
    pub total_tokens: u64,
}
