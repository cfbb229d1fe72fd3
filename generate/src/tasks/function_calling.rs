//! Function calling: tools that the teacher defines, a request that needs one, several or none of them, and the
//! calls. Calls are constrained to the tools' parameters when they are generated, and checked again.
//!
//! `checkpoint::tools` writes tools and calls as the text that SmolLM2 uses, so a model is served what it was
//! trained on.

mod calls;
mod definitions;

use super::steps::{Category, category, fields, judge, pick};
use crate::maker::{Maker, OtherTeachers};
use crate::recipe::{Recipe, TaskSettings};
use crate::row_context::{RowContext, RowError, dropped};
use crate::task::{RowShape, SourceTexts, Task};
use crate::teacher::Prompt;
use anyhow::Result;
use checkpoint::tools::with_tools_as_text;
use checkpoint::{ChatTemplate, Message};
use datasets::write::ColumnType;
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub(super) static TASK: Maker = Maker {
    task: Task {
        name: "function-calling",
        about: "Requests that are answered by tool calls, or without one if no tool fits",
        by_default: false,
        source: SourceTexts::None,
        shape: RowShape::Conversation,
        columns: &[
            ("tools", ColumnType::Text),
            ("calls", ColumnType::Text),
            ("need", ColumnType::Text),
            ("domain", ColumnType::Text),
        ],
    },
    load,
    calls: |_| OtherTeachers { judge: true, ..OtherTeachers::default() },
    user_turns: |_| false,
    make_row: |context| Box::pin(make_row(context)),
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FunctionCallingSettings {
    /// Minimum and maximum number of tools in a row.
    #[serde(default = "one_to_four")]
    tools: [u64; 2],
    /// How many tools a request needs: `one`, `several` or `none`.
    category: Vec<Category>,
    lists: FunctionCallingLists,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FunctionCallingLists {
    domain: Vec<String>,
}

fn one_to_four() -> [u64; 2] {
    [1, 4]
}

fn load(recipe: &Recipe) -> Result<TaskSettings> {
    let settings: FunctionCallingSettings = recipe.parse()?;
    recipe.needs_entries(&settings.category, "category")?;
    recipe.needs_entries(&settings.lists.domain, "domain")?;
    Ok(Box::new(settings))
}

async fn make_row(context: &RowContext<'_>) -> Result<Map<String, Value>, RowError> {
    let settings: &FunctionCallingSettings = context.recipe.task_settings();
    let domain = pick(context, "domain", &settings.lists.domain);
    let need = category(&settings.category, context.draw("need"));
    let tools = tools(context, settings.tools, domain).await?;
    let query = query(context, &tools, need).await?;
    let calls = calls(context, &tools, &query).await?;
    check_need(need, calls.len())?;
    let answer = match calls.is_empty() {
        true => Message::new("assistant", explanation(context, &tools, &query).await?),
        false => Message { tool_calls: Some(in_openai_format(&calls)), ..Message::new("assistant", "") },
    };
    let messages =
        with_tools_as_text(&ChatTemplate::chatml(), vec![Message::new("user", query), answer], &tools);
    Ok(fields(json!({
        "messages": messages, "tools": tools.to_string(), "calls": Value::from(calls).to_string(),
        "need": need, "domain": domain
    })))
}

/// The tools that the teacher defines, in OpenAI's format.
async fn tools(
    context: &RowContext<'_>,
    [minimum, maximum]: [u64; 2],
    domain: &str,
) -> Result<Value, RowError> {
    let count = minimum + context.draw("tools") % (maximum.max(minimum) - minimum + 1);
    let mut schema = context.recipe.schema("tools")?.clone();
    for limit in ["minItems", "maxItems"] {
        schema["properties"]["tools"][limit] = json!(count);
    }
    let prompt = context.recipe.prompt("tools", &json!({"domain": domain, "count": count}))?;
    let read = |value: Value| match jsonschema::is_valid(&schema, &value) {
        true => definitions::read(&value),
        false => Err(("unusable_tools", format!("does not fit the schema: {value}"))),
    };
    context.written(&context.teachers.main, "tools", "tools", prompt, &schema, read).await
}

/// The request of the user.
async fn query(context: &RowContext<'_>, tools: &Value, need: &str) -> Result<String, RowError> {
    let prompt = context.recipe.prompt("query", &json!({"tools": tools.to_string(), "need": need}))?;
    let schema = context.recipe.schema("query")?;
    let read = |value: Value| match value["query"].as_str().map(str::trim) {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(("empty", value.to_string())),
    };
    context.written(&context.teachers.main, "query", "query", prompt, schema, read).await
}

/// The calls that the teacher makes; none if it decides that no tool fits.
async fn calls(context: &RowContext<'_>, tools: &Value, query: &str) -> Result<Vec<Value>, RowError> {
    let prompt = context.recipe.prompt("calls", &json!({"tools": tools.to_string(), "query": query}))?;
    let schema = calls::schema(tools);
    context
        .checked(judge(context), "calls", "calls", prompt, &schema, |value| calls::read(tools, &value))
        .await
}

/// Drops a request that leads to another number of calls than it was meant to.
fn check_need(need: &str, calls: usize) -> Result<(), RowError> {
    match (need, calls) {
        ("none", 0) | ("one", 1) | ("several", 2..) => Ok(()),
        ("none", _) => dropped("calls", "tool_fits", format!("{calls} calls where no tool was to fit")),
        (_, 0) => dropped("calls", "no_call", format!("meant to need {need}")),
        _ => dropped("calls", "other_number_of_calls", format!("{calls}, meant to need {need}")),
    }
}

/// The reply if no tool fits.
async fn explanation(context: &RowContext<'_>, tools: &Value, query: &str) -> Result<String, RowError> {
    let prompt =
        context.recipe.prompt("explanation", &json!({"tools": tools.to_string(), "query": query}))?;
    let text = context.message("assistant", Prompt::Assistant(vec![Message::new("user", prompt)])).await?;
    match text.contains("tool_call>") {
        true => dropped("assistant", "call_without_tool", text),
        false => Ok(text),
    }
}

/// The calls in OpenAI's format.
fn in_openai_format(calls: &[Value]) -> Value {
    calls.iter().map(|call| json!({"type": "function", "function": call})).collect()
}
