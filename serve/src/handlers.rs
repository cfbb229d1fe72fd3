//! The walks of chat completions, completions and models: body, checked request, prompt, engine, answer.

use crate::answer::chat::ChatAnswer;
use crate::answer::completion::CompletionAnswer;
use crate::answer::{Asked, Named, Running, collect, stream};
use crate::error::ApiError;
use crate::model::Model;
use crate::prompt::{self, Raw, off_thread_if_long};
use crate::server::{Body, Server};
use crate::tools::ToolPlan;
use crate::valid::{ChatRequest, CompletionRequest, Generation, Prompt};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use engine::Request;
use serde_json::{Value, json};
use std::sync::Arc;

/// `POST /v1/chat/completions`.
pub(crate) async fn chat(State(server): State<Arc<Server>>, Body(body): Body) -> Result<Response, ApiError> {
    let request = ChatRequest::new(body, server.settings.lenient)?;
    let model = Arc::clone(server.model(&request.model)?);
    let ChatRequest { messages, tools, ending, generation, .. } = request;
    let ids = prompt::conversation(&model, messages, tools.as_ref(), ending).await?;
    let asked = several(&model, &generation, tools, ids);
    let named = Named { prompt: "messages", held: generation.held };
    let running = Running::start(&server, Arc::clone(&model), asked, named).await?;
    let logprobs = generation.logprobs.is_some();
    let answer = ChatAnswer::new(&model, running.answers(), logprobs, generation.include_usage);
    if generation.stream {
        return Ok(stream(running, answer));
    }
    let (answers, usage) = collect(running).await?;
    Ok(Json(answer.whole(&answers, usage)).into_response())
}

/// The `n` answers to one conversation; without a limit each may fill the rest of the context.
pub(crate) fn several(
    model: &Model,
    generation: &Generation,
    tools: Option<ToolPlan>,
    ids: Vec<u32>,
) -> Asked {
    let rest = model.engine.limits().context.saturating_sub(ids.len()).max(1);
    Asked {
        request: generation.request(model, generation.max_tokens.unwrap_or(rest)),
        prompts: vec![Arc::new(Raw { ids, ..Raw::default() })],
        each: generation.n,
        echo: false,
        tools,
    }
}

/// `POST /v1/completions`.
pub(crate) async fn completions(
    State(server): State<Arc<Server>>,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let request = CompletionRequest::new(body, server.settings.lenient)?;
    let model = Arc::clone(server.model(&request.model)?);
    let CompletionRequest { prompts, echo, generation, .. } = request;
    let size = prompts.iter().map(|prompt| match prompt {
        Prompt::Text(text) => text.len(),
        Prompt::Ids(ids) => ids.len(),
    });
    let (size, of) = (size.sum(), Arc::clone(&model));
    let scored = generation.logprobs.filter(|_| echo);
    let raws = off_thread_if_long(size, move || {
        let raw = |prompt: &Prompt| match echo {
            true => prompt::raw(&of, prompt),
            false => Ok(Raw { ids: prompt::raw_ids(&of, prompt)?, ..Raw::default() }),
        };
        prompts.iter().map(|prompt| raw(prompt).map(Arc::new)).collect::<Result<Vec<_>, ApiError>>()
    })
    .await?;
    let max_tokens = generation.max_tokens.unwrap_or_default();
    let request = Request { prompt_logprobs: scored, ..generation.request(&model, max_tokens) };
    let asked = Asked { request, prompts: raws, each: generation.n, echo, tools: None };
    let named = Named { prompt: "prompt", held: generation.held };
    let running = Running::start(&server, Arc::clone(&model), asked, named).await?;
    let answer = CompletionAnswer::new(&model, generation.logprobs.is_some(), generation.include_usage);
    if generation.stream {
        return Ok(stream(running, answer));
    }
    let (answers, usage) = collect(running).await?;
    Ok(Json(answer.whole(&answers, usage)).into_response())
}

/// `GET /v1/models`.
pub(crate) async fn models(State(server): State<Arc<Server>>) -> Result<Json<Value>, ApiError> {
    let list: Vec<Value> = server.models()?.iter().map(|model| described(model)).collect();
    Ok(Json(json!({"object": "list", "data": list})))
}

/// `GET /v1/models/{id}`; an id may have slashes.
pub(crate) async fn model(
    State(server): State<Arc<Server>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(id) = id.map_err(|rejection| ApiError::invalid("model", rejection.body_text()))?;
    Ok(Json(described(server.model(&id)?)))
}

fn described(model: &Model) -> Value {
    json!({
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "smolserve",
        "max_model_len": model.engine.limits().context,
        "engine": model.engine_name,
    })
}
