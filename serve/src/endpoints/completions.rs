//! `POST /v1/completions`.

use crate::answer::{AnswerPlan, CompletionWriter, ParameterNames, RunningAnswers, collect, stream};
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::model::Model;
use crate::prompt::{self, TokenizedPrompt, off_thread_if_long};
use crate::state::ServerState;
use crate::valid::{CompletionRequest, Prompt};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use engine::Request;
use std::sync::Arc;

/// Continues raw texts, or scores them.
pub(crate) async fn completions(
    State(state): State<Arc<ServerState>>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let request = CompletionRequest::new(body, state.settings.lenient)?;
    let model = Arc::clone(state.model(&request.model)?);
    let CompletionRequest { prompts, echo, generation, .. } = request;
    let prompts = tokenized(&model, prompts, echo).await?;
    let max_tokens = generation.max_tokens.unwrap_or_default();
    let prompt_logprobs = generation.logprobs.filter(|_| echo);
    let request = Request { prompt_logprobs, ..generation.request(&model, max_tokens) };
    let plan = AnswerPlan { request, prompts, answers_per_prompt: generation.n, echo, tools: None };
    let names = ParameterNames { prompt: "prompt", constraint: generation.constraint };
    let running = RunningAnswers::start(&state, Arc::clone(&model), plan, names).await?;
    let writer = CompletionWriter::new(&model, generation.logprobs.is_some(), generation.include_usage);
    if generation.stream {
        return Ok(stream(running, writer));
    }
    let (answers, counts) = collect(running).await?;
    Ok(Json(writer.whole(answers, counts)).into_response())
}

/// The prompts as tokens; with their text where it is echoed.
async fn tokenized(
    model: &Arc<Model>,
    prompts: Vec<Prompt>,
    echo: bool,
) -> Result<Vec<Arc<TokenizedPrompt>>, ApiError> {
    let size = prompts.iter().map(|prompt| match prompt {
        Prompt::Text(text) => text.len(),
        Prompt::Ids(ids) => ids.len(),
    });
    let (size, model) = (size.sum(), Arc::clone(model));
    off_thread_if_long(size, move || {
        let tokenize = |prompt: &Prompt| match echo {
            true => prompt::with_offsets(&model, prompt),
            false => {
                Ok(TokenizedPrompt { ids: prompt::raw_ids(&model, prompt)?, ..TokenizedPrompt::default() })
            }
        };
        prompts.iter().map(|prompt| tokenize(prompt).map(Arc::new)).collect()
    })
    .await
}
