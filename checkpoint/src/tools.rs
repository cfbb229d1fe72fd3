//! Tools in a conversation whose template does not support them.
//!
//! A template that prints `tools` itself keeps its format. For any other, such as SmolLM2's, the tools are described in a
//! system message, the assistant's calls become the text that the model was trained to generate, and the tools' results
//! become messages of the user. The format is that of SmolLM2-1.7B-Instruct: a JSON list of tools between `<tools>` and
//! `</tools>`, and calls as one JSON list of `name` and `arguments` between `<tool_call>` and `</tool_call>`, empty if no
//! tool fits. The tags around results are those of Ollama's template for that model. The sentences are this project's.

use crate::python_json::python_json;
use crate::template::Capabilities;
use crate::{ChatTemplate, Message};
use serde_json::{Map, Value, json};

/// Messages that any template can render: they contain the tools as text if the template does not print `tools` itself.
/// For such a template calls and results become text even when `tools` is null or empty. Arguments in a string of JSON
/// become the object that templates expect.
pub fn with_tools_as_text(
    template: &ChatTemplate,
    mut messages: Vec<Message>,
    tools: &Value,
) -> Vec<Message> {
    for calls in messages.iter_mut().filter_map(|message| message.tool_calls.as_mut()) {
        parse_arguments(calls);
    }
    if prints_tools(template) {
        return messages;
    }
    let mut messages = as_text(messages);
    if tools.as_array().is_some_and(|tools| !tools.is_empty()) {
        let text = instruction(tools);
        match messages.first_mut() {
            Some(first) if first.role == "system" => first.content = format!("{}\n\n{text}", first.content),
            // Gemma's template raises an exception at a system message.
            Some(first) if first.role == "user" && !has_system_role(template) => {
                first.content = format!("{text}\n\n{}", first.content);
            }
            _ => messages.insert(0, Message::new("system", text)),
        }
    }
    messages
}

/// What a template can print; rendered once for a template, not for each row.
fn capabilities(template: &ChatTemplate) -> Capabilities {
    template.capabilities(|| Capabilities {
        tools: renders_tools(template),
        system: renders_system_message(template),
    })
}

/// Whether the template renders a system message.
fn has_system_role(template: &ChatTemplate) -> bool {
    capabilities(template).system
}

fn renders_system_message(template: &ChatTemplate) -> bool {
    let messages = json!([{"role": "system", "content": "Help."}, {"role": "user", "content": "Hi"}]);
    template.render(&messages, None, true).is_ok()
}

/// Whether the template wants ids of calls with nine letters and digits, as Mistral's do: it raises an exception at
/// others.
pub fn wants_short_call_ids(template: &ChatTemplate) -> bool {
    let renders = |id: &str| {
        let function = json!({"name": "f", "arguments": {}});
        let messages = json!([
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "", "tool_calls": [{"id": id, "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": id, "name": "f", "content": "1"},
        ]);
        template.render(&messages, None, true).is_ok()
    };
    renders("abcdef123") && !renders("call_0123456789abcdef01234567")
}

/// Whether the template prints its tools, found by rendering one.
pub fn prints_tools(template: &ChatTemplate) -> bool {
    capabilities(template).tools
}

fn renders_tools(template: &ChatTemplate) -> bool {
    const NAME: &str = "a_tool_to_look_for";
    let parameters = json!({"type": "object", "properties": {}});
    let tools = json!([{"type": "function", "function":
        {"name": NAME, "description": "None.", "parameters": parameters}}]);
    let conversations = [
        json!([{"role": "user", "content": "Hi"}]),
        json!([
        {"role": "system", "content": "Help."}, {"role": "user", "content": "Hi"}]),
    ];
    conversations
        .iter()
        .any(|messages| template.render(messages, Some(&tools), true).is_ok_and(|text| text.contains(NAME)))
}

/// The system message that describes the tools.
fn instruction(tools: &Value) -> String {
    let example = json!([{"name": "tool", "arguments": {"parameter": "value"}}]);
    format!(
        "You can call the tools below to answer the user.\n<tools>{}</tools>\n\n\
         To call tools, write nothing but a JSON list of the calls, each with the tool's name and its arguments, \
         with the types that the tool asks for:\n{}\n\
         If no tool fits, or a value that a tool needs was not given, say so, or write an empty list of calls.",
        python_json(tools),
        call_text(&example),
    )
}

/// Calls, a list of `name` and `arguments`, in the model's format.
fn call_text(calls: &Value) -> String {
    format!("<tool_call>{}</tool_call>", python_json(calls))
}

/// Calls and results of tools as plain messages; consecutive results become one message.
fn as_text(messages: Vec<Message>) -> Vec<Message> {
    let mut plain: Vec<Message> = Vec::with_capacity(messages.len());
    let mut last_is_result = false;
    for mut message in messages {
        let is_result = message.role == "tool";
        if is_result {
            let result = format!("<tool_response>\n{}\n</tool_response>", message.content);
            match plain.last_mut().filter(|_| last_is_result) {
                // Appended in place: a conversation may contain thousands.
                Some(last) => last.content.extend(["\n", &result]),
                None => plain.push(Message::new("user", result)),
            }
        } else {
            if let Some(calls) = message.tool_calls.take().filter(|calls| !is_empty(calls)) {
                let between = if message.content.is_empty() { "" } else { "\n" };
                message.content = format!("{}{between}{}", message.content, call_text(&plain_calls(&calls)));
            }
            plain.push(message);
        }
        last_is_result = is_result;
    }
    plain
}

fn is_empty(calls: &Value) -> bool {
    calls.as_array().is_none_or(Vec::is_empty)
}

/// OpenAI's calls without their ids and types.
fn plain_calls(calls: &Value) -> Value {
    let plain = |call: &Value| {
        let function = call.get("function").unwrap_or(call);
        let arguments = function.get("arguments").cloned().unwrap_or_else(|| json!({}));
        json!({"name": function["name"], "arguments": arguments})
    };
    calls.as_array().into_iter().flatten().map(plain).collect()
}

/// Parses arguments that are objects in a string of JSON; others are unchanged.
fn parse_arguments(calls: &mut Value) {
    for call in calls.as_array_mut().into_iter().flatten() {
        let function = match call.get("function") {
            Some(_) => &mut call["function"],
            None => call,
        };
        let Some(arguments) = function.get_mut("arguments") else { continue };
        let Some(text) = arguments.as_str() else { continue };
        if let Ok(parsed) = serde_json::from_str::<Map<String, Value>>(text) {
            *arguments = Value::Object(parsed);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn tools() -> Value {
        json!([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}])
    }

    fn conversation() -> Vec<Message> {
        let call = |name: &str| {
            json!({"id": name, "type": "function",
                   "function": {"name": name, "arguments": "{\"city\":\"Bern\",\"days\":2}"}})
        };
        let calls = Message {
            tool_calls: Some(json!([call("weather"), call("map")])),
            ..Message::new("assistant", "")
        };
        let result =
            |text: &str| Message { tool_call_id: Some("weather".to_owned()), ..Message::new("tool", text) };
        vec![
            Message::new("user", "Rain?"),
            calls,
            result("dry"),
            result("here"),
            Message::new("user", "Thanks"),
        ]
    }

    #[test]
    fn a_template_without_tools_gets_them_as_text() {
        let messages = with_tools_as_text(&ChatTemplate::chatml(), conversation(), &tools());
        let roles: Vec<&str> = messages.iter().map(|message| message.role.as_str()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user", "user"]);
        assert!(messages[0].content.contains(
            "<tools>[{\"type\": \"function\", \"function\": {\"name\": \"weather\", \"parameters\": {\"type\": \"object\"}}}]</tools>"
        ));
        assert_eq!(
            messages[2].content,
            "<tool_call>[{\"name\": \"weather\", \"arguments\": {\"city\": \"Bern\", \"days\": 2}}, {\"name\": \"map\", \"arguments\": {\"city\": \"Bern\", \"days\": 2}}]</tool_call>"
        );
        assert_eq!(
            messages[3].content,
            "<tool_response>\ndry\n</tool_response>\n<tool_response>\nhere\n</tool_response>"
        );
        assert!(
            messages.iter().all(|message| message.tool_calls.is_none() && message.tool_call_id.is_none())
        );
    }

    #[test]
    fn the_callers_own_system_message_comes_first() {
        let messages = vec![Message::new("system", "Be brief."), Message::new("user", "Rain?")];
        let messages = with_tools_as_text(&ChatTemplate::chatml(), messages, &tools());
        assert_eq!(messages.len(), 2);
        assert!(
            messages[0].content.starts_with("Be brief.\n\nYou can call the tools"),
            "{}",
            messages[0].content
        );
        let without = with_tools_as_text(&ChatTemplate::chatml(), conversation(), &Value::Null);
        assert_eq!((without.len(), without[0].role.as_str()), (4, "user"));
    }

    #[test]
    fn a_template_without_a_system_role_gets_the_tools_in_the_users_turn() {
        let source = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}{{ m.role }}:{{ m.content }}|{% endfor %}";
        let template = ChatTemplate::new(source, "", "").unwrap();
        let messages = with_tools_as_text(&template, vec![Message::new("user", "Rain?")], &tools());
        assert_eq!((messages.len(), messages[0].role.as_str()), (1, "user"));
        assert!(
            messages[0].content.starts_with("You can call the tools")
                && messages[0].content.ends_with("\n\nRain?")
        );
    }

    #[test]
    fn a_template_that_checks_the_length_of_ids_is_known() {
        let source = "{% for m in messages %}{% for call in m.tool_calls or [] %}{% if call.id | length != 9 %}{{ raise_exception('nine') }}{% endif %}{% endfor %}{{ m.content }}{% endfor %}";
        assert!(wants_short_call_ids(&ChatTemplate::new(source, "", "").unwrap()));
        assert!(!wants_short_call_ids(&ChatTemplate::chatml()));
    }

    #[test]
    fn a_template_that_prints_tools_gets_objects_and_nothing_else_changes() {
        let source = "{% for tool in tools or [] %}{{ tool.function.name }} {% endfor %}{% for m in messages %}{{ m.role }}:{{ m.content }}{% for call in m.tool_calls or [] %}{{ call.function.arguments | tojson }}{% endfor %}|{% endfor %}";
        let template = ChatTemplate::new(source, "", "").unwrap();
        let messages = with_tools_as_text(&template, conversation(), &tools());
        let text = template.render(&serde_json::to_value(&messages).unwrap(), Some(&tools()), false).unwrap();
        let arguments = "{\"city\": \"Bern\", \"days\": 2}";
        assert_eq!(
            text,
            format!("weather user:Rain?|assistant:{arguments}{arguments}|tool:dry|tool:here|user:Thanks|")
        );
    }
}
