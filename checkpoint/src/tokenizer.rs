//! Text to token ids and back, with the checkpoint's `tokenizer.json`.
//!
//! A thin layer over the `tokenizers` crate with what the other crates need: ids with byte ranges, which ids are special,
//! the bytes of each id (for constrained decoding), and streamed text that never splits a character. Ids are made by an
//! encoder of our own where it can (`fast`).

use crate::ModelConfig;
use crate::error::Error;
use serde_json::Value;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tokenizers::AddedToken;
use tokenizers::decoders::DecoderWrapper;

mod bounds;
mod bytes;
mod encoding;
mod fast;

pub use encoding::Encoding;

use bytes::byte_level_bytes;
use fast::FastEncoder;

/// A checkpoint's tokenizer.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Ids of the special tokens, ascending.
    special: Vec<u32>,
    /// The bytes of every id (V').
    bytes: Arc<Vec<Vec<u8>>>,
    /// Made when the first text is encoded; an error says why it cannot be.
    fast: Arc<OnceLock<Result<FastEncoder, String>>>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` and checks it against the model's vocabulary.
    ///
    /// # Errors
    /// Names the file when it is not a tokenizer, or has an id for which the model has no embedding.
    pub fn read(path: &Path, config: &ModelConfig) -> Result<Self, Error> {
        let tokenizer = Self::open(path)?;
        tokenizer.check(config).map_err(|reason| Error::invalid(path, reason))?;
        Ok(tokenizer)
    }

    /// Checks that the model has an embedding for every id; the error does not name the file.
    pub(crate) fn check(&self, config: &ModelConfig) -> Result<(), String> {
        let highest = self.bytes.len().saturating_sub(1);
        if highest < config.vocab_size {
            return Ok(());
        }
        let token = self.token(highest as u32).unwrap_or_default();
        Err(format!(
            "contains token id {highest} ({token:?}), but the model's vocab_size is {}; this tokenizer belongs to another model, or the embedding must grow (transformers' resize_token_embeddings)",
            config.vocab_size
        ))
    }

    /// Reads a `tokenizer.json` without a model.
    ///
    /// # Errors
    /// Names the file when it cannot be read or is not a tokenizer.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(|error| Error::file("read", path, error))?;
        Self::parse(&bytes).map_err(|reason| Error::invalid(path, reason))
    }

    /// Parses the text of a `tokenizer.json`.
    ///
    /// # Errors
    /// States why it is not a tokenizer.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        Self::parse(text.as_bytes()).map_err(Error::Tokenizer)
    }

    /// As [`Tokenizer::from_json`], of JSON that was parsed or made already: a large vocabulary takes a while.
    ///
    /// # Errors
    /// States why it is not a tokenizer.
    pub(crate) fn from_value(json: &Value) -> Result<Self, Error> {
        Self::of_checked(json, json.to_string().as_bytes()).map_err(Error::Tokenizer)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let json = serde_json::from_slice(bytes).map_err(|error| format!("not a tokenizer: {error}"))?;
        Self::of_checked(&json, bytes)
    }

    /// The crate that reads it panics on some files, and on others only when it is used.
    fn of_checked(json: &Value, bytes: &[u8]) -> Result<Self, String> {
        let not_one = |error: &dyn std::fmt::Display| format!("not a tokenizer: {error}");
        bounds::check(json)?;
        let parsed = files::fenced(|| tokenizers::Tokenizer::from_bytes(bytes).and_then(Self::new));
        parsed.map_err(|panic| not_one(&panic))?.map_err(|error| not_one(&error))
    }

    fn new(mut inner: tokenizers::Tokenizer) -> Result<Self, tokenizers::Error> {
        // A saved tokenizer may contain the truncation or padding of its training run.
        inner.with_padding(None);
        inner.with_truncation(None)?;
        let mut special: Vec<u32> = inner
            .get_added_tokens_decoder()
            .into_iter()
            .filter_map(|(id, token)| token.special.then_some(id))
            .collect();
        special.sort_unstable();
        let bytes = Arc::new(token_bytes(&inner));
        Ok(Self { inner, special, bytes, fast: Arc::default() })
    }

    /// The same tokenizer with more special tokens, at the ids after the highest.
    ///
    /// # Errors
    /// When the tokenizer itself fails.
    pub fn with_special(&self, names: &[String]) -> Result<Self, Error> {
        let mut inner = self.inner.clone();
        let tokens: Vec<AddedToken> =
            names.iter().map(|name| AddedToken::from(name.as_str(), true)).collect();
        inner.add_special_tokens(&tokens);
        Self::new(inner).map_err(|error| Error::Tokenizer(error.to_string()))
    }

    /// The text of its `tokenizer.json`.
    ///
    /// # Errors
    /// When the tokenizer itself fails.
    pub fn to_json(&self) -> Result<String, Error> {
        self.inner.to_string(true).map_err(|error| Error::Tokenizer(error.to_string()))
    }

    /// Ids of a plain text, with the special tokens that the tokenizer adds, such as a beginning of sequence.
    ///
    /// # Errors
    /// When the tokenizer itself fails.
    pub fn encode_document(&self, text: &str) -> Result<Vec<u32>, Error> {
        if let Some(ids) = self.fast().and_then(|fast| fast.document(text)) {
            return Ok(ids);
        }
        let encoding = usable(|| self.inner.encode_fast(text, true))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Ids and byte ranges of a text that already contains its special tokens, such as a rendered chat.
    ///
    /// # Errors
    /// When the tokenizer itself fails.
    pub fn encode(&self, text: &str) -> Result<Encoding, Error> {
        match self.fast().and_then(|fast| fast.encode(text)) {
            Some(encoding) => Ok(encoding),
            None => self.encode_by_reference(text),
        }
    }

    /// Ids of a text that already contains its special tokens.
    ///
    /// # Errors
    /// When the tokenizer itself fails.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, Error> {
        match self.fast().and_then(|fast| fast.ids(text)) {
            Some(ids) => Ok(ids),
            None => Ok(usable(|| self.inner.encode_fast(text, false))?.get_ids().to_vec()),
        }
    }

    /// As [`Self::encode`], by the tokenizers crate: what every other way of encoding must equal.
    ///
    /// # Errors
    /// When the tokenizer itself fails.
    pub fn encode_by_reference(&self, text: &str) -> Result<Encoding, Error> {
        let encoding = usable(|| self.inner.encode(text, false))?;
        let mut covered = 0;
        let ranges = encoding.get_offsets().iter().map(|&(start, end)| {
            // Some tokenizers leave a token's leading space out of its offsets; it is added here.
            let range = if start > covered { covered..end } else { start..end };
            covered = covered.max(end);
            range
        });
        Ok(Encoding { ranges: ranges.collect(), ids: encoding.get_ids().to_vec() })
    }

    /// Why texts are encoded by the tokenizers crate and not by the encoder that is several times as fast; `None` where they
    /// are.
    pub fn slow_because(&self) -> Option<&str> {
        self.try_fast().as_ref().err().map(String::as_str)
    }

    fn fast(&self) -> Option<&FastEncoder> {
        self.try_fast().as_ref().ok()
    }

    fn try_fast(&self) -> &Result<FastEncoder, String> {
        self.fast.get_or_init(|| files::fenced(|| FastEncoder::new(&self.inner)).and_then(|made| made))
    }

    /// The text of ids. `skip_special` leaves special tokens out.
    ///
    /// # Errors
    /// When the tokenizer itself fails.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, Error> {
        usable(|| self.inner.decode(ids, skip_special))
    }

    /// The id of a token by its text in the vocabulary, such as `<|im_end|>`.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The text of a token in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Ids of the special tokens, ascending.
    pub fn special_ids(&self) -> &[u32] {
        &self.special
    }

    /// Whether an id is a special token.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.binary_search(&id).is_ok()
    }

    /// Number of ids, added tokens included (V').
    pub fn vocab_size(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes of every id in running text (V'); empty for ids without a token. Special tokens have the bytes of their
    /// text.
    pub fn token_bytes(&self) -> &Arc<Vec<Vec<u8>>> {
        &self.bytes
    }
}

/// Uses the tokenizers crate, which panics where a file holds rules that it reads and cannot follow.
fn usable<T>(work: impl FnOnce() -> Result<T, tokenizers::Error>) -> Result<T, Error> {
    files::fenced(work).map_err(Error::Tokenizer)?.map_err(|error| Error::Tokenizer(error.to_string()))
}

/// Joins the bytes of tokens to text of whole characters.
///
/// The tokenizers crate's own stream decodes longer and longer lists of ids instead; it fails or never returns when a
/// model generates bytes that are not UTF-8.
#[derive(Debug, Clone, Default)]
pub struct TextStream {
    pending: Vec<u8>,
}

impl TextStream {
    /// Adds bytes; returns the text that they complete, which is empty while a character is incomplete. Bytes that cannot
    /// become UTF-8 are replaced by U+FFFD, as in [`String::from_utf8_lossy`] of the whole.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let complete = match std::str::from_utf8(&self.pending) {
            Ok(_) => self.pending.len(),
            Err(_) => complete_bytes(&self.pending),
        };
        String::from_utf8_lossy(&self.pending.drain(..complete).collect::<Vec<u8>>()).into_owned()
    }

    /// The rest when the stream ends: U+FFFD for an incomplete character, or nothing.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

/// The number of bytes before a last character that later bytes may still complete.
fn complete_bytes(bytes: &[u8]) -> usize {
    let mut start = 0;
    while let Err(error) = std::str::from_utf8(&bytes[start..]) {
        match error.error_len() {
            Some(length) => start += error.valid_up_to() + length,
            None => return start + error.valid_up_to(),
        }
    }
    bytes.len()
}

fn token_bytes(tokenizer: &tokenizers::Tokenizer) -> Vec<Vec<u8>> {
    let byte_level = is_byte_level(tokenizer);
    let added = tokenizer.get_added_tokens_decoder();
    let vocab_size = tokenizer.get_vocab(true).into_values().max().map_or(0, |id| id + 1);
    let bytes_of = |id: u32| match (added.get(&id), tokenizer.id_to_token(id)) {
        (Some(token), _) => token.content.clone().into_bytes(),
        (None, Some(token)) if byte_level => byte_level_bytes(&token),
        (None, Some(token)) => sentencepiece_bytes(&token),
        (None, None) => Vec::new(),
    };
    (0..vocab_size).map(bytes_of).collect()
}

fn is_byte_level(tokenizer: &tokenizers::Tokenizer) -> bool {
    let byte_level = |decoder: &DecoderWrapper| matches!(decoder, DecoderWrapper::ByteLevel(_));
    match tokenizer.get_decoder() {
        Some(DecoderWrapper::Sequence(sequence)) => sequence.get_decoders().iter().any(byte_level),
        Some(decoder) => byte_level(decoder),
        None => false,
    }
}

/// The bytes of a token of SentencePiece: `▁` is a space, `<0x0A>` a byte.
fn sentencepiece_bytes(token: &str) -> Vec<u8> {
    let byte = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
        Some(byte) => vec![byte],
        None => token.replace('▁', " ").into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_level_tokens_become_bytes() {
        assert_eq!(byte_level_bytes("Ġthe"), b" the");
        assert_eq!(byte_level_bytes("Ċ"), b"\n");
        assert_eq!(byte_level_bytes("Ã©"), "é".as_bytes());
        for byte in 0..=u8::MAX {
            assert_eq!(byte_level_bytes(&bytes::byte_level_character(byte).to_string()), [byte]);
        }
    }

    /// A tokenizer of two words, with one part of the file replaced.
    fn with(name: &str, part: serde_json::Value) -> Result<Tokenizer, Error> {
        let mut file = serde_json::json!({"version": "1.0", "added_tokens": [], "decoder": null, "normalizer": null,
            "pre_tokenizer": null, "post_processor": null,
            "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}});
        file[name] = part;
        Tokenizer::from_json(&file.to_string())
    }

    /// A tokenizer that got a token which the model has no row for: the token is named, and so is the remedy.
    #[test]
    fn a_token_beyond_the_embedding_is_named() {
        let added = serde_json::json!([{"id": 2, "content": "[PAD]", "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false}]);
        let tokenizer = with("added_tokens", added).expect("a tokenizer");
        let config = ModelConfig { vocab_size: 2, ..ModelConfig::smollm2_135m() };
        let reason = tokenizer.check(&config).expect_err("it has three tokens");
        for part in ["token id 2 (\"[PAD]\")", "vocab_size is 2", "the embedding must grow"] {
            assert!(reason.contains(part), "{reason}");
        }
        assert_eq!(tokenizer.check(&ModelConfig { vocab_size: 3, ..config }), Ok(()));
    }

    #[test]
    fn a_file_that_its_library_cannot_take_is_an_error() {
        use serde_json::json;
        assert!(with("decoder", json!(null)).is_ok());
        let id = json!([{"id": 4_000_000_000_u64, "content": "x", "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false}]);
        assert!(with("added_tokens", id).is_err_and(|error| error.to_string().contains("4000000000")));
        for garbage in ["", "AAAA", "//////////8=", "BAAAAP////8="] {
            let normalizer = json!({"type": "Precompiled", "precompiled_charsmap": garbage});
            let used = with("normalizer", normalizer).and_then(|tokenizer| tokenizer.encode("a e\u{301} ﬁ"));
            // Refused when it is read or when it is used; some are harmless.
            if let Err(error) = used {
                assert!(error.to_string().starts_with("tokenizer: "), "{error}");
            }
        }
        for text in ["", "{", "[]", "{\"decoder\": {\"type\": \"Repl\n"] {
            assert!(Tokenizer::from_json(text).is_err(), "{text}");
        }
    }

    #[test]
    fn streamed_text_is_the_lossy_text_of_the_whole() {
        for bytes in
            [&b"plain"[..], "a\u{e9}\u{1f642}z".as_bytes(), b"\xff\xc3\xa9\xe2\x82", b"\xf0\x9fab\x80"]
        {
            let mut stream = TextStream::default();
            let mut text: String = bytes.iter().map(|byte| stream.push(&[*byte])).collect();
            text.push_str(&stream.finish());
            assert_eq!(text, String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn sentencepiece_tokens_become_bytes() {
        assert_eq!(sentencepiece_bytes("▁the"), b" the");
        assert_eq!(sentencepiece_bytes("<0x0A>"), b"\n");
        assert_eq!(sentencepiece_bytes("<0xzz>"), b"<0xzz>");
    }
}
