//! Characters that no message contains, by which parts of a rendered text are found again and special tokens are split.

use super::message::Message;
use crate::Tokenizer;
use crate::error::Error;
use std::collections::BTreeSet;
use std::ops::Range;

/// Pairs of Unicode private-use characters: the first marks the start of a content, the second its end. The first pair that
/// no message contains is used.
pub(super) const MARKS: [[&str; 2]; 4] = [
    ["\u{e0f0}", "\u{e0f1}"],
    ["\u{f8e2}", "\u{f8e3}"],
    ["\u{fffa0}", "\u{fffa1}"],
    ["\u{10fff0}", "\u{10fff1}"],
];
/// A second set of such pairs: they split the spellings of special tokens in messages.
pub(super) const SPLIT_MARKS: [[&str; 2]; 4] = [
    ["\u{e0f2}", "\u{e0f3}"],
    ["\u{f8e4}", "\u{f8e5}"],
    ["\u{fffa2}", "\u{fffa3}"],
    ["\u{10fff2}", "\u{10fff3}"],
];

/// Returns the first pair of marks of which no message contains a character.
pub(super) fn unused_characters(
    messages: &[Message],
    pairs: &'static [[&'static str; 2]; 4],
) -> [&'static str; 2] {
    // In no field: templates print more than contents.
    let all = serde_json::to_string(messages).expect("messages are plain JSON");
    let unused = |pair: &&[&str; 2]| !pair.iter().any(|mark| all.contains(mark));
    *pairs.iter().find(unused).unwrap_or(&pairs[0])
}

/// The token ids of a text and the byte range of each. With a mark, the text is split at each mark and the parts are
/// tokenized one by one.
pub(super) fn encode(
    tokenizer: &Tokenizer,
    text: &str,
    mark: Option<&str>,
) -> Result<(Vec<u32>, Vec<Range<usize>>), Error> {
    let Some(mark) = mark else {
        let encoded = tokenizer.encode(text)?;
        return Ok((encoded.ids, encoded.ranges));
    };
    let (mut ids, mut ranges, mut start) = (Vec::new(), Vec::new(), 0);
    for piece in text.split(mark) {
        let encoded = tokenizer.encode(piece)?;
        ids.extend(encoded.ids);
        ranges.extend(encoded.ranges.into_iter().map(|range| range.start + start..range.end + start));
        start += piece.len() + mark.len();
    }
    Ok((ids, ranges))
}

/// Inserts a mark after the first character of every special token's spelling in the messages, so that [`encode`] splits
/// it.
pub(super) fn split_special_tokens(tokenizer: &Tokenizer, messages: &[Message], mark: &str) -> Vec<Message> {
    let names: Vec<String> = tokenizer.special_ids().iter().filter_map(|id| tokenizer.token(*id)).collect();
    let split = |content: String, name: &String| match name.char_indices().nth(1) {
        Some((second, _)) => content.replace(name, &format!("{}{mark}{}", &name[..second], &name[second..])),
        None => content,
    };
    let of = |text: &String| names.iter().fold(text.clone(), split);
    let message = |message: &Message| Message {
        content: of(&message.content),
        reasoning_content: message.reasoning_content.as_ref().map(of),
        ..message.clone()
    };
    messages.iter().map(message).collect()
}

/// The ids of a document in which no spelling of a special token becomes that token. What the tokenizer adds around a document
/// stays.
///
/// # Errors
/// When the tokenizer itself fails.
pub fn document_as_text(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, Error> {
    let whole = tokenizer.encode_document(text)?;
    if !spells_special_token(tokenizer, &whole, text) {
        return Ok(whole);
    }
    let names = tokenizer.special_ids().iter().filter_map(|id| tokenizer.token(*id));
    let mut cuts: Vec<usize> = names
        .flat_map(|name| {
            let second = name.char_indices().nth(1).map(|(second, _)| second);
            let starts = text.match_indices(&name).map(|(start, _)| start).collect::<Vec<_>>();
            starts.into_iter().filter_map(move |start| Some(start + second?))
        })
        .chain([0, text.len()])
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    let plain = tokenizer.ids(text)?;
    let added = whole.len().saturating_sub(plain.len());
    let before = (0..=added).find(|from| whole[*from..].starts_with(&plain)).unwrap_or(0);
    let mut ids = whole[..before].to_vec();
    for piece in cuts.windows(2) {
        ids.extend(tokenizer.ids(&text[piece[0]..piece[1]])?);
    }
    ids.extend(&whole[whole.len() - (added - before)..]);
    Ok(ids)
}

/// Whether a document spells a special token that is among its ids.
pub fn spells_special_token(tokenizer: &Tokenizer, ids: &[u32], text: &str) -> bool {
    let special: BTreeSet<u32> = ids.iter().copied().filter(|id| tokenizer.is_special(*id)).collect();
    special.into_iter().filter_map(|id| tokenizer.token(id)).any(|name| text.contains(&name))
}
