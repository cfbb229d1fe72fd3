//! The grammar that forces an answer to be calls of tools, in llguidance's Lark.
//!
//! Each call is spelled out but for its arguments, which are held to the tool's own JSON schema with white space as
//! all JSON constraints here have it: a small model that may write any amount of it easily writes nothing else.

use serde_json::{Map, Value, json};

/// What one tool's call must look like.
pub(super) struct Shape<'a> {
    /// The tool's name.
    pub(super) name: &'a str,
    /// The schema of its arguments; `None` for a tool that takes none.
    pub(super) parameters: Option<&'a Map<String, Value>>,
}

/// The most calls in one answer: a small model that may go on for ever easily does.
const MOST_CALLS: usize = 8;

/// Calls of any of these tools: one, or one and more where `several`.
pub(super) fn calls(shapes: &[Shape<'_>], several: bool) -> String {
    let kinds: Vec<String> = (0..shapes.len()).map(|index| format!("call_{index}")).collect();
    let more = if several { format!(" (\", \" call){{0,{}}}", MOST_CALLS - 1) } else { String::new() };
    let mut grammar =
        format!("start: \"<tool_call>[\" call{more} \"]</tool_call>\"\ncall: {}\n", kinds.join(" | "));
    for (kind, shape) in kinds.iter().zip(shapes) {
        let name = Value::from(shape.name);
        let opening = Value::from(format!("{{\"name\": {name}, \"arguments\": "));
        grammar.push_str(&format!("{kind}: {opening} {kind}_arguments \"}}\"\n"));
        grammar.push_str(&format!("{kind}_arguments: %json {}\n", arguments(shape.parameters)));
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
    schema.entry("x-guidance").or_insert_with(engine::json_style);
    Value::Object(schema)
}
