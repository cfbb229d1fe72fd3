//! Which rows contain questions of an evaluation set.
//!
//! A common word n-gram makes a candidate; the share of the question that the row contains decides. Chat data is treated
//! as in cosmopedia's decontamination/decontaminate.py, with which SmolTalk was cleaned: 10-grams, and the matching
//! blocks longer than 5 characters must make up more than half of the question. Mathematical text is treated as in
//! FineMath (SmolLM2 paper, section 3.2): 13-grams, and the longest common subsequence of words must have at least 0.6 of
//! the question's words. The originals look up one n-gram and compare one question; here every question that shares an
//! n-gram is compared.

use crate::evaluation_set::EvaluationSet;
use crate::matching::{longest_common_subsequence, matching_blocks};
use random::splitmix;
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::HashMap;
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

/// When a text counts as contaminated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// 10-grams; matching blocks cover more than half of the question's characters.
    Chat,
    /// 13-grams; the common subsequence has at least 0.6 of the question's words.
    Math,
}

/// A question with which a text shares an n-gram.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Match {
    /// The evaluation set.
    pub set: String,
    /// The question's id in it.
    pub item: String,
    /// The first n-gram of the text that is also in the question.
    pub ngram: String,
    /// The share of the question that the text contains, from 0 to 1.
    pub ratio: f64,
    /// Whether that share counts as contaminated.
    pub contaminated: bool,
}

/// An index of the questions of evaluation sets by their n-grams.
#[derive(Debug)]
pub struct Contamination {
    method: Method,
    questions: Vec<Question>,
    /// The questions that contain each n-gram, by its hash.
    ngrams: HashMap<u64, Vec<u32>>,
    too_short: usize,
}

#[derive(Debug)]
struct Question {
    set: String,
    item: String,
    words: Vec<String>,
    /// The words, with a space between any two.
    characters: Vec<char>,
}

impl Method {
    fn ngram(self) -> usize {
        match self {
            Self::Chat => 10,
            Self::Math => 13,
        }
    }

    /// The share of the question that is in the text, and whether it counts as contaminated.
    fn judge(self, text: &Words, question: &Question) -> (f64, bool) {
        match self {
            Self::Chat => {
                let ratio = matched_ratio(text.characters(), &question.characters);
                (ratio, ratio > 0.5)
            }
            Self::Math => {
                let common = longest_common_subsequence(&text.words, &question.words);
                let ratio = common as f64 / question.words.len() as f64;
                (ratio, ratio >= 0.6)
            }
        }
    }
}

impl Contamination {
    /// Indexes the questions of the sets.
    pub fn new(sets: &[EvaluationSet], method: Method) -> Self {
        let mut index = Self { method, questions: Vec::new(), ngrams: HashMap::new(), too_short: 0 };
        for set in sets {
            for item in &set.items {
                let words = words(&item.text);
                if words.len() < method.ngram() {
                    index.too_short += 1;
                    continue;
                }
                let number = index.questions.len() as u32;
                for hash in ngram_hashes(&words, method.ngram()) {
                    let questions = index.ngrams.entry(hash).or_default();
                    if questions.last() != Some(&number) {
                        questions.push(number);
                    }
                }
                let characters = words.join(" ").chars().collect();
                let (set, item) = (set.name.clone(), item.id.clone());
                index.questions.push(Question { set, item, words, characters });
            }
        }
        index
    }

    /// The number of questions with fewer words than an n-gram, which no text can match.
    pub fn too_short(&self) -> usize {
        self.too_short
    }

    /// The questions that share an n-gram with a text, by the share of them that the text contains, descending; equal ones
    /// in the order of the sets.
    pub fn matches(&self, text: &str) -> Vec<Match> {
        let text = Words { words: words(text), characters: std::cell::OnceCell::new() };
        let ngram = self.method.ngram();
        // Each question with the index of its first n-gram in the text.
        let mut candidates: Vec<(u32, usize)> = Vec::new();
        for (place, hash) in ngram_hashes(&text.words, ngram).enumerate() {
            for question in self.ngrams.get(&hash).into_iter().flatten() {
                candidates.push((*question, place));
            }
        }
        candidates.sort_unstable();
        candidates.dedup_by_key(|(question, _)| *question);
        let to_match = |(question, place): (u32, usize)| {
            let question = &self.questions[question as usize];
            let (ratio, contaminated) = self.method.judge(&text, question);
            let ngram = text.words[place..place + ngram].join(" ");
            Match { set: question.set.clone(), item: question.item.clone(), ngram, ratio, contaminated }
        };
        let mut matches: Vec<Match> = candidates.into_iter().map(to_match).collect();
        matches.sort_by(|a, b| b.ratio.partial_cmp(&a.ratio).unwrap_or(Ordering::Equal));
        matches
    }
}

/// A text's words, and its characters, which are computed when they are needed.
struct Words {
    words: Vec<String>,
    characters: std::cell::OnceCell<Vec<char>>,
}

impl Words {
    fn characters(&self) -> &[char] {
        self.characters.get_or_init(|| self.words.join(" ").chars().collect())
    }
}

/// Lower-case words without accents: NFD without nonspacing marks, split as by Python's `\w+`, which matches letters,
/// numbers and the underscore, but not the spacing marks that Rust counts as alphabetic.
fn words(text: &str) -> Vec<String> {
    let plain = text.nfd().filter(|c| c.general_category() != GeneralCategory::NonspacingMark);
    let lower = plain.collect::<String>().to_lowercase();
    let in_word = |c: char| {
        let group = |c: char| c.general_category_group();
        c.is_ascii_alphanumeric()
            || c == '_'
            || !c.is_ascii()
                && matches!(group(c), GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number)
    };
    lower.split(|c| !in_word(c)).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn ngram_hashes(words: &[String], ngram: usize) -> impl Iterator<Item = u64> {
    let hash = |word: &String| word.bytes().fold(0, |hash, byte| splitmix(hash ^ u64::from(byte)));
    let hashes: Vec<u64> = words.iter().map(hash).collect();
    let count = (hashes.len() + 1).saturating_sub(ngram);
    (0..count)
        .map(move |start| hashes[start..start + ngram].iter().fold(0, |hash, word| splitmix(hash ^ word)))
}

/// The share of the question's characters in matching blocks longer than 5; runs of white space count once, and not at
/// the ends.
fn matched_ratio(text: &[char], question: &[char]) -> f64 {
    let mut matched = String::new();
    for block in matching_blocks(text, question).iter().filter(|block| block.length > 5) {
        matched.extend(&text[block.first..block.first + block.length]);
    }
    let words: Vec<&str> = matched.split_whitespace().collect();
    words.join(" ").chars().count() as f64 / question.len() as f64
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::evaluation_set::Item;
    use serde_json::Value;

    /// Source: tests/goldens/make_matching_goldens.py.
    const GOLDENS: &str = include_str!("../../tests/goldens/matching/pairs.jsonl");

    #[test]
    fn words_and_ratios_equal_the_originals() {
        for line in GOLDENS.lines() {
            let golden: Value = serde_json::from_str(line).unwrap();
            let sides = ["first", "second"].map(|side| words(golden[side].as_str().unwrap()));
            assert_eq!(serde_json::json!(sides), golden["words"], "{line}");
            let [text, question] = sides.map(|words| words.join(" ").chars().collect::<Vec<_>>());
            if !question.is_empty() {
                let ratio = matched_ratio(&text, &question);
                assert!((ratio - golden["ratio"].as_f64().unwrap()).abs() < 1e-12, "{ratio} for {line}");
            }
        }
    }

    fn set(text: &str) -> EvaluationSet {
        let items =
            [("1", text), ("2", "too short")].map(|(id, text)| Item { id: id.into(), text: text.into() });
        EvaluationSet { name: "made".into(), items: items.into() }
    }

    #[test]
    fn a_row_is_contaminated_by_most_of_a_question() {
        let question = "A baker fills twelve trays with nine rolls each and sells half of all the rolls before noon. \
                        How many are left?";
        let index = Contamination::new(&[set(question)], Method::Chat);
        assert_eq!(index.too_short(), 1);
        let found = index.matches(&format!("Please solve: {} Thanks!", question.to_uppercase()));
        assert_eq!((found.len(), found[0].ratio, found[0].contaminated), (1, 1.0, true));
        assert_eq!((found[0].set.as_str(), found[0].item.as_str()), ("made", "1"));
        assert_eq!(found[0].ngram, "a baker fills twelve trays with nine rolls each and");
        // Ten common words are less than half of the question.
        let found = index.matches("Once a baker fills twelve trays with nine rolls each and goes to bed.");
        assert!(found.len() == 1 && !found[0].contaminated && found[0].ratio < 0.5, "{found:?}");
        assert!(
            index.matches("A baker fills twelve trays with nine buns each, sold before noon.").is_empty()
        );
    }

    #[test]
    fn mathematical_text_is_compared_by_thirteen_words_and_their_order() {
        let question = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen \
                        sixteen seventeen eighteen nineteen twenty";
        let index = Contamination::new(&[set(question)], Method::Math);
        let words: Vec<&str> = question.split_whitespace().collect();
        let ratio = |text: &str| index.matches(text).first().map(|found| (found.ratio, found.contaminated));
        assert_eq!(ratio(&words[..13].join(" ")), Some((0.65, true)));
        assert_eq!(ratio(&words[..12].join(" ")), None);
        assert_eq!(ratio(&format!("{} and then nineteen", words[..13].join(" "))), Some((0.7, true)));
        let long =
            format!("{question} {}", (0..20).map(|n| format!("more{n}")).collect::<Vec<_>>().join(" "));
        let index = Contamination::new(&[set(&long)], Method::Math);
        let found = &index.matches(question)[0];
        assert!(found.ratio == 0.5 && !found.contaminated);
    }
}
