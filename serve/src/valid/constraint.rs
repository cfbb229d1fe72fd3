//! What an answer is held to: `response_format` and the `guided_*` parameters in vLLM's spelling.
//!
//! At most one of them, because a text cannot be asked to be two things. A JSON schema is always enforced,
//! `strict` or not; a keyword that cannot be is refused by the engine.

use super::fields::{Fields, wrong};
use crate::error::ApiError;
use engine::Constraint;
use serde_json::{Value, json};

/// A constraint and the parameter that asked for it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Held {
    pub(crate) param: String,
    pub(crate) constraint: Constraint,
}

/// Takes every parameter that constrains the text.
pub(crate) fn take(fields: &mut Fields) -> Result<Option<Held>, ApiError> {
    let mut found: Vec<Held> = Vec::new();
    if let Some(format) = fields.object("response_format")? {
        found.extend(response_format(format)?);
    }
    for kind in KINDS {
        let param = format!("guided_{kind}");
        if let Some(value) = fields.take(&param) {
            found.push(guided(kind, param, value)?);
        }
    }
    if let Some(mut outputs) = fields.object("structured_outputs")? {
        for kind in KINDS {
            if let Some(value) = outputs.take(kind) {
                found.push(guided(kind, outputs.name(kind), value)?);
            }
        }
        // Never lenient: what is left would be a constraint that is not kept.
        outputs.finish(false)?;
    }
    match found.as_slice() {
        [] | [_] => Ok(found.pop()),
        [first, second, ..] => Err(ApiError::invalid(
            &second.param,
            format!("`{}` and `{}` both constrain the text; send one", first.param, second.param),
        )),
    }
}

const KINDS: [&str; 4] = ["json", "choice", "regex", "grammar"];

fn guided(kind: &str, param: String, value: Value) -> Result<Held, ApiError> {
    let constraint = match (kind, value) {
        ("json", Value::String(text)) => match serde_json::from_str(&text) {
            Ok(schema @ Value::Object(_)) => Constraint::JsonSchema(schema),
            _ => return Err(ApiError::invalid(&param, format!("`{param}` is not a JSON schema: {text:?}"))),
        },
        ("json", schema @ Value::Object(_)) => Constraint::JsonSchema(schema),
        ("json", other) => return Err(wrong(&param, &other, "a JSON schema")),
        ("choice", value) => Constraint::Choice(choices(&param, value)?),
        ("regex", Value::String(pattern)) => Constraint::Regex(pattern),
        ("grammar", Value::String(grammar)) => Constraint::Lark(grammar),
        (_, other) => return Err(wrong(&param, &other, "a string")),
    };
    Ok(Held { param, constraint })
}

fn choices(param: &str, value: Value) -> Result<Vec<String>, ApiError> {
    let expected = "an array of at least one string";
    let Value::Array(items) = value else { return Err(wrong(param, &value, expected)) };
    if items.is_empty() {
        return Err(ApiError::invalid(param, format!("`{param}` is empty; expected {expected}")));
    }
    let text = |(index, item): (usize, Value)| match item {
        Value::String(text) => Ok(text),
        other => Err(wrong(&format!("{param}[{index}]"), &other, "a string")),
    };
    items.into_iter().enumerate().map(text).collect()
}

/// What a `response_format` (or the `text.format` of a response) asks for; `text` asks for nothing.
pub(crate) fn response_format(mut format: Fields) -> Result<Option<Held>, ApiError> {
    let param = format.name("type").trim_end_matches(".type").to_owned();
    let kind = format.need_text("type")?;
    let schema = match kind.as_str() {
        "text" => None,
        "json_object" => Some(json!({"type": "object"})),
        "json_schema" => {
            // Chat completions wrap the schema once more; responses do not.
            if param == "response_format" {
                let mut inner = Fields::inside(format.name("json_schema"), format.need("json_schema")?)?;
                let schema = named_schema(&mut inner)?;
                inner.finish(false)?;
                Some(schema)
            } else {
                Some(named_schema(&mut format)?)
            }
        }
        _ => {
            let expected = "`text`, `json_object` or `json_schema`";
            return Err(wrong(&format.name("type"), &Value::from(kind), expected));
        }
    };
    format.finish(false)?;
    Ok(schema.map(|schema| Held { param, constraint: Constraint::JsonSchema(schema) }))
}

fn named_schema(fields: &mut Fields) -> Result<Value, ApiError> {
    fields.need_text("name")?;
    fields.text("description")?;
    // Enforced either way.
    fields.boolean("strict")?;
    let schema = fields.need("schema")?;
    match schema {
        Value::Object(_) => Ok(schema),
        other => Err(wrong(&fields.name("schema"), &other, "a JSON schema")),
    }
}
