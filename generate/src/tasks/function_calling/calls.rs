//! The calls of a teacher: the schema that constrains them to the tools' parameters, and a check that does not rely
//! on the constraint, because an endpoint may ignore it.

use crate::tasks::steps::object;
use serde_json::{Map, Value, json};

/// Maximum number of calls in one answer.
const MAX_CALLS: usize = 6;

/// The schema of an answer. Optional parameters may be null instead of being absent: the strict constraints of some
/// endpoints require every property.
pub(super) fn schema(tools: &Value) -> Value {
    let call = |tool: &Value| {
        let function = &tool["function"];
        object(&Map::from_iter([
            ("name".to_owned(), json!({"type": "string", "enum": [function["name"]]})),
            ("arguments".to_owned(), arguments(&function["parameters"])),
        ]))
    };
    let alternatives: Vec<Value> = tools.as_array().into_iter().flatten().map(call).collect();
    let calls = json!({"type": "array", "items": {"anyOf": alternatives}, "maxItems": MAX_CALLS});
    object(&Map::from_iter([("calls".to_owned(), calls)]))
}

fn arguments(parameters: &Value) -> Value {
    let properties = parameters["properties"].as_object().cloned().unwrap_or_default();
    let property = |(name, schema): (String, Value)| match is_required(parameters, &name) {
        true => (name, schema),
        false => (name, json!({"anyOf": [schema, {"type": "null"}]})),
    };
    object(&properties.into_iter().map(property).collect())
}

fn is_required(parameters: &Value, name: &str) -> bool {
    parameters["required"].as_array().is_some_and(|names| names.iter().any(|known| known == name))
}

/// Reads the calls of an answer and checks each against its tool; the error is the reason and the detail of a drop.
pub(super) fn read(tools: &Value, value: &Value) -> Result<Vec<Value>, (&'static str, String)> {
    let Some(list) = value["calls"].as_array() else {
        return Err(("unusable_calls", format!("no list of calls: {value}")));
    };
    if list.len() > MAX_CALLS {
        return Err(("unusable_calls", format!("{} calls, of at most {MAX_CALLS}", list.len())));
    }
    list.iter().map(|call| checked(tools, call)).collect()
}

fn checked(tools: &Value, call: &Value) -> Result<Value, (&'static str, String)> {
    let tool = tools.as_array().into_iter().flatten().find(|tool| tool["function"]["name"] == call["name"]);
    let Some(tool) = tool else { return Err(("unknown_tool", call.to_string())) };
    let parameters = &tool["function"]["parameters"];
    let Some(mut arguments) = call["arguments"].as_object().cloned() else {
        return Err(("wrong_argument", format!("the arguments are no object: {call}")));
    };
    arguments.retain(|name, value| !value.is_null() || is_required(parameters, name));
    if let Some(name) = arguments.keys().find(|name| parameters["properties"].get(name.as_str()).is_none()) {
        return Err(("unknown_argument", format!("{name} in {call}")));
    }
    let names = parameters["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(name) = names.into_iter().find(|name| !arguments.contains_key(*name)) {
        return Err(("missing_argument", format!("{name} in {call}")));
    }
    let arguments = Value::Object(arguments);
    let validator = jsonschema::validator_for(parameters)
        .map_err(|error| ("unusable_tools", format!("the parameters are no schema: {error}")))?;
    match validator.validate(&arguments) {
        Ok(()) => Ok(json!({"name": call["name"], "arguments": arguments})),
        Err(error) => Err(("wrong_argument", format!("{error} in {call}"))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn tools() -> Value {
        let tool = |name: &str, properties: Value, required: Value| {
            let parameters = json!({"type": "object", "properties": properties, "required": required});
            json!({"type": "function", "function": {"name": name, "description": "d", "parameters": parameters}})
        };
        let weather = json!({"city": {"type": "string"}, "days": {"type": "integer"}});
        json!([tool("weather", weather, json!(["city"])), tool("now", json!({}), json!([]))])
    }

    fn calls(name: &str, arguments: &Value) -> Value {
        json!({"calls": [{"name": name, "arguments": arguments}]})
    }

    #[test]
    fn calls_that_fit_are_kept_without_their_nulls() {
        let read = |value: Value| read(&tools(), &value).unwrap();
        let bern = json!({"city": "Bern"});
        assert_eq!(
            read(calls("weather", &json!({"city": "Bern", "days": null}))),
            [json!({"name": "weather", "arguments": bern})]
        );
        assert_eq!(read(calls("weather", &json!({"city": "Bern", "days": 2})))[0]["arguments"]["days"], 2);
        assert_eq!(read(calls("now", &json!({}))).len(), 1);
        assert!(read(json!({"calls": []})).is_empty());
    }

    #[test]
    fn every_error_has_its_reason() {
        for (value, reason) in [
            (json!({"answer": 1}), "unusable_calls"),
            (json!({"calls": vec![json!({"name": "now", "arguments": {}}); 7]}), "unusable_calls"),
            (calls("forecast", &json!({})), "unknown_tool"),
            (calls("weather", &json!({})), "missing_argument"),
            (calls("weather", &json!({"days": 2})), "missing_argument"),
            (calls("weather", &json!({"city": "Bern", "unit": "C"})), "unknown_argument"),
            (calls("weather", &json!({"city": 7})), "wrong_argument"),
            (calls("weather", &json!({"city": null})), "wrong_argument"),
            (calls("weather", &json!({"city": "Bern", "days": "2"})), "wrong_argument"),
            (calls("weather", &json!("{\"city\": \"Bern\"}")), "wrong_argument"),
        ] {
            assert_eq!(read(&tools(), &value).unwrap_err().0, reason, "{value}");
        }
    }

    #[test]
    fn the_constraint_requires_every_property_and_allows_null_for_optional_ones() {
        let schema = schema(&tools());
        engine::check_schema(&schema).unwrap();
        let valid = |value: Value| jsonschema::is_valid(&schema, &value);
        assert!(valid(calls("weather", &json!({"city": "Bern", "days": null}))));
        assert!(
            valid(calls("weather", &json!({"city": "Bern", "days": 3}))) && valid(calls("now", &json!({})))
        );
        assert!(!valid(calls("weather", &json!({"city": "Bern"}))));
        assert!(!valid(calls("weather", &json!({"city": null, "days": 3}))));
        assert!(!valid(calls("now", &json!({"city": "Bern", "days": 3}))), "another tool's arguments");
    }
}
