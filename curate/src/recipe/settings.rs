//! The settings of each stage, with the published values as defaults.

use crate::Content;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Settings of `extract`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Extract {
    /// The main content of a page, without what is around it; false for all that is visible.
    pub main_content: bool,
    /// Characters of the text, at least.
    pub min_characters: usize,
}

impl Default for Extract {
    fn default() -> Self {
        Self { main_content: true, min_characters: 1 }
    }
}

impl Extract {
    pub(crate) fn content(&self) -> Content {
        if self.main_content { Content::Main } else { Content::All }
    }
}

/// Settings of `url`: files with one entry on a line; lines that begin with # are comments.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Url {
    /// Domains; what is below a domain is meant too.
    pub domains: Option<String>,
    /// Whole addresses.
    pub urls: Option<String>,
    /// Words: an address with one of them is dropped.
    pub words: Option<String>,
    /// Words of which two are needed.
    pub soft_words: Option<String>,
    /// Parts of words.
    pub subwords: Option<String>,
}

/// Settings of `language`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Language {
    /// The model.
    pub model: String,
    /// Labels that are kept; all where empty.
    #[serde(default)]
    pub keep: Vec<String>,
    /// Probability above which a page is kept.
    pub above: f64,
}

/// Settings of `mathematics`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mathematics {
    /// Formulas in the text, at least: between dollars or brackets, or environments.
    pub min_formulas: f64,
}

/// Settings of `classifier`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classifier {
    /// The column of its score.
    pub name: String,
    /// The model: a fastText file, or the folder of `train-classifier`. With `by`, a folder of such, one for each value.
    pub model: String,
    /// The folder of the sentence encoder, for a model that was trained on one.
    #[serde(default)]
    pub encoder: Option<String>,
    /// The label whose probability is the score; a fastText model needs one.
    #[serde(default)]
    pub label: Option<String>,
    /// The column that chooses the model, such as `language` for code.
    #[serde(default)]
    pub by: Option<String>,
    /// The cut: pages with at least this score are kept. Without one nothing is dropped.
    pub at_least: Option<f64>,
    /// Other cuts for some values of `by`.
    #[serde(default)]
    pub at_least_for: BTreeMap<String, f64>,
}

/// Settings of `sample`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The column of the score.
    pub score: String,
    /// The share of pages that is kept below each score, in ascending order; above the last one all are.
    pub below: Vec<Below>,
    /// Draws follow from it and from the page's name.
    #[serde(default)]
    pub seed: u64,
}

/// A step of `sample`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Below {
    /// Scores below this.
    pub score: f64,
    /// The share that is kept, from 0 to 1.
    pub keep: f64,
}

/// Settings of `exact_duplicates`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExactDuplicates {}

/// Settings of `line_duplicates` and `paragraph_duplicates`: what an earlier page has is removed from a later one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepeatedParts {
    /// Characters of a line or paragraph, at least; shorter ones stay.
    pub min_characters: usize,
    /// The share of a text's characters that may be removed; a page that loses more is dropped.
    pub max_removed: f64,
}

impl Default for RepeatedParts {
    fn default() -> Self {
        Self { min_characters: 30, max_removed: 1.0 }
    }
}

/// Settings of `domains`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domains {
    /// The column of the score.
    pub score: String,
    /// The score from which a page is good.
    pub at_least: f64,
    /// The share of good pages of a domain, at least.
    #[serde(default)]
    pub min_share: f64,
    /// Good pages of a domain, at least.
    #[serde(default)]
    pub min_pages: u64,
}

/// Settings of `code`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Code {
    /// Languages that are kept; all where empty.
    pub languages: Vec<String>,
    /// Characters of the longest line, at most.
    pub max_line: f64,
    /// Characters of a line on average, at most.
    pub max_mean_line: f64,
    /// The share of letters and digits, at least.
    pub min_alphanumeric: f64,
}

impl Default for Code {
    fn default() -> Self {
        Self { languages: Vec::new(), max_line: 1000.0, max_mean_line: 100.0, min_alphanumeric: 0.25 }
    }
}

/// Settings of `tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// A `tokenizer.json`, or a folder with one.
    pub tokenizer: String,
}

/// Settings of `near_duplicates`; FineWeb's where nothing is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NearDuplicates {
    /// Words of a shingle.
    pub ngram: usize,
    /// Bands of a signature.
    pub bands: usize,
    /// Hashes of a band.
    pub rows_per_band: usize,
    /// Estimated similarity, at least; 0: a shared band suffices.
    pub similarity: f64,
}

impl Default for NearDuplicates {
    fn default() -> Self {
        Self { ngram: 5, bands: 14, rows_per_band: 8, similarity: 0.0 }
    }
}

/// Settings of `decontaminate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decontaminate {
    /// Evaluation sets.
    pub sets: Vec<EvaluationFile>,
    /// Mathematical text: 13-grams and the longest common subsequence.
    #[serde(default)]
    pub math: bool,
}

/// An evaluation set of `decontaminate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationFile {
    /// Its name.
    pub name: String,
    /// Its file or folder.
    pub path: String,
    /// The column of its questions.
    pub column: Option<String>,
}
