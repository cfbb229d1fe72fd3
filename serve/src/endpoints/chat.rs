//! `POST /v1/chat/completions`.

use crate::answer::{AnswerPlan, ChatWriter, ParameterNames, RunningAnswers, collect, stream};
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::prompt;
use crate::state::ServerState;
use crate::valid::ChatRequest;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// Answers a conversation.
pub(crate) async fn chat(
    State(state): State<Arc<ServerState>>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let request = ChatRequest::new(body, state.settings.lenient)?;
    let model = Arc::clone(state.model(&request.model)?);
    let ChatRequest { messages, tools, end, generation, .. } = request;
    let ids = prompt::conversation(&model, messages, tools.as_ref(), end).await?;
    let plan = AnswerPlan::conversation(&model, &generation, tools, ids);
    let names = ParameterNames { prompt: "messages", constraint: generation.constraint };
    let running = RunningAnswers::start(&state, Arc::clone(&model), plan, names).await?;
    let has_logprobs = generation.logprobs.is_some();
    let writer = ChatWriter::new(&model, running.answers(), has_logprobs, generation.include_usage);
    if generation.stream {
        return Ok(stream(running, writer));
    }
    let (answers, counts) = collect(running).await?;
    Ok(Json(writer.whole(answers, counts)).into_response())
}
