//! `POST /v1/chat/completions/input_tokens` and `/v1/responses/input_tokens`: how many tokens a request's prompt has, without
//! running the model. The bodies are those of the requests themselves.

use super::responses::with_stored_messages;
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::prompt;
use crate::state::ServerState;
use crate::valid::{ChatRequest, Conversation, ResponseRequest};
use axum::extract::State;
use axum::{Extension, Json};
use openai::tokenize::InputTokens;
use std::sync::Arc;

/// Counts the tokens of a chat's prompt.
pub(crate) async fn of_chat(
    State(state): State<Arc<ServerState>>,
    JsonBody(body, _share): JsonBody,
) -> Result<Json<InputTokens>, ApiError> {
    let request = ChatRequest::new(body, state.settings.lenient)?;
    count(&state, &request.model, request.conversation, "messages").await
}

/// Counts the tokens of a response's prompt, with the conversation that it continues.
pub(crate) async fn of_response(
    State(state): State<Arc<ServerState>>,
    Extension(caller): Extension<Caller>,
    JsonBody(body, _share): JsonBody,
) -> Result<Json<InputTokens>, ApiError> {
    let mut request = ResponseRequest::new(body, state.settings.lenient)?;
    with_stored_messages(&state, &mut request, caller)?;
    count(&state, &request.model, request.conversation, "input").await
}

async fn count(
    state: &ServerState,
    model: &str,
    conversation: Conversation,
    param: &'static str,
) -> Result<Json<InputTokens>, ApiError> {
    let model = state.model(model).await?;
    conversation.left_out(&model.template).check(state.settings.strict)?;
    let prompt = prompt::conversation(&model, conversation, state.settings.special_tokens(), param).await?;
    Ok(Json(InputTokens { object: InputTokens::OBJECT.to_owned(), input_tokens: prompt.ids.len() }))
}
