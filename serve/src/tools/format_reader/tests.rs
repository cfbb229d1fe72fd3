//! Answers of model families, cut at every place.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use serde_json::json;

/// The text around the calls, and the calls, read in pieces of every size.
fn read(family: &str, text: &str) -> (String, Vec<(String, Value)>) {
    let once = |size: usize| {
        let schema = json!({"type": "object", "properties": {
            "city": {"type": "string"}, "days": {"type": "integer"}, "tags": {"type": "array"}}});
        let tools = [("weather", Some(schema)), ("a.b", None)];
        let tools =
            tools.map(|(name, schema)| (name.to_owned(), schema.and_then(|s| s.as_object().cloned())));
        let mut reader = FormatReader::new(families::named(family), tools, usize::MAX, true);
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

fn calls(format: &str, text: &str, said: &str, expected: &[(String, Value)]) {
    assert_eq!(read(format, text), (said.to_owned(), expected.to_vec()), "{text}");
}

#[test]
fn llama() {
    let format = "llama";
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
    let format = "mistral";
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
    let format = "deepseek";
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
    let format = "qwen-coder";
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
    let format = "gemma";
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
    for format in ["hermes", "qwen-coder", "llama"] {
        calls(format, &format!("I look.\n{call}\n{call}"), "I look.\n", &[weather("Bern"), weather("Bern")]);
    }
}

#[test]
fn families_with_tags_of_their_own() {
    let json = "{\"name\": \"weather\", \"arguments\": {\"city\": \"Bern\"}}";
    let pair = [weather("Bern"), weather("Bern")];
    let kimi = "<|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>{\"city\": \"Bern\"}<|tool_call_end|>";
    let glm = "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Bern</arg_value>\n</tool_call>";
    let invoke = "<invoke name=\"weather\">\n<parameter name=\"city\">Bern</parameter>\n</invoke>";
    let tagged = "<｜DSML｜invoke name=\"weather\">\n<｜DSML｜parameter name=\"city\" string=\"true\">Bern</｜DSML｜parameter>\n</｜DSML｜invoke>";
    for (family, text) in [
        ("kimi", format!("<|tool_calls_section_begin|>{kimi}{kimi}<|tool_calls_section_end|>")),
        ("glm", format!("{glm}\n{glm}")),
        ("glm", "<tool_call>weather<arg_key>city</arg_key><arg_value>Bern</arg_value></tool_call>".repeat(2)),
        ("lfm", "<|tool_call_start|>[weather(city=\"Bern\"), weather(city='Bern')]<|tool_call_end|>".to_owned()),
        ("lfm", format!("<|tool_call_start|>[{json}, {json}]<|tool_call_end|>")),
        ("olmo", "<function_calls>weather(city=\"Bern\")\nweather(city=\"Bern\",)</function_calls>".to_owned()),
        ("minimax", format!("<minimax:tool_call>\n{invoke}\n{invoke}\n</minimax:tool_call>")),
        ("deepseek-3.2", format!("<｜DSML｜function_calls>\n{tagged}\n{tagged}\n</｜DSML｜function_calls>")),
        ("minicpm", "<function name=\"weather\"><param name=\"city\">Bern</param></function>\n".repeat(2)),
        ("minicpm", "<function name=\"weather\"><param name=\"city\"><![CDATA[Bern]]></param></function>".repeat(2)),
        ("tool-calls", format!("<tool_calls>\n{json}\n{json}\n</tool_calls>")),
        ("nemotron", format!("<TOOLCALL>[{json}, {json}]</TOOLCALL>")),
        ("cohere", format!("<|START_ACTION|>[\n{}, {}\n]<|END_ACTION|>", as_cohere(), as_cohere())),
        ("apertus", "<|tools_prefix|>[{\"weather\": {\"city\": \"Bern\"}}, {\"weather\": {\"city\": \"Bern\"}}]<|tools_suffix|>".to_owned()),
        ("phi", format!("<|tool_call|>[{json}, {json}]<|/tool_call|>")),
        ("granite", format!("<|tool_call|>[{json}, {json}]")),
        ("tool-calls", format!("<tool_calls>\n[{json}, {json}]\n</tool_calls>")),
    ] {
        calls(family, &text, "", &pair);
        calls(family, &format!("I look. {text}"), "I look. ", &pair);
        // Calls of tools that the request does not have, and answers that break off, stay text.
        for text in [text.replace("weather", "other"), text[..text.find("ern").unwrap()].to_owned(), "a <b> [c]".to_owned()] {
            calls(family, &text, &text, &[]);
        }
        let forced = format!("<tool_call>[{json}]</tool_call>");
        calls(family, &forced, "", &[weather("Bern")]);
    }
}

fn as_cohere() -> &'static str {
    "{\"tool_call_id\": \"0\", \"tool_name\": \"weather\", \"parameters\": {\"city\": \"Bern\"}}"
}

#[test]
fn values_have_their_types() {
    let expected =
        ("weather".to_owned(), json!({"city": "3001 \"B\"", "days": 2, "tags": ["a", {"b": null}]}));
    for (family, text) in [
        (
            "glm",
            "<tool_call>weather<arg_key>city</arg_key><arg_value>3001 \"B\"</arg_value><arg_key>days</arg_key><arg_value>2</arg_value><arg_key>tags</arg_key><arg_value>[\"a\", {\"b\": null}]</arg_value></tool_call>",
        ),
        (
            "lfm",
            "<|tool_call_start|>[weather(city='3001 \\x22B\\u0022', days=2, tags=['a', {'b': None}])]<|tool_call_end|>",
        ),
        (
            "minimax",
            "<minimax:tool_call><invoke name=\"weather\"><parameter name=\"city\">\n3001 \"B\"\n</parameter><parameter name=\"days\">2</parameter><parameter name=\"tags\">[\"a\", {\"b\": null}]</parameter></invoke></minimax:tool_call>",
        ),
        (
            "deepseek-3.2",
            "<｜DSML｜function_calls><｜DSML｜invoke name=\"weather\"><｜DSML｜parameter name=\"city\" string=\"true\">3001 \"B\"</｜DSML｜parameter><｜DSML｜parameter name=\"days\" string=\"false\">2</｜DSML｜parameter><｜DSML｜parameter name=\"tags\" string=\"false\">[\"a\", {\"b\": null}]</｜DSML｜parameter></｜DSML｜invoke></｜DSML｜function_calls>",
        ),
    ] {
        calls(family, text, "", std::slice::from_ref(&expected));
    }
}

/// Found by fuzzing: such a list was read for ever, and took all memory.
#[test]
fn a_list_that_another_bracket_ends_is_no_call() {
    for text in ["<|tool_call>call:weather{tags:[a}<tool_call|>", "<|tool_call>call:weather{tags:[{city:b]}"]
    {
        let (_, calls) = read("gemma", text);
        assert_eq!(calls, [], "{text}");
    }
}
