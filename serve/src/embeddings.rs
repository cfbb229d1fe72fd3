//! `POST /v1/embeddings`: the mean over a text's positions of the model's last hidden state.
//!
//! These models were trained to write, not to embed; the vectors are what they are. Nothing is normalised.

use crate::answer::{Asked, Named, Running, collect};
use crate::error::ApiError;
use crate::prompt::{self, Raw, off_thread};
use crate::server::{Body, Server};
use crate::valid::{Fields, Prompt, prompts, wrong};
use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::Request;
use serde_json::{Value, json};
use std::sync::Arc;

/// An embeddings request, checked.
#[derive(Debug)]
pub(crate) struct EmbeddingsRequest {
    model: String,
    input: Vec<Prompt>,
    base64: bool,
    dimensions: Option<usize>,
}

impl EmbeddingsRequest {
    /// Reads a body.
    pub(crate) fn new(mut fields: Fields, lenient: bool) -> Result<Self, ApiError> {
        let model = fields.need_text("model")?;
        let input = prompts("input", fields.need("input")?)?;
        let base64 = match fields.text("encoding_format")?.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(other) => return Err(wrong("encoding_format", &other.into(), "float or base64")),
        };
        let dimensions = fields.integer("dimensions", 1..=usize::MAX)?;
        fields.text("user")?;
        fields.finish(lenient)?;
        Ok(Self { model, input, base64, dimensions })
    }
}

/// The handler.
pub(crate) async fn embeddings(
    State(server): State<Arc<Server>>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let request = EmbeddingsRequest::new(body, server.settings.lenient)?;
    let model = Arc::clone(server.model(&request.model)?);
    let (input, of) = (request.input, Arc::clone(&model));
    // Always elsewhere: inputs tend to be many.
    let prompts = off_thread(move || {
        let raw = |text| Ok(Arc::new(Raw { ids: prompt::raw_ids(&of, text)?, ..Raw::default() }));
        input.iter().map(raw).collect::<Result<Vec<_>, ApiError>>()
    })
    .await?;
    let wanted = Request { embedding: true, ..Request::default() };
    let asked = Asked { request: wanted, prompts, each: 1, echo: false, tools: None };
    let named = Named { prompt: "input", held: None };
    let running = Running::start(&server, Arc::clone(&model), asked, named).await?;
    let (answers, usage) = collect(running).await?;
    let mut data = Vec::with_capacity(answers.len());
    for (index, answer) in answers.into_iter().enumerate() {
        let vector = answer.embedding;
        if vector.is_empty() {
            return Err(ApiError::internal("the engine returned no embedding"));
        }
        if let Some(asked) = request.dimensions.filter(|asked| *asked != vector.len()) {
            let expected = format!("{}, the width of this model", vector.len());
            return Err(wrong("dimensions", &asked.into(), &expected));
        }
        data.push(
            json!({"object": "embedding", "index": index, "embedding": spelled(&vector, request.base64)}),
        );
    }
    let usage = json!({"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.prompt_tokens});
    Ok(Json(json!({"object": "list", "data": data, "model": model.name, "usage": usage})))
}

/// Numbers, or the base64 of their little-endian bytes.
fn spelled(vector: &[f32], base64: bool) -> Value {
    match base64 {
        true => STANDARD.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()).into(),
        false => vector.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::spelled;

    #[test]
    fn base64_is_little_endian() {
        // Source: base64.b64encode(numpy.array([1.0, -2.0], dtype="<f4")).
        assert_eq!(spelled(&[1.0, -2.0], true), "AACAPwAAAMA=");
        assert_eq!(spelled(&[1.0, -2.0], false), serde_json::json!([1.0, -2.0]));
    }
}
