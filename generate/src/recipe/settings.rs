//! What a recipe's files say, by the parts they are made of: numbers, filters, kinds of rows, and the order of levels.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The numbers of one profile.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The most turns; so many where there is no `minimum_turns`.
    #[serde(default = "one")]
    pub(crate) turns: usize,
    pub(crate) minimum_turns: Option<usize>,
    /// Of one message.
    pub(crate) maximum_words: Option<usize>,
    /// Takes the greeting from the recipe's list instead of asking for one: for teachers that do not greet.
    #[serde(default)]
    pub(crate) drawn_greeting: bool,
    #[serde(default)]
    pub(crate) forbidden_openings: Vec<String>,
    /// Ends an answer that ran into its limit after its last whole sentence, instead of dropping it: for
    /// teachers that were never taught to stop.
    #[serde(default)]
    pub(crate) trim_cut: bool,
    pub(crate) minimum_quality: Option<Quality>,
    pub(crate) minimum_difficulty: Option<Difficulty>,
    pub(crate) minimum_score: Option<i64>,
    /// Whether the judge also gives the reward where no reward teacher was named.
    #[serde(default)]
    pub(crate) judge_rewards: bool,
    /// Whether the judge first answers for itself and then sees its own answer beside the one it judges: it finds
    /// more errors than a judge who only reads (reference-guided grading: Zheng et al. 2023, arXiv:2306.05685).
    #[serde(default)]
    pub(crate) reference_answers: bool,
    /// How true a text is to the one it was made from, from 1 to 5; judged only where it is set.
    pub(crate) minimum_faithfulness: Option<i64>,
    /// How well replies keep to their system prompt, from 1 to 5.
    pub(crate) minimum_adherence: Option<i64>,
    /// The fewest and the most tools of a row.
    pub(crate) tools: Option<[u64; 2]>,
    /// Completions of a prompt.
    #[serde(default = "four")]
    pub(crate) completions: usize,
    #[serde(default)]
    pub(crate) rejected: Rejected,
    /// A smaller distance between chosen and rejected is a tie.
    #[serde(default)]
    pub(crate) minimum_margin: f64,
    pub(crate) near_duplicate: Option<f64>,
    pub(crate) sampling: BTreeMap<String, StepSampling>,
}

/// How a step samples.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepSampling {
    pub(crate) temperature: f32,
    pub(crate) top_p: f32,
    pub(crate) max_tokens: usize,
}

/// Which completion the chosen one is set against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Rejected {
    #[default]
    Worst,
    /// Any other that is worse by the margin.
    Random,
}

/// What completions are rated on, and how much it weighs.
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Aspect {
    pub(crate) key: String,
    pub(crate) description: String,
    pub(crate) weight: f64,
}

/// A kind of row and its share of the rows: a system prompt of Magpie-Ultra, what a request needs of its tools.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Category {
    pub(crate) key: String,
    pub(crate) weight: f64,
}

/// A way to rewrite or sum up.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Style {
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) shorter: bool,
    pub(crate) maximum_sentences: Option<usize>,
}

/// A verifiable instruction.
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Instruction {
    pub(crate) id: String,
    pub(crate) description: String,
    pub(crate) conflicts: Vec<String>,
    #[serde(default, rename(deserialize = "argument"))]
    pub(crate) arguments: Vec<Argument>,
}

/// What an instruction's checker must know.
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Argument {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) schema: Value,
}

/// How well a request is put. Ordered: a comparison is never one of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) enum Quality {
    #[serde(rename = "very poor")]
    VeryPoor,
    #[serde(rename = "poor")]
    Poor,
    #[serde(rename = "average")]
    Average,
    #[serde(rename = "good")]
    Good,
    #[serde(rename = "excellent")]
    Excellent,
}

/// How hard a request is. Ordered likewise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) enum Difficulty {
    #[serde(rename = "very easy")]
    VeryEasy,
    #[serde(rename = "easy")]
    Easy,
    #[serde(rename = "medium")]
    Medium,
    #[serde(rename = "hard")]
    Hard,
    #[serde(rename = "very hard")]
    VeryHard,
}

fn one() -> usize {
    1
}

fn four() -> usize {
    4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_ordered_by_meaning() {
        // As strings, "Excellent" sorts before "Good" and "Poor" after both.
        assert!(Quality::Poor < Quality::Average && Quality::Good < Quality::Excellent);
        assert!(Difficulty::VeryEasy < Difficulty::Easy && Difficulty::Hard < Difficulty::VeryHard);
    }
}
