//! Random numbers that are a pure function of what they are for, so that a resumed run draws what the
//! undisturbed one would have drawn: SplitMix64 (Steele, Lea and Flood, 2014).

/// What SplitMix64 goes on by.
pub(crate) const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A well-mixed number from two.
pub fn mix(a: u64, b: u64) -> u64 {
    finalise(a ^ b.wrapping_add(1).wrapping_mul(STEP))
}

/// SplitMix64's finaliser: every bit of a number decides every bit of what it becomes.
pub(crate) fn finalise(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Uniform in 0..1, 53 bits.
pub fn uniform(seed: u64, index: u64) -> f64 {
    (mix(mix(seed, 0x5eed), index) >> 11) as f64 * 2f64.powi(-53)
}

/// The numbers 0..count in an order that follows from the seed (Fisher and Yates).
pub fn permutation(seed: u64, count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    for last in (1..count).rev() {
        order.swap(last, (mix(seed, last as u64) % (last as u64 + 1)) as usize);
    }
    order
}

/// Normally distributed numbers (Box and Muller).
#[derive(Debug)]
pub struct Normal {
    seed: u64,
    drawn: u64,
}

impl Normal {
    /// A stream that follows from the seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// The next number: mean 0, deviation 1.
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
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    let norm = name.ends_with("norm.weight");
    let value = |index: u64| {
        let z = finalise(seed.wrapping_add((index + 1).wrapping_mul(STEP)));
        let signed = 2.0 * ((z >> 40) as f32 * 2.0f32.powi(-24)) - 1.0;
        if norm { 1.0 + signed * 0.1 } else { signed * 0.072_168_78 }
    };
    (0..count as u64).map(value).collect()
}
