//! What the endpoints with a conversation share: messages, tools, how the prompt ends, and the template's variables.

use super::messages::messages;
use crate::error::ApiError;
use crate::fields::{Fields, wrong};
use crate::left_out::LeftOut;
use crate::tools::ToolPlan;
use checkpoint::{ChatTemplate, Message};
use serde_json::{Map, Value, json};

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

/// A conversation as the template reads it.
#[derive(Debug, Clone)]
pub(crate) struct Conversation {
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Option<ToolPlan>,
    pub(crate) end: PromptEnd,
    /// Variables for the template, such as `enable_thinking`.
    pub(crate) variables: Map<String, Value>,
    /// Parameters that set variables; each has an effect where the template reads one of them.
    switches: Vec<(String, Vec<String>)>,
    /// What has no effect with any model.
    pub(crate) left_out: LeftOut,
}

impl Conversation {
    /// Takes the conversation's fields.
    pub(crate) fn take(fields: &mut Fields, lenient: bool) -> Result<Self, ApiError> {
        let messages = messages(fields, lenient)?;
        let mut left_out = LeftOut::default();
        let tools = tools(fields, lenient, &mut left_out)?;
        let end = prompt_end(fields, &messages)?;
        let mut conversation = Self::new(messages, tools, end, left_out);
        conversation.take_variables(fields)?;
        Ok(conversation)
    }

    /// Takes `chat_template_kwargs`.
    pub(super) fn take_variables(&mut self, fields: &mut Fields) -> Result<(), ApiError> {
        let Some(kwargs) = fields.object("chat_template_kwargs")? else { return Ok(()) };
        for (name, value) in kwargs.into_map() {
            self.switches.push((format!("chat_template_kwargs.{name}"), vec![name.clone()]));
            self.variables.insert(name, value);
        }
        Ok(())
    }

    /// A conversation without variables.
    pub(super) fn new(
        messages: Vec<Message>,
        tools: Option<ToolPlan>,
        end: PromptEnd,
        left_out: LeftOut,
    ) -> Self {
        Self { messages, tools, end, variables: Map::new(), switches: Vec::new(), left_out }
    }

    /// Sets how much the model is to reason, in the variables that templates read it from. Variables that the request
    /// sets by name stay.
    pub(super) fn set_effort(&mut self, param: String, effort: &str) -> Result<(), ApiError> {
        const EFFORTS: [&str; 6] = ["none", "minimal", "low", "medium", "high", "xhigh"];
        if !EFFORTS.contains(&effort) {
            let expected = "`none`, `minimal`, `low`, `medium`, `high` or `xhigh`";
            return Err(wrong(&param, &effort.into(), expected));
        }
        let thinks = effort != "none";
        // The spellings of gpt-oss; of Qwen 3 and SmolLM 3; of DeepSeek V3.1 and Granite.
        let variables = [
            ("reasoning_effort", json!(effort)),
            ("enable_thinking", json!(thinks)),
            ("thinking", json!(thinks)),
        ];
        for (name, value) in variables.clone() {
            self.variables.entry(name).or_insert(value);
        }
        // A model that does not reason does what `none` asks for.
        if thinks {
            self.switches.push((param, variables.map(|(name, _)| name.to_owned()).into()));
        }
        Ok(())
    }

    /// What has no effect with this template.
    pub(crate) fn left_out(&self, template: &ChatTemplate) -> LeftOut {
        let mut left_out = self.left_out.clone();
        for (param, variables) in &self.switches {
            if !variables.iter().any(|variable| template.reads(variable)) {
                left_out.add(param.as_str(), "the model's template does not read it");
            }
        }
        left_out
    }
}

/// Takes `tools`, `tool_choice` and `parallel_tool_calls`.
fn tools(fields: &mut Fields, lenient: bool, left_out: &mut LeftOut) -> Result<Option<ToolPlan>, ApiError> {
    let (tools, choice) = (fields.take("tools"), fields.take("tool_choice"));
    let parallel = fields.boolean("parallel_tool_calls")?.unwrap_or(true);
    ToolPlan::new(tools.as_ref(), choice.as_ref(), parallel, lenient, left_out)
}

/// Takes `add_generation_prompt` and `continue_final_message`.
fn prompt_end(fields: &mut Fields, messages: &[Message]) -> Result<PromptEnd, ApiError> {
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
