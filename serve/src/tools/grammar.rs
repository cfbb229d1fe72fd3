//! The grammar that holds an answer to calls of tools, in llguidance's Lark.
//!
//! Each call is spelled out but for its arguments, which are held to the tool's own JSON schema with white space as
//! all JSON constraints here have it: a small model that may write any amount of it easily writes nothing else.

use serde_json::{Map, Value, json};

/// What one tool's call must look like.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// The tool's name.
    pub(super) name: String,
    /// The schema of its arguments; `None` for a tool that takes none.
    pub(super) parameters: Option<Map<String, Value>>,
    /// Whether calls must fit it even where none has to be made.
    pub(super) strict: bool,
}

/// What may stand where no call is made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Instead<'a> {
    /// A call must be made.
    Nothing,
    /// Any text, before calls too.
    Text,
    /// JSON of a schema.
    Json(&'a Map<String, Value>),
}

/// The most calls in one answer: a small model that may go on for ever easily does.
const MOST_CALLS: usize = 8;

/// Calls of any of these tools: one, or one and more where `several`; or what may stand instead. Beside each tool:
/// whether its arguments are held to its schema.
pub(super) fn calls(shapes: &[(&Shape, bool)], several: bool, instead: Instead<'_>) -> String {
    let kinds: Vec<String> = (0..shapes.len()).map(|index| format!("call_{index}")).collect();
    let more = if several { format!(" (\", \" call){{0,{}}}", MOST_CALLS - 1) } else { String::new() };
    let mut grammar = match instead {
        Instead::Nothing => "start: \"<tool_call>\" calls\n".to_owned(),
        // The tag ends what is said as soon as it is whole; text without one goes to the answer's end.
        Instead::Text => {
            "start: TEXT | said calls\nsaid[suffix=\"<tool_call>\"]: TEXT\nTEXT: /(?s:.*)/\n".to_owned()
        }
        Instead::Json(schema) => {
            format!("start: json | \"<tool_call>\" calls\njson: %json {}\n", styled(schema.clone()))
        }
    };
    grammar.push_str(&format!("calls: \"[\" call{more} \"]</tool_call>\"\ncall: {}\n", kinds.join(" | ")));
    for (kind, (shape, held)) in kinds.iter().zip(shapes) {
        let name = Value::from(shape.name.as_str());
        let opening = Value::from(format!("{{\"name\": {name}, \"arguments\": "));
        let arguments = if *held {
            arguments(shape.parameters.as_ref())
        } else {
            styled(Map::from_iter([("type".to_owned(), "object".into())]))
        };
        grammar.push_str(&format!("{kind}: {opening} {kind}_arguments \"}}\"\n"));
        grammar.push_str(&format!("{kind}_arguments: %json {arguments}\n"));
    }
    grammar
}

/// The schema of a call's arguments. Where it lists its properties and says nothing of others, there are none: what
/// a small model would make up has no meaning to the tool.
fn arguments(parameters: Option<&Map<String, Value>>) -> Value {
    const COMPOSED: [&str; 6] =
        ["additionalProperties", "patternProperties", "$ref", "allOf", "anyOf", "oneOf"];
    let mut schema =
        parameters.cloned().unwrap_or_else(|| Map::from_iter([("properties".to_owned(), json!({}))]));
    schema.entry("type").or_insert("object".into());
    if schema.contains_key("properties") && !COMPOSED.iter().any(|keyword| schema.contains_key(*keyword)) {
        schema.insert("additionalProperties".to_owned(), false.into());
    }
    styled(schema)
}

/// A schema with white space as it is here.
fn styled(mut schema: Map<String, Value>) -> Value {
    schema.entry("x-guidance").or_insert_with(engine::json_style);
    Value::Object(schema)
}
