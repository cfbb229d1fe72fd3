//! Which of many texts are near-duplicates: signatures are computed on all cores, candidates are joined into clusters
//! (union-find), and the first text of each cluster is kept.

use crate::batch::batch;
use crate::minhash::{Parameters, Scratch, Signer};
use crate::near_duplicate::NearDuplicates;
use rayon::prelude::*;

/// Why a text is not kept: it is in a cluster with an earlier one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Duplicate {
    /// Index of the text that is kept: the first one of the cluster.
    pub of: usize,
    /// Index of the most similar text by which this one joined the cluster; often the kept one, possibly a later one.
    pub through: usize,
    /// The similarity to that text, at least the threshold.
    pub similarity: f64,
}

/// Texts whose signatures are computed together.
const BATCH: usize = 2048;
/// Texts that one thread takes at a time.
const SHARE: usize = 32;

/// Finds for each text, in order, whether it is a near-duplicate and of which text. Two texts are joined if they share a
/// band and their estimated similarity is at least the threshold; without a threshold a shared band suffices, as in
/// datatrove. Only the signatures are held in memory.
///
/// # Errors
/// The first error among the texts.
///
/// # Panics
/// If a parameter is 0.
pub fn find_duplicates<E>(
    texts: impl Iterator<Item = Result<String, E>>,
    parameters: Parameters,
    threshold: Option<f64>,
) -> Result<Vec<Option<Duplicate>>, E> {
    let mut clusters = Clustering {
        index: NearDuplicates::new(parameters),
        threshold,
        firsts: Vec::new(),
        clusters: Clusters::default(),
    };
    let mut texts = texts.peekable();
    let (signer, mut signed) = (clusters.index.signer.clone(), Vec::new());
    while texts.peek().is_some() {
        let batch = batch(&mut texts, BATCH).into_iter().collect::<Result<Vec<_>, E>>()?;
        // The texts before these are compared, one after another, while these are signed.
        let (minima, ()) = rayon::join(|| sign(&signer, parameters, &batch), || clusters.add_all(&signed));
        signed = minima;
    }
    clusters.add_all(&signed);
    Ok(clusters.duplicates())
}

/// The minima of a batch, one text after another.
fn sign(signer: &Signer, parameters: Parameters, texts: &[String]) -> Vec<u32> {
    let width = parameters.hashes();
    let mut minima = vec![0; texts.len() * width];
    let shares = texts.par_chunks(SHARE).zip(minima.par_chunks_mut(SHARE * width));
    shares.for_each_init(Scratch::default, |scratch, (texts, minima)| {
        for (text, minima) in texts.iter().zip(minima.chunks_mut(width)) {
            signer.minima(text, scratch, minima);
        }
    });
    minima
}

struct Clustering {
    index: NearDuplicates,
    threshold: Option<f64>,
    /// The first text of each position in the index.
    firsts: Vec<u32>,
    clusters: Clusters,
}

impl Clustering {
    /// Adds the next texts.
    fn add_all(&mut self, minima: &[u32]) {
        minima.chunks(self.index.parameters.hashes()).for_each(|minima| self.add(minima));
    }

    /// Adds the next text.
    fn add(&mut self, minima: &[u32]) {
        let text = self.clusters.push();
        let signature = self.index.signature(minima);
        if let Some(twin) = self.index.twin(&signature) {
            self.clusters.join(text, self.firsts[twin as usize], 1.0);
            return;
        }
        let candidates = self.index.candidates(&signature);
        // Where a shared band suffices, its first text represents all that share it.
        let position = self.index.push(u64::from(text), &signature, self.threshold.is_none());
        self.firsts.push(text);
        for candidate in candidates {
            let other = self.firsts[candidate as usize];
            if self.clusters.first_of(text) == self.clusters.first_of(other) {
                continue;
            }
            let similarity = self.index.similarity(position, candidate);
            if self.threshold.is_none_or(|threshold| similarity >= threshold) {
                self.clusters.join(text, other, similarity);
            }
        }
    }

    fn duplicates(mut self) -> Vec<Option<Duplicate>> {
        let texts = self.clusters.parents.len();
        let duplicate = |text: usize| {
            let of = self.clusters.first_of(text as u32) as usize;
            let (through, similarity) = self.clusters.links[text];
            (of != text).then_some(Duplicate { of, through: through as usize, similarity })
        };
        (0..texts).map(duplicate).collect()
    }
}

/// Union-find over texts; the root of a cluster is its first text.
#[derive(Default)]
struct Clusters {
    parents: Vec<u32>,
    /// The most similar text that each text was joined to, with the similarity.
    links: Vec<(u32, f64)>,
}

impl Clusters {
    fn push(&mut self) -> u32 {
        let text = self.parents.len() as u32;
        self.parents.push(text);
        self.links.push((text, f64::NEG_INFINITY));
        text
    }

    fn first_of(&mut self, mut text: u32) -> u32 {
        while self.parents[text as usize] != text {
            // Path halving, for the next search.
            let parent = self.parents[text as usize];
            self.parents[text as usize] = self.parents[parent as usize];
            text = parent;
        }
        text
    }

    fn join(&mut self, one: u32, other: u32, similarity: f64) {
        for (text, to) in [(one, other), (other, one)] {
            let link = &mut self.links[text as usize];
            if similarity > link.1 {
                *link = (to, similarity);
            }
        }
        let roots = [self.first_of(one), self.first_of(other)];
        self.parents[roots[0].max(roots[1]) as usize] = roots[0].min(roots[1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::convert::Infallible;

    fn find(texts: &[String], parameters: Parameters, threshold: Option<f64>) -> Vec<Option<Duplicate>> {
        let found = find_duplicates(texts.iter().cloned().map(Ok::<_, Infallible>), parameters, threshold);
        found.unwrap_or_else(|never| match never {})
    }

    /// Two texts of 304 words, of which so many are common that their word 5-grams have about this Jaccard similarity.
    fn pair(name: &str, similarity: f64) -> [String; 2] {
        let shingles = 300.0;
        let common = (2.0 * shingles * similarity / (1.0 + similarity)).round() as usize;
        let shared = if common == 300 { 304 } else { common + 4 };
        ["one", "other"].map(|side| {
            let word = |place: usize| {
                if place < shared { format!("{name}both{place}") } else { format!("{name}{side}{place}") }
            };
            (0..304).map(word).collect::<Vec<_>>().join(" ")
        })
    }

    fn jaccard(texts: &[String], ngram: usize) -> f64 {
        let set = |text: &str| {
            let words: Vec<&str> = text.split(' ').collect();
            words.windows(ngram).map(|window| window.join(" ")).collect::<HashSet<_>>()
        };
        let (one, other) = (set(&texts[0]), set(&texts[1]));
        let common = one.intersection(&other).count();
        common as f64 / (one.len() + other.len() - common) as f64
    }

    /// The probability that two sets of this Jaccard similarity share a band.
    fn probability(parameters: Parameters, similarity: f64) -> f64 {
        let Parameters { bands, rows_per_band, .. } = parameters;
        1.0 - (1.0 - similarity.powi(rows_per_band as i32)).powi(bands as i32)
    }

    /// The share of pairs that share a band is 1 - (1 - s^r)^b within three standard errors, at exact similarities.
    #[test]
    fn recall_follows_the_s_curve() {
        let pairs = 5000;
        let finemath = Parameters { ngram: 5, bands: 1, rows_per_band: 10 };
        let narrow = Parameters { ngram: 5, bands: 16, rows_per_band: 2 };
        println!(
            "{pairs} pairs at each similarity: bands x rows, similarity, found, expected, standard errors"
        );
        for parameters in [Parameters::FINEWEB, finemath, narrow] {
            for wanted in [0.5, 0.6, 0.7, 0.8, 0.9, 1.0] {
                // Without the decimal point, which would split a word.
                let name =
                    |number: usize| format!("p{}x{}x{number}x", parameters.bands, (10.0 * wanted) as u32);
                let texts: Vec<String> = (0..pairs).flat_map(|number| pair(&name(number), wanted)).collect();
                let exact: Vec<f64> = texts.chunks(2).map(|pair| jaccard(pair, 5)).collect();
                let mean = exact.iter().sum::<f64>() / pairs as f64;
                let found = find(&texts, parameters, None);
                let hit = |number: usize| found[2 * number + 1].is_some_and(|hit| hit.of == 2 * number);
                let recall = (0..pairs).filter(|number| hit(*number)).count() as f64 / pairs as f64;
                assert!(
                    found.iter().step_by(2).all(Option::is_none),
                    "texts of different pairs share a band"
                );
                let expected = exact.iter().map(|s| probability(parameters, *s)).sum::<f64>() / pairs as f64;
                let error = (expected * (1.0 - expected) / pairs as f64).sqrt();
                let away = if error > 0.0 { (recall - expected) / error } else { recall - expected };
                let Parameters { bands, rows_per_band, .. } = parameters;
                println!("{bands} x {rows_per_band} {mean:.3} {recall:.4} {expected:.4} {away:+.2}");
                assert!((mean - wanted).abs() < 0.005);
                assert!(away.abs() <= 3.0, "{parameters:?} at {mean}: {recall} against {expected}");
            }
        }
    }

    #[test]
    fn clusters_keep_their_first_text_and_report_how_others_joined() {
        let words =
            |from: usize, to: usize| (from..to).map(|word| format!("w{word}")).collect::<Vec<_>>().join(" ");
        // The third is similar to the first and the second, which are less similar to each other.
        let texts = [words(0, 100), words(16, 116), words(8, 108), words(500, 600), words(500, 600)];
        let parameters = Parameters { ngram: 1, bands: 64, rows_per_band: 2 };
        let found = find(&texts, parameters, Some(0.78));
        let second = found[1].expect("joined by the third");
        assert_eq!((second.of, second.through), (0, 2));
        assert!(second.similarity >= 0.78, "{second:?}");
        assert_eq!(found[2].map(|third| third.of), Some(0));
        let copy = Duplicate { of: 3, through: 3, similarity: 1.0 };
        assert_eq!(found[4], Some(copy));
        assert!(found[0].is_none() && found[3].is_none());
        assert!(find(&texts, parameters, Some(0.9))[1..4].iter().all(Option::is_none));
    }

    #[test]
    fn an_error_among_the_texts_is_returned() {
        let texts = [Ok("one".to_owned()), Err("two is broken")];
        let found = find_duplicates(texts.into_iter(), Parameters::FINEWEB, None);
        assert_eq!(found, Err("two is broken"));
    }
}
