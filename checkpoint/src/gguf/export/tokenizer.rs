//! The metadata of a tokenizer, from the text of its `tokenizer.json`. llama.cpp knows how a text is split by a name, so
//! a tokenizer that splits otherwise cannot be exported.

use crate::error::Error;
use crate::folder::{Checkpoint, end_of_message};
use crate::gguf::tokenizer::rule_name;
use crate::gguf::tokenizer::vocabulary::{BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED};
use crate::gguf::write::Field;
use serde_json::Value;
use std::collections::HashMap;

/// # Errors
/// Names what of the tokenizer the format does not have.
pub(super) fn metadata(checkpoint: &Checkpoint) -> Result<Vec<(String, Field)>, Error> {
    let json: Value = serde_json::from_str(&checkpoint.tokenizer.to_json()?)
        .map_err(|error| Error::invalid(&checkpoint.folder, format!("its tokenizer is not JSON: {error}")))?;
    let invalid = |reason| Error::invalid(&checkpoint.folder, reason);
    let vocabulary = Listed::read(&json, checkpoint.config.vocab_size).map_err(invalid)?;
    let mut metadata = Vec::new();
    let mut put = |key: &str, field: Field| metadata.push((format!("tokenizer.{key}"), field));
    let merges = merges(&json);
    if json["model"]["byte_fallback"] == true {
        check_sentencepiece(&json).map_err(invalid)?;
        put("ggml.model", Field::Text("llama".to_owned()));
        put("ggml.scores", Field::Floats(scores(&vocabulary.tokens, &merges)));
        put("ggml.add_space_prefix", Field::Flag(adds_space(&json)));
    } else {
        put("ggml.model", Field::Text("gpt2".to_owned()));
        put("ggml.pre", Field::Text(rule_name(&json).map_err(invalid)?.to_owned()));
        put(
            "ggml.merges",
            Field::Texts(merges.iter().map(|(left, right)| format!("{left} {right}")).collect()),
        );
    }
    put("ggml.tokens", Field::Texts(vocabulary.tokens));
    put("ggml.token_type", Field::Integers(vocabulary.kinds));
    let (begins, ends) = around(&json);
    for (key, id) in special_ids(checkpoint, begins) {
        put(key, Field::Unsigned(id));
    }
    put("ggml.add_bos_token", Field::Flag(begins.is_some()));
    put("ggml.add_eos_token", Field::Flag(ends.is_some()));
    if checkpoint.has_own_template {
        put("chat_template", Field::Text(checkpoint.template.plain_source()));
    }
    Ok(metadata)
}

/// Tokens and their kinds, by id.
struct Listed {
    tokens: Vec<String>,
    kinds: Vec<i32>,
}

impl Listed {
    /// Reads a vocabulary of `size` rows; rows without a token become unused ones.
    fn read(json: &Value, size: usize) -> Result<Self, String> {
        if json["model"]["type"] != "BPE" {
            return Err(format!(
                "its tokenizer is of the type {}; only BPE is exported",
                json["model"]["type"]
            ));
        }
        let mut tokens: Vec<Option<(String, i64)>> = vec![None; size];
        let unknown = json["model"]["unk_token"].as_str();
        let is_byte = |token: &str| json["model"]["byte_fallback"] == true && is_byte_token(token);
        for (token, id) in json["model"]["vocab"].as_object().into_iter().flatten() {
            let kind = match token.as_str() {
                token if Some(token) == unknown => UNKNOWN,
                token if is_byte(token) => BYTE,
                _ => NORMAL,
            };
            if let Some(entry) = id.as_u64().and_then(|id| tokens.get_mut(id as usize)) {
                *entry = Some((token.clone(), kind));
            }
        }
        for added in json["added_tokens"].as_array().into_iter().flatten() {
            let (id, content) = (added["id"].as_u64(), added["content"].as_str());
            let (Some(id), Some(content)) = (id, content) else { continue };
            let kind = match added["special"] == true {
                true if Some(content) == unknown => UNKNOWN,
                true => CONTROL,
                false => USER_DEFINED,
            };
            if let Some(entry) = tokens.get_mut(id as usize) {
                *entry = Some((content.to_owned(), kind));
            }
        }
        let named = |(id, token): (usize, Option<(String, i64)>)| {
            token.unwrap_or_else(|| (format!("[PAD{id}]"), UNUSED))
        };
        let (tokens, kinds): (Vec<String>, Vec<i64>) = tokens.into_iter().enumerate().map(named).unzip();
        Ok(Self { tokens, kinds: kinds.into_iter().map(|kind| kind as i32).collect() })
    }
}

/// Whether a token stands for a byte, such as `<0x0A>`.
fn is_byte_token(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

/// The pairs of tokens that are merged, first ones first.
fn merges(json: &Value) -> Vec<(String, String)> {
    let pair = |merge: &Value| match merge {
        Value::String(text) => text.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned())),
        pair => Some((pair[0].as_str()?.to_owned(), pair[1].as_str()?.to_owned())),
    };
    json["model"]["merges"].as_array().into_iter().flatten().filter_map(pair).collect()
}

/// Of each token the negative place of the first pair that makes it: llama.cpp merges the best score first. A token that
/// no pair makes comes after all others.
fn scores(tokens: &[String], merges: &[(String, String)]) -> Vec<f32> {
    let mut places: HashMap<String, usize> = HashMap::new();
    for (place, (left, right)) in merges.iter().enumerate() {
        places.entry(format!("{left}{right}")).or_insert(place);
    }
    let place = |token: &String| places.get(token).copied().unwrap_or(merges.len());
    tokens.iter().map(|token| -(place(token) as f32) - 1.0).collect()
}

/// Whether the steps around a SentencePiece vocabulary are those that llama.cpp has.
fn check_sentencepiece(json: &Value) -> Result<(), String> {
    let is_metaspace =
        json["pre_tokenizer"]["type"] == "Metaspace" && json["pre_tokenizer"]["split"] == false;
    let replaces = json["normalizer"].to_string().contains("\u{2581}");
    match (json["pre_tokenizer"].is_null() && replaces) || is_metaspace {
        true => Ok(()),
        false => Err("its tokenizer splits texts in a way that llama.cpp has no name for".to_owned()),
    }
}

/// Whether a space is put before a text.
fn adds_space(json: &Value) -> bool {
    let scheme = json["pre_tokenizer"]["prepend_scheme"].as_str();
    scheme.is_some_and(|scheme| scheme != "never") || json["normalizer"].to_string().contains("\"Prepend\"")
}

/// The ids that have a meaning, by their keys. `begins` is the token that is put before a text.
fn special_ids(checkpoint: &Checkpoint, begins: Option<&str>) -> Vec<(&'static str, u32)> {
    let config = &checkpoint.config;
    let named = |key: &str| {
        let value = checkpoint.tokenizer_config.get(key)?;
        checkpoint.tokenizer.id(value.as_str().or_else(|| value["content"].as_str())?)
    };
    let first = begins.and_then(|token| checkpoint.tokenizer.id(token));
    let end = named("eos_token").or_else(|| config.eos_token_ids.first().copied());
    // The end of a turn, and other ends, such as a base model's.
    let of_turn = end_of_message(&checkpoint.tokenizer, &checkpoint.template).filter(|id| Some(*id) != end);
    let mut others =
        checkpoint.stop_ids.iter().copied().filter(|id| Some(*id) != end && Some(*id) != of_turn);
    let of_turn = of_turn.or_else(|| others.next());
    let ids = [
        ("ggml.bos_token_id", first.or_else(|| named("bos_token")).or(config.bos_token_id)),
        ("ggml.eos_token_id", end),
        ("ggml.eot_token_id", of_turn),
        ("ggml.eom_token_id", others.next()),
        ("ggml.unknown_token_id", named("unk_token")),
        ("ggml.padding_token_id", named("pad_token").or(config.pad_token_id)),
    ];
    ids.into_iter().filter_map(|(key, id)| id.map(|id| (key, id))).collect()
}

/// The tokens that are put before and after a text.
fn around(json: &Value) -> (Option<&str>, Option<&str>) {
    fn token(step: Option<&Value>) -> Option<&str> {
        step?["SpecialToken"]["id"].as_str()
    }
    let own = &json["post_processor"];
    let several = own["processors"].as_array().into_iter().flatten();
    let template = several.into_iter().find(|step| step["type"] == "TemplateProcessing").unwrap_or(own);
    let steps = template["single"].as_array().map_or(&[][..], Vec::as_slice);
    (token(steps.first()), token(steps.last()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_put_around_a_text_is_found_in_every_form() {
        let begin = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
        let template =
            json!({"type": "TemplateProcessing", "single": [begin, {"Sequence": {"id": "A", "type_id": 0}}]});
        // Llama 3's form.
        let several = json!({"type": "Sequence", "processors": [{"type": "ByteLevel"}, template]});
        for processor in [template, several] {
            assert_eq!(around(&json!({"post_processor": processor})), (Some("<s>"), None));
        }
        assert_eq!(around(&json!({"post_processor": {"type": "ByteLevel"}})), (None, None));
        assert_eq!(around(&json!({"post_processor": null})), (None, None));
    }

    #[test]
    fn tokens_that_no_pair_makes_are_merged_last() {
        let tokens = ["a", "b", "ab", "abc"].map(str::to_owned);
        let merges = [("a".to_owned(), "b".to_owned())];
        assert_eq!(scores(&tokens, &merges)[2..], [-1.0, -2.0]);
    }
}
