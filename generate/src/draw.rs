//! Pseudo-random numbers that depend on text alone: a row's draws and the order of a shuffle are the same on every
//! machine.

use files::hash::sha256;

/// Returns the first eight bytes of the text's SHA-256 as a big-endian number; every number is equally likely.
pub(crate) fn draw(text: &str) -> u64 {
    u64::from_str_radix(&sha256(text)[..16], 16).expect("a hash has 64 hexadecimal digits")
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
