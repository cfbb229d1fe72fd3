//! Body of `POST /v1/embeddings`.

use super::prompts::{Prompt, prompts};
use crate::error::ApiError;
use crate::fields::{Fields, wrong};

/// A checked embeddings request.
#[derive(Debug)]
pub(crate) struct EmbeddingRequest {
    pub(crate) model: String,
    pub(crate) input: Vec<Prompt>,
    /// Whether vectors are written as base64.
    pub(crate) base64: bool,
    pub(crate) dimensions: Option<usize>,
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
        fields.text("user")?;
        fields.finish(lenient)?;
        Ok(Self { model, input, base64, dimensions })
    }
}
