//! Body of `POST /v1/embeddings`.

use super::prompts::{Prompt, prompts};
use crate::error::ApiError;
use crate::fields::{Fields, wrong};
use engine::Pooling;

/// A checked embeddings request.
#[derive(Debug)]
pub(crate) struct EmbeddingRequest {
    pub(crate) model: String,
    pub(crate) input: Vec<Prompt>,
    /// Whether vectors are written as base64.
    pub(crate) base64: bool,
    pub(crate) dimensions: Option<usize>,
    /// `None` is the model's own: the mean where it was trained for none.
    pub(crate) pooling: Option<Pooling>,
    /// Whether vectors have length 1; `None` is the server's choice.
    pub(crate) has_length_one: Option<bool>,
}

impl EmbeddingRequest {
    /// Reads a body.
    pub(crate) fn new(mut fields: Fields, lenient: bool) -> Result<Self, ApiError> {
        let model = fields.text("model")?.unwrap_or_default();
        let input = prompts("input", fields.need("input")?)?;
        let base64 = match fields.text("encoding_format")?.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(other) => return Err(wrong("encoding_format", &other.into(), "`float` or `base64`")),
        };
        let dimensions = fields.integer("dimensions", 1..=usize::MAX)?;
        let pooling = match fields.text("pooling")?.as_deref() {
            None => None,
            Some("mean") => Some(Pooling::Mean),
            Some("last") => Some(Pooling::Last),
            Some(other) => return Err(wrong("pooling", &other.into(), "`mean` or `last`")),
        };
        let has_length_one = normalize(&mut fields)?;
        fields.text("user")?;
        fields.finish(lenient)?;
        Ok(Self { model, input, base64, dimensions, pooling, has_length_one })
    }
}

/// Takes vLLM's `normalize` and llama.cpp's `embd_normalize`.
fn normalize(fields: &mut Fields) -> Result<Option<bool>, ApiError> {
    let own = fields.boolean("normalize")?;
    let other = match fields.take("embd_normalize") {
        None => None,
        Some(value) if value == 2 => Some(true),
        Some(value) if value == -1 => Some(false),
        Some(value) => {
            return Err(wrong(
                "embd_normalize",
                &value,
                "2 for vectors of length 1, or -1 for the model's own",
            ));
        }
    };
    match (own, other) {
        (Some(own), Some(other)) if own != other => Err(ApiError::invalid(
            "embd_normalize",
            "`normalize` and `embd_normalize` contradict each other; send one",
        )),
        _ => Ok(own.or(other)),
    }
}
