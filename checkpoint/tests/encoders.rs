//! Our encoder and the tokenizers crate give the same ids and byte ranges: for texts in ten languages, for generated ones
//! of all of Unicode, with special tokens within words and long runs, for every kind of tokenizer that ours knows. More
//! generated texts, a million of each tokenizer, and all of the public ones: `SMOL_ENCODED_TEXTS=1000000 cargo test --release -p
//! checkpoint --test encoders`; `SMOL_ENCODER=smollm2` for one of them.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use checkpoint::Tokenizer;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LANGUAGES: [&str; 11] = [
    "The quick brown fox's dog doesn't jump; they'll say it's 12,345.67 over\n\n  the lazy fence.\r\n",
    "Größere Füße laufen über 3½ Straßen, „sagte“ sie – und das war’s.",
    "L'été dernier, nous étions à Noël : « c'est ça » !",
    "¿Dónde está el niño? ¡Aquí, mañana a las 10h!",
    "Съешь же ещё этих мягких французских булок, да выпей чаю. № 5",
    "敏捷的棕色狐狸跳过了懒狗。他说：“你好，世界！”二〇二四年",
    "いろはにほへと ちりぬるを。カタカナ・ｶﾅ、１２３円です。",
    "다람쥐 헌 쳇바퀴에 타고파. 2024년 5월",
    "السلام عليكم، كيف حالك؟ ١٢٣٤٥ مرحبًا",
    "नमस्ते दुनिया, यह एक वाक्य है। १२३",
    "สวัสดีชาวโลก 👩‍👩‍👧‍👦 🏳️‍🌈 e\u{301} \u{200b}\u{a0}\u{85}\u{2028}\u{3000}x \u{1d7ce}\u{2160}ſ 'ſ 'S 'LL 'Ve",
];

fn pocket() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/pocket-instruct/tokenizer.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn shared() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("SMOL_SHARED")?);
    Some(if folder.join("data").is_dir() { folder.join("data") } else { folder })
}

/// A tokenizer of every kind that the fast encoder knows.
fn tokenizers() -> Vec<(&'static str, Value)> {
    let bytes = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
    let gpt4 = |digits: &str| {
        let pattern = format!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        );
        let split =
            json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        json!({"type": "Sequence", "pretokenizers": [split, bytes(false)]})
    };
    let of = |pre_tokenizer: Value, change: fn(&mut Value)| {
        let mut tokenizer = pocket();
        tokenizer["pre_tokenizer"] = pre_tokenizer;
        change(&mut tokenizer);
        tokenizer
    };
    let trims = |tokenizer: &mut Value| {
        tokenizer["post_processor"] =
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    };
    let ignores_merges = |tokenizer: &mut Value| tokenizer["model"]["ignore_merges"] = true.into();
    let adds = |tokenizer: &mut Value| {
        let id = tokenizer["model"]["vocab"].as_object().unwrap().len();
        let added = tokenizer["added_tokens"].as_array_mut().unwrap();
        let more = [("  ", true), ("the quick", true), ("<|x", false), ("<|x|>", false), ("ß", true)];
        for (number, (content, normalized)) in more.into_iter().enumerate() {
            added.push(json!({"id": id + number, "content": content, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": normalized, "special": false}));
        }
    };
    let mut all = vec![
        ("pocket", pocket()),
        ("gpt2", of(bytes(true), |_| {})),
        ("gpt2, trimmed", of(bytes(true), trims)),
        ("llama3", of(gpt4(r"\p{N}{1,3}"), ignores_merges)),
        ("qwen", of(gpt4(r"\p{N}"), trims)),
        ("added", of(bytes(true), adds)),
    ];
    if let Some(shared) = shared() {
        let bytes = std::fs::read(shared.join("models/smollm2-tokenizer/tokenizer.json")).unwrap();
        all.push(("smollm2", serde_json::from_slice(&bytes).unwrap()));
    }
    all
}

#[track_caller]
fn assert_equal(name: &str, tokenizer: &Tokenizer, text: &str) {
    let (fast, reference) = (tokenizer.encode(text).unwrap(), tokenizer.encode_by_reference(text).unwrap());
    assert_eq!(fast.ids, reference.ids, "{name}: {text:?}");
    assert_eq!(fast.ranges, reference.ranges, "{name}: {text:?}");
    assert_eq!(tokenizer.ids(text).unwrap(), reference.ids, "{name}: {text:?}");
}

/// Numbers that follow from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }

    fn text(&mut self, words: &[String]) -> String {
        const PARTS: [&str; 12] =
            [" ", "\n", "\r\n", "\t", "'s", "'LL", "1", "12", "a", "!", "<|im_end|>", "\u{3000}"];
        let kind = self.below(9);
        let mut text = String::new();
        for _ in 0..1 + self.below(20) {
            let word = &words[self.below(words.len())];
            match kind {
                0 => text.push_str(word),
                1 => text.extend(char::from_u32(self.below(0x11_0000) as u32)),
                2 => text.push(char::from(b'a' + self.below(26) as u8)),
                3 => text.extend((0..self.below(9)).map(|_| char::from(32 + self.below(95) as u8))),
                4 => text.push_str(word.trim()),
                5 => {
                    let character = char::from_u32(self.below(0x3100) as u32).unwrap_or('x');
                    text.extend(std::iter::repeat_n(character, self.below(90)));
                }
                6 => text.push_str(PARTS[self.below(PARTS.len())]),
                7 => text.extend(char::from_u32(self.below(0x2_0000) as u32)),
                _ => {
                    let sentence: Vec<char> = LANGUAGES[self.below(LANGUAGES.len())].chars().collect();
                    let start = self.below(sentence.len());
                    text.extend(&sentence[start..(start + self.below(12)).min(sentence.len())]);
                }
            }
        }
        text
    }
}

#[test]
fn ids_and_ranges_are_those_of_the_reference() {
    let count = std::env::var("SMOL_ENCODED_TEXTS").map_or(3000, |count| count.parse().unwrap());
    let chosen = std::env::var("SMOL_ENCODER").ok();
    let is_chosen = |name: &str| chosen.as_ref().is_none_or(|chosen| chosen == name);
    for (name, json) in tokenizers().into_iter().filter(|(name, _)| is_chosen(name)) {
        let tokenizer = Tokenizer::from_json(&json.to_string()).unwrap();
        assert_eq!(tokenizer.slow_because(), None, "{name}");
        LANGUAGES.iter().for_each(|text| assert_equal(name, &tokenizer, text));
        assert_equal(name, &tokenizer, &LANGUAGES.concat());
        assert_equal(name, &tokenizer, "");
        let of = |id: usize| String::from_utf8_lossy(&tokenizer.token_bytes()[id]).into_owned();
        let words: Vec<String> = (0..tokenizer.vocab_size()).map(of).collect();
        let mut random = Random(20_261_130);
        (0..count).for_each(|_| assert_equal(name, &tokenizer, &random.text(&words)));
    }
}

/// Every string of JSON, and every line of other texts.
fn strings_of(path: &Path) -> Vec<String> {
    fn collect(value: &Value, strings: &mut Vec<String>) {
        match value {
            Value::String(text) => strings.push(text.clone()),
            Value::Array(values) => values.iter().for_each(|value| collect(value, strings)),
            Value::Object(fields) => fields.values().for_each(|value| collect(value, strings)),
            _ => {}
        }
    }
    let Ok(text) = std::fs::read_to_string(path) else { return Vec::new() };
    let mut strings = Vec::new();
    let is_json = path.extension().is_some_and(|kind| kind == "json" || kind == "jsonl");
    let values = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    match values.collect::<Result<Vec<Value>, _>>() {
        Ok(values) if is_json => values.iter().for_each(|value| collect(value, &mut strings)),
        _ => strings.extend(text.split_inclusive('\n').map(str::to_owned)),
    }
    strings
}

/// The files of a folder and of those in it.
fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files_of(&path) } else { vec![path] }).collect()
}

#[test]
fn public_texts_have_the_ids_of_the_reference() {
    let Some(shared) = shared() else { return };
    let (_, json) = tokenizers().pop().unwrap();
    let tokenizer = Tokenizer::from_json(&json.to_string()).unwrap();
    // Some megabytes unless all are asked for: the reference takes minutes.
    let limit = if std::env::var_os("SMOL_ENCODED_TEXTS").is_some() { usize::MAX } else { 400 };
    let mut texts = 0;
    for path in files_of(&shared) {
        for text in strings_of(&path).iter().take(limit) {
            assert_equal(&path.display().to_string(), &tokenizer, text);
            texts += 1;
        }
    }
    println!("{texts} texts");
    assert!(texts > 1000, "{texts}");
}

/// Every tokenizer of the test data has an encoder, or a reason why it has none.
#[test]
fn every_tokenizer_is_encoded_as_the_reference_does() {
    let Some(shared) = shared() else { return };
    let files = files_of(&shared.join("models"));
    let tokenizers = files.iter().filter(|path| path.ends_with("tokenizer.json"));
    let mut reasons = Vec::new();
    for path in tokenizers {
        let tokenizer = Tokenizer::open(path).unwrap();
        reasons.push(tokenizer.slow_because().map(str::to_owned));
        for text in LANGUAGES {
            assert_equal(&path.display().to_string(), &tokenizer, text);
            let document = tokenizer.encode_document(text).unwrap();
            let reference = tokenizers::Tokenizer::from_file(path).unwrap();
            assert_eq!(document, reference.encode(text, true).unwrap().get_ids());
        }
    }
    reasons.sort();
    assert_eq!(reasons, [None, Some("it has a normalizer".to_owned())]);
}

/// Special tokens that a tokenizer puts around documents are the same, and other tokenizers are named.
#[test]
fn documents_are_those_of_the_reference_and_what_is_not_known_is_named() {
    let mut json = pocket();
    let end = json["added_tokens"][0]["content"].as_str().unwrap().to_owned();
    let special = json!({"SpecialToken": {"id": end, "type_id": 0}});
    let text = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
    json["post_processor"] = json!({"type": "TemplateProcessing",
        "single": [special, text("A"), special], "pair": [text("A"), text("B")],
        "special_tokens": {&end: {"id": end, "ids": [json["added_tokens"][0]["id"]], "tokens": [end]}}});
    let around = Tokenizer::from_json(&json.to_string()).unwrap();
    assert_eq!(around.slow_because(), None);
    let id = around.id(&end).unwrap();
    for text in LANGUAGES {
        let inner = around.encode_by_reference(text).unwrap().ids;
        assert_eq!(around.encode_document(text).unwrap(), [&[id], &inner[..], &[id]].concat());
    }
    for (name, value, expected) in [
        ("normalizer", json!({"type": "NFC"}), "it has a normalizer"),
        ("pre_tokenizer", json!({"type": "Whitespace"}), "its pre-tokenizer is Whitespace"),
        ("pre_tokenizer", json!(null), "it has no pre-tokenizer"),
    ] {
        let mut json = pocket();
        json[name] = value;
        let tokenizer = Tokenizer::from_json(&json.to_string()).unwrap();
        assert_eq!(tokenizer.slow_because(), Some(expected));
        assert_equal(name, &tokenizer, LANGUAGES[1]);
    }
}

#[test]
fn a_megabyte_of_one_letter_takes_no_longer_than_other_text() {
    let tokenizer = Tokenizer::from_json(&pocket().to_string()).unwrap();
    tokenizer.ids("a").unwrap();
    for letter in ["a", " ", "\n", "0", "é", "!", "'"] {
        let (text, start) = (letter.repeat((1 << 20) / letter.len()), Instant::now());
        tokenizer.encode(&text).unwrap();
        assert!(start.elapsed() < Duration::from_secs(5), "{letter:?}: {:?}", start.elapsed());
    }
}
