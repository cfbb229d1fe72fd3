//! The content of a message as servers send it: a text or a list of parts, with thoughts among them or beside them.

use serde_json::Value;

/// The text and the thoughts of a content: a text, or a list of parts.
pub(super) fn texts(content: &Value) -> (String, String) {
    let (mut text, mut thoughts) = (String::new(), String::new());
    match content {
        Value::String(whole) => text.push_str(whole),
        Value::Array(parts) => {
            for part in parts {
                let kind = part["type"].as_str().unwrap_or_default();
                if kind.contains("thinking") || kind.contains("reasoning") {
                    for field in ["thinking", "reasoning", "text", "summary"] {
                        thoughts.push_str(&texts(&part[field]).0);
                    }
                } else {
                    text.push_str(part.as_str().or(part["text"].as_str()).unwrap_or_default());
                }
            }
        }
        _ => {}
    }
    (text, thoughts)
}

/// The thoughts beside a message's content, by the names that servers have for them.
pub(super) fn reasoning(message: &Value) -> String {
    let fields = ["reasoning_content", "reasoning", "thinking"];
    let texts = fields.iter().filter_map(|field| message[field].as_str());
    texts.map(str::to_owned).find(|text| !text.is_empty()).unwrap_or_default()
}
