//! What Python writes into JSON and JSON here cannot hold: halves of surrogate pairs, and integers of more than 64 bits. A
//! half becomes U+FFFD, as a decoder makes of broken text; a large integer becomes a string, so that no digit is lost.

use crate::limits::end_of_string;
use serde_json::Value;

/// Digits that any 64-bit integer has at most, and one more.
const DIGITS: usize = 20;

/// A JSON text that was read, and how many characters of it were replaced.
pub(super) struct Mended {
    pub(super) value: Value,
    pub(super) surrogates: usize,
}

/// Parses a text; on an error mends it and tries again.
///
/// # Errors
/// That of the text as it is.
pub(super) fn parse(text: &str) -> Result<Mended, serde_json::Error> {
    let quoted = has_large_integers(text).then(|| quote_integers(text)).flatten();
    let text = quoted.as_deref().unwrap_or(text);
    match serde_json::from_str(text) {
        Ok(value) => Ok(Mended { value, surrogates: 0 }),
        Err(error) => match without_halves(text) {
            Some((mended, surrogates)) => Ok(Mended { value: serde_json::from_str(&mended)?, surrogates }),
            None => Err(error),
        },
    }
}

/// Whether there is a run of as many digits. Looks at every twentieth byte: none is missed.
pub(crate) fn has_large_integers(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_run = |at: usize| {
        let before = bytes[..at].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        before + bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count() >= DIGITS
    };
    (DIGITS - 1..bytes.len()).step_by(DIGITS).any(|at| bytes[at].is_ascii_digit() && is_run(at))
}

/// The text with quotes around integers that no 64-bit integer holds; `None` if there are none outside of strings.
fn quote_integers(text: &str) -> Option<String> {
    let (mut mended, mut copied, mut changed) = (String::new(), 0, false);
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = end_of_string(bytes, at),
            b'-' | b'0'..=b'9' => {
                let is_part =
                    |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
                let end = at + bytes[at..].iter().take_while(|byte| is_part(byte)).count();
                let number = &text[at..end];
                let digits = number.strip_prefix('-').unwrap_or(number);
                let is_large = digits.bytes().all(|byte| byte.is_ascii_digit())
                    && number.parse::<i64>().is_err()
                    && number.parse::<u64>().is_err();
                if is_large {
                    mended.push_str(&text[copied..at]);
                    mended.push_str(&format!("\"{number}\""));
                    (copied, changed) = (end, true);
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    mended.push_str(&text[copied..]);
    changed.then_some(mended)
}

/// The text with U+FFFD in place of escaped halves of surrogate pairs, and their number; `None` if there are none.
fn without_halves(text: &str) -> Option<(String, usize)> {
    let unit = |at: usize| -> Option<u32> {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(digits, 16).ok()
    };
    let (mut mended, mut copied, mut at, mut count) = (String::new(), 0, 0, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            at += 1;
            continue;
        }
        let (first, second) = (unit(at), unit(at + 6));
        match (first, second) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 12,
            (Some(0xd800..=0xdfff), _) => {
                mended.push_str(&text[copied..at]);
                mended.push_str("\\ufffd");
                (at, copied, count) = (at + 6, at + 6, count + 1);
            }
            _ => at += 2,
        }
    }
    mended.push_str(text.get(copied..)?);
    (count > 0).then_some((mended, count))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn halves_of_pairs_are_replaced_and_whole_pairs_stay() {
        let mended =
            parse(r#"{"a": "x\ud83d y", "b": "\ud83d\ude00", "c": "\\ud83d", "d": "\ude00"}"#).unwrap();
        assert_eq!(mended.value, json!({"a": "x\u{fffd} y", "b": "😀", "c": "\\ud83d", "d": "\u{fffd}"}));
        assert_eq!(mended.surrogates, 2);
        assert!(parse(r#"{"a": "\ud83d"#).is_err());
    }

    #[test]
    fn no_digit_of_a_large_integer_is_lost() {
        let large = "123456789012345678901234567890";
        let text = format!(
            r#"{{"n": {large}, "m": [-{large}], "s": "{large}", "u": 18446744073709551615, "f": 1.{large}}}"#
        );
        let value = parse(&text).unwrap().value;
        assert_eq!(value["n"], large);
        assert_eq!(value["m"][0], format!("-{large}"));
        assert_eq!((&value["s"], value["u"].as_u64()), (&json!(large), Some(u64::MAX)));
        assert!(value["f"].is_f64());
        for before in 0..DIGITS {
            assert!(has_large_integers(&format!("{}{}", " ".repeat(before), "1".repeat(DIGITS))));
        }
    }
}
