//! The calls that templates of published models print: read back as they were, ids as the templates take them.
//!
//! The templates are not part of this project: `tests/foreign/fetch FOLDER` gets them, and `SMOL_FOREIGN=FOLDER` names them.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use crate::ids;
use checkpoint::tools::prints_tools;
use checkpoint::{ChatTemplate, Message, chat};
use serde_json::json;

/// Parts of the file names of templates whose calls are read, two of them in one answer.
const READ: [&str; 54] = [
    "ByteDance-Seed-OSS",
    "Phi-3.5",
    "Reka-Edge",
    "gemma-2-2b",
    "Bielik",
    "Hermes-2-Pro",
    "Hermes-3",
    "HuggingFaceTB-SmolLM3",
    "Mistral-Nemo",
    "Mistral-Small-3.2",
    "Ministral-3",
    "Devstral",
    "NVIDIA-Nemotron-3-Nano",
    "Qwen-QwQ-32B",
    "Qwen2.5-7B",
    "Qwen3-0.6B",
    "Qwen3-Coder",
    "Qwen3.5-4B",
    "DeepSeek-R1-Distill-Llama",
    "DeepSeek-R1-Distill-Qwen",
    "DeepSeek-V3.1",
    "llama-cpp-deepseek-r1",
    "gemma-4-31B-it-interleaved",
    "gemma-4-31B-it.",
    "granite-4.0",
    "granite-4.1",
    "functionary-medium-v3.1",
    "Llama-3.1-8B",
    "Llama-3.2-3B",
    "Llama-3.3-70B",
    "StepFun3.5",
    "MiMo-VL",
    "rwkv",
    "poolside-Laguna-XS.2",
    "Cohere2MoE",
    "poolside-Laguna-XS-2.1",
    "Apriel-1.6",
    "NVIDIA-Nemotron-Nano-v2",
    "DeepSeek-V3.2",
    "Spark2.5",
    "poolside-Laguna-S-2.1",
    "c4ai-command-r7b",
    "Apertus-8B",
    "inclusionai-ling",
    "GLM-4.7-Flash",
    "MiniMax-M1",
    "moonshotai-Kimi-K2",
    "unsloth-Apriel-1.5",
    "LFM2.5-8B",
    "GLM-4.6",
    "MiniMax-M2",
    "openbmb-MiniCPM5",
    "DeepSeek-V4.jinja",
    "DeepSeek-V4-Flash",
];

fn tools() -> Value {
    let properties = json!({"city": {"type": "string"}, "days": {"type": "integer"}});
    json!([
        {"type": "function", "function": {"name": "get_weather", "description": "Weather",
            "parameters": {"type": "object", "properties": properties, "required": ["city"]}}},
        {"type": "function", "function": {"name": "get_time", "description": "Time",
            "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}}}},
    ])
}

/// What the template prints for an assistant that makes these calls, after what it prints without that message: with the
/// prompt for an answer, which may begin the answer of a thinking model otherwise, or without.
fn printed(
    template: &ChatTemplate,
    traits: TemplateTraits,
    calls: &[(&str, Value)],
    adds_prompt: bool,
) -> Result<String, String> {
    let call = |(name, arguments): &(&str, Value)| {
        let function = json!({"name": name, "arguments": arguments});
        json!({"id": ids::call_id(traits.short_call_ids), "type": "function", "function": function})
    };
    let calls: Value = calls.iter().map(call).collect();
    let assistant = Message { tool_calls: Some(calls), ..Message::new("assistant", "") };
    let conversation = vec![Message::new("user", "Look."), assistant];
    let messages = checkpoint::tools::with_tools_as_text(template, conversation, &tools());
    let tools = tools();
    let shown = Some(&tools).filter(|_| prints_tools(template));
    let render = |messages: &[Message], adds_prompt| {
        chat::render_text(template, messages, shown, adds_prompt, &Map::new())
            .map_err(|error| error.to_string())
    };
    let (before, whole) = (render(&messages[..messages.len() - 1], adds_prompt)?, render(&messages, false)?);
    let same = before.char_indices().zip(whole.chars()).find(|((_, a), b)| a != b);
    let start = same.map_or(before.len().min(whole.len()), |((index, _), _)| index);
    Ok(whole[start..].to_owned())
}

fn read(traits: TemplateTraits, text: &str) -> Vec<(String, Value)> {
    let plan = ToolPlan::new(Some(&tools()), None, true, false, &mut LeftOut::default()).unwrap().unwrap();
    let mut reader = plan.reader(traits);
    let mut pieces: Vec<Piece> =
        text.chars().flat_map(|character| reader.push(&character.to_string())).collect();
    pieces.extend(reader.finish());
    let mut calls: Vec<(String, String)> = Vec::new();
    for piece in pieces {
        match piece {
            Piece::CallBegins { name, .. } => calls.push((name, String::new())),
            Piece::Arguments { index, text } => calls[index].1.push_str(&text),
            Piece::Text(_) => {}
        }
    }
    calls.into_iter().map(|(name, text)| (name, serde_json::from_str(&text).unwrap())).collect()
}

#[test]
fn calls_of_public_templates_are_read_back() {
    let Some(folder) = std::env::var_os("SMOL_FOREIGN") else {
        return println!("skipped: SMOL_FOREIGN is not set (tests/foreign/fetch)");
    };
    let folder = std::path::Path::new(&folder).join("templates");
    let two = [("get_weather", json!({"city": "Paris", "days": 2})), ("get_time", json!({"zone": "CET"}))];
    let (mut count, mut others, mut wrong) = (0, Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let template = ChatTemplate::read(&path, "<s>", "</s>").unwrap();
        let traits = TemplateTraits::of(&template);
        let is_same = |calls: &[(&str, Value)], adds_prompt: bool| {
            let text = printed(&template, traits, calls, adds_prompt)?;
            let found = read(traits, &text);
            let expected: Vec<(String, Value)> =
                calls.iter().map(|(name, arguments)| ((*name).to_owned(), arguments.clone())).collect();
            if found == expected { Ok(()) } else { Err(format!("{found:?} in {text:?}")) }
        };
        // Some templates take one call at a time.
        let attempts = [(&two[..], true), (&two[..], false), (&two[..1], true), (&two[..1], false)];
        let results: Vec<_> =
            attempts.into_iter().map(|(calls, adds_prompt)| is_same(calls, adds_prompt)).collect();
        let result = match results.iter().any(Result::is_ok) {
            true => Ok(()),
            false => results[0].clone(),
        };
        let is_expected = READ.iter().any(|part| name.contains(part));
        count += usize::from(is_expected);
        match result {
            Ok(()) if !is_expected => others.push(name),
            Err(reason) if is_expected => wrong.push(format!("{name}: {reason}")),
            Err(reason) => println!("not read: {name}: {}", reason.chars().take(400).collect::<String>()),
            Ok(()) => {}
        }
    }
    println!("read, too: {others:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(count, READ.len());
}
