//! `POST /v1/completions`.

use crate::answer::{AnswerPlan, CompletionWriter, ParameterNames, RunningAnswers, collect, stream};
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::prompt;
use crate::state::ServerState;
use crate::valid::CompletionRequest;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use engine::Request;
use std::sync::Arc;

/// Continues raw texts, or scores them.
pub(crate) async fn completions(
    State(state): State<Arc<ServerState>>,
    Extension(caller): Extension<Caller>,
    JsonBody(body, share): JsonBody,
) -> Result<Response, ApiError> {
    let request = CompletionRequest::new(body, state.settings.lenient)?;
    let model = state.model(&request.model).await?;
    let CompletionRequest { prompts, echo, generation, .. } = request;
    let prompts = prompt::raw_prompts(&model, prompts, echo, "prompt").await?;
    let max_tokens = generation.max_tokens.unwrap_or_default();
    let prompt_logprobs = generation.logprobs.filter(|_| echo).or(generation.prompt_logprobs);
    let Caller { prefix_scope, client, .. } = caller;
    let request = Request { prompt_logprobs, prefix_scope, client, ..generation.request(&model, max_tokens) };
    let plan = AnswerPlan {
        request,
        prompts,
        answers_per_prompt: generation.n,
        echo,
        tools: None,
        thinking: None,
        is_strict: state.settings.strict,
        returns_ids: generation.returns_ids,
        returns_prompt_logprobs: generation.prompt_logprobs.is_some(),
    };
    let (usage, has_logprobs, streams) = (generation.usage, generation.logprobs.is_some(), generation.stream);
    let names =
        ParameterNames { prompt: "prompt", max_tokens: "max_tokens", constraint: generation.constraint };
    let left_out = plan.left_out(&model, &names);
    let running = RunningAnswers::start(&state, Arc::clone(&model), plan, names).await?;
    drop(share);
    let writer = CompletionWriter::new(&model, has_logprobs, usage, running.returned_ids());
    if streams {
        return Ok(left_out.name_in(stream(running, writer)));
    }
    let (answers, counts) = collect(running).await?;
    Ok(left_out.name_in(Json(writer.whole(answers, counts)).into_response()))
}
