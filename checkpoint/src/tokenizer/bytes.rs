//! GPT-2's byte alphabet: a printable character for every byte.

/// The character of a byte in GPT-2's byte alphabet.
pub(super) fn byte_level_character(byte: u8) -> char {
    let is_printable = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if is_printable(byte) {
        return char::from(byte);
    }
    let others = (0..byte).filter(|byte| !is_printable(*byte)).count();
    char::from_u32(256 + others as u32).unwrap_or_default()
}

/// The bytes of a token in GPT-2's byte alphabet: printable bytes are themselves, the others are code points from 256 on.
pub(super) fn byte_level_bytes(token: &str) -> Vec<u8> {
    let printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let others: Vec<u8> = (0..256u32).filter(|&byte| !printable(byte)).map(|byte| byte as u8).collect();
    let byte_of = |character: char| match character as u32 {
        code if code < 256 && printable(code) => Some(code as u8),
        code => others.get((code as usize).checked_sub(256)?).copied(),
    };
    // A token with a character outside of the alphabet is stored as plain text.
    token.chars().map(byte_of).collect::<Option<Vec<u8>>>().unwrap_or_else(|| token.as_bytes().to_vec())
}
