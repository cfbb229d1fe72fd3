//! The grammar of an answer with tool calls, in the Lark notation of llguidance.
//!
//! It writes each call out except for the arguments, which follow the tool's own JSON schema. White space is fixed as in
//! all JSON constraints here: a small model that may write any amount of it often writes nothing else.

use serde_json::{Map, Value, json};

/// What the calls of one tool look like.
#[derive(Debug, Clone)]
pub(super) struct Signature {
    /// The tool's name.
    pub(super) name: String,
    /// The schema of its arguments; `None` for a tool without arguments.
    pub(super) parameters: Option<Map<String, Value>>,
    /// Whether calls fit the schema even where no call is forced.
    pub(super) strict: bool,
}

/// What an answer may be instead of calls.
#[derive(Debug, Clone, Copy)]
pub(super) enum Alternative<'a> {
    /// Nothing: a call is forced.
    Nothing,
    /// Any text, also before calls.
    Text,
    /// JSON that fits a schema.
    Json(&'a Map<String, Value>),
}

/// Maximum number of calls in one answer: a small model may not stop by itself.
const MAX_CALLS: usize = 8;

/// The grammar of calls of any of these tools: one, or one and more where `several`; or of the alternative. The Boolean
/// beside each tool tells whether its schema is enforced.
pub(super) fn calls(
    signatures: &[(&Signature, bool)],
    several: bool,
    alternative: Alternative<'_>,
) -> String {
    let kinds: Vec<String> = (0..signatures.len()).map(|index| format!("call_{index}")).collect();
    let more = if several { format!(" (\", \" call){{0,{}}}", MAX_CALLS - 1) } else { String::new() };
    let mut grammar = match alternative {
        Alternative::Nothing => "start: \"<tool_call>\" calls\n".to_owned(),
        // The suffix ends the text at the first whole tag; text without a tag goes to the answer's end.
        Alternative::Text => {
            "start: TEXT | lead calls\nlead[suffix=\"<tool_call>\"]: TEXT\nTEXT: /(?s:.*)/\n".to_owned()
        }
        Alternative::Json(schema) => {
            let schema = engine::narrowed(schema.clone());
            format!("start: json | \"<tool_call>\" calls\njson: %json {schema}\n")
        }
    };
    grammar.push_str(&format!("calls: \"[\" call{more} \"]</tool_call>\"\ncall: {}\n", kinds.join(" | ")));
    for (kind, (signature, is_enforced)) in kinds.iter().zip(signatures) {
        let name = Value::from(signature.name.as_str());
        let opening = Value::from(format!("{{\"name\": {name}, \"arguments\": "));
        let arguments = if *is_enforced {
            arguments(signature.parameters.as_ref())
        } else {
            engine::narrowed(Map::from_iter([("type".to_owned(), "object".into())]))
        };
        grammar.push_str(&format!("{kind}: {opening} {kind}_arguments \"}}\"\n"));
        grammar.push_str(&format!("{kind}_arguments: %json {arguments}\n"));
    }
    grammar
}

/// The schema of a call's arguments. A schema that lists properties and does not mention others allows no others: an
/// invented property means nothing to the tool.
fn arguments(parameters: Option<&Map<String, Value>>) -> Value {
    const COMPOSED: [&str; 6] =
        ["additionalProperties", "patternProperties", "$ref", "allOf", "anyOf", "oneOf"];
    let mut schema =
        parameters.cloned().unwrap_or_else(|| Map::from_iter([("properties".to_owned(), json!({}))]));
    schema.entry("type").or_insert("object".into());
    if schema.contains_key("properties") && !COMPOSED.iter().any(|keyword| schema.contains_key(*keyword)) {
        schema.insert("additionalProperties".to_owned(), false.into());
    }
    engine::narrowed(schema)
}
