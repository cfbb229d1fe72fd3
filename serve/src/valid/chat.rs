//! Body of `POST /v1/chat/completions`.

use super::constraint::Held;
use super::fields::Fields;
use super::generation::Generation;
use super::messages::messages;
use crate::error::ApiError;
use crate::tools::ToolPlan;
use engine::Constraint;
use serde_json::{Value, json};
use smollm::Message;

/// A chat request, checked.
#[derive(Debug)]
pub(crate) struct ChatRequest {
    pub(crate) model: String,
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Option<ToolPlan>,
    pub(crate) ending: Ending,
    pub(crate) generation: Generation,
}

/// How the prompt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Where the assistant is to speak.
    Assistant,
    /// After the last message.
    Closed,
    /// In the last message, which the model goes on with.
    Unfinished,
}

/// What OpenAI's interface has and these models cannot honour: the values that ask for nothing, and why not.
fn refused() -> Vec<(&'static str, Vec<Value>, &'static str)> {
    let text = "these models read and write text only";
    vec![
        ("modalities", vec![json!(["text"])], text),
        ("audio", vec![], text),
        ("store", vec![json!(false)], "nothing is stored"),
        ("service_tier", vec![json!("auto"), json!("default")], "there is one tier"),
        ("prediction", vec![], "predicted outputs are not used"),
        ("web_search_options", vec![], "there is no web search"),
        ("moderation", vec![], "there is no moderation"),
        ("reasoning_effort", vec![json!("none")], "these models do not reason apart from their answer"),
        ("verbosity", vec![json!("medium")], "these models were not trained for it"),
        (
            "prompt_cache_retention",
            vec![json!("in_memory"), json!("in-memory")],
            "prefixes are kept in memory",
        ),
        ("prompt_cache_options", vec![json!({})], "prefixes are reused without being asked"),
        ("functions", vec![json!([])], "use `tools`"),
        ("function_call", vec![json!("none")], "use `tool_choice`"),
        ("chat_template_kwargs", vec![json!({})], "the template takes none"),
        ("chat_template", vec![], "the server's own template is used (--chat-template)"),
        ("documents", vec![json!([])], "the template takes none"),
        ("best_of", vec![json!(1)], "use `n`"),
    ]
}

/// What asks for nothing of the model: taken and let go.
const ASKS_NOTHING: [&str; 4] = ["user", "metadata", "safety_identifier", "prompt_cache_key"];

/// Takes the parameters that ask for nothing and refuses the ones that cannot be honoured.
pub(crate) fn settle(fields: &mut Fields) -> Result<(), ApiError> {
    for (field, harmless, why) in refused() {
        fields.only(field, &harmless, why)?;
    }
    for field in ASKS_NOTHING {
        match field {
            "metadata" => drop(fields.object(field)?),
            _ => drop(fields.text(field)?),
        }
    }
    Ok(())
}

impl ChatRequest {
    /// Reads a body.
    pub(crate) fn new(mut fields: Fields, lenient: bool) -> Result<Self, ApiError> {
        let model = fields.need_text("model")?;
        let messages = messages(&mut fields, lenient)?;
        let mut generation = Generation::take(&mut fields)?;
        generation.max_tokens = max_tokens(&mut fields)?;
        generation.logprobs = logprobs(&mut fields)?;
        let tools = tools(&mut fields, lenient)?;
        hold_to_tools(&mut generation, tools.as_ref())?;
        let ending = ending(&mut fields, &messages)?;
        settle(&mut fields)?;
        fields.finish(lenient)?;
        Ok(Self { model, messages, tools, ending, generation })
    }
}

/// Reads `tools`, `tool_choice` and `parallel_tool_calls`.
pub(crate) fn tools(fields: &mut Fields, lenient: bool) -> Result<Option<ToolPlan>, ApiError> {
    let (tools, choice) = (fields.take("tools"), fields.take("tool_choice"));
    let parallel = fields.boolean("parallel_tool_calls")?.unwrap_or(true);
    ToolPlan::new(tools.as_ref(), choice.as_ref(), parallel, lenient)
}

/// Tools that must be called constrain the text, and nothing else may then. Where they may be called, the answer is
/// calls or what a JSON schema asks for; the other constraints would leave no way to call.
pub(crate) fn hold_to_tools(generation: &mut Generation, tools: Option<&ToolPlan>) -> Result<(), ApiError> {
    let Some(plan) = tools else { return Ok(()) };
    let held = generation.held.take();
    let schema = match &held {
        None => None,
        Some(Held { param, constraint: Constraint::JsonSchema(Value::Object(schema)) })
            if !plan.is_forced() =>
        {
            engine::enforceable(&Value::Object(schema.clone()))
                .map_err(|refused| ApiError { param: Some(param.clone()), ..refused.into() })?;
            Some(schema)
        }
        Some(Held { param, .. }) => {
            let message =
                format!("`tools` and `{param}` both constrain the text; send one, or `tool_choice: none`");
            return Err(ApiError::invalid(param, message));
        }
    };
    let constraint = plan.constraint(schema);
    let param = held.map_or_else(|| "tools".to_owned(), |held| held.param);
    generation.held = constraint.map(|constraint| Held { param, constraint });
    Ok(())
}

fn max_tokens(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let newer = fields.integer("max_completion_tokens", 1..=usize::MAX)?;
    let older = fields.integer("max_tokens", 1..=usize::MAX)?;
    match (newer, older) {
        (Some(newer), Some(older)) if newer != older => Err(ApiError::invalid(
            "max_tokens",
            format!("`max_tokens` is {older} and `max_completion_tokens` {newer}; send one"),
        )),
        _ => Ok(newer.or(older)),
    }
}

fn logprobs(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let asked = fields.boolean("logprobs")?.unwrap_or(false);
    match (asked, fields.integer("top_logprobs", 0..=20)?) {
        (true, top) => Ok(Some(top.unwrap_or(0))),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => {
            Err(ApiError::invalid("top_logprobs", "`top_logprobs` is given without `logprobs: true`"))
        }
    }
}

/// Reads how the prompt is to end.
pub(crate) fn ending(fields: &mut Fields, messages: &[Message]) -> Result<Ending, ApiError> {
    let add = fields.boolean("add_generation_prompt")?;
    let unfinished = fields.boolean("continue_final_message")?.unwrap_or(false);
    let refuse = |message: &str| Err(ApiError::invalid("continue_final_message", message));
    match (unfinished, add) {
        (true, Some(true)) => {
            refuse("`continue_final_message` and `add_generation_prompt` cannot both be true")
        }
        (true, _) if messages.last().is_none_or(|last| last.role != "assistant") => {
            refuse("`continue_final_message` needs an assistant's message at the end")
        }
        (true, _) => Ok(Ending::Unfinished),
        (false, Some(false)) => Ok(Ending::Closed),
        (false, _) => Ok(Ending::Assistant),
    }
}
