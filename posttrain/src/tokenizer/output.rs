//! The files of a tokenizer: tokenizer.json, and what transformers reads beside it. They replace nothing that `posttrain
//! tokenizer` did not write.

use super::special::{END_OF_TEXT, SPECIAL_TOKENS};
use anyhow::{Result, anyhow};
use files::manifest;
use files::output_folder::{FolderKind, OutputFolder};
use files::run_folder::set_aside;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tokenizers::Tokenizer;

/// SmolLM2's context, in tokens.
const MODEL_MAX_LENGTH: usize = 8192;

/// The files; the first is the one by which a folder is recognized as a tokenizer's, the last the list of the others.
pub(super) const FILES: [&str; 4] =
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", manifest::FILE_NAME];

/// The folder of a tokenizer.
pub(super) const FOLDER: FolderKind = FolderKind {
    program: "posttrain tokenizer",
    description: manifest::FILE_NAME,
    files: &["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"],
    working: &[],
};

/// Writes the files, the list of them last. An earlier tokenizer is set aside first.
pub(super) fn write(folder: &OutputFolder, tokenizer: &Tokenizer) -> Result<()> {
    let text =
        tokenizer.to_string(true).map_err(|error| anyhow!("cannot serialize the tokenizer: {error}"))?;
    let new = folder.new_result()?;
    let write = |name: &str, text: &str| files::atomic::write(&new.path().join(name), text);
    write("tokenizer_config.json", &pretty(&configuration(tokenizer)))?;
    write("special_tokens_map.json", &pretty(&special_tokens_map()))?;
    write("tokenizer.json", &text)?;
    set_aside(folder.path(), &FILES)?;
    folder.install(new, Map::new(), BTreeMap::new())?;
    Ok(())
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Returns tokenizer_config.json. Its class is the one that uses tokenizer.json unchanged, also where that differs from
/// GPT-2's settings (the digits); SmolLM2 names `GPT2Tokenizer`, which gives the same ids.
fn configuration(tokenizer: &Tokenizer) -> Value {
    let entry = |(id, token): (usize, &&str)| {
        let fields = json!({
            "content": token, "lstrip": false, "normalized": false, "rstrip": false,
            "single_word": false, "special": true,
        });
        (id.to_string(), fields)
    };
    let added: Map<String, Value> = SPECIAL_TOKENS.iter().enumerate().map(entry).collect();
    json!({
        "add_prefix_space": false,
        "added_tokens_decoder": added,
        "additional_special_tokens": &SPECIAL_TOKENS[1..],
        "bos_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": false,
        "eos_token": END_OF_TEXT,
        "model_max_length": MODEL_MAX_LENGTH,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": END_OF_TEXT,
        "vocab_size": tokenizer.get_vocab_size(true),
    })
}

fn special_tokens_map() -> Value {
    json!({
        "additional_special_tokens": &SPECIAL_TOKENS[1..],
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "unk_token": END_OF_TEXT,
    })
}
