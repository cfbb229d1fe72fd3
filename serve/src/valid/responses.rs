//! Body of `POST /v1/responses`.

use super::constraint::{NamedConstraint, response_format};
use super::conversation::{Conversation, PromptEnd};
use super::generation::Generation;
use super::messages::text_of;
use super::unsupported;
use crate::error::ApiError;
use crate::fields::{Fields, wrong};
use crate::left_out::LeftOut;
use crate::tools::ToolPlan;
use checkpoint::Message;
use openai::response::{RequestEcho, TextEcho};
use serde_json::{Map, Value, json};

/// A checked response request.
#[derive(Debug)]
pub(crate) struct ResponseRequest {
    /// Empty for the first model.
    pub(crate) model: String,
    pub(crate) conversation: Conversation,
    pub(crate) generation: Generation,
    /// The response that this one continues.
    pub(crate) previous: Option<String>,
    /// Where the messages of what is continued belong: after the instructions, which are not carried over.
    pub(crate) input_start: usize,
    /// Whether the conversation is stored.
    pub(crate) stores: bool,
    /// What the answer repeats of the request.
    pub(crate) echo: RequestEcho,
}

/// Parameters that a server without state, or these models, do not support: the values that change nothing, and the
/// reason.
fn unsupported_here() -> Vec<(&'static str, Vec<Value>, &'static str)> {
    let stateless =
        "send the whole conversation as `input`, or continue a response by `previous_response_id`";
    let whole = "nothing is left out of a conversation";
    vec![
        ("conversation", vec![], stateless),
        ("prompt", vec![], stateless),
        ("background", vec![json!(false)], "the answer is given on the connection of the request"),
        ("truncation", vec![json!("disabled")], whole),
        ("max_tool_calls", vec![], "it limits built-in tools, and there are none"),
        ("context_management", vec![json!([])], whole),
        ("n", vec![json!(1)], "a response is one answer"),
        ("response_format", vec![], "use `text.format`"),
    ]
}

impl ResponseRequest {
    /// Reads a body.
    pub(crate) fn new(mut fields: Fields, lenient: bool) -> Result<Self, ApiError> {
        let model = fields.text("model")?.unwrap_or_default();
        for (field, accepted, why) in unsupported_here() {
            fields.neutral(field, &accepted, why)?;
        }
        let instructions = fields.text("instructions")?;
        let mut messages: Vec<Message> =
            instructions.iter().map(|text| Message::new("system", text.as_str())).collect();
        let input_start = messages.len();
        let previous = fields.text("previous_response_id")?;
        let stores = fields.boolean("store")?.unwrap_or(true);
        let mut left_out = LeftOut::default();
        input(&mut fields, &mut messages, lenient, &mut left_out)?;
        let mut echo = echo(&fields, instructions);
        echo.previous_response_id.clone_from(&previous);
        echo.store = stores;
        stream_options(&mut fields)?;
        let mut generation = Generation::take(&mut fields)?;
        generation.max_tokens = fields.integer("max_output_tokens", 1..=usize::MAX)?;
        generation.logprobs = logprobs(&mut fields)?;
        fields.neutral(
            "return_token_ids",
            &[json!(false)],
            "responses have no place for ids; use chat completions",
        )?;
        echo.text.format = format(&mut fields, &mut generation, lenient)?;
        let tools = tools(&mut fields, &mut echo, lenient, &mut left_out)?;
        generation.constrain_to_tools(tools.as_ref())?;
        let mut conversation = Conversation::new(messages, tools, PromptEnd::AssistantTurn, left_out);
        conversation.take_variables(&mut fields)?;
        reasoning(&mut fields, &mut conversation)?;
        unsupported::take(&mut fields)?;
        unsupported::take_engine_defaults(&mut fields)?;
        fields.finish(lenient)?;
        echo.max_output_tokens = generation.max_tokens.map(|tokens| tokens as u64);
        echo.top_logprobs = generation.logprobs.unwrap_or(0) as u64;
        Ok(Self { model, conversation, generation, previous, input_start, stores, echo })
    }
}

/// Takes `reasoning` and `reasoning_effort`; summaries are not made.
fn reasoning(fields: &mut Fields, conversation: &mut Conversation) -> Result<(), ApiError> {
    if let Some(mut reasoning) = fields.object("reasoning")? {
        let param = reasoning.name("effort");
        if let Some(effort) = reasoning.text("effort")? {
            conversation.set_effort(param, &effort)?;
        }
        for summary in ["summary", "generate_summary"] {
            reasoning.text(summary)?;
        }
        reasoning.finish(false)?;
    }
    match fields.text("reasoning_effort")? {
        Some(effort) => conversation.set_effort("reasoning_effort".to_owned(), &effort),
        None => Ok(()),
    }
}

/// What the answer repeats as it was sent; the rest is filled in when it is taken.
fn echo(fields: &Fields, instructions: Option<String>) -> RequestEcho {
    let sent = |field| fields.get(field).cloned();
    RequestEcho {
        instructions,
        metadata: sent("metadata").unwrap_or_else(|| json!({})),
        temperature: sent("temperature").unwrap_or_else(|| json!(1.0)),
        top_p: sent("top_p").unwrap_or_else(|| json!(1.0)),
        user: sent("user"),
        safety_identifier: sent("safety_identifier"),
        prompt_cache_key: sent("prompt_cache_key"),
        text: TextEcho { format: json!({"type": "text"}) },
        tool_choice: json!("auto"),
        parallel_tool_calls: true,
        tools: Vec::new(),
        max_output_tokens: None,
        top_logprobs: 0,
        previous_response_id: None,
        store: false,
    }
}

fn stream_options(fields: &mut Fields) -> Result<(), ApiError> {
    let streams = fields.get("stream") == Some(&Value::Bool(true));
    let Some(mut options) = fields.object("stream_options")? else { return Ok(()) };
    if !streams {
        return Err(ApiError::invalid("stream_options", "`stream_options` requires `stream: true`"));
    }
    options.neutral("include_obfuscation", &[Value::Bool(false)], "events have no padding")?;
    options.finish(false)
}

/// Log-probabilities are reported when `include` names them or `top_logprobs` asks for some.
fn logprobs(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let mut is_included = false;
    for item in fields.list("include")?.unwrap_or_default() {
        match item.as_str() {
            Some("message.output_text.logprobs") => is_included = true,
            // Reasoning is in the answer as text, and there is nothing else to be sent back.
            Some("reasoning.encrypted_content") => {}
            _ => {
                let expected = "`message.output_text.logprobs` or `reasoning.encrypted_content`";
                return Err(wrong("include", &item, expected));
            }
        }
    }
    let top = fields.integer("top_logprobs", 0..=20)?;
    Ok(top.filter(|top| *top > 0 || is_included).or(is_included.then_some(0)))
}

/// Takes `text`; returns the format that the answer repeats.
fn format(fields: &mut Fields, generation: &mut Generation, lenient: bool) -> Result<Value, ApiError> {
    let mut format = json!({"type": "text"});
    if let Some(mut text) = fields.object("text")? {
        if let Some(value) = text.take("format") {
            format = value.clone();
            let constraint = response_format(Fields::nested(text.name("format"), value)?)?;
            generation.constraint = NamedConstraint::only(generation.constraint.take(), constraint)?;
        }
        text.neutral("verbosity", &[json!("medium")], "these models were not trained for it")?;
        text.finish(lenient)?;
    }
    Ok(format)
}

/// Takes the tools, whose fields are flat here, and nests them as templates expect it.
fn tools(
    fields: &mut Fields,
    echo: &mut RequestEcho,
    lenient: bool,
    left_out: &mut LeftOut,
) -> Result<Option<ToolPlan>, ApiError> {
    let tools = fields.list("tools")?;
    let choice = fields.take("tool_choice");
    let parallel = fields.boolean("parallel_tool_calls")?.unwrap_or(true);
    let nested_tools = tools.as_ref().map(|tools| Value::Array(tools.iter().map(nested).collect()));
    let nested_choice = choice.as_ref().map(|choice| match choice.get("name") {
        Some(name) if choice["type"] == "function" => {
            json!({"type": "function", "function": {"name": name}})
        }
        _ => choice.clone(),
    });
    let plan = ToolPlan::new(nested_tools.as_ref(), nested_choice.as_ref(), parallel, lenient, left_out);
    let plan = plan.map_err(|error| ApiError {
        param: error.param.as_deref().map(flat),
        message: flat(&error.message),
        ..error
    })?;
    let complete = |mut tool: Value| {
        if let Value::Object(fields) = &mut tool {
            fields.entry("parameters").or_insert(Value::Null);
            fields.entry("strict").or_insert(Value::Null);
        }
        tool
    };
    echo.tools = tools.unwrap_or_default().into_iter().map(complete).collect();
    echo.tool_choice = choice.unwrap_or_else(|| json!("auto"));
    echo.parallel_tool_calls = parallel;
    Ok(plan)
}

/// A tool with its fields in `function`.
fn nested(tool: &Value) -> Value {
    match tool {
        Value::Object(tool) if tool.get("type").is_some_and(|kind| kind == "function") => {
            let function: Map<String, Value> = tool
                .iter()
                .filter(|(field, value)| *field != "type" && !value.is_null())
                .map(|(field, value)| (field.clone(), value.clone()))
                .collect();
            json!({"type": "function", "function": function})
        }
        other => other.clone(),
    }
}

/// A nested parameter's name as this endpoint spells it.
pub(super) fn flat(param: &str) -> String {
    param.replace("].function", "]").replace("tool_choice.function", "tool_choice")
}

/// Takes a text, or items: messages, calls and what the tools returned.
fn input(
    fields: &mut Fields,
    messages: &mut Vec<Message>,
    lenient: bool,
    left_out: &mut LeftOut,
) -> Result<(), ApiError> {
    let expected = "a string or an array of at least one item";
    match fields.need("input")? {
        Value::String(text) => messages.push(Message::new("user", text)),
        Value::Array(items) if items.is_empty() => {
            return Err(ApiError::invalid("input", format!("`input` is empty; expected {expected}")));
        }
        Value::Array(items) => {
            for (index, item) in items.into_iter().enumerate() {
                let item = Fields::nested(format!("input[{index}]"), item)?;
                add_item(item, messages, lenient, left_out)?;
            }
        }
        other => return Err(wrong("input", &other, expected)),
    }
    Ok(())
}

fn add_item(
    mut item: Fields,
    messages: &mut Vec<Message>,
    lenient: bool,
    left_out: &mut LeftOut,
) -> Result<(), ApiError> {
    let kind = item.text("type")?.unwrap_or_else(|| "message".to_owned());
    // Fields of an earlier answer; the model does not see them.
    item.text("id")?;
    item.text("status")?;
    match kind.as_str() {
        "message" => messages.push(message(&mut item, lenient)?),
        "function_call" => {
            let (id, name) = (item.need_text("call_id")?, item.need_text("name")?);
            let function = json!({"name": name, "arguments": item.need_text("arguments")?});
            add_call(messages, json!({"id": id, "type": "function", "function": function}));
        }
        "function_call_output" => {
            let id = item.need_text("call_id")?;
            let output = text_of(&item.name("output"), item.need("output")?, lenient)?;
            messages.push(Message { tool_call_id: Some(id), ..Message::new("tool", output) });
        }
        "reasoning" => {
            for field in ["summary", "content", "encrypted_content"] {
                item.take(field);
            }
            left_out.add(
                item.name("type").trim_end_matches(".type"),
                "earlier reasoning is not shown to the model",
            );
        }
        other if add_foreign_call(&mut item, other, messages, lenient)? => {}
        other => {
            let expected =
                "`message`, `function_call`, `function_call_output`, a call of another tool or `reasoning`";
            return Err(wrong(&item.name("type"), &other.into(), expected));
        }
    }
    item.finish(lenient)
}

/// Adds an earlier call of a tool that is no function, or its result, as a client such as Codex has it in its history: the
/// model sees a call with the same content. Returns whether the item was one.
fn add_foreign_call(
    item: &mut Fields,
    kind: &str,
    messages: &mut Vec<Message>,
    lenient: bool,
) -> Result<bool, ApiError> {
    let (name, arguments) = match kind {
        "custom_tool_call" => (item.need_text("name")?, json!({"input": item.need_text("input")?})),
        "local_shell_call" => ("local_shell".to_owned(), item.need("action")?),
        "web_search_call" => {
            // The provider ran it, and its result is in the answer that follows.
            item.take("action");
            return Ok(true);
        }
        "custom_tool_call_output" | "local_shell_call_output" => {
            let id = item.need_text("call_id")?;
            item.text("name")?;
            let output = text_of(&item.name("output"), item.need("output")?, lenient)?;
            messages.push(Message { tool_call_id: Some(id), ..Message::new("tool", output) });
            return Ok(true);
        }
        _ => return Ok(false),
    };
    item.text("namespace")?;
    let function = json!({"name": name, "arguments": arguments.to_string()});
    add_call(messages, json!({"id": item.need_text("call_id")?, "type": "function", "function": function}));
    Ok(true)
}

fn message(item: &mut Fields, lenient: bool) -> Result<Message, ApiError> {
    let role = match item.need_text("role")?.as_str() {
        "system" | "developer" => "system",
        "user" => "user",
        "assistant" => "assistant",
        other => {
            let expected = "`user`, `assistant`, `system` or `developer`";
            return Err(wrong(&item.name("role"), &other.into(), expected));
        }
    };
    let content = text_of(&item.name("content"), item.need("content")?, lenient)?;
    item.take("phase");
    Ok(Message::new(role, content))
}

/// Adds a call to the assistant's last message: calls of one turn belong to one message.
pub(crate) fn add_call(messages: &mut Vec<Message>, call: Value) {
    let Some(last) = messages.last_mut().filter(|last| last.role == "assistant") else {
        let calls = Some(Value::Array(vec![call]));
        messages.push(Message { tool_calls: calls, ..Message::new("assistant", "") });
        return;
    };
    match &mut last.tool_calls {
        Some(Value::Array(calls)) => calls.push(call),
        none => *none = Some(Value::Array(vec![call])),
    }
}
