//! Byte-level BPE (`gpt2` in GGUF): a text is split by a rule, and each part is merged by a list of pairs.
//!
//! The file names the rule in `tokenizer.ggml.pre`; what a name means is only in llama.cpp's source
//! (`llm_tokenizer_bpe` of <https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp>) and in the
//! `tokenizer.json` of the models that have it.

use super::vocabulary::Vocabulary;
use serde_json::{Value, json};

/// Words, up to three digits, punctuation, white space: Llama 3's `tokenizer.json`.
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same with single digits: Qwen2's `tokenizer.json`.
const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words by their case, single digits: Mistral Nemo's `tokenizer.json`.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The names of the rules, for the error.
const RULES: &str = "gpt-2, smollm, llama-bpe, qwen2, tekken";

/// How a text is split, and what is particular to the models that split so.
struct Rule {
    steps: Vec<Value>,
    normalizer: Value,
    /// Whether a part that is a token as a whole is that token, whatever the pairs.
    ignores_merges: bool,
    /// Whether a beginning of sequence is put before a text where the file says nothing.
    adds_bos: bool,
}

/// The `tokenizer.json` of a byte-level vocabulary.
///
/// # Errors
/// If the merges are missing, or the rule is not known.
pub(super) fn tokenizer(vocabulary: &Vocabulary<'_>) -> Result<Value, String> {
    const MERGES: &str = "tokenizer.ggml.merges";
    let rule = rule(vocabulary.text("ggml.pre"))?;
    let merges = vocabulary.field("ggml.merges").ok_or_else(|| format!("has no metadata `{MERGES}`"))?;
    let merges = merges
        .texts()
        .map(|merge| match merge.map(|merge| merge.split_once(' ')) {
            Ok(Some((left, right))) => Ok(json!([left, right])),
            other => Err(format!("`{MERGES}` has the entry {other:?}; expected two tokens and a space")),
        })
        .collect::<Result<Vec<Value>, String>>()?;
    let byte_level = byte_level(true);
    Ok(json!({
        "version": "1.0",
        "added_tokens": vocabulary.added_tokens(),
        "normalizer": rule.normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": rule.steps},
        "post_processor": vocabulary.post_processor(rule.adds_bos),
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "ignore_merges": rule.ignores_merges,
            "vocab": vocabulary.ids(),
            "merges": merges,
        },
    }))
}

/// The name of the rule by which a `tokenizer.json` splits a text.
///
/// # Errors
/// If llama.cpp has no name for it.
pub(in crate::gguf) fn rule_name(tokenizer: &Value) -> Result<&'static str, String> {
    let own = steps_of(&tokenizer["pre_tokenizer"]);
    let ignores_merges = tokenizer["model"]["ignore_merges"] == true;
    for name in RULES.split(", ") {
        let rule = rule(Some(name))?;
        let steps: Vec<Value> = rule.steps.iter().map(essential).collect();
        if own == steps && tokenizer["normalizer"] == rule.normalizer && ignores_merges == rule.ignores_merges
        {
            return Ok(name);
        }
    }
    Err(format!("its tokenizer splits texts in a way that llama.cpp has no name for (known: {RULES})"))
}

/// The steps of a pre-tokenizer, as far as they change what comes out.
fn steps_of(pre_tokenizer: &Value) -> Vec<Value> {
    match pre_tokenizer["pretokenizers"].as_array() {
        Some(steps) => steps.iter().map(essential).collect(),
        None => vec![essential(pre_tokenizer)],
    }
}

/// A step without the fields that change nothing, with its defaults.
fn essential(step: &Value) -> Value {
    match step["type"].as_str() {
        Some("ByteLevel") => json!({
            "type": "ByteLevel",
            "add_prefix_space": step["add_prefix_space"].as_bool().unwrap_or(true),
            "use_regex": step["use_regex"].as_bool().unwrap_or(true),
        }),
        _ => step.clone(),
    }
}

fn rule(name: Option<&str>) -> Result<Rule, String> {
    let gpt_2 = Rule {
        steps: vec![byte_level(true)],
        normalizer: Value::Null,
        ignores_merges: false,
        adds_bos: false,
    };
    let split = |pattern: &str| vec![isolated(pattern), byte_level(false)];
    Ok(match name {
        Some("gpt-2") => gpt_2,
        Some("smollm") => {
            let digits = json!({"type": "Digits", "individual_digits": true});
            Rule { steps: vec![digits, byte_level(true)], ..gpt_2 }
        }
        Some("llama-bpe" | "llama3" | "llama-v3") => {
            Rule { steps: split(LLAMA_3), ignores_merges: true, adds_bos: true, ..gpt_2 }
        }
        Some("qwen2" | "deepseek-r1-qwen") => {
            Rule { steps: split(QWEN_2), normalizer: json!({"type": "NFC"}), ..gpt_2 }
        }
        Some("tekken") => Rule { steps: split(TEKKEN), ignores_merges: true, adds_bos: true, ..gpt_2 },
        Some(name) => {
            return Err(format!(
                "`tokenizer.ggml.pre` is {name:?}, which is not supported; expected one of {RULES}"
            ));
        }
        None => {
            return Err(format!(
                "has no metadata `tokenizer.ggml.pre`, so nobody can say how a text is split; convert the model again with a newer llama.cpp (known: {RULES})"
            ));
        }
    })
}

fn byte_level(use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex})
}

fn isolated(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}
