//! A chat template of a stranger: compiled, and rendered with a conversation and tools.
#![no_main]

use checkpoint::ChatTemplate;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|bytes: &[u8]| {
    let Ok(source) = std::str::from_utf8(bytes) else { return };
    let Ok(template) = ChatTemplate::new(source, "<s>", "</s>") else { return };
    let messages = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is it?"},
        {"role": "assistant", "content": "", "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "find", "arguments": {"a": 1.5, "b": [null]}}}]},
        {"role": "tool", "tool_call_id": "1", "content": "found"},
    ]);
    let tools = json!([{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]);
    let _ = template.render(&messages, Some(&tools), true);
    let _ = template.special_names();
});
