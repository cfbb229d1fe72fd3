//! Rows -> token sequences with the trained tokens marked.
//!
//! The mask comes from `checkpoint::chat::render_as`, which serving's prompts come from, too. A row that gives no sequence
//! is dropped with a reason, which is counted and stored beside the tokens; what is odd about one that gives some is
//! counted as well.

mod conversation;
mod outcome;
mod rules;
mod stored;

pub use outcome::{Dropped, Example};
pub use rules::{Rules, TooLong, Tools, TrainOn};
pub use stored::TokenIds;

use conversation::conversation;
use datasets::{Message, Row};
use outcome::{Tokens, document};
use serde_json::Value;
use std::collections::BTreeSet;
use training::Sequence;

/// The reason of rows that the other of two stores takes.
pub(crate) const OTHER_LABEL: &str = "other_label";

/// What a run trains on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Conversations, prompts with completions, documents.
    Sft,
    /// Preference pairs.
    Preference,
    /// Conversations whose `label` is true.
    Desirable,
    /// Conversations whose `label` is false.
    Undesirable,
}

impl Kind {
    /// Returns the label of its rows; `None` where it takes rows without one.
    fn label(self) -> Option<bool> {
        match self {
            Self::Sft | Self::Preference => None,
            Self::Desirable => Some(true),
            Self::Undesirable => Some(false),
        }
    }
}

/// Returns the sequences of a row.
///
/// # Errors
/// Why it gives none.
pub fn example(row: &Row, kind: Kind, rules: &Rules<'_>) -> Result<Example, Dropped> {
    if let Some(wanted) = kind.label() {
        match row.label() {
            Err(reason) => return Err(Dropped::new("unknown_label", reason)),
            Ok(None) => return Err(Dropped::new("no_label", "expected `label`, true or false")),
            Ok(Some(label)) if label != wanted => return Err(Dropped::new(OTHER_LABEL, "")),
            Ok(Some(_)) => {}
        }
    }
    if let Some(reason) = row.unfit().filter(|reason| *reason != "rejected_reply" || kind.label().is_none()) {
        let detail = match (reason, row.label()) {
            ("rejected_reply", _) => "its `label` is false: the reply is a bad one".to_owned(),
            (_, Err(label)) => {
                format!("{label}; `--columns ignore=COLUMN` trains the reply whatever it says")
            }
            _ => "the row has an image, a video or a sound; `--columns ignore=COLUMN` trains its text alone"
                .to_owned(),
        };
        return Err(Dropped::new(reason, detail));
    }
    let mut example = Example::default();
    let complete = complete_sequences(row, kind, rules, &mut example.notes)?;
    let is_document = matches!(row, Row::Text(_));
    for tokens in complete {
        add(&mut example, tokens, is_document, rules)?;
    }
    if kind == Kind::Preference {
        refuse_pair(row, &example, rules.drop_ties)?;
    }
    Ok(example)
}

/// Adds a sequence, cut or split where it is too long.
fn add(example: &mut Example, tokens: Tokens, is_document: bool, rules: &Rules<'_>) -> Result<(), Dropped> {
    let Tokens { mut sequence, mut weights, mut distributions } = tokens;
    let (length, limit) = (sequence.ids.len(), rules.max_length);
    if sequence.trained_tokens() == 0 {
        return Err(Dropped::new("no_trained_token", "no token has a weight above 0"));
    }
    if length > limit && rules.too_long == TooLong::Split && is_document {
        for start in (0..length).step_by(limit) {
            let end = length.min(start + limit);
            if end - start == 1 {
                // No token comes before it that it could be predicted from.
                example.lost += 1;
                continue;
            }
            let (ids, trained) = (sequence.ids[start..end].to_vec(), sequence.trained[start..end].to_vec());
            example.sequences.push(Sequence { ids: ids.into(), trained: trained.into() });
            push_weights(example, weights.as_ref().map(|weights| weights[start..end].to_vec()));
        }
        return Ok(());
    }
    if length > limit {
        if rules.too_long == TooLong::Drop {
            return Err(Dropped::new("too_long", format!("{length} tokens")));
        }
        sequence.ids.to_mut().truncate(limit);
        sequence.trained.to_mut().truncate(limit);
        if let Some(weights) = &mut weights {
            weights.truncate(limit);
        }
        distributions.iter_mut().for_each(|of_tokens| of_tokens.truncate(limit));
        example.cut += 1;
        example.lost += length - limit;
    }
    if sequence.trained_tokens() == 0 {
        return Err(Dropped::new("no_trained_token", "cut before the first trained token"));
    }
    example.sequences.push(sequence);
    example.distributions.extend(distributions);
    push_weights(example, weights);
    Ok(())
}

/// Adds the weights of the last sequence; sequences before it that have none get ones.
fn push_weights(example: &mut Example, weights: Option<Vec<f32>>) {
    let sequences = example.sequences.len();
    if weights.is_none() && example.weights.is_none() {
        return;
    }
    let ones = |index: usize| vec![1.0; example.sequences[index].ids.len()];
    let mut all = example.weights.take().unwrap_or_else(|| (0..sequences - 1).map(ones).collect());
    all.push(weights.unwrap_or_else(|| ones(sequences - 1)));
    example.weights = Some(all);
}

/// Refuses a pair from which nothing can be learned, or the wrong thing.
fn refuse_pair(row: &Row, example: &Example, drop_ties: bool) -> Result<(), Dropped> {
    let Row::Preference(pair) = row else { return Ok(()) };
    let scores = [("score_chosen", "score_rejected"), ("chosen_score", "rejected_score")];
    let score = |name: &str| pair.metadata.get(name).and_then(Value::as_f64);
    let tie = scores.iter().find(|(one, other)| score(one).is_some() && score(one) == score(other));
    if let Some((one, other)) = tie.filter(|_| drop_ties) {
        return Err(Dropped::new("tie", format!("`{one}` and `{other}` are equal")));
    }
    if drop_ties && example.sequences[0].ids == example.sequences[1].ids {
        return Err(Dropped::new("tie", "chosen and rejected are the same tokens"));
    }
    if pair.chosen.iter().all(Message::is_empty) {
        return Err(Dropped::new("empty_reply", "the chosen reply says nothing"));
    }
    Ok(())
}

/// Returns the sequences of a row, however long they are.
fn complete_sequences(
    row: &Row,
    kind: Kind,
    rules: &Rules<'_>,
    notes: &mut BTreeSet<&'static str>,
) -> Result<Vec<Tokens>, Dropped> {
    let row_weight = row.weight().unwrap_or(1.0);
    Ok(match (kind, row) {
        (Kind::Sft, Row::Chat(chat)) => {
            vec![conversation(&chat.messages, row, (0, row_weight), rules, notes)?]
        }
        (Kind::Desirable | Kind::Undesirable, Row::Chat(chat)) => {
            let rules = &Rules { fractions: false, train_on: TrainOn::Last, ..*rules };
            vec![conversation(&chat.messages, row, (0, row_weight), rules, notes)?]
        }
        (Kind::Desirable | Kind::Undesirable, _) => {
            return Err(Dropped::new("not_a_conversation", "expected a prompt with a reply and its `label`"));
        }
        (Kind::Sft, Row::Text(text)) => vec![document(&text.text, row_weight, rules, notes)?],
        (Kind::Preference, Row::Preference(pair)) => {
            let rules = &Rules { fractions: false, ..*rules };
            let mut side = |reply: &[Message]| {
                let messages = [&pair.prompt, reply].concat();
                conversation(&messages, row, (pair.prompt.len(), row_weight), rules, notes)
            };
            vec![side(&pair.chosen)?, side(&pair.rejected)?]
        }
        (Kind::Sft, _) => {
            return Err(Dropped::new("preference_row", "a preference pair; `posttrain dpo` trains on it"));
        }
        (Kind::Preference, _) => return Err(Dropped::new("not_a_pair", "expected chosen and rejected")),
    })
}
