//! The tools that a teacher defines with a flat list of parameters each, converted to OpenAI's format with a JSON
//! schema of the arguments. Small teachers write flat lists better than schemas.

use serde_json::{Map, Value, json};

/// Converts definitions that fit `tools.schema.json` to OpenAI's format; the error is the reason and the detail of
/// a drop because of a repeated name.
pub(super) fn read(value: &Value) -> Result<Value, (&'static str, String)> {
    let mut tools: Vec<Value> = Vec::new();
    for tool in value["tools"].as_array().into_iter().flatten() {
        let name = &tool["name"];
        if tools.iter().any(|known| known["function"]["name"] == *name) {
            return Err(("repeated_tool", format!("two tools are named {name}")));
        }
        let function =
            json!({"name": name, "description": tool["description"], "parameters": parameters(tool)?});
        tools.push(json!({"type": "function", "function": function}));
    }
    Ok(Value::from(tools))
}

/// The schema of a tool's arguments.
fn parameters(tool: &Value) -> Result<Value, (&'static str, String)> {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for parameter in tool["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap_or_default();
        if properties.insert(name.to_owned(), schema(parameter)).is_some() {
            return Err(("repeated_parameter", format!("{} has {name} twice", tool["name"])));
        }
        if parameter["required"] == true {
            required.push(name);
        }
    }
    Ok(json!({"type": "object", "properties": properties, "required": required}))
}

/// The schema of a parameter.
fn schema(parameter: &Value) -> Value {
    let description = &parameter["description"];
    let mut choices: Vec<&Value> = Vec::new();
    for choice in parameter["choices"].as_array().into_iter().flatten() {
        if !choices.contains(&choice) {
            choices.push(choice);
        }
    }
    match parameter["type"].as_str().unwrap_or_default() {
        "list of strings" => {
            json!({"type": "array", "items": {"type": "string"}, "description": description})
        }
        "string" if choices.len() > 1 => {
            json!({"type": "string", "enum": choices, "description": description})
        }
        kind => json!({"type": kind, "description": description}),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn parameter(name: &str, kind: &str, required: bool, choices: &[&str]) -> Value {
        json!({"name": name, "type": kind, "description": "d", "required": required, "choices": choices})
    }

    #[test]
    fn flat_parameters_become_a_schema() {
        let parameters = [
            parameter("city", "string", true, &[]),
            parameter("unit", "string", false, &["metric", "imperial", "metric"]),
            parameter("days", "integer", false, &["one", "two"]),
            parameter("tags", "list of strings", true, &[]),
        ];
        let tools = read(
            &json!({"tools": [{"name": "weather", "description": "Tells it.", "parameters": parameters}]}),
        );
        let function = &tools.unwrap()[0]["function"];
        assert_eq!((&function["name"], &function["description"]), (&json!("weather"), &json!("Tells it.")));
        let schema = &function["parameters"];
        assert_eq!(schema["required"], json!(["city", "tags"]));
        assert_eq!(schema["properties"]["unit"]["enum"], json!(["metric", "imperial"]));
        assert_eq!(schema["properties"]["days"], json!({"type": "integer", "description": "d"}));
        let valid = |arguments: Value| jsonschema::is_valid(schema, &arguments);
        assert!(valid(json!({"city": "Bern", "tags": ["a"], "days": 2, "unit": "metric"})));
        assert!(!valid(json!({"city": "Bern", "tags": "a"})));
        assert!(!valid(json!({"city": "Bern", "tags": [], "unit": "kelvin"})));
    }

    #[test]
    fn names_are_unique() {
        let tool = |name: &str, parameters: Value| json!({"name": name, "description": "d", "parameters": parameters});
        let none = || json!([]);
        let reason = |tools: Value| read(&json!({"tools": tools})).unwrap_err().0;
        assert_eq!(reason(json!([tool("a", none()), tool("b", none()), tool("a", none())])), "repeated_tool");
        let twice = json!([parameter("x", "string", true, &[]), parameter("x", "number", false, &[])]);
        assert_eq!(reason(json!([tool("a", twice)])), "repeated_parameter");
    }
}
