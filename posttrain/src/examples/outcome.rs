//! What becomes of a row: sequences with their weights in the loss, or the reason why there are none.

use super::rules::Rules;
use checkpoint::chat::{document_as_text, spells_special_token};
use std::collections::BTreeSet;
use training::{Sequence, TopTokens};

/// Why a row gives no sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The reason by which it is counted.
    pub reason: &'static str,
    /// Details, such as the error of the template.
    pub detail: String,
}

impl Dropped {
    pub(super) fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// The sequences of a row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Example {
    /// One sequence; for a pair two, the chosen one first; for a document that is split one or more.
    pub sequences: Vec<Sequence<'static>>,
    /// The weight of each token of each sequence in the loss, where not all that are trained have 1.
    pub weights: Option<Vec<Vec<f32>>>,
    /// What is stored of each token of each sequence, where that is learned; none otherwise.
    pub distributions: Vec<Vec<TopTokens>>,
    /// How many of them were cut.
    pub cut: usize,
    /// Tokens that were cut off.
    pub lost: usize,
    /// What is odd about the row, by the name under which it is counted.
    pub notes: BTreeSet<&'static str>,
}

/// A conversation or document as tokens.
pub(super) struct Tokens {
    pub(super) sequence: Sequence<'static>,
    pub(super) weights: Option<Vec<f32>>,
    /// What is stored of each token, where that is learned.
    pub(super) distributions: Option<Vec<TopTokens>>,
}

/// Returns ids with the tokens of a weight above 0 trained.
pub(super) fn tokens(ids: Vec<u32>, weights: &[f64], rules: &Rules<'_>) -> Result<Tokens, Dropped> {
    let trained: Vec<bool> = weights.iter().map(|weight| *weight > 0.0).collect();
    let fraction = weights.iter().find(|weight| **weight > 0.0 && **weight != 1.0);
    if let Some(fraction) = fraction.filter(|_| !rules.fractions) {
        let detail = format!("its weight in the loss is {fraction}; pairs and pretraining know 0 and 1");
        return Err(Dropped::new("fractional_weight", detail));
    }
    let weights = fraction.map(|_| weights.iter().map(|weight| *weight as f32).collect());
    let sequence = Sequence { ids: ids.into(), trained: trained.into() };
    Ok(Tokens { sequence, weights, distributions: None })
}

/// Returns a document and the token that ends it, all of it trained.
pub(super) fn document(
    text: &str,
    weight: f64,
    rules: &Rules<'_>,
    notes: &mut BTreeSet<&'static str>,
) -> Result<Tokens, Dropped> {
    if rules.stored_logprobs.is_some() {
        return Err(Dropped::new("no_logprobs", "a document has none; `--stored-logprobs` learns replies"));
    }
    if text.trim().is_empty() {
        return Err(Dropped::new("empty_text", ""));
    }
    let end = rules.document_end.ok_or_else(|| {
        Dropped::new("no_end_token", "the checkpoint names no end-of-sequence token to end a document with")
    })?;
    let ids = match rules.split_special_tokens {
        true => document_as_text(rules.tokenizer, text),
        false => rules.tokenizer.encode_document(text),
    };
    let mut ids = ids.map_err(|error| Dropped::new("tokenizer_failed", error.to_string()))?;
    if !rules.split_special_tokens && spells_special_token(rules.tokenizer, &ids, text) {
        notes.insert("special_tokens_in_text");
    }
    // Some tokenizers add it themselves.
    if ids.last() != Some(&end) {
        ids.push(end);
    }
    let weights = vec![weight; ids.len()];
    tokens(ids, &weights, rules)
}
