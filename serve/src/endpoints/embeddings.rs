//! `POST /v1/embeddings`: a sentence encoder's vectors, or of another model the mean of its last hidden states over the
//! positions of a text, or that of the last one.
//!
//! Models that were trained to generate were not trained to embed. The vectors have length 1, or their own with
//! `--embeddings-raw` or where the request asks for them.

use crate::answer::{AnswerPlan, ParameterNames, RunningAnswers, collect};
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::fields::wrong;
use crate::prompt;
use crate::served_encoder::{Encoded, ServedEncoder};
use crate::state::ServerState;
use crate::valid::{EmbeddingRequest, Prompt};
use axum::extract::State;
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::{Pooling, Request};
use openai::embedding::{Embedding, EmbeddingList, EmbeddingObject, EmbeddingUsage, Vector};
use openai::model::ListObject;
use std::sync::Arc;

/// Embeds texts.
pub(crate) async fn embeddings(
    State(state): State<Arc<ServerState>>,
    Extension(caller): Extension<Caller>,
    JsonBody(body, share): JsonBody,
) -> Result<Json<EmbeddingList>, ApiError> {
    let request = EmbeddingRequest::new(body, state.settings.lenient)?;
    let computed = match state.encoder(&request.model)? {
        Some(encoder) => encoded(&state, &encoder, request.input, request.pooling).await?,
        None => generated(&state, caller, &request.model, request.input, request.pooling).await?,
    };
    drop(share);
    let has_length_one = request.has_length_one.unwrap_or(!state.settings.raw_embeddings);
    let entry = |(index, vector): (usize, Vec<f32>)| {
        let vector = shortened(vector, request.dimensions)?;
        let vector = if has_length_one { unit(vector) } else { vector };
        Ok(Embedding {
            object: EmbeddingObject::default(),
            index,
            embedding: written(&vector, request.base64),
        })
    };
    Ok(Json(EmbeddingList {
        object: ListObject::default(),
        data: computed.vectors.into_iter().enumerate().map(entry).collect::<Result<_, ApiError>>()?,
        model: computed.model,
        usage: EmbeddingUsage { prompt_tokens: computed.tokens, total_tokens: computed.tokens },
    }))
}

/// Vectors as a model computed them.
struct Computed {
    model: String,
    vectors: Vec<Vec<f32>>,
    tokens: u64,
}

/// The vectors of a sentence encoder, pooled as it was trained.
async fn encoded(
    state: &Arc<ServerState>,
    encoder: &Arc<ServedEncoder>,
    input: Vec<Prompt>,
    pooling: Option<Pooling>,
) -> Result<Computed, ApiError> {
    if let Some(pooling) = pooling {
        let pooling = format!("{pooling:?}").to_lowercase();
        let expected = format!("nothing: {} pools as it was trained to", encoder.name);
        return Err(wrong("pooling", &pooling.into(), &expected));
    }
    let mut stopwatch = state.metrics.stopwatch(&encoder.name, 0);
    let Encoded { vectors, tokens } = encoder.encode(input).await?;
    stopwatch.accept(tokens);
    Ok(Computed { model: encoder.name.clone(), vectors, tokens })
}

/// The pooled hidden states of a model that generates.
async fn generated(
    state: &Arc<ServerState>,
    caller: Caller,
    model: &str,
    input: Vec<Prompt>,
    pooling: Option<Pooling>,
) -> Result<Computed, ApiError> {
    let model = state.model(model).await?;
    let prompts = prompt::raw_prompts(&model, input, false, "input").await?;
    let pooling = pooling.unwrap_or(Pooling::Mean);
    let engine_request = Request { embedding: true, pooling, client: caller.client, ..Request::default() };
    let plan = AnswerPlan {
        request: engine_request,
        prompts,
        answers_per_prompt: 1,
        echo: false,
        tools: None,
        thinking: None,
        is_strict: true,
        returns_ids: false,
        returns_prompt_logprobs: false,
    };
    let names = ParameterNames { prompt: "input", max_tokens: "input", constraint: None };
    let running = RunningAnswers::start(state, Arc::clone(&model), plan, names).await?;
    let (answers, counts) = collect(running).await?;
    let vectors = answers.into_iter().map(|answer| answer.embedding).collect();
    Ok(Computed { model: model.name.clone(), vectors, tokens: counts.prompt })
}

/// The vector with length 1, as OpenAI's are: stores that rank by dot products rely on it.
fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|number| *number = (f64::from(*number) / length) as f32);
    }
    vector
}

/// The first numbers of a vector, as many as were asked for.
fn shortened(mut vector: Vec<f32>, dimensions: Option<usize>) -> Result<Vec<f32>, ApiError> {
    if vector.is_empty() {
        return Err(ApiError::internal("the engine returned no embedding"));
    }
    let dimensions = dimensions.unwrap_or(vector.len());
    if dimensions > vector.len() {
        let expected = format!("at most {}, the width of this model", vector.len());
        return Err(wrong("dimensions", &dimensions.into(), &expected));
    }
    vector.truncate(dimensions);
    Ok(vector)
}

/// Numbers, or the base64 of their little-endian bytes.
fn written(vector: &[f32], base64: bool) -> Vector {
    match base64 {
        true => Vector::Base64(
            STANDARD.encode(vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>()),
        ),
        false => Vector::Float(vector.iter().map(|number| f64::from(*number)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_length_one() {
        assert_eq!(unit(vec![3.0, -4.0]), [0.6, -0.8]);
        assert_eq!(unit(vec![0.0, 0.0]), [0.0, 0.0]);
    }

    #[test]
    fn base64_is_little_endian() {
        // Source: base64.b64encode(numpy.array([1.0, -2.0], dtype="<f4")).
        assert_eq!(written(&[1.0, -2.0], true), Vector::Base64("AACAPwAAAMA=".to_owned()));
        assert_eq!(written(&[1.0, -2.0], false), Vector::Float(vec![1.0, -2.0]));
    }
}
