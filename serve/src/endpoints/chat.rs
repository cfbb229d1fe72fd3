//! `POST /v1/chat/completions`.

use crate::answer::{AnswerPlan, ChatWriter, ParameterNames, RunningAnswers, collect, stream};
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::prompt;
use crate::state::ServerState;
use crate::valid::ChatRequest;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use std::sync::Arc;

/// Answers a conversation.
pub(crate) async fn chat(
    State(state): State<Arc<ServerState>>,
    Extension(caller): Extension<Caller>,
    JsonBody(body, share): JsonBody,
) -> Result<Response, ApiError> {
    let settings = &state.settings;
    let request = ChatRequest::new(body, settings.lenient)?;
    let model = state.model(&request.model).await?;
    let ChatRequest { conversation, generation, limit_name, splits_reasoning, .. } = request;
    let mut left_out = conversation.left_out(&model.template);
    left_out.check(settings.strict)?;
    let tools = conversation.tools.clone();
    let prompt = prompt::conversation(&model, conversation, settings.special_tokens(), "messages").await?;
    let mut plan = AnswerPlan::conversation(&model, &generation, tools, prompt, caller);
    plan.is_strict = settings.strict;
    plan.thinking = plan.thinking.filter(|_| splits_reasoning);
    let usage = generation.usage;
    let (has_logprobs, streams) = (generation.logprobs.is_some(), generation.stream);
    let names =
        ParameterNames { prompt: "messages", max_tokens: limit_name, constraint: generation.constraint };
    left_out.extend(plan.left_out(&model, &names));
    let running = RunningAnswers::start(&state, Arc::clone(&model), plan, names).await?;
    drop(share);
    let writer = ChatWriter::new(&model, running.answers(), has_logprobs, usage, running.returned_ids());
    if streams {
        return Ok(left_out.name_in(stream(running, writer)));
    }
    let (answers, counts) = collect(running).await?;
    Ok(left_out.name_in(Json(writer.whole(answers, counts)).into_response()))
}
