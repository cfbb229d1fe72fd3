//! The bytes of a page as text: by its byte order mark, as UTF-8 where they are that, then by the encoding that the response
//! or the page declares, and by a guess from the bytes where neither does.

use encoding_rs::{Encoding, UTF_8};

/// Bytes in which a page declares its encoding (HTML standard, 13.2.3.2).
const DECLARED_WITHIN: usize = 1024;

/// Decodes a page.
pub fn decode(bytes: &[u8], charset: Option<&str>) -> String {
    if let Some((encoding, length)) = Encoding::for_bom(bytes) {
        return encoding.decode_without_bom_handling(&bytes[length..]).0.into_owned();
    }
    // Pages that declare something else and are valid UTF-8 are UTF-8.
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let named = |name: &str| Encoding::for_label(name.as_bytes());
    let declared = charset.and_then(named).or_else(|| declared(bytes).and_then(|name| named(&name)));
    if let Some(encoding) = declared.filter(|encoding| *encoding != UTF_8) {
        let (text, _, had_errors) = encoding.decode(bytes);
        if !had_errors {
            return text.into_owned();
        }
    }
    if declared == Some(UTF_8) && broken_share(bytes) < 0.001 {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut detector = chardetng::EncodingDetector::new(chardetng::Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    let guessed = detector.guess(None, chardetng::Utf8Detection::Allow);
    guessed.decode(bytes).0.into_owned()
}

/// The encoding that a `meta` element names.
fn declared(bytes: &[u8]) -> Option<String> {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(DECLARED_WITHIN)]).to_ascii_lowercase();
    let after = start
        .split("charset")
        .nth(1)?
        .trim_start()
        .strip_prefix('=')?
        .trim_start()
        .trim_start_matches(['"', '\'']);
    let end = after
        .find(|letter: char| !letter.is_ascii_alphanumeric() && !matches!(letter, '-' | '_' | ':'))
        .unwrap_or(after.len());
    Some(after[..end].to_owned())
}

/// The share of bytes that are no UTF-8: a few of them are mistakes in a page that is.
fn broken_share(bytes: &[u8]) -> f64 {
    let broken: usize = bytes.utf8_chunks().map(|chunk| chunk.invalid().len()).sum();
    broken as f64 / bytes.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_text() {
        assert_eq!(decode("größe".as_bytes(), Some("latin1")), "größe");
        assert_eq!(decode(b"gr\xf6\xdfe", Some("iso-8859-1")), "größe");
        assert_eq!(
            decode(b"<meta charset=\"windows-1251\">\xcf\xf0\xe8\xe2\xe5\xf2", None),
            "<meta charset=\"windows-1251\">Привет"
        );
        assert_eq!(decode(b"\xff\xfea\0b\0", None), "ab");
        let text = "<p>Die Straße ist größer als früher, und die Bäume blühen überall in der Stadt.";
        let (bytes, ..) = encoding_rs::WINDOWS_1252.encode(text);
        assert_eq!(decode(&bytes, None), text);
        let long = format!("{}\u{e9}", "a".repeat(4000));
        let mut broken = long.clone().into_bytes();
        broken.push(0xff);
        assert_eq!(decode(&broken, Some("utf-8")), format!("{long}\u{fffd}"));
    }
}
