//! `POST /tokenize`, `/detokenize` and `/apply-template`: what the model would read, without running it.

use crate::body::JsonBody;
use crate::error::ApiError;
use crate::model::Model;
use crate::prompt::{self, off_thread};
use crate::state::ServerState;
use crate::tools::ToolPlan;
use crate::valid::{Conversation, DetokenizeRequest, Prompt, TemplateRequest, TokenSource, TokenizeRequest};
use axum::Json;
use axum::extract::State;
use openai::tokenize::{RenderedPrompt, Text, Tokens};
use std::sync::Arc;

/// Turns a text or a conversation into token ids.
pub(crate) async fn tokenize(
    State(state): State<Arc<ServerState>>,
    JsonBody(body): JsonBody,
) -> Result<Json<Tokens>, ApiError> {
    let TokenizeRequest { model, source, with_strings } = TokenizeRequest::new(body, state.settings.lenient)?;
    let model = Arc::clone(state.model(&model)?);
    let tokens = off_thread(move || {
        let tokens = ids(source, &model)?;
        let spelling = |id: &u32| model.tokenizer.token(*id).unwrap_or_default();
        Ok(Tokens {
            count: tokens.len(),
            max_model_len: model.engine.limits().context,
            token_strs: with_strings.then(|| tokens.iter().map(spelling).collect()),
            tokens,
        })
    });
    tokens.await.map(Json)
}

fn ids(source: TokenSource, model: &Model) -> Result<Vec<u32>, ApiError> {
    match source {
        TokenSource::Text { text, add_special_tokens: true } => prompt::raw_ids(model, &Prompt::Text(text)),
        TokenSource::Text { text, .. } => prompt::encode(model, &text),
        TokenSource::Conversation(conversation) => prompt::encode(model, &rendered(&conversation, model)?),
    }
}

fn rendered(conversation: &Conversation, model: &Model) -> Result<String, ApiError> {
    let tools = conversation.tools.as_ref().map(ToolPlan::tools);
    prompt::text(model, &conversation.messages, tools, conversation.end)
}

/// Turns token ids into text, special tokens included.
pub(crate) async fn detokenize(
    State(state): State<Arc<ServerState>>,
    JsonBody(body): JsonBody,
) -> Result<Json<Text>, ApiError> {
    let DetokenizeRequest { model, ids } = DetokenizeRequest::new(body, state.settings.lenient)?;
    let model = Arc::clone(state.model(&model)?);
    let vocab_size = model.engine.limits().vocab_size;
    if let Some(id) = ids.iter().find(|id| **id as usize >= vocab_size) {
        let message =
            format!("`tokens` has {id}; expected ids below {vocab_size}, the size of the model's vocabulary");
        return Err(ApiError::invalid("tokens", message));
    }
    let text = off_thread(move || {
        model.tokenizer.decode(&ids, false).map_err(|error| ApiError::internal(error.to_string()))
    });
    Ok(Json(Text { prompt: text.await? }))
}

/// Turns a conversation into the text and the token ids that the model continues.
pub(crate) async fn apply_template(
    State(state): State<Arc<ServerState>>,
    JsonBody(body): JsonBody,
) -> Result<Json<RenderedPrompt>, ApiError> {
    let TemplateRequest { model, conversation } = TemplateRequest::new(body, state.settings.lenient)?;
    let model = Arc::clone(state.model(&model)?);
    let rendered = off_thread(move || {
        let prompt = rendered(&conversation, &model)?;
        let tokens = prompt::encode(&model, &prompt)?;
        Ok(RenderedPrompt { prompt, tokens })
    });
    rendered.await.map(Json)
}
