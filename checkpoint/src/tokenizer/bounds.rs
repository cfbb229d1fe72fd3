//! What a `tokenizer.json` may ask for. The tokenizers crate allocates by ids and grows texts by rules without a limit, so
//! a small file could take all memory: such a file is refused before it is read.

use serde_json::Value;

/// Ids of a vocabulary; the largest ones in use have a quarter of a million.
const MAX_IDS: u64 = 1 << 22;
/// Bytes of a token. The longest ones in use, runs of spaces and of punctuation, have some hundreds.
const MAX_TOKEN: usize = 64 << 10;
/// Bytes of all tokens that are added to a vocabulary: each is searched for in every text.
const MAX_ADDED: usize = 16 << 20;
/// How much longer a text may become by the rules that replace one pattern by another.
const MAX_GROWTH: f64 = 64.0;

/// Checks the JSON of a tokenizer.
///
/// # Errors
/// States what is beyond its bound.
pub(super) fn check(tokenizer: &Value) -> Result<(), String> {
    let added = tokenizer["added_tokens"].as_array().into_iter().flatten();
    let vocabulary = &tokenizer["model"]["vocab"];
    let listed = vocabulary.as_object().into_iter().flat_map(|map| map.values());
    let highest = added.map(|token| &token["id"]).chain(listed).filter_map(Value::as_u64).max().unwrap_or(0);
    let most = highest.max(vocabulary.as_array().map_or(0, Vec::len) as u64);
    if most >= MAX_IDS {
        return Err(format!("token id {most} is beyond {MAX_IDS}; no vocabulary is that large"));
    }
    check_sizes(tokenizer)?;
    let growth = growth(&tokenizer["normalizer"]) * growth(&tokenizer["pre_tokenizer"]);
    if growth > MAX_GROWTH {
        return Err(format!(
            "its replacements make a text up to {growth:.0} times as long, more than {MAX_GROWTH}; remove some"
        ));
    }
    Ok(())
}

/// Checks the bytes of the tokens.
fn check_sizes(tokenizer: &Value) -> Result<(), String> {
    let added = tokenizer["added_tokens"].as_array().into_iter().flatten();
    let added = added.filter_map(|token| token["content"].as_str()).map(str::len);
    let sum: usize = added.clone().sum();
    if sum > MAX_ADDED {
        return Err(format!("its added tokens have {sum} bytes, more than {MAX_ADDED}; remove some"));
    }
    let vocabulary = &tokenizer["model"]["vocab"];
    let by_name = vocabulary.as_object().into_iter().flat_map(|map| map.keys().map(String::len));
    // Unigram models have a list of pairs of a token and its score.
    let pairs = vocabulary.as_array().into_iter().flatten().filter_map(|pair| pair[0].as_str()).map(str::len);
    match added.chain(by_name).chain(pairs).max() {
        Some(longest) if longest > MAX_TOKEN => {
            Err(format!("a token has {longest} bytes, more than {MAX_TOKEN}; no vocabulary has such tokens"))
        }
        _ => Ok(()),
    }
}

/// The product of what each replacement below a rule can add: its content's length over its pattern's shortest match.
fn growth(rule: &Value) -> f64 {
    let own = match (rule["type"].as_str(), rule["content"].as_str()) {
        (Some("Replace"), Some(content)) => {
            let shortest = rule["pattern"]["String"].as_str().map_or(1, |text| text.len().max(1));
            (content.len() as f64 / shortest as f64).max(1.0)
        }
        _ => 1.0,
    };
    let parts =
        ["normalizers", "pretokenizers"].into_iter().filter_map(|name| rule[name].as_array()).flatten();
    parts.fold(own, |product, part| product * growth(part))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_and_replacements_without_a_limit_are_refused() {
        let far = json!({"added_tokens": [{"id": 4_000_000_000_u64}], "model": {"vocab": {"a": 0}}});
        assert!(check(&far).unwrap_err().contains("token id 4000000000"));
        let far = json!({"model": {"vocab": {"a": 1 << 23}}});
        assert!(check(&far).is_err());
        let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
        let sequence =
            |count| json!({"normalizer": {"type": "Sequence", "normalizers": vec![double.clone(); count]}});
        assert!(check(&sequence(6)).is_ok());
        assert!(check(&sequence(40)).unwrap_err().contains("times as long"));
    }

    #[test]
    fn tokens_of_megabytes_are_refused() {
        let long = "a".repeat(MAX_TOKEN + 1);
        for tokenizer in [
            json!({"added_tokens": [{"id": 1, "content": long}]}),
            json!({"model": {"vocab": {(long.as_str()): 0}}}),
            json!({"model": {"vocab": [[long, -1.0]]}}),
        ] {
            assert!(check(&tokenizer).unwrap_err().contains("a token has 65537 bytes"));
        }
        let many: Vec<Value> =
            (0..300).map(|id| json!({"id": id, "content": "a".repeat(MAX_TOKEN)})).collect();
        assert!(check(&json!({"added_tokens": many})).unwrap_err().contains("added tokens have"));
    }

    #[test]
    fn what_published_tokenizers_replace_is_accepted() {
        let llama = json!({"normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
            "model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 262_144}]});
        assert!(check(&llama).is_ok());
    }
}
