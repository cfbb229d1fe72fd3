//! The figures of one model: accuracies by kind of question, conditions by instruction, preferences, perplexity.

use crate::replies::{DocumentReply, Ending, PromptMode, Reply, kinds, pairs, questions, requests};
use crate::statistics::{self, Estimate};
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// All figures of one model.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    /// One entry per mode in which the model was asked.
    pub(crate) questions: Vec<QuestionFigures>,
    pub(crate) conditions: Option<ConditionFigures>,
    pub(crate) preferences: Option<PreferenceFigures>,
    /// One entry per source.
    pub(crate) documents: Vec<DocumentFigures>,
}

/// Questions asked in one mode.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct QuestionFigures {
    pub(crate) mode: PromptMode,
    pub(crate) kinds: Vec<KindFigures>,
    /// The mean over the kinds.
    pub(crate) average: Estimate,
    /// The mean over the kinds of the share that the best constant answer gets right.
    pub(crate) constant: f64,
    /// The number of replies that reached the limit of tokens.
    pub(crate) cut: usize,
    /// The number of questions whose prompt does not fit in the context; they count as wrong.
    pub(crate) prompt_too_long: usize,
}

/// Questions of one kind.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct KindFigures {
    pub(crate) kind: String,
    pub(crate) count: usize,
    pub(crate) accuracy: Estimate,
    /// The most frequent answer.
    pub(crate) constant_answer: String,
    /// Its share of the answers.
    pub(crate) constant_share: f64,
}

/// Requests with conditions.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ConditionFigures {
    pub(crate) requests: usize,
    /// The share of requests whose conditions are all met.
    pub(crate) whole_requests: Estimate,
    /// The share of all conditions that are met.
    pub(crate) conditions: Estimate,
    pub(crate) by_instruction: Vec<InstructionFigures>,
}

/// Conditions of one instruction.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct InstructionFigures {
    pub(crate) id: String,
    pub(crate) count: usize,
    pub(crate) followed: Estimate,
}

/// Pairs of replies.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PreferenceFigures {
    pub(crate) pairs: usize,
    /// The share of pairs whose chosen reply is more likely.
    pub(crate) preferred: Estimate,
    /// The share of pairs whose chosen reply has more tokens; a tie counts half.
    pub(crate) longer: f64,
    /// The share of pairs whose chosen reply has fewer tokens; a tie counts half.
    pub(crate) shorter: f64,
    /// The number of pairs that could not be measured, by reason.
    pub(crate) skipped: BTreeMap<String, usize>,
}

/// Documents of one source.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DocumentFigures {
    pub(crate) source: String,
    pub(crate) documents: usize,
    pub(crate) tokens: usize,
    pub(crate) bytes: usize,
    pub(crate) nats_per_token: Estimate,
    pub(crate) bits_per_byte: Estimate,
}

impl Figures {
    /// The figures that follow from the replies.
    pub(crate) fn of_replies(replies: &[Reply]) -> Self {
        let modes = [PromptMode::Chat, PromptMode::FiveShot];
        Self {
            questions: modes.into_iter().filter_map(|mode| question_figures(replies, mode)).collect(),
            conditions: condition_figures(replies),
            preferences: preference_figures(replies),
            documents: document_figures(replies),
        }
    }

    /// The mode with the highest average.
    pub(crate) fn best_mode(&self) -> Option<PromptMode> {
        let best =
            self.questions.iter().max_by(|one, other| one.average.value.total_cmp(&other.average.value));
        best.map(|questions| questions.mode)
    }
}

fn question_figures(replies: &[Reply], mode: PromptMode) -> Option<QuestionFigures> {
    let kinds: Vec<KindFigures> =
        kinds(questions(replies, mode)).into_iter().map(|kind| kind_figures(replies, mode, kind)).collect();
    let count = |ending| questions(replies, mode).filter(|reply| reply.ending == ending).count();
    (!kinds.is_empty()).then(|| QuestionFigures {
        mode,
        average: statistics::average(&kinds.iter().map(|kind| kind.accuracy).collect::<Vec<_>>()),
        constant: kinds.iter().map(|kind| kind.constant_share).sum::<f64>() / kinds.len() as f64,
        cut: count(Ending::Cut),
        prompt_too_long: count(Ending::PromptTooLong),
        kinds,
    })
}

fn kind_figures(replies: &[Reply], mode: PromptMode, kind: &str) -> KindFigures {
    let replies: Vec<_> = questions(replies, mode).filter(|reply| reply.kind == kind).collect();
    let (answer, share) = statistics::best_constant(replies.iter().map(|reply| reply.answer.as_str()));
    KindFigures {
        kind: kind.to_owned(),
        count: replies.len(),
        accuracy: statistics::share(replies.iter().map(|reply| reply.right)),
        constant_answer: answer.to_owned(),
        constant_share: share,
    }
}

fn condition_figures(replies: &[Reply]) -> Option<ConditionFigures> {
    let requests: Vec<_> = requests(replies).collect();
    if requests.is_empty() {
        return None;
    }
    let mut by_instruction: BTreeMap<&str, Vec<bool>> = BTreeMap::new();
    for request in &requests {
        for (id, followed) in request.instruction_ids.iter().zip(&request.followed) {
            by_instruction.entry(id).or_default().push(*followed);
        }
    }
    let met: Vec<f64> =
        requests.iter().map(|request| request.followed.iter().filter(|met| **met).count() as f64).collect();
    let all: Vec<f64> = requests.iter().map(|request| request.followed.len() as f64).collect();
    let instruction_figures = |(id, followed): (&str, Vec<bool>)| InstructionFigures {
        id: id.to_owned(),
        count: followed.len(),
        followed: statistics::share(followed),
    };
    Some(ConditionFigures {
        requests: requests.len(),
        whole_requests: statistics::share(requests.iter().map(|request| request.follows_all())),
        // The conditions of one request are a cluster: they are often met or missed together.
        conditions: statistics::ratio(&met, &all),
        by_instruction: by_instruction.into_iter().map(instruction_figures).collect(),
    })
}

fn preference_figures(replies: &[Reply]) -> Option<PreferenceFigures> {
    let pairs: Vec<_> = pairs(replies).collect();
    let mut skipped: BTreeMap<String, usize> = BTreeMap::new();
    for reply in replies {
        if let Reply::SkippedPair(pair) = reply {
            *skipped.entry(pair.reason.clone()).or_default() += 1;
        }
    }
    if pairs.is_empty() && skipped.is_empty() {
        return None;
    }
    let longer: f64 = pairs
        .iter()
        .map(|pair| match pair.chosen.tokens.cmp(&pair.rejected.tokens) {
            Ordering::Greater => 1.0,
            Ordering::Equal => 0.5,
            Ordering::Less => 0.0,
        })
        .sum();
    let count = pairs.len() as f64;
    Some(PreferenceFigures {
        pairs: pairs.len(),
        preferred: statistics::share(pairs.iter().map(|pair| pair.prefers_chosen())),
        longer: longer / count,
        shorter: (count - longer) / count,
        skipped,
    })
}

fn document_figures(replies: &[Reply]) -> Vec<DocumentFigures> {
    let mut by_source: BTreeMap<&str, Vec<&DocumentReply>> = BTreeMap::new();
    for reply in replies {
        if let Reply::Document(document) = reply {
            by_source.entry(&document.source).or_default().push(document);
        }
    }
    let source_figures = |(source, documents): (&str, Vec<&DocumentReply>)| {
        let column =
            |value: fn(&DocumentReply) -> f64| documents.iter().map(|one| value(one)).collect::<Vec<f64>>();
        let nats = column(|document| document.nats);
        let bits = column(|document| document.nats / std::f64::consts::LN_2);
        let (tokens, bytes) = (column(|one| one.tokens as f64), column(|one| one.bytes as f64));
        DocumentFigures {
            source: source.to_owned(),
            documents: documents.len(),
            tokens: documents.iter().map(|document| document.tokens).sum(),
            bytes: documents.iter().map(|document| document.bytes).sum(),
            nats_per_token: statistics::ratio(&nats, &tokens),
            bits_per_byte: statistics::ratio(&bits, &bytes),
        }
    };
    by_source.into_iter().map(source_figures).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replies::{PairReply, QuestionReply, Side, SkippedPair};

    fn question(kind: &str, id: usize, answer: &str, right: bool) -> Reply {
        Reply::Question(QuestionReply {
            mode: PromptMode::Chat,
            id: format!("{kind}-{id}"),
            kind: kind.to_owned(),
            question: String::new(),
            answer: answer.to_owned(),
            reply: String::new(),
            ending: Ending::Stopped,
            right,
        })
    }

    fn pair(id: usize, chosen: (f64, usize), rejected: (f64, usize)) -> Reply {
        let side = |(log_probability, tokens)| Side { log_probability, tokens };
        Reply::Pair(PairReply { id: id.to_string(), chosen: side(chosen), rejected: side(rejected) })
    }

    #[test]
    fn every_kind_has_the_same_weight_however_many_its_questions() {
        let mut replies: Vec<Reply> =
            (0..8).map(|id| question("place", id, if id < 6 { "barn" } else { "mill" }, true)).collect();
        replies.extend((0..2).map(|id| question("sum", id, &id.to_string(), false)));
        let figures = Figures::of_replies(&replies);
        let questions = &figures.questions[0];
        assert_eq!((questions.kinds.len(), questions.average.value, questions.constant), (2, 0.5, 0.625));
        assert_eq!(questions.kinds[0].constant_answer, "barn");
        assert!(
            figures.conditions.is_none() && figures.preferences.is_none() && figures.documents.is_empty()
        );
    }

    #[test]
    fn equal_probabilities_prefer_nothing_and_equal_lengths_count_half() {
        let mut replies =
            vec![pair(1, (-1.0, 3), (-2.0, 2)), pair(2, (-1.0, 2), (-1.0, 2)), pair(3, (-3.0, 1), (-1.0, 2))];
        replies.push(Reply::SkippedPair(SkippedPair { id: "4".into(), reason: "long".into() }));
        let figures = Figures::of_replies(&replies).preferences.expect("there are pairs");
        assert!((figures.preferred.value - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(
            (figures.pairs, figures.longer, figures.shorter, figures.skipped["long"]),
            (3, 0.5, 0.5, 1)
        );
    }
}
