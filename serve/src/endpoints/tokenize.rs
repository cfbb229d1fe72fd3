//! `POST /tokenize`, `/detokenize` and `/apply-template`: what the model would read, without running it.

use crate::body::JsonBody;
use crate::error::ApiError;
use crate::model::Model;
use crate::prompt::{self, SpecialTokens, off_thread_if_long, render_off_thread};
use crate::state::ServerState;
use crate::valid::{DetokenizeRequest, Prompt, TemplateRequest, TokenSource, TokenizeRequest};
use axum::Json;
use axum::extract::{Query, State};
use openai::tokenize::{RenderedPrompt, Text, TokenizerInfo, Tokens};
use std::collections::HashMap;
use std::sync::Arc;

/// Turns a text or a conversation into token ids.
pub(crate) async fn tokenize(
    State(state): State<Arc<ServerState>>,
    JsonBody(body, _share): JsonBody,
) -> Result<Json<Tokens>, ApiError> {
    let TokenizeRequest { model, source, with_strings } = TokenizeRequest::new(body, state.settings.lenient)?;
    let model = state.model(&model).await?;
    let special = state.settings.special_tokens();
    let size = match &source {
        TokenSource::Text { text, .. } => text.len(),
        TokenSource::Conversation(conversation) => prompt::size(conversation),
    };
    let tokens = render_off_thread(size, move || {
        let tokens = ids(source, &model, special)?;
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

fn ids(source: TokenSource, model: &Model, special: SpecialTokens) -> Result<Vec<u32>, ApiError> {
    match source {
        TokenSource::Text { text, add_special_tokens: true } => prompt::raw_ids(model, &Prompt::Text(text)),
        TokenSource::Text { text, .. } => prompt::encode(model, &text),
        TokenSource::Conversation(conversation) => {
            prompt::rendered(model, &conversation, special).map(|(_, ids)| ids)
        }
    }
}

/// Turns token ids into text, special tokens included.
pub(crate) async fn detokenize(
    State(state): State<Arc<ServerState>>,
    JsonBody(body, _share): JsonBody,
) -> Result<Json<Text>, ApiError> {
    let DetokenizeRequest { model, ids } = DetokenizeRequest::new(body, state.settings.lenient)?;
    let model = state.model(&model).await?;
    let vocab_size = model.engine.limits().vocab_size;
    if let Some(id) = ids.iter().find(|id| **id as usize >= vocab_size) {
        let message =
            format!("`tokens` has {id}; expected ids below {vocab_size}, the size of the model's vocabulary");
        return Err(ApiError::invalid("tokens", message));
    }
    let text = off_thread_if_long(ids.len() * 4, move || {
        model.tokenizer.decode(&ids, false).map_err(|error| ApiError::internal(error.to_string()))
    });
    Ok(Json(Text { prompt: text.await? }))
}

/// Turns a conversation into the text and the token ids that the model continues.
pub(crate) async fn apply_template(
    State(state): State<Arc<ServerState>>,
    JsonBody(body, _share): JsonBody,
) -> Result<Json<RenderedPrompt>, ApiError> {
    let TemplateRequest { model, conversation } = TemplateRequest::new(body, state.settings.lenient)?;
    let model = state.model(&model).await?;
    let special = state.settings.special_tokens();
    let rendered = render_off_thread(prompt::size(&conversation), move || {
        let (prompt, tokens) = prompt::rendered(&model, &conversation, special)?;
        Ok(RenderedPrompt { prompt, tokens })
    });
    rendered.await.map(Json)
}

/// What a client needs to prepare prompts itself, in the names of `tokenizer_config.json`; of the first model, or of the
/// one that the query `?model=` names.
pub(crate) async fn tokenizer_info(
    State(state): State<Arc<ServerState>>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<TokenizerInfo>, ApiError> {
    let model = state.model(query.get("model").map_or("", String::as_str)).await?;
    let [bos_token, eos_token] = model.template.named_tokens().map(str::to_owned);
    let some = |token: String| (!token.is_empty()).then_some(token);
    Ok(Json(TokenizerInfo {
        tokenizer_class: "PreTrainedTokenizerFast".to_owned(),
        model: model.name.clone(),
        bos_token: some(bos_token),
        eos_token: some(eos_token),
        pad_token: None,
        chat_template: model.template.source().to_owned(),
        model_max_length: model.engine.limits().context,
        vocab_size: model.engine.limits().vocab_size,
    }))
}
