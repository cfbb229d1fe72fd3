//! Pseudo-random numbers that depend on text alone: a row's draws and the order of a shuffle are the same on every
//! machine.

use files::hash::sha256_bytes;

/// Returns the first eight bytes of the text's SHA-256 as a big-endian number; every number is equally likely.
pub(crate) fn draw(text: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = sha256_bytes(text);
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first bytes of SHA-256("abc"), FIPS 180-2, appendix B.1.
    #[test]
    fn a_draw_is_the_start_of_the_hash() {
        assert_eq!(draw("abc"), 0xba78_16bf_8f01_cfea);
    }
}
