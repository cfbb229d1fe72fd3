//! Answers of model families, cut at every place.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use serde_json::json;

/// The text around the calls, and the calls, read in pieces of every size.
fn read(format: CallFormat, text: &str) -> (String, Vec<(String, Value)>) {
    let once = |size: usize| {
        let schema = json!({"type": "object", "properties": {
            "city": {"type": "string"}, "days": {"type": "integer"}, "tags": {"type": "array"}}});
        let tools = [("weather", Some(schema)), ("a.b", None)];
        let tools =
            tools.map(|(name, schema)| (name.to_owned(), schema.and_then(|s| s.as_object().cloned())));
        let mut reader = FormatReader::new(format, tools, usize::MAX, true);
        let characters: Vec<char> = text.chars().collect();
        let mut pieces = Vec::new();
        for piece in characters.chunks(size) {
            pieces.extend(reader.push(&piece.iter().collect::<String>()));
        }
        pieces.extend(reader.finish());
        let (mut said, mut calls) = (String::new(), Vec::new());
        for piece in pieces {
            match piece {
                Piece::Text(text) => said.push_str(&text),
                Piece::CallBegins { index, id, name } => {
                    assert!(id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
                    assert_eq!(index, calls.len());
                    calls.push((name, Value::Null));
                }
                Piece::Arguments { index, text } => calls[index].1 = serde_json::from_str(&text).unwrap(),
            }
        }
        assert_eq!(reader.has_calls(), !calls.is_empty());
        (said, calls)
    };
    let whole = once(usize::MAX);
    for size in 1..12 {
        assert_eq!(once(size), whole, "in pieces of {size}");
    }
    whole
}

fn weather(city: &str) -> (String, Value) {
    ("weather".to_owned(), json!({"city": city}))
}

fn calls(format: CallFormat, text: &str, said: &str, expected: &[(String, Value)]) {
    assert_eq!(read(format, text), (said.to_owned(), expected.to_vec()), "{text}");
}

#[test]
fn llama() {
    let format = CallFormat::Llama;
    let call = "{\"name\": \"weather\", \"parameters\": {\"city\": \"Bern\"}}";
    calls(format, call, "", &[weather("Bern")]);
    calls(format, &format!("<|python_tag|>{call}"), "", &[weather("Bern")]);
    calls(format, &format!("\n{call}; {call}\n"), "", &[weather("Bern"), weather("Bern")]);
    calls(format, "<function=weather>{\"city\": \"Bern\"}</function>", "", &[weather("Bern")]);
    for text in [
        "{\"name\": \"other\", \"parameters\": {}}",
        "{\"a\": 1} is JSON",
        "Use {x}.",
        "{\"name\": \"weather\"",
        "{ok}",
    ] {
        calls(format, text, text, &[]);
    }
    calls(format, "Sure: <|python_tag|>{\"name\": \"a.b\"}", "Sure: ", &[("a.b".to_owned(), json!({}))]);
}

#[test]
fn mistral() {
    let format = CallFormat::Mistral;
    let call = "{\"name\": \"weather\", \"arguments\": {\"city\": \"Bern\"}}";
    calls(format, &format!("[TOOL_CALLS][{call}, {call}]"), "", &[weather("Bern"), weather("Bern")]);
    // The mark has no text where it is a special token.
    calls(format, &format!("[{call}]"), "", &[weather("Bern")]);
    calls(format, "[TOOL_CALLS]weather[ARGS]{\"city\": \"Bern\"}", "", &[weather("Bern")]);
    calls(format, "weather{\"city\": \"Bern\"}", "", &[weather("Bern")]);
    calls(format, "weather[CALL_ID]abcdef123[ARGS]{\"city\": \"Bern\"}", "", &[weather("Bern")]);
    calls(format, "I look.[TOOL_CALLS]weather{\"city\": \"Bern\"}", "I look.", &[weather("Bern")]);
    for text in ["[1, 2] is a list", "weather is nice", "[TOOL_CALLS]unknown{\"a\": 1}", "[TOOL_CA"] {
        calls(format, text, text, &[]);
    }
}

#[test]
fn deepseek() {
    let format = CallFormat::DeepSeek;
    let old = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{\"city\": \"Bern\"}\n```<｜tool▁call▁end｜>";
    let new = "<｜tool▁call▁begin｜>weather<｜tool▁sep｜>{\"city\": \"Bern\"}<｜tool▁call▁end｜>";
    let all = |calls: &str| format!("Let me look.<｜tool▁calls▁begin｜>{calls}<｜tool▁calls▁end｜>");
    calls(format, &all(&format!("{old}\n{old}")), "Let me look.", &[weather("Bern"), weather("Bern")]);
    calls(format, &all(new), "Let me look.", &[weather("Bern")]);
    // The stop token may come before the last tag.
    calls(format, &format!("<｜tool▁calls▁begin｜>{new}"), "", &[weather("Bern")]);
    calls(format, "a < b <｜tool▁", "a < b <｜tool▁", &[]);
}

#[test]
fn qwen_coder() {
    let format = CallFormat::QwenCoder;
    let call = "<tool_call>\n<function=weather>\n<parameter=city>\nBern\n</parameter>\n<parameter=days>\n2\n</parameter>\n<parameter=tags>\n[\"a\"]\n</parameter>\n</function>\n</tool_call>";
    let expected = ("weather".to_owned(), json!({"city": "Bern", "days": 2, "tags": ["a"]}));
    calls(format, &format!("I look.\n{call}\n{call}"), "I look.\n", &[expected.clone(), expected]);
    calls(format, "<function=a.b>\n</function>", "", &[("a.b".to_owned(), json!({}))]);
    // A number for a string stays a string; the tags that a grammar forces are read, too.
    let text = "<function=weather><parameter=city>3001</parameter></function>";
    calls(format, text, "", &[weather("3001")]);
    let forced = "<tool_call>[{\"name\": \"weather\", \"arguments\": {\"city\": \"Bern\"}}]</tool_call>";
    calls(format, forced, "", &[weather("Bern")]);
    for text in ["<function=none></function>", "<tool_call>soon", "x < y"] {
        calls(format, text, text, &[]);
    }
}

#[test]
fn gemma() {
    let format = CallFormat::Gemma;
    let call = "<|tool_call>call:weather{city:<|\"|>Bern, CH}<|\"|>,days:2,tags:[<|\"|>a<|\"|>,<|\"|>b<|\"|>]}<tool_call|>";
    let expected = ("weather".to_owned(), json!({"city": "Bern, CH}", "days": 2, "tags": ["a", "b"]}));
    calls(format, &format!("I look.{call}{call}"), "I look.", &[expected.clone(), expected]);
    let function = "<start_function_call>call:weather{city:<escape>Bern<escape>}<end_function_call>";
    calls(format, function, "", &[weather("Bern")]);
    // Where tags and quotes are special tokens, they have no text.
    let bare = "call:weather{city:Bern, CH,days:2}call:a.b{x:{y:[1,true,null]},z:text}";
    let first = ("weather".to_owned(), json!({"city": "Bern, CH", "days": 2}));
    let second = ("a.b".to_owned(), json!({"x": {"y": [1, true, null]}, "z": "text"}));
    calls(format, bare, "", &[first, second]);
    calls(format, "call:weather{city:3001}", "", &[weather("3001")]);
    calls(format, "call:weather{}", "", &[("weather".to_owned(), json!({}))]);
    for text in ["call:unknown{}", "call: me", "<|tool_call>soon", "call:weather{city:", "a <| b"] {
        calls(format, text, text, &[]);
    }
}

#[test]
fn hermes_with_smollm3() {
    // SmolLM3 and Qwen write one object per tag, one after the other for parallel calls.
    let call = "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Bern\"}}\n</tool_call>";
    for format in [CallFormat::Hermes, CallFormat::QwenCoder, CallFormat::Llama] {
        calls(format, &format!("I look.\n{call}\n{call}"), "I look.\n", &[weather("Bern"), weather("Bern")]);
    }
}
