//! Function calling: tools that the teacher defines, a request that needs one, several or none of them, and the
//! calls, held to the tools' parameters as they are written and checked again as if they had not been.
//!
//! The conversation is told in SmolLM2's words by `smollm::tools`, so a model trained on it is served what it saw.

mod calls;
mod definitions;

use super::{fields, judge, pick};
use crate::teacher::Prompt;
use crate::walk::{Halt, Walk, dropped};
use serde_json::{Map, Value, json};
use smollm::tools::tell_tools;
use smollm::{ChatTemplate, Message};

pub(crate) async fn row(walk: &Walk<'_>) -> Result<Map<String, Value>, Halt> {
    let domain = pick(walk, "domain", walk.recipe.list("domain")?);
    let need = walk.recipe.category(walk.draw("need"));
    let tools = tools(walk, domain).await?;
    let query = query(walk, &tools, need).await?;
    let calls = calls(walk, &tools, &query).await?;
    check_need(need, calls.len())?;
    let answer = match calls.is_empty() {
        true => Message::new("assistant", explanation(walk, &tools, &query).await?),
        false => Message { tool_calls: Some(in_openai_shape(&calls)), ..Message::new("assistant", "") },
    };
    let messages = tell_tools(&ChatTemplate::chatml(), vec![Message::new("user", query), answer], &tools);
    Ok(fields(json!({
        "messages": messages, "tools": tools.to_string(), "calls": Value::from(calls).to_string(),
        "need": need, "domain": domain
    })))
}

/// The teacher's definitions, as an API is told of them.
async fn tools(walk: &Walk<'_>, domain: &str) -> Result<Value, Halt> {
    let [least, most] = walk.recipe.settings.tools.unwrap_or([1, 4]);
    let count = least + walk.draw("tools") % (most.max(least) - least + 1);
    let mut schema = walk.recipe.schema("tools")?.clone();
    for limit in ["minItems", "maxItems"] {
        schema["properties"]["tools"][limit] = json!(count);
    }
    let question = walk.recipe.prompt("tools", &json!({"domain": domain, "count": count}))?;
    let read = |value: Value| match jsonschema::is_valid(&schema, &value) {
        true => definitions::read(&value),
        false => Err(("unusable_tools", format!("does not fit the schema: {value}"))),
    };
    walk.checked(&walk.teachers.main, "tools", "tools", question, &schema, read).await
}

/// What the user asks for.
async fn query(walk: &Walk<'_>, tools: &Value, need: &str) -> Result<String, Halt> {
    let question = walk.recipe.prompt("query", &json!({"tools": tools.to_string(), "need": need}))?;
    let schema = walk.recipe.schema("query")?;
    let read = |value: Value| match value["query"].as_str().map(str::trim) {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(("empty", value.to_string())),
    };
    walk.checked(&walk.teachers.main, "query", "query", question, schema, read).await
}

/// The calls that the teacher makes; none where it finds that no tool fits.
async fn calls(walk: &Walk<'_>, tools: &Value, query: &str) -> Result<Vec<Value>, Halt> {
    let question = walk.recipe.prompt("calls", &json!({"tools": tools.to_string(), "query": query}))?;
    let schema = calls::schema(tools);
    walk.checked(judge(walk), "calls", "calls", question, &schema, |value| calls::read(tools, &value)).await
}

/// A request that needs other calls than it was meant to is not what the row says it is.
fn check_need(need: &str, calls: usize) -> Result<(), Halt> {
    match (need, calls) {
        ("none", 0) | ("one", 1) | ("several", 2..) => Ok(()),
        ("none", _) => dropped("calls", "tool_fits", format!("{calls} calls where no tool was to fit")),
        (_, 0) => dropped("calls", "no_call", format!("meant to need {need}")),
        _ => dropped("calls", "other_number_of_calls", format!("{calls}, meant to need {need}")),
    }
}

/// What to say where no tool fits.
async fn explanation(walk: &Walk<'_>, tools: &Value, query: &str) -> Result<String, Halt> {
    let question = walk.recipe.prompt("explanation", &json!({"tools": tools.to_string(), "query": query}))?;
    let text = walk.words("assistant", Prompt::Assistant(vec![Message::new("user", question)])).await?;
    match text.contains("tool_call>") {
        true => dropped("assistant", "call_without_tool", text),
        false => Ok(text),
    }
}

fn in_openai_shape(calls: &[Value]) -> Value {
    calls.iter().map(|call| json!({"type": "function", "function": call})).collect()
}
