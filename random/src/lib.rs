//! Numbers that follow from a seed alone, the same on every machine and in every version: SplitMix64 (Steele, Lea and
//! Flood 2014) and FNV-1a. What is sampled, shuffled, held out and initialized follows from them, so a resumed run
//! draws what an undisturbed one would have drawn. Changing a constant changes everybody's results.

/// SplitMix64's increment.
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's finalizer: every input bit affects every output bit.
pub fn finalize(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// SplitMix64's output for a state.
pub fn splitmix(state: u64) -> u64 {
    finalize(state.wrapping_add(STEP))
}

/// Advances SplitMix64's state and returns its output.
pub fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(STEP);
    finalize(*state)
}

/// FNV-1a, 64 bits.
pub fn fnv1a(word: &str) -> u64 {
    word.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The upper 53 bits as a number in [0, 1).
pub fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// A well-mixed number from two.
pub fn mix(a: u64, b: u64) -> u64 {
    finalize(a ^ b.wrapping_add(1).wrapping_mul(STEP))
}

/// Uniform in [0, 1), 53 bits.
pub fn uniform(seed: u64, index: u64) -> f64 {
    unit(mix(mix(seed, 0x5eed), index))
}

/// The numbers 0..count shuffled (Fisher-Yates).
pub fn permutation(seed: u64, count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    for last in (1..count).rev() {
        order.swap(last, (mix(seed, last as u64) % (last as u64 + 1)) as usize);
    }
    order
}

/// Normally distributed numbers (Box-Muller).
#[derive(Debug)]
pub struct Normal {
    seed: u64,
    drawn: u64,
}

impl Normal {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// The next number: mean 0, standard deviation 1.
    #[allow(clippy::should_implement_trait, reason = "an endless stream needs no Option")]
    pub fn next(&mut self) -> f64 {
        let (a, b) = (uniform(self.seed, 2 * self.drawn), uniform(self.seed, 2 * self.drawn + 1));
        self.drawn += 1;
        (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }
}

/// Weights that follow from a tensor's name alone, by the formula that `tests/goldens` repeats in Python: uniform in
/// ±0.0721687836 for matrices, 1 ± 0.1 for norms; SplitMix64 of the name's FNV-1a hash.
pub fn hashed_values(name: &str, count: usize) -> Vec<f32> {
    let seed = fnv1a(name);
    let norm = name.ends_with("norm.weight");
    let value = |index: u64| {
        let z = finalize(seed.wrapping_add((index + 1).wrapping_mul(STEP)));
        let signed = 2.0 * ((z >> 40) as f32 * 2.0f32.powi(-24)) - 1.0;
        if norm { 1.0 + signed * 0.1 } else { signed * 0.072_168_78 }
    };
    (0..count as u64).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of SplitMix64 from state 1234567, as published with its reference code.
    #[test]
    fn splitmix_is_the_published_one() {
        let mut state = 1_234_567;
        let outputs = [(); 3].map(|()| next(&mut state));
        assert_eq!(
            outputs,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
        assert_eq!(splitmix(1_234_567), outputs[0]);
    }

    #[test]
    fn fnv1a_is_the_published_one() {
        assert_eq!(fnv1a(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a("a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn a_permutation_holds_every_number_once() {
        let mut order = permutation(3, 100);
        assert_ne!(order, (0..100).collect::<Vec<u32>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<u32>>());
    }
}
