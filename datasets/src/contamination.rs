//! Which rows hold questions of an evaluation set.
//!
//! A word n-gram in common makes a candidate, and how much of the question the row holds decides. For chat data as
//! cosmopedia's decontamination/decontaminate.py does, which SmolTalk was cleaned with: 10-grams, and the matching
//! blocks longer than 5 characters must make up more than half of the question. For mathematical text as FineMath
//! (SmolLM2 paper, 3.2): 13-grams, and the longest common subsequence of words at least 0.6 of the question's words.
//! There one n-gram is looked up and one question compared; here every question that shares an n-gram is compared.

use crate::evaluation_set::EvaluationSet;
use crate::hash::mix;
use crate::matching::{longest_common_subsequence, matching_blocks};
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::HashMap;
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

/// What counts as contaminated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// 10-grams; matching blocks over more than half of the question's characters.
    Chat,
    /// 13-grams; a common subsequence of at least 0.6 of the question's words.
    Math,
}

/// A question that a text shares an n-gram with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Match {
    /// The evaluation set.
    pub set: String,
    /// The question's id in it.
    pub item: String,
    /// The first n-gram of the text that the question has, too.
    pub ngram: String,
    /// How much of the question the text holds, from 0 to 1.
    pub ratio: f64,
    /// Whether that is enough to drop the text.
    pub contaminated: bool,
}

/// The questions of evaluation sets, by their n-grams.
#[derive(Debug)]
pub struct Contamination {
    method: Method,
    questions: Vec<Question>,
    /// The questions each n-gram's hash stands in.
    ngrams: HashMap<u64, Vec<u32>>,
    short: usize,
}

#[derive(Debug)]
struct Question {
    set: String,
    item: String,
    words: Vec<String>,
    /// The words, a space between any two.
    characters: Vec<char>,
}

impl Method {
    fn ngram(self) -> usize {
        match self {
            Self::Chat => 10,
            Self::Math => 13,
        }
    }

    /// How much of the question is in the text, and whether that is enough.
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
        let mut index = Self { method, questions: Vec::new(), ngrams: HashMap::new(), short: 0 };
        for set in sets {
            for item in &set.items {
                let words = words(&item.text);
                if words.len() < method.ngram() {
                    index.short += 1;
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

    /// Questions with fewer words than an n-gram has: nothing can be found to hold them.
    pub fn too_short(&self) -> usize {
        self.short
    }

    /// The questions that share an n-gram with a text: those the text holds most of first, else in the sets' order.
    pub fn matches(&self, text: &str) -> Vec<Match> {
        let text = Words { words: words(text), characters: std::cell::OnceCell::new() };
        let ngram = self.method.ngram();
        // Of each question the first n-gram in the text.
        let mut candidates: Vec<(u32, usize)> = Vec::new();
        for (place, hash) in ngram_hashes(&text.words, ngram).enumerate() {
            for question in self.ngrams.get(&hash).into_iter().flatten() {
                candidates.push((*question, place));
            }
        }
        candidates.sort_unstable();
        candidates.dedup_by_key(|(question, _)| *question);
        let found = |(question, place): (u32, usize)| {
            let question = &self.questions[question as usize];
            let (ratio, contaminated) = self.method.judge(&text, question);
            let ngram = text.words[place..place + ngram].join(" ");
            Match { set: question.set.clone(), item: question.item.clone(), ngram, ratio, contaminated }
        };
        let mut matches: Vec<Match> = candidates.into_iter().map(found).collect();
        matches.sort_by(|a, b| b.ratio.partial_cmp(&a.ratio).unwrap_or(Ordering::Equal));
        matches
    }
}

/// A text's words, and its characters once they are asked for.
struct Words {
    words: Vec<String>,
    characters: std::cell::OnceCell<Vec<char>>,
}

impl Words {
    fn characters(&self) -> &[char] {
        self.characters.get_or_init(|| self.words.join(" ").chars().collect())
    }
}

/// Lower-case words without accents: NFD, nonspacing marks dropped, and what Python's `\w+` finds, which is letters,
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
    let hash = |word: &String| word.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
    let hashes: Vec<u64> = words.iter().map(hash).collect();
    let count = (hashes.len() + 1).saturating_sub(ngram);
    (0..count).map(move |start| hashes[start..start + ngram].iter().fold(0, |hash, word| mix(hash ^ word)))
}

/// The characters of blocks longer than 5, white space at the ends and in runs not counted, over the question's.
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
    fn words_and_ratios_are_those_of_the_original() {
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
    fn a_row_is_contaminated_by_what_it_holds_most_of() {
        let question = "A baker fills twelve trays with nine rolls each and sells half of all the rolls before noon. \
                        How many are left?";
        let index = Contamination::new(&[set(question)], Method::Chat);
        assert_eq!(index.too_short(), 1);
        let found = index.matches(&format!("Please solve: {} Thanks!", question.to_uppercase()));
        assert_eq!((found.len(), found[0].ratio, found[0].contaminated), (1, 1.0, true));
        assert_eq!((found[0].set.as_str(), found[0].item.as_str()), ("made", "1"));
        assert_eq!(found[0].ngram, "a baker fills twelve trays with nine rolls each and");
        // Ten words in common, which is less than half of the question.
        let found = index.matches("Once a baker fills twelve trays with nine rolls each and goes to bed.");
        assert!(found.len() == 1 && !found[0].contaminated && found[0].ratio < 0.5, "{found:?}");
        assert!(
            index.matches("A baker fills twelve trays with nine buns each, sold before noon.").is_empty()
        );
    }

    #[test]
    fn mathematical_text_is_held_to_thirteen_words_and_their_order() {
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
