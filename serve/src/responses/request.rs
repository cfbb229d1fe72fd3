//! Body of `POST /v1/responses`.

use super::plan;
use crate::error::ApiError;
use crate::tools::ToolPlan;
use crate::valid::{Fields, Generation, hold_to_tools, response_format, settle, text_of, wrong};
use serde_json::{Map, Value, json};
use smollm::Message;

/// A response request, checked.
#[derive(Debug)]
pub(crate) struct ResponsesRequest {
    pub(crate) model: String,
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Option<ToolPlan>,
    pub(crate) generation: Generation,
    /// What the answer repeats of the request.
    pub(crate) echoed: Map<String, Value>,
}

/// What the interface has and a server without state, or these models, cannot honour.
fn refused() -> Vec<(&'static str, Vec<Value>, &'static str)> {
    let stateless = "nothing is stored; send the whole conversation as `input`";
    vec![
        ("previous_response_id", vec![], stateless),
        ("conversation", vec![], stateless),
        ("prompt", vec![], stateless),
        ("background", vec![json!(false)], "answers are given on the connection they were asked on"),
        ("truncation", vec![json!("disabled")], "nothing is left out of a conversation"),
        ("reasoning", vec![json!({}), json!({"effort": "none"})], "these models do not reason apart"),
        ("max_tool_calls", vec![], "it limits built-in tools, and there are none"),
        ("context_management", vec![json!([])], "nothing is left out of a conversation"),
        ("n", vec![json!(1)], "a response is one answer"),
        ("response_format", vec![], "use `text.format`"),
    ]
}

impl ResponsesRequest {
    /// Reads a body.
    pub(crate) fn new(mut fields: Fields, lenient: bool) -> Result<Self, ApiError> {
        let model = fields.need_text("model")?;
        for (field, harmless, why) in refused() {
            fields.only(field, &harmless, why)?;
        }
        let mut echoed = Map::new();
        let instructions = fields.text("instructions")?;
        echoed.insert("instructions".to_owned(), json!(instructions));
        let mut messages: Vec<Message> =
            instructions.map(|text| Message::new("system", text)).into_iter().collect();
        input(&mut fields, &mut messages, lenient)?;
        repeat(&fields, &mut echoed);
        stream_options(&mut fields)?;
        let mut generation = Generation::take(&mut fields)?;
        generation.max_tokens = fields.integer("max_output_tokens", 1..=usize::MAX)?;
        generation.logprobs = logprobs(&mut fields)?;
        format(&mut fields, &mut generation, &mut echoed, lenient)?;
        let tools = tools(&mut fields, &mut echoed, lenient)?;
        hold_to_tools(&mut generation, tools.as_ref())?;
        settle(&mut fields)?;
        fields.finish(lenient)?;
        echoed.insert("max_output_tokens".to_owned(), json!(generation.max_tokens));
        echoed.insert("top_logprobs".to_owned(), json!(generation.logprobs.unwrap_or(0)));
        Ok(Self { model, messages, tools, generation, echoed })
    }
}

/// What the answer says again as it was sent.
fn repeat(fields: &Fields, echoed: &mut Map<String, Value>) {
    for (field, default) in [("metadata", json!({})), ("temperature", json!(1.0)), ("top_p", json!(1.0))] {
        echoed.insert(field.to_owned(), fields.get(field).cloned().unwrap_or(default));
    }
    for field in ["user", "safety_identifier", "prompt_cache_key"] {
        echoed.extend(fields.get(field).map(|value| (field.to_owned(), value.clone())));
    }
}

fn stream_options(fields: &mut Fields) -> Result<(), ApiError> {
    let streams = fields.get("stream") == Some(&Value::Bool(true));
    let Some(mut options) = fields.object("stream_options")? else { return Ok(()) };
    if !streams {
        let message = "`stream_options` is given without `stream: true`";
        return Err(ApiError::invalid("stream_options", message));
    }
    options.only("include_obfuscation", &[Value::Bool(false)], "chunks carry no padding")?;
    options.finish(false)
}

/// Log-probabilities come with the text when `include` names them, or a number of them is asked for.
fn logprobs(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let mut included = false;
    for item in fields.list("include")?.unwrap_or_default() {
        match item.as_str() {
            Some("message.output_text.logprobs") => included = true,
            _ => return Err(wrong("include", &item, "nothing, or message.output_text.logprobs")),
        }
    }
    let top = fields.integer("top_logprobs", 0..=20)?;
    Ok(top.filter(|top| *top > 0 || included).or(included.then_some(0)))
}

fn format(
    fields: &mut Fields,
    generation: &mut Generation,
    echoed: &mut Map<String, Value>,
    lenient: bool,
) -> Result<(), ApiError> {
    let mut shown = json!({"type": "text"});
    if let Some(mut text) = fields.object("text")? {
        if let Some(value) = text.take("format") {
            shown = value.clone();
            let held = response_format(Fields::inside(text.name("format"), value)?)?;
            if let (Some(held), Some(other)) = (&held, &generation.held) {
                let message =
                    format!("`{}` and `{}` both constrain the text; send one", other.param, held.param);
                return Err(ApiError::invalid(&held.param, message));
            }
            generation.held = held.or(generation.held.take());
        }
        text.only("verbosity", &[json!("medium")], "these models were not trained for it")?;
        text.finish(lenient)?;
    }
    echoed.insert("text".to_owned(), json!({"format": shown}));
    Ok(())
}

/// Tools as this endpoint spells them, flat, into the nested shape that templates know.
fn tools(
    fields: &mut Fields,
    echoed: &mut Map<String, Value>,
    lenient: bool,
) -> Result<Option<ToolPlan>, ApiError> {
    let tools = fields.list("tools")?;
    let choice = fields.take("tool_choice");
    let parallel = fields.boolean("parallel_tool_calls")?.unwrap_or(true);
    echoed.insert("tool_choice".to_owned(), choice.clone().unwrap_or(json!("auto")));
    echoed.insert("parallel_tool_calls".to_owned(), parallel.into());
    let nested = |tool: &Value| match tool {
        Value::Object(tool) if tool.get("type").is_some_and(|kind| kind == "function") => {
            let function: Map<String, Value> = tool
                .iter()
                .filter(|(field, value)| *field != "type" && !value.is_null())
                .map(|(field, value)| (field.clone(), value.clone()))
                .collect();
            json!({"type": "function", "function": function})
        }
        other => other.clone(),
    };
    let nested = tools.as_ref().map(|tools| Value::Array(tools.iter().map(nested).collect()));
    let choice = choice.map(|choice| match choice.get("name") {
        Some(name) if choice["type"] == "function" => json!({"type": "function", "function": {"name": name}}),
        _ => choice,
    });
    let plan = plan(nested.as_ref(), choice.as_ref(), parallel, lenient)?;
    let complete = |mut tool: Value| {
        if let Value::Object(fields) = &mut tool {
            fields.entry("parameters").or_insert(Value::Null);
            fields.entry("strict").or_insert(Value::Null);
        }
        tool
    };
    echoed.insert("tools".to_owned(), tools.unwrap_or_default().into_iter().map(complete).collect());
    Ok(plan)
}

/// A text, or items: messages, calls and what came of them.
fn input(fields: &mut Fields, messages: &mut Vec<Message>, lenient: bool) -> Result<(), ApiError> {
    let expected = "a string or an array of at least one item";
    match fields.need("input")? {
        Value::String(text) => messages.push(Message::new("user", text)),
        Value::Array(items) if items.is_empty() => {
            return Err(ApiError::invalid("input", format!("`input` is empty; expected {expected}")));
        }
        Value::Array(items) => {
            for (index, item) in items.into_iter().enumerate() {
                let item = Fields::inside(format!("input[{index}]"), item)?;
                add_item(item, messages, lenient)?;
            }
        }
        other => return Err(wrong("input", &other, expected)),
    }
    Ok(())
}

fn add_item(mut item: Fields, messages: &mut Vec<Message>, lenient: bool) -> Result<(), ApiError> {
    let kind = item.text("type")?.unwrap_or_else(|| "message".to_owned());
    // Marks of an earlier answer; they say nothing to the model.
    item.text("id")?;
    item.text("status")?;
    match kind.as_str() {
        "message" => {
            let role = match item.need_text("role")?.as_str() {
                "developer" => "system",
                "system" => "system",
                "user" => "user",
                "assistant" => "assistant",
                other => {
                    let expected = "user, assistant, system or developer";
                    return Err(wrong(&item.name("role"), &other.into(), expected));
                }
            };
            let content = text_of(&item.name("content"), item.need("content")?, lenient)?;
            item.take("phase");
            messages.push(Message::new(role, content));
        }
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
        other => {
            let expected = "message, function_call or function_call_output";
            return Err(wrong(&item.name("type"), &other.into(), expected));
        }
    }
    item.finish(lenient)
}

/// Calls of one turn belong to one assistant's message.
fn add_call(messages: &mut Vec<Message>, call: Value) {
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
