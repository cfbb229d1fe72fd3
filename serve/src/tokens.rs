//! `/tokenize`, `/detokenize` and `/apply-template`: what the model would see, without running it.

use crate::error::ApiError;
use crate::model::Model;
use crate::prompt::{self, off_thread};
use crate::server::{Body, Server};
use crate::tools::ToolPlan;
use crate::valid::{Ending, Fields, Prompt, ending, messages, prompts, tools};
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use smollm::Message;
use std::sync::Arc;

/// A conversation as these endpoints take it.
#[derive(Debug)]
struct Conversation {
    messages: Vec<Message>,
    tools: Option<ToolPlan>,
    ending: Ending,
}

impl Conversation {
    fn take(fields: &mut Fields, lenient: bool) -> Result<Self, ApiError> {
        let messages = messages(fields, lenient)?;
        let tools = tools(fields, lenient)?;
        let ending = ending(fields, &messages)?;
        fields.only("chat_template_kwargs", &[json!({})], "the template takes none")?;
        Ok(Self { messages, tools, ending })
    }

    fn text(&self, model: &Model) -> Result<String, ApiError> {
        prompt::text(model, &self.messages, self.tools.as_ref().map(ToolPlan::tools), self.ending)
    }
}

/// What is to be tokenized.
enum Source {
    Conversation(Conversation),
    Text { text: String, add_special_tokens: bool },
}

/// `POST /tokenize`: a prompt or a conversation to token ids.
pub(crate) async fn tokenize(
    State(server): State<Arc<Server>>,
    Body(mut fields): Body,
) -> Result<Json<Value>, ApiError> {
    let lenient = server.settings.lenient;
    let model = Arc::clone(server.model(&fields.need_text("model")?)?);
    let add_special_tokens = fields.boolean("add_special_tokens")?;
    let with_strings = fields.boolean("return_token_strs")?.unwrap_or(false);
    let source = match fields.text("prompt")? {
        Some(text) => Source::Text { text, add_special_tokens: add_special_tokens.unwrap_or(true) },
        None if add_special_tokens == Some(true) => {
            let message =
                "`add_special_tokens` is true, but the template prints a conversation's special tokens";
            return Err(ApiError::invalid("add_special_tokens", message));
        }
        None => Source::Conversation(Conversation::take(&mut fields, lenient)?),
    };
    fields.finish(lenient)?;
    let body = off_thread(move || {
        let ids = match source {
            Source::Text { text, add_special_tokens: true } => prompt::raw_ids(&model, &Prompt::Text(text)),
            Source::Text { text, .. } => prompt::encode(&model, &text),
            Source::Conversation(conversation) => prompt::encode(&model, &conversation.text(&model)?),
        }?;
        let mut body = json!({
            "count": ids.len(),
            "max_model_len": model.engine.limits().context,
            "tokens": ids,
        });
        if with_strings {
            let spelling = |id: &u32| model.tokenizer.token(*id).unwrap_or_default();
            body["token_strs"] = ids.iter().map(spelling).collect();
        }
        Ok(body)
    });
    body.await.map(Json)
}

/// `POST /detokenize`: token ids to text, special tokens included.
pub(crate) async fn detokenize(
    State(server): State<Arc<Server>>,
    Body(mut fields): Body,
) -> Result<Json<Value>, ApiError> {
    let model = Arc::clone(server.model(&fields.need_text("model")?)?);
    let ids = match fields.need("tokens")? {
        Value::Array(none) if none.is_empty() => Vec::new(),
        tokens => match prompts("tokens", tokens)?.as_slice() {
            [Prompt::Ids(ids)] => ids.clone(),
            _ => return Err(ApiError::invalid("tokens", "`tokens` is not one array of token ids")),
        },
    };
    fields.finish(server.settings.lenient)?;
    let known = model.engine.limits().vocab_size;
    if let Some(id) = ids.iter().find(|id| **id as usize >= known) {
        let message = format!("`tokens` holds {id}; expected ids below {known}, the model's vocabulary");
        return Err(ApiError::invalid("tokens", message));
    }
    let text = off_thread(move || {
        model.tokenizer.decode(&ids, false).map_err(|error| ApiError::internal(error.to_string()))
    });
    Ok(Json(json!({"prompt": text.await?})))
}

/// `POST /apply-template`: a conversation to the text and the ids that the model continues.
pub(crate) async fn apply_template(
    State(server): State<Arc<Server>>,
    Body(mut fields): Body,
) -> Result<Json<Value>, ApiError> {
    let lenient = server.settings.lenient;
    let model = Arc::clone(server.model(&fields.need_text("model")?)?);
    let conversation = Conversation::take(&mut fields, lenient)?;
    fields.finish(lenient)?;
    let rendered = off_thread(move || {
        let text = conversation.text(&model)?;
        let ids = prompt::encode(&model, &text)?;
        Ok(json!({"prompt": text, "tokens": ids}))
    });
    rendered.await.map(Json)
}
