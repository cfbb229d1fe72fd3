//! Constraints of the text: `response_format`, the `guided_*` parameters in vLLM's spelling, and llama.cpp's.
//!
//! A request has at most one of them, because a text cannot follow two. A JSON schema is always enforced, `strict` or
//! not; the engine refuses keywords that it cannot enforce.

use crate::error::ApiError;
use crate::fields::{Fields, missing, wrong};
use crate::gbnf;
use engine::Constraint;
use serde_json::{Value, json};

/// A constraint, and the parameter it comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NamedConstraint {
    pub(crate) param: String,
    pub(crate) constraint: Constraint,
}

impl NamedConstraint {
    /// Returns this constraint or the other one, and refuses two.
    pub(super) fn only(first: Option<Self>, second: Option<Self>) -> Result<Option<Self>, ApiError> {
        match (first, second) {
            (Some(first), Some(second)) => {
                let message =
                    format!("`{}` and `{}` both constrain the text; send one", first.param, second.param);
                Err(ApiError::invalid(second.param, message))
            }
            (first, second) => Ok(first.or(second)),
        }
    }
}

/// Takes all parameters that constrain the text.
pub(super) fn take(fields: &mut Fields) -> Result<Option<NamedConstraint>, ApiError> {
    let mut constraint = fields.object("response_format")?.map(response_format).transpose()?.flatten();
    for kind in KINDS {
        let param = format!("guided_{kind}");
        if let Some(value) = fields.take(&param) {
            constraint = NamedConstraint::only(constraint, Some(guided(kind, param, value)?))?;
        }
    }
    // llama.cpp's spelling.
    if let Some(value) = fields.take("json_schema") {
        constraint =
            NamedConstraint::only(constraint, Some(guided("json", "json_schema".to_owned(), value)?))?;
    }
    // llama.cpp's and SGLang's; clients send an empty one for none.
    for param in GBNF {
        if let Some(value) = fields.take(param).filter(|value| *value != "") {
            constraint =
                NamedConstraint::only(constraint, Some(guided("grammar", param.to_owned(), value)?))?;
        }
    }
    if let Some(mut outputs) = fields.object("structured_outputs")? {
        for kind in KINDS {
            if let Some(value) = outputs.take(kind) {
                let param = outputs.name(kind);
                constraint = NamedConstraint::only(constraint, Some(guided(kind, param, value)?))?;
            }
        }
        // Never lenient: an unknown field would be a constraint that is not enforced.
        outputs.finish(false)?;
    }
    Ok(constraint)
}

const KINDS: [&str; 4] = ["json", "choice", "regex", "grammar"];
/// Parameters whose value is a grammar in GBNF.
const GBNF: [&str; 2] = ["grammar", "ebnf"];

fn guided(kind: &str, param: String, value: Value) -> Result<NamedConstraint, ApiError> {
    let constraint = match (kind, value) {
        ("json", Value::String(text)) => match serde_json::from_str(&text) {
            Ok(schema @ Value::Object(_)) => Constraint::JsonSchema(schema),
            _ => return Err(ApiError::invalid(&param, format!("`{param}` is not a JSON schema: {text:?}"))),
        },
        ("json", schema @ Value::Object(_)) => Constraint::JsonSchema(schema),
        ("json", other) => return Err(wrong(&param, &other, "a JSON schema")),
        ("choice", value) => Constraint::Choice(choices(&param, value)?),
        ("regex", Value::String(pattern)) => Constraint::Regex(pattern),
        ("grammar", Value::String(grammar)) if GBNF.contains(&param.as_str()) || gbnf::is_gbnf(&grammar) => {
            let lark = gbnf::to_lark(&grammar)
                .map_err(|error| ApiError::invalid(&param, format!("`{param}`: {error}")))?;
            Constraint::Lark(lark)
        }
        ("grammar", Value::String(grammar)) => Constraint::Lark(grammar),
        (_, other) => return Err(wrong(&param, &other, "a string")),
    };
    Ok(NamedConstraint { param, constraint })
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

/// The constraint of a `response_format`, or of the `text.format` of a response; `text` has none.
pub(super) fn response_format(mut format: Fields) -> Result<Option<NamedConstraint>, ApiError> {
    let param = format.name("type").trim_end_matches(".type").to_owned();
    let kind = format.need_text("type")?;
    let schema = match kind.as_str() {
        "text" => None,
        // llama.cpp's spelling has the schema beside the type.
        "json_object" => Some(schema_beside(&mut format)?.unwrap_or_else(|| json!({"type": "object"}))),
        "json_schema" if param == "response_format" && format.get("json_schema").is_none() => {
            match schema_beside(&mut format)? {
                Some(schema) => Some(schema),
                None => return Err(missing(&format.name("json_schema"))),
            }
        }
        "json_schema" => {
            // Chat completions have the schema in an object of its own; responses do not.
            if param == "response_format" {
                let mut inner = Fields::nested(format.name("json_schema"), format.need("json_schema")?)?;
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
    Ok(schema.map(|schema| NamedConstraint { param, constraint: Constraint::JsonSchema(schema) }))
}

fn schema_beside(format: &mut Fields) -> Result<Option<Value>, ApiError> {
    match format.take("schema") {
        None => Ok(None),
        Some(schema @ Value::Object(_)) => Ok(Some(schema)),
        Some(other) => Err(wrong(&format.name("schema"), &other, "a JSON schema")),
    }
}

fn named_schema(fields: &mut Fields) -> Result<Value, ApiError> {
    // A name for people.
    fields.text("name")?;
    fields.text("description")?;
    // Enforced either way.
    fields.boolean("strict")?;
    let schema = fields.need("schema")?;
    match schema {
        Value::Object(_) => Ok(schema),
        other => Err(wrong(&fields.name("schema"), &other, "a JSON schema")),
    }
}
