//! MinHash signatures of texts (Broder 1997): the minimum of each of many hash functions over the set of a text's word
//! n-grams (shingles). Two texts have the same minimum with a probability equal to their Jaccard similarity.
//!
//! A shingle is hashed once with a strong hash; the functions are cheap permutations of its 32 bits, computed sixteen at
//! a time so that the compiler can vectorize them. All arithmetic is on integers: the same on every machine.

use random::{fnv1a, splitmix};

/// Hash functions that are computed together.
const LANES: usize = 16;

/// How similar texts must be to be found: two sets of similarity s share a band with probability 1 - (1 - s^rows)^bands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// Words of a shingle.
    pub ngram: usize,
    /// Bands of the signature.
    pub bands: usize,
    /// Hashes of one band.
    pub rows_per_band: usize,
}

impl Parameters {
    /// FineWeb's (datatrove, examples/fineweb.py): texts of similarity 0.7 share a band with probability 0.56, of 0.75 with
    /// 0.77, of 0.8 with 0.92, of 0.85 with 0.988.
    pub const FINEWEB: Self = Self { ngram: 5, bands: 14, rows_per_band: 8 };

    /// Hashes of a signature.
    pub(crate) fn hashes(&self) -> usize {
        self.bands * self.rows_per_band
    }
}

/// Computes signatures.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    parameters: Parameters,
    /// Each hash function is a permutation: a salt and an odd multiplier; padded to whole lanes.
    salts: Vec<[u32; LANES]>,
    multipliers: Vec<[u32; LANES]>,
}

/// Buffers that are kept from text to text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scratch {
    lower: String,
    words: Vec<u64>,
    shingles: Vec<u32>,
}

impl Signer {
    pub(crate) fn new(parameters: Parameters) -> Self {
        let groups = parameters.hashes().div_ceil(LANES);
        let draw = |group: usize, lane: usize, which: u64| {
            (splitmix(((group * LANES + lane) as u64) << 1 | which) >> 32) as u32
        };
        let draws = |which: u64| {
            (0..groups).map(move |group| std::array::from_fn(|lane| draw(group, lane, which))).collect()
        };
        let mut multipliers: Vec<[u32; LANES]> = draws(1);
        multipliers.iter_mut().flatten().for_each(|multiplier| *multiplier |= 1);
        Self { parameters, salts: draws(0), multipliers }
    }

    /// The minimum of each hash function over the text's shingles.
    pub(crate) fn minima(&self, text: &str, scratch: &mut Scratch, minima: &mut [u32]) {
        shingles(text, self.parameters.ngram, scratch);
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the CPU has AVX2.
            unsafe { self.smallest_avx2(&scratch.shingles, minima) };
            return;
        }
        self.smallest(&scratch.shingles, minima);
    }

    /// The same code, compiled for eight lanes a register.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn smallest_avx2(&self, shingles: &[u32], minima: &mut [u32]) {
        self.smallest(shingles, minima);
    }

    #[inline(always)]
    fn smallest(&self, shingles: &[u32], minima: &mut [u32]) {
        for ((salts, multipliers), minima) in
            self.salts.iter().zip(&self.multipliers).zip(minima.chunks_mut(LANES))
        {
            let mut smallest = [u32::MAX; LANES];
            for shingle in shingles {
                for lane in 0..LANES {
                    let value = (shingle ^ salts[lane]).wrapping_mul(multipliers[lane]);
                    let value = (value ^ (value >> 16)).wrapping_mul(0x85eb_ca6b);
                    smallest[lane] = smallest[lane].min(value);
                }
            }
            minima.copy_from_slice(&smallest[..minima.len()]);
        }
    }

    /// A hash of each band's minima.
    pub(crate) fn band_keys(&self, minima: &[u32]) -> impl Iterator<Item = u32> {
        let band = |rows: &[u32]| rows.iter().fold(0, |hash, row| splitmix(hash ^ u64::from(*row)));
        minima.chunks(self.parameters.rows_per_band).map(move |rows| (band(rows) >> 32) as u32)
    }
}

/// Eight bits of a minimum, mixed from all of its bits: the minima of long texts are all small numbers.
pub(crate) fn byte(minimum: u32) -> u8 {
    (minimum.wrapping_mul(0x9e37_79b1) >> 24) as u8
}

/// The Jaccard similarity estimated from the share of equal bytes. Bytes of different minima are equal once in 256
/// times, which is subtracted (b-bit minwise hashing, Li and König 2010).
pub(crate) fn similarity(one: &[u8], other: &[u8]) -> f64 {
    let equal = one.iter().zip(other).filter(|(a, b)| a == b).count();
    let chance = 1.0 / 256.0;
    ((equal as f64 / one.len() as f64 - chance) / (1.0 - chance)).max(0.0)
}

/// Hashes of the lower-case word n-grams; a text with fewer words is one shingle.
fn shingles(text: &str, ngram: usize, scratch: &mut Scratch) {
    let Scratch { lower, words, shingles } = scratch;
    lower.clear();
    if text.is_ascii() {
        lower.push_str(text);
        lower.make_ascii_lowercase();
    } else {
        lower.push_str(&text.to_lowercase());
    }
    words.clear();
    words.extend(lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(fnv1a));
    // The hash depends on the order of the words.
    let join = |window: &[u64]| (window.iter().fold(0, |hash, word| splitmix(hash ^ word)) >> 32) as u32;
    shingles.clear();
    match words.len() < ngram {
        true => shingles.push(join(words)),
        false => shingles.extend(words.windows(ngram).map(join)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Two texts of 150 different words, of which the first `shared` are common to both.
    fn pair(number: usize, shared: usize) -> [String; 2] {
        let text = |side: &str| {
            let word = |place: usize| {
                let side = if place < shared { "both" } else { side };
                format!("{side}{number}x{place}")
            };
            (0..150).map(word).collect::<Vec<_>>().join(" ")
        };
        [text("one"), text("other")]
    }

    fn exact_jaccard(texts: &[String; 2], ngram: usize) -> f64 {
        let sets = texts.each_ref().map(|text| {
            let words: Vec<&str> = text.split(' ').collect();
            words.windows(ngram).map(|window| window.join(" ")).collect::<HashSet<_>>()
        });
        let common = sets[0].intersection(&sets[1]).count();
        common as f64 / (sets[0].len() + sets[1].len() - common) as f64
    }

    /// The mean error is zero and its standard deviation is a binomial's: the hash functions act as independent ones.
    #[test]
    fn equal_bytes_estimate_the_exact_jaccard_similarity() {
        let parameters = Parameters::FINEWEB;
        let signer = Signer::new(parameters);
        let hashes = parameters.hashes();
        println!(
            "exact Jaccard, mean estimate, deviation over a binomial's (3,000 pairs each, {hashes} hashes)"
        );
        for shared in [30, 75, 100, 125, 140, 150] {
            let (mut sum, mut squares, mut exact) = (0.0, 0.0, 0.0);
            let pairs = 3000;
            for number in 0..pairs {
                let texts = pair(number, shared);
                exact = exact_jaccard(&texts, parameters.ngram);
                let bytes = texts.each_ref().map(|text| {
                    let mut minima = vec![0; hashes];
                    signer.minima(text, &mut Scratch::default(), &mut minima);
                    minima.into_iter().map(byte).collect::<Vec<u8>>()
                });
                let error = similarity(&bytes[0], &bytes[1]) - exact;
                sum += error;
                squares += error * error;
            }
            let (mean, variance) = (sum / pairs as f64, squares / pairs as f64);
            // The share of equal bytes is binomial; subtracting chance widens it by 256 / 255.
            let agree = exact + (1.0 - exact) / 256.0;
            let expected = agree * (1.0 - agree) / hashes as f64 * (256.0f64 / 255.0).powi(2);
            let ratio = if expected > 0.0 { (variance / expected).sqrt() } else { 1.0 };
            println!("{exact:.3} {:.4} {ratio:.3}", exact + mean);
            assert!(mean.abs() <= 4.0 * (expected / pairs as f64).sqrt() + 1e-12, "{exact}: off by {mean}");
            // The deviation of 3,000 draws is known to 1.3%; this is four times that.
            assert!((ratio - 1.0).abs() < 0.052, "{exact}: deviation {ratio} times a binomial's");
        }
    }

    #[test]
    fn vectorized_and_plain_code_agree() {
        let signer = Signer::new(Parameters { ngram: 2, bands: 5, rows_per_band: 7 });
        let mut scratch = Scratch::default();
        let (mut fast, mut plain) = ([0; 35], [0; 35]);
        signer.minima("Ein Text, über manches. And some more words in it", &mut scratch, &mut fast);
        signer.smallest(&scratch.shingles, &mut plain);
        assert_eq!(fast, plain);
        assert!(fast.iter().collect::<HashSet<_>>().len() > 30, "{fast:?}");
    }
}
