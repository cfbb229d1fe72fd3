//! Near-duplicates by MinHash: banded signatures find candidates, agreement of signatures estimates the
//! Jaccard similarity of word n-gram sets (Broder 1997; banding as in Leskovec et al., Mining of Massive
//! Datasets, ch. 3). Deterministic: the same texts in the same order give the same answers anywhere.

use std::collections::HashMap;

/// How alike texts must be to be noticed: two sets of similarity s meet with probability
/// 1 - (1 - s^rows)^bands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// Words of a shingle.
    pub ngram: usize,
    /// Bands of the signature.
    pub bands: usize,
    /// Hashes of one band.
    pub rows_per_band: usize,
}

/// The texts seen so far.
#[derive(Debug)]
pub struct NearDuplicates {
    parameters: Parameters,
    signatures: Vec<(u64, Box<[u32]>)>,
    /// One table a band: hash of the band -> positions in `signatures`.
    bands: Vec<HashMap<u64, Vec<u32>>>,
}

impl NearDuplicates {
    /// An index of nothing.
    pub fn new(parameters: Parameters) -> Self {
        Self { parameters, signatures: Vec::new(), bands: vec![HashMap::new(); parameters.bands] }
    }

    /// The most similar text seen, with its estimated similarity; the one inserted first among equals.
    /// Texts that share no band are not seen.
    pub fn nearest(&self, text: &str) -> Option<(u64, f64)> {
        let signature = self.signature(text);
        let mut candidates: Vec<u32> = self
            .band_hashes(&signature)
            .zip(&self.bands)
            .filter_map(|(hash, band)| band.get(&hash))
            .flatten()
            .copied()
            .collect();
        candidates.sort_unstable();
        candidates.dedup();
        let mut best: Option<(u64, f64)> = None;
        for candidate in candidates {
            let (id, other) = &self.signatures[candidate as usize];
            let agreeing = signature.iter().zip(other).filter(|(a, b)| a == b).count();
            let similarity = agreeing as f64 / signature.len() as f64;
            if best.is_none_or(|(_, highest)| similarity > highest) {
                best = Some((*id, similarity));
            }
        }
        best
    }

    /// Remembers a text under an id.
    pub fn insert(&mut self, id: u64, text: &str) {
        let signature = self.signature(text);
        let position = self.signatures.len() as u32;
        let hashes: Vec<u64> = self.band_hashes(&signature).collect();
        for (hash, band) in hashes.into_iter().zip(&mut self.bands) {
            band.entry(hash).or_default().push(position);
        }
        self.signatures.push((id, signature));
    }

    fn signature(&self, text: &str) -> Box<[u32]> {
        let shingles = shingles(text, self.parameters.ngram);
        let count = self.parameters.bands * self.parameters.rows_per_band;
        let smallest = |salt: u64| {
            let hashes = shingles.iter().map(|shingle| mix(shingle ^ mix(salt)));
            (hashes.min().unwrap_or(u64::MAX) >> 32) as u32
        };
        (1..=count as u64).map(smallest).collect()
    }

    fn band_hashes(&self, signature: &[u32]) -> impl Iterator<Item = u64> {
        let rows = self.parameters.rows_per_band;
        signature
            .chunks(rows)
            .map(|rows| rows.iter().fold(0, |hash, row| mix(hash ^ u64::from(*row))))
            .collect::<Vec<_>>()
            .into_iter()
    }
}

/// Hashes of the word n-grams, lower case; a shorter text is one shingle of the words it has.
fn shingles(text: &str, ngram: usize) -> Vec<u64> {
    let lower = text.to_lowercase();
    let words: Vec<u64> =
        lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(hash_word).collect();
    let join = |window: &[u64]| window.iter().fold(0, |hash, word| mix(hash ^ word));
    if words.len() < ngram { vec![join(&words)] } else { words.windows(ngram).map(join).collect() }
}

fn hash_word(word: &str) -> u64 {
    word.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// SplitMix64's finaliser (Steele et al. 2014).
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMETERS: Parameters = Parameters { ngram: 1, bands: 14, rows_per_band: 8 };

    /// Two texts of 100 different words each that share `shared`: similarity shared / (200 - shared).
    fn pair(number: usize, shared: usize) -> (String, String) {
        let words = |from: usize, to: usize| -> Vec<String> {
            (from..to).map(|word| format!("w{number}x{word}")).collect()
        };
        let first = words(0, 100);
        let second = words(100 - shared, 200 - shared);
        (first.join(" "), second.join(" "))
    }

    #[test]
    fn finding_follows_the_s_curve() {
        for (shared, similarity) in [(82, 82.0 / 118.0), (90, 90.0 / 110.0), (67, 67.0 / 133.0f64)] {
            let trials = 300;
            let found = (0..trials).filter(|number| {
                let (first, second) = pair(number * 1000 + shared, shared);
                let mut index = NearDuplicates::new(PARAMETERS);
                index.insert(7, &first);
                index.nearest(&second).is_some()
            });
            let share = found.count() as f64 / trials as f64;
            let expected = 1.0 - (1.0 - similarity.powi(8)).powi(14);
            // Three standard errors of 300 trials.
            assert!((share - expected).abs() < 0.09, "similarity {similarity}: {share} against {expected}");
        }
    }

    #[test]
    fn the_nearest_is_the_most_alike_and_the_first_of_equals() {
        let mut index = NearDuplicates::new(Parameters { ngram: 3, ..PARAMETERS });
        index.insert(1, "The quick brown fox jumps over the lazy dog today.");
        index.insert(2, "the QUICK brown fox jumps, over the lazy dog today");
        index.insert(3, "An unrelated sentence about the price of tea in the north.");
        assert_eq!(index.nearest("The quick brown fox jumps over the lazy dog today"), Some((1, 1.0)));
        assert_eq!(index.nearest("Nothing like the others stands here at all"), None);
        index.insert(4, "");
        assert_eq!(index.nearest("..."), Some((4, 1.0)));
    }
}
