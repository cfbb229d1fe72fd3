//! Byte-level byte-pair encoding, as SmolLM, GPT-2, Llama 3 and Qwen have it, several times as fast as the tokenizers crate
//! and with the same ids and byte ranges. That crate stays the reference: it reads and trains tokenizers, decodes, and
//! encodes for every tokenizer that is not of this kind, and every text with a byte that a vocabulary lacks.
//!
//! kitoken 0.11 was measured first: it joins by the ranks of tokens instead of the list of merges, and 144 of 100,000
//! generated texts had other ids.

mod cache;
mod classes;
mod merges;
mod pieces;

use super::bytes::{byte_level_bytes, byte_level_character};
use super::encoding::Encoding;
use aho_corasick::{AhoCorasick, MatchKind};
use cache::with_cache;
use merges::{Merges, Symbols};
use pieces::Splitter;
use serde_json::Value;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use tokenizers::AddedToken;

/// The fast encoder of a tokenizer.
#[derive(Debug)]
pub(super) struct FastEncoder {
    /// Tells the caches of threads whose they are.
    number: u64,
    splitter: Splitter,
    merges: Merges,
    /// The id of each byte alone.
    of_byte: [Option<u32>; 256],
    /// The ids of whole pieces that come before all merges, where the tokenizer has them.
    whole: HashMap<Vec<u8>, u32>,
    /// Added tokens, and their ids: those found in the text first, then those found in what remains.
    added: [AddedTokens; 2],
    /// White space at both ends of each token, which the reference leaves out of ranges; empty if it does not.
    margins: Vec<(u8, u8)>,
    /// Whether the reference expects a space before the text.
    adds_space: bool,
    /// The special tokens that the tokenizer puts around a document.
    around: (Vec<u32>, Vec<u32>),
}

/// What finds added tokens, and their ids; `None` where there are none.
type AddedTokens = Option<(AhoCorasick, Vec<u32>)>;
/// A token that is found in a text: its id and its bytes.
type Found = (u32, Range<usize>);

impl FastEncoder {
    /// The encoder of a tokenizer.
    ///
    /// # Errors
    /// Says what the tokenizer has that only the reference can do.
    pub(super) fn new(tokenizer: &tokenizers::Tokenizer) -> Result<Self, String> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let json = |part: serde_json::Result<Value>| part.map_err(|error| error.to_string());
        let model = json(serde_json::to_value(tokenizer.get_model()))?;
        let pre_tokenizer = json(serde_json::to_value(tokenizer.get_pre_tokenizer()))?;
        let post_processor = json(serde_json::to_value(tokenizer.get_post_processor()))?;
        if model["type"] != "BPE" {
            return Err(format!("its model is {}", model["type"].as_str().unwrap_or("unknown")));
        }
        if tokenizer.get_normalizer().is_some() {
            return Err("it has a normalizer".to_owned());
        }
        let is_unset =
            |name: &str| matches!(&model[name], Value::Null) || model[name] == "" || model[name] == false;
        let set = ["dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"];
        if let Some(name) = set.iter().find(|name| !is_unset(name)) {
            return Err(format!("its model has `{name}`"));
        }
        let splitter = Splitter::new(&pre_tokenizer)?;
        let vocabulary = model["vocab"].as_object().ok_or("its model has no vocabulary")?;
        let id = |token: &str| vocabulary.get(token).and_then(Value::as_u64).map(|id| id as u32);
        let of_byte = std::array::from_fn(|byte| id(&byte_level_character(byte as u8).to_string()));
        let merges = merges(&model["merges"], id)?;
        let whole = match model["ignore_merges"] == true {
            true => {
                vocabulary.keys().filter_map(|token| Some((byte_level_bytes(token), id(token)?))).collect()
            }
            false => HashMap::new(),
        };
        let trimming = trimming(&post_processor);
        let margins = if trimming.is_some() { margins(tokenizer) } else { Vec::new() };
        let mut encoder = Self {
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            splitter,
            merges: Merges::new(&merges),
            of_byte,
            whole,
            added: added(tokenizer)?,
            margins,
            adds_space: trimming.is_some_and(|part| part["add_prefix_space"] == true),
            around: Default::default(),
        };
        encoder.around = encoder.find_around(tokenizer)?;
        Ok(encoder)
    }

    /// The special tokens around a document, found in what the reference makes of one letter.
    fn find_around(&self, tokenizer: &tokenizers::Tokenizer) -> Result<(Vec<u32>, Vec<u32>), String> {
        let encoding = tokenizer.encode_fast("a", true).map_err(|error| error.to_string())?;
        let (all, letter) = (encoding.get_ids(), self.ids("a").unwrap_or_default());
        let at = all.windows(letter.len().max(1)).position(|window| window == letter);
        let at = at.ok_or("it encodes documents otherwise than texts")?;
        Ok((all[..at].to_vec(), all[at + letter.len()..].to_vec()))
    }

    /// The ids of a text; `None` for one that only the reference can encode.
    pub(super) fn ids(&self, text: &str) -> Option<Vec<u32>> {
        // A token has about four bytes.
        let mut ids = Vec::with_capacity(text.len() / 3);
        self.each_token(text, |id, _| ids.push(id)).then_some(ids)
    }

    /// The ids of a document; `None` for one that only the reference can encode.
    pub(super) fn document(&self, text: &str) -> Option<Vec<u32>> {
        let ids = self.ids(text)?;
        let (before, after) = &self.around;
        Some(if before.is_empty() && after.is_empty() { ids } else { [before, &ids[..], after].concat() })
    }

    /// The ids and the byte ranges of a text; `None` for one that only the reference can encode.
    pub(super) fn encode(&self, text: &str) -> Option<Encoding> {
        let mut encoding =
            Encoding { ids: Vec::with_capacity(text.len() / 3), ranges: Vec::with_capacity(text.len() / 3) };
        let mut covered = 0;
        let is_whole = self.each_token(text, |id, bytes| {
            // Tokens that share one character share its range.
            let (start, end) = (text.floor_char_boundary(bytes.start), text.ceil_char_boundary(bytes.end));
            let (leading, trailing) = self.margins.get(id as usize).copied().unwrap_or_default();
            // The reference takes the first space for one that the tokenizer put there.
            let is_added = self.adds_space && leading > 0 && (start == 0 || encoding.ids.is_empty());
            let start = (start + usize::from(leading) - usize::from(is_added)).min(end);
            let end =
                if end >= usize::from(trailing) { (end - usize::from(trailing)).max(start) } else { end };
            // As the layer over the reference does.
            encoding.ids.push(id);
            encoding.ranges.push(if start > covered { covered..end } else { start..end });
            covered = covered.max(end);
        });
        is_whole.then_some(encoding)
    }

    /// Calls `action` with every token and its bytes, in order; returns whether all could be made.
    fn each_token(&self, text: &str, mut action: impl FnMut(u32, Range<usize>)) -> bool {
        let mut symbols = Symbols::default();
        let mut between = |range: Range<usize>, action: &mut dyn FnMut(u32, Range<usize>)| {
            self.each_of_plain(&text[range.clone()], range.start, &mut symbols, action)
        };
        let mut start = 0;
        let first = found(&self.added[0], text, 0..text.len());
        for (id, range) in
            first.into_iter().map(|(id, range)| (Some(id), range)).chain([(None, text.len()..text.len())])
        {
            let mut from = start;
            for (inner, inner_range) in found(&self.added[1], text, start..range.start) {
                if !between(from..inner_range.start, &mut action) {
                    return false;
                }
                from = inner_range.end;
                action(inner, inner_range);
            }
            if !between(from..range.start, &mut action) {
                return false;
            }
            start = range.end;
            if let Some(id) = id {
                action(id, range);
            }
        }
        true
    }

    /// The tokens of a text without added tokens, which starts at a byte.
    fn each_of_plain(
        &self,
        text: &str,
        offset: usize,
        symbols: &mut Symbols,
        action: &mut dyn FnMut(u32, Range<usize>),
    ) -> bool {
        let (mut start, mut is_whole) = (offset, true);
        with_cache(self.number, |cache| {
            self.splitter.each(text, |piece| {
                let bytes = piece.as_bytes();
                let mut from = start;
                let mut token = |id: u32, end: usize| {
                    action(id, from..start + end);
                    from = start + end;
                };
                if let Some((ids, ends)) = cache.get(bytes) {
                    ids.iter().zip(ends).for_each(|(id, end)| token(*id, usize::from(*end)));
                } else if self.piece(bytes, symbols) {
                    symbols.ids.iter().zip(&symbols.ends).for_each(|(id, end)| token(*id, *end as usize));
                    cache.put(bytes, symbols);
                } else {
                    is_whole = false;
                }
                start += bytes.len();
            });
        });
        is_whole
    }

    /// The tokens of a piece; returns whether the vocabulary has all of its bytes.
    fn piece(&self, bytes: &[u8], symbols: &mut Symbols) -> bool {
        symbols.ids.clear();
        symbols.ends.clear();
        if let Some(id) =
            Some(&self.whole).filter(|whole| !whole.is_empty()).and_then(|whole| whole.get(bytes))
        {
            symbols.ids.push(*id);
            symbols.ends.push(bytes.len() as u32);
            return true;
        }
        for (byte, end) in bytes.iter().zip(1..) {
            let Some(id) = self.of_byte[usize::from(*byte)] else { return false };
            symbols.ids.push(id);
            symbols.ends.push(end);
        }
        self.merges.apply(symbols);
        true
    }
}

/// The added tokens within a range of a text.
fn found(added: &AddedTokens, text: &str, range: Range<usize>) -> Vec<Found> {
    let Some((patterns, ids)) = added else { return Vec::new() };
    let start = range.start;
    let matches = patterns.find_iter(&text[range]);
    matches.map(|found| (ids[found.pattern()], found.start() + start..found.end() + start)).collect()
}

/// The finders of added tokens: of those that are looked for in the text as it is, and of those that are looked for after
/// normalization.
fn added(tokenizer: &tokenizers::Tokenizer) -> Result<[AddedTokens; 2], String> {
    let mut tokens: Vec<(u32, AddedToken)> = tokenizer.get_added_tokens_decoder().into_iter().collect();
    tokens.sort_by_key(|(id, _)| *id);
    tokens.retain(|(_, token)| !token.content.is_empty());
    if let Some((_, token)) =
        tokens.iter().find(|(_, token)| token.single_word || token.lstrip || token.rstrip)
    {
        return Err(format!("its added token {:?} takes white space or whole words", token.content));
    }
    let finder = |normalized: bool| {
        let of = tokens.iter().filter(|(_, token)| token.normalized == normalized);
        let (ids, texts): (Vec<u32>, Vec<&str>) = of.map(|(id, token)| (*id, token.content.as_str())).unzip();
        if ids.is_empty() {
            return Ok(None);
        }
        let patterns = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(texts);
        patterns.map(|patterns| Some((patterns, ids))).map_err(|error| error.to_string())
    };
    Ok([finder(false)?, finder(true)?])
}

/// The merges as ids.
fn merges(list: &Value, id: impl Fn(&str) -> Option<u32>) -> Result<Vec<(u32, u32, u32)>, String> {
    let merge = |merge: &Value| {
        let (left, right) = match merge {
            Value::String(text) => text.split_once(' ')?,
            pair => (pair[0].as_str()?, pair[1].as_str()?),
        };
        Some((id(left)?, id(right)?, id(&format!("{left}{right}"))?))
    };
    let list = list.as_array().ok_or("its model has no merges")?;
    list.iter().map(merge).collect::<Option<Vec<_>>>().ok_or_else(|| "a merge is of no token".to_owned())
}

/// The part of a post-processor that leaves the white space of tokens out of ranges.
fn trimming(post_processor: &Value) -> Option<&Value> {
    let parts =
        post_processor["processors"].as_array().map_or(std::slice::from_ref(post_processor), Vec::as_slice);
    parts.iter().find(|part| part["type"] == "ByteLevel" && part["trim_offsets"].as_bool().unwrap_or(true))
}

/// The white space at both ends of each token.
fn margins(tokenizer: &tokenizers::Tokenizer) -> Vec<(u8, u8)> {
    let is_space = |character: &char| *character == byte_level_character(b' ') || character.is_whitespace();
    let last = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
    let margin = |id: u32| {
        let token = tokenizer.id_to_token(id).unwrap_or_default();
        let count = |spaces: usize| u8::try_from(spaces).unwrap_or(u8::MAX);
        let leading = token.chars().take_while(is_space).count();
        (count(leading), count(token.chars().rev().take_while(is_space).count()))
    };
    (0..=last).map(margin).collect()
}
