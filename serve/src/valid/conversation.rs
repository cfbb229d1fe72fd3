//! What the endpoints with a conversation share: messages, tools, and how the prompt ends.

use super::messages::messages;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::tools::ToolPlan;
use checkpoint::Message;
use serde_json::json;

/// How the prompt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PromptEnd {
    /// Where the assistant starts to speak.
    AssistantTurn,
    /// After the last message.
    LastMessage,
    /// Within the last message, which the model continues.
    OpenMessage,
}

/// A conversation for `/tokenize` and `/apply-template`.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Option<ToolPlan>,
    pub(crate) end: PromptEnd,
}

impl Conversation {
    /// Takes the conversation's fields.
    pub(crate) fn take(fields: &mut Fields, lenient: bool) -> Result<Self, ApiError> {
        let messages = messages(fields, lenient)?;
        let tools = tools(fields, lenient)?;
        let end = prompt_end(fields, &messages)?;
        fields.neutral("chat_template_kwargs", &[json!({})], "the template has no parameters")?;
        Ok(Self { messages, tools, end })
    }
}

/// Takes `tools`, `tool_choice` and `parallel_tool_calls`.
pub(super) fn tools(fields: &mut Fields, lenient: bool) -> Result<Option<ToolPlan>, ApiError> {
    let (tools, choice) = (fields.take("tools"), fields.take("tool_choice"));
    let parallel = fields.boolean("parallel_tool_calls")?.unwrap_or(true);
    ToolPlan::new(tools.as_ref(), choice.as_ref(), parallel, lenient)
}

/// Takes `add_generation_prompt` and `continue_final_message`.
pub(super) fn prompt_end(fields: &mut Fields, messages: &[Message]) -> Result<PromptEnd, ApiError> {
    let add = fields.boolean("add_generation_prompt")?;
    let open = fields.boolean("continue_final_message")?.unwrap_or(false);
    let refuse = |message: &str| Err(ApiError::invalid("continue_final_message", message));
    match (open, add) {
        (true, Some(true)) => {
            refuse("`continue_final_message` and `add_generation_prompt` are both true; send one")
        }
        (true, _) if messages.last().is_none_or(|last| last.role != "assistant") => {
            refuse("`continue_final_message` requires an assistant's message at the end")
        }
        (true, _) => Ok(PromptEnd::OpenMessage),
        (false, Some(false)) => Ok(PromptEnd::LastMessage),
        (false, _) => Ok(PromptEnd::AssistantTurn),
    }
}
