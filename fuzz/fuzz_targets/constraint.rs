//! Constraints of requests: a JSON schema, a regular expression, a Lark grammar, a list of choices.
#![no_main]

use checkpoint::Tokenizer;
use engine::{Constraint, ConstraintCompiler};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// Every byte is a token.
static COMPILER: LazyLock<ConstraintCompiler> = LazyLock::new(|| {
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        (0..=255_u32).map(|byte| (format!("<0x{byte:02X}>"), byte.into())).chain([("</s>".to_owned(), 256.into())]).collect();
    let file = serde_json::json!({"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
        "post_processor": null, "decoder": {"type": "ByteFallback"},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [], "byte_fallback": true, "unk_token": null}});
    let tokenizer = Tokenizer::from_json(&file.to_string()).expect("a tokenizer of bytes");
    ConstraintCompiler::new(&tokenizer, 257, &[256]).expect("a compiler")
});

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let constraint = match first % 4 {
        0 => match serde_json::from_str(text) {
            Ok(schema) => Constraint::JsonSchema(schema),
            Err(_) => return,
        },
        1 => Constraint::Regex(text.to_owned()),
        2 => Constraint::Lark(text.to_owned()),
        _ => Constraint::Choice(text.lines().map(str::to_owned).collect()),
    };
    let _ = COMPILER.guide(constraint);
});
