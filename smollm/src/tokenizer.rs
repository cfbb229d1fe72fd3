//! Text to token ids and back, by the checkpoint's own `tokenizer.json`.
//!
//! A thin layer over the `tokenizers` crate that answers the questions the other rooms ask: ids with
//! byte ranges, which ids are special, the bytes of each id (for constrained decoding), and text as
//! it streams, never splitting a character.

use crate::ModelConfig;
use crate::error::Error;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use tokenizers::AddedToken;
use tokenizers::decoders::DecoderWrapper;

/// A checkpoint's tokenizer.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Ids of tokens marked special, ascending.
    special: Vec<u32>,
    /// The bytes every id stands for (V').
    bytes: Arc<Vec<Vec<u8>>>,
}

/// One encoded text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids (T).
    pub ids: Vec<u32>,
    /// The bytes of the text each token covers (T). Tokens that share one character share its range.
    pub ranges: Vec<Range<usize>>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` and checks it against the model's vocabulary.
    ///
    /// # Errors
    /// Names the file when it is no tokenizer, or has an id the model has no row for.
    pub fn read(path: &Path, config: &ModelConfig) -> Result<Self, Error> {
        let tokenizer = Self::open(path)?;
        let highest = tokenizer.inner.get_vocab(true).into_values().max().unwrap_or(0) as usize;
        if highest >= config.vocab_size {
            return Err(Error::invalid(
                path,
                format!(
                    "holds token id {highest}, but config.json says vocab_size {}: this tokenizer belongs to another model",
                    config.vocab_size
                ),
            ));
        }
        Ok(tokenizer)
    }

    /// Reads a `tokenizer.json` on its own.
    ///
    /// # Errors
    /// Names the file when it cannot be read or is no tokenizer.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(|error| Error::file("read", path, error))?;
        let inner = tokenizers::Tokenizer::from_bytes(bytes)
            .map_err(|error| Error::invalid(path, format!("not a tokenizer: {error}")))?;
        Self::new(inner).map_err(|error| Error::invalid(path, error))
    }

    /// Reads the text of a `tokenizer.json` that came from elsewhere than a file.
    ///
    /// # Errors
    /// Says why it is no tokenizer.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let inner = tokenizers::Tokenizer::from_bytes(text);
        inner.and_then(Self::new).map_err(|error| Error::Tokenizer(error.to_string()))
    }

    fn new(mut inner: tokenizers::Tokenizer) -> Result<Self, tokenizers::Error> {
        // A saved tokenizer may carry the truncation or padding of somebody's training run.
        inner.with_padding(None);
        inner.with_truncation(None)?;
        let mut special: Vec<u32> = inner
            .get_added_tokens_decoder()
            .into_iter()
            .filter_map(|(id, token)| token.special.then_some(id))
            .collect();
        special.sort_unstable();
        let bytes = Arc::new(token_bytes(&inner));
        Ok(Self { inner, special, bytes })
    }

    /// The same tokenizer with more special tokens, at the ids that follow the highest.
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

    /// Ids of a plain text, with the special tokens the tokenizer puts around one (a BOS, say).
    ///
    /// # Errors
    /// When the tokenizer itself fails.
    pub fn encode_document(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding =
            self.inner.encode_fast(text, true).map_err(|error| Error::Tokenizer(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Ids and byte ranges of a text that already carries its special tokens, as a rendered chat does.
    ///
    /// # Errors
    /// When the tokenizer itself fails.
    pub fn encode(&self, text: &str) -> Result<Encoded, Error> {
        let encoding = self.inner.encode(text, false).map_err(|error| Error::Tokenizer(error.to_string()))?;
        let mut covered = 0;
        let ranges = encoding.get_offsets().iter().map(|&(start, end)| {
            // Some tokenizers trim the space a token begins with out of its offsets: it is given back here.
            let range = if start > covered { covered..end } else { start..end };
            covered = covered.max(end);
            range
        });
        Ok(Encoded { ranges: ranges.collect(), ids: encoding.get_ids().to_vec() })
    }

    /// Text of ids. `skip_special` leaves out tokens marked special.
    ///
    /// # Errors
    /// When the tokenizer itself fails.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, Error> {
        self.inner.decode(ids, skip_special).map_err(|error| Error::Tokenizer(error.to_string()))
    }

    /// The id of a token's own spelling, such as `<|im_end|>`.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// A token's own spelling.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Ids of the tokens marked special, ascending.
    pub fn special_ids(&self) -> &[u32] {
        &self.special
    }

    /// Whether an id is marked special.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.binary_search(&id).is_ok()
    }

    /// Number of ids, added tokens included (V').
    pub fn vocab_size(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes every id stands for in running text (V'); empty for ids without a token. Special
    /// tokens give their own spelling.
    pub fn token_bytes(&self) -> &Arc<Vec<Vec<u8>>> {
        &self.bytes
    }
}

/// Ids in, text out, one whole character at a time.
///
/// It joins the tokens' bytes instead of decoding ever longer id lists, as the tokenizers crate's own
/// stream does: that one ends in an error, or waits for ever, when a model emits bytes that are not UTF-8.
#[derive(Debug, Clone, Default)]
pub struct TextStream {
    pending: Vec<u8>,
}

impl TextStream {
    /// The text that these bytes complete; empty while a character is still in pieces. Bytes that can
    /// no longer become UTF-8 turn into U+FFFD, as in [`String::from_utf8_lossy`] of the whole.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let complete = match std::str::from_utf8(&self.pending) {
            Ok(_) => self.pending.len(),
            Err(_) => complete_bytes(&self.pending),
        };
        String::from_utf8_lossy(&self.pending.drain(..complete).collect::<Vec<u8>>()).into_owned()
    }

    /// What is left when the stream ends: U+FFFD for a character that was never finished, or nothing.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

/// How many bytes come before a last character that may still be finished by later bytes.
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

/// GPT-2's byte alphabet, undone: printable bytes stand for themselves, the rest were moved to 256 and up.
fn byte_level_bytes(token: &str) -> Vec<u8> {
    let printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let moved: Vec<u8> = (0..256u32).filter(|&byte| !printable(byte)).map(|byte| byte as u8).collect();
    let byte_of = |character: char| match character as u32 {
        code if code < 256 && printable(code) => Some(code as u8),
        code => moved.get((code as usize).checked_sub(256)?).copied(),
    };
    // A character outside the alphabet means a token that was stored as plain text.
    token.chars().map(byte_of).collect::<Option<Vec<u8>>>().unwrap_or_else(|| token.as_bytes().to_vec())
}

/// SentencePiece spelling: `▁` is a space, `<0x0A>` a byte.
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
    fn byte_alphabet_is_undone() {
        assert_eq!(byte_level_bytes("Ġthe"), b" the");
        assert_eq!(byte_level_bytes("Ċ"), b"\n");
        assert_eq!(byte_level_bytes("Ã©"), "é".as_bytes());
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
    fn sentencepiece_spelling_is_undone() {
        assert_eq!(sentencepiece_bytes("▁the"), b" the");
        assert_eq!(sentencepiece_bytes("<0x0A>"), b"\n");
        assert_eq!(sentencepiece_bytes("<0xzz>"), b"<0xzz>");
    }
}
