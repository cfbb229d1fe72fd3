//! Hashes of words and numbers that are the same on every machine and in every version: what is held out of the pocket
//! world, and what is drawn there, follows from them.

/// What SplitMix64 goes on by.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// FNV-1a of 64 bits.
pub(crate) fn hash_word(word: &str) -> u64 {
    word.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// SplitMix64's next number after a state (Steele et al. 2014).
pub(crate) fn mix(value: u64) -> u64 {
    finalise(value.wrapping_add(STEP))
}

/// Goes on to SplitMix64's next state and gives its number.
pub(crate) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(STEP);
    finalise(*state)
}

/// SplitMix64's finaliser: every bit of a number decides every bit of what it becomes.
pub(crate) fn finalise(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
