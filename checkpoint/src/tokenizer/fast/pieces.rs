//! A text to the pieces within which tokens are merged: what the published regular expressions of byte-level tokenizers
//! match, found without a regular-expression engine. Each pattern matches every character, so pieces follow one another.

use super::classes::{LETTER, NUMBER, OTHER, SPACE, class_at, next_numeric};
use serde_json::Value;

/// GPT-2's pattern, which the pre-tokenizer `ByteLevel` has built in.
pub(super) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// GPT-4's pattern; Llama 3 has it with up to three digits in a piece, Qwen with one.
const GPT4: [(&str, usize); 2] = [
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        3,
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        1,
    ),
];

/// How a tokenizer splits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Splitter {
    /// Whether each digit is a piece, before the pattern is looked for.
    splits_digits: bool,
    pattern: Pattern,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pattern {
    Gpt2,
    /// With the most digits in a piece.
    Gpt4(usize),
}

impl Splitter {
    /// The splitter that a tokenizer's `pre_tokenizer` describes.
    ///
    /// # Errors
    /// Names what is not known here.
    pub(super) fn new(pre_tokenizer: &Value) -> Result<Self, String> {
        let parts = match &pre_tokenizer["pretokenizers"] {
            Value::Array(parts) => parts.as_slice(),
            _ => std::slice::from_ref(pre_tokenizer),
        };
        let is = |part: &Value, kind: &str| part["type"] == kind;
        let byte_level = |part: &Value, use_regex: bool| {
            is(part, "ByteLevel")
                && part["add_prefix_space"] == false
                && part["use_regex"].as_bool().unwrap_or(true) == use_regex
        };
        match parts {
            [bytes] if byte_level(bytes, true) => Ok(Self { splits_digits: false, pattern: Pattern::Gpt2 }),
            [digits, bytes]
                if is(digits, "Digits") && digits["individual_digits"] == true && byte_level(bytes, true) =>
            {
                Ok(Self { splits_digits: true, pattern: Pattern::Gpt2 })
            }
            [split, bytes] if is(split, "Split") && byte_level(bytes, false) => {
                let regex = split["pattern"]["Regex"].as_str().unwrap_or_default();
                let is_plain = split["behavior"] == "Isolated" && split["invert"] == false;
                let known = GPT4.iter().find(|(pattern, _)| is_plain && *pattern == regex);
                let pattern = match known {
                    Some((_, digits)) => Pattern::Gpt4(*digits),
                    None if is_plain && regex == GPT2 => Pattern::Gpt2,
                    None => return Err("its pre-tokenizer has a pattern of its own".to_owned()),
                };
                Ok(Self { splits_digits: false, pattern })
            }
            _ => {
                let names: Vec<&str> = parts.iter().filter_map(|part| part["type"].as_str()).collect();
                Err(match names.is_empty() {
                    true => "it has no pre-tokenizer".to_owned(),
                    false => format!("its pre-tokenizer is {}", names.join(" with ")),
                })
            }
        }
    }

    /// Calls `action` with every piece of a text, in order.
    pub(super) fn each(self, text: &str, mut action: impl FnMut(&str)) {
        let mut start = 0;
        if self.splits_digits {
            while let Some((digit, after)) = next_numeric(text, start) {
                self.each_match(&text[start..digit], &mut action);
                action(&text[digit..after]);
                start = after;
            }
        }
        self.each_match(&text[start..], &mut action);
    }

    fn each_match(self, text: &str, action: &mut impl FnMut(&str)) {
        let mut start = 0;
        while start < text.len() {
            let end = match self.pattern {
                Pattern::Gpt2 => gpt2(text, start),
                Pattern::Gpt4(digits) => gpt4(text, start, digits),
            };
            action(&text[start..end]);
            start = end;
        }
    }
}

/// The end of the match of [`GPT2`] that starts at a byte.
fn gpt2(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    if bytes[start] == b'\'' {
        let length = match bytes.get(start + 1..).unwrap_or_default() {
            [b's' | b't' | b'm' | b'd', ..] => 2,
            [b'r', b'e', ..] | [b'v', b'e', ..] | [b'l', b'l', ..] => 3,
            _ => 0,
        };
        if length > 0 {
            return start + length;
        }
    }
    let after_space = start + usize::from(bytes[start] == b' ');
    match class_at(text, after_space) {
        Some((class, length)) if class != SPACE => run(text, after_space + length, class),
        _ => spaces(text, start),
    }
}

/// The end of the match of GPT-4's pattern that starts at a byte.
fn gpt4(text: &str, start: usize, digits: usize) -> usize {
    let bytes = text.as_bytes();
    if bytes[start] == b'\'' {
        let lower = |at: usize| bytes.get(start + at).map(u8::to_ascii_lowercase);
        let length = match (lower(1), lower(2)) {
            (Some(b's' | b't' | b'm' | b'd'), _) => 2,
            (Some(b'r' | b'v'), Some(b'e')) | (Some(b'l'), Some(b'l')) => 3,
            // The long s is an s whose case does not matter.
            _ if text[start + 1..].starts_with('ſ') => 3,
            _ => 0,
        };
        if length > 0 {
            return start + length;
        }
    }
    let Some((class, length)) = class_at(text, start) else { return text.len() };
    let next = class_at(text, start + length);
    if class == LETTER {
        return run(text, start + length, LETTER);
    }
    if let (Some((LETTER, second)), false) = (next, class == NUMBER || matches!(bytes[start], b'\r' | b'\n'))
    {
        return run(text, start + length + second, LETTER);
    }
    if class == NUMBER {
        let mut end = start + length;
        for _ in 1..digits {
            match class_at(text, end) {
                Some((NUMBER, length)) => end += length,
                _ => break,
            }
        }
        return end;
    }
    let after_space = start + usize::from(bytes[start] == b' ');
    if let Some((OTHER, length)) = class_at(text, after_space) {
        let end = run(text, after_space + length, OTHER);
        return end + bytes[end..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    }
    let end = run(text, start, SPACE);
    match bytes[start..end].iter().rposition(|byte| matches!(byte, b'\r' | b'\n')) {
        Some(last) => start + last + 1,
        None => spaces(text, start),
    }
}

/// The end of a run of characters of one class.
fn run(text: &str, mut end: usize, class: u8) -> usize {
    while let Some((found, length)) = class_at(text, end) {
        if found != class {
            break;
        }
        end += length;
    }
    end
}

/// The end of white space (`\s+(?!\S)|\s+`): before its last character, which belongs to what follows, if there is more.
fn spaces(text: &str, start: usize) -> usize {
    let (mut end, mut last) = (start, start);
    while let Some((SPACE, length)) = class_at(text, end) {
        last = end;
        end += length;
    }
    if end < text.len() && last > start { last } else { end }
}
