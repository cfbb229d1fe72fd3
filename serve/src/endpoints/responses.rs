//! `POST /v1/responses`, without state: the request brings the whole conversation.
//!
//! The same path as a chat completion, with other names.

use crate::answer::{AnswerPlan, ParameterNames, ResponseWriter, RunningAnswers, StreamWriter, stream};
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::prompt;
use crate::state::ServerState;
use crate::valid::{PromptEnd, ResponseRequest};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// Answers a conversation.
pub(crate) async fn responses(
    State(state): State<Arc<ServerState>>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let request = ResponseRequest::new(body, state.settings.lenient)?;
    let model = Arc::clone(state.model(&request.model)?);
    let ResponseRequest { messages, tools, generation, echo, .. } = request;
    let ids = prompt::conversation(&model, messages, tools.as_ref(), PromptEnd::AssistantTurn).await?;
    let plan = AnswerPlan::conversation(&model, &generation, tools, ids);
    let mut writer = ResponseWriter::new(&model, echo, generation.logprobs.is_some());
    let names = ParameterNames { prompt: "input", constraint: generation.constraint };
    let mut running = RunningAnswers::start(&state, model, plan, names).await?;
    if generation.stream {
        return Ok(stream(running, writer));
    }
    while let Some((index, delta)) = running.next().await? {
        writer.delta(index, delta);
    }
    Ok(Json(writer.whole(running.counts())).into_response())
}
