//! From replies to figures: accuracies by kind, conditions by instruction, preferences, perplexity, and what one model
//! gained over another on the same questions.

use crate::replies::{DocumentReply, Ending, Mode, PairReply, QuestionReply, Reply, RequestReply};
use crate::statistics::{self, Estimate};
use datasets::pocket::Kind;
use serde::Serialize;
use std::collections::BTreeMap;

/// All of one model.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    /// By how they were asked.
    pub(crate) questions: Vec<Questions>,
    pub(crate) conditions: Option<Conditions>,
    pub(crate) preferences: Option<Preferences>,
    /// By source.
    pub(crate) documents: Vec<Documents>,
}

/// Questions asked in one mode.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Questions {
    pub(crate) mode: Mode,
    pub(crate) kinds: Vec<KindFigures>,
    /// The mean of the kinds.
    pub(crate) average: Estimate,
    /// The mean of what the best constant answer of each kind scores.
    pub(crate) constant: f64,
    /// Replies that ran into the limit.
    pub(crate) cut: usize,
    /// Questions whose prompt did not fit; they count as wrong.
    pub(crate) prompt_too_long: usize,
}

/// Questions of one kind.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct KindFigures {
    pub(crate) kind: Kind,
    pub(crate) count: usize,
    pub(crate) accuracy: Estimate,
    /// The answer that is right most often.
    pub(crate) constant_answer: String,
    /// And how often.
    pub(crate) constant_share: f64,
}

/// Requests with conditions.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Conditions {
    pub(crate) requests: usize,
    /// The share of requests all of whose conditions are met.
    pub(crate) whole_requests: Estimate,
    /// The share of all conditions that are met.
    pub(crate) conditions: Estimate,
    pub(crate) by_instruction: Vec<InstructionFigures>,
}

/// One kind of condition.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct InstructionFigures {
    pub(crate) id: String,
    pub(crate) count: usize,
    pub(crate) followed: Estimate,
}

/// Pairs of replies.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Preferences {
    pub(crate) pairs: usize,
    /// The share with the chosen reply likelier.
    pub(crate) preferred: Estimate,
    /// What taking the reply of more tokens would score; a tie counts half.
    pub(crate) longer: f64,
    /// What taking the one of fewer would.
    pub(crate) shorter: f64,
    /// Pairs that could not be measured, by why.
    pub(crate) skipped: BTreeMap<String, usize>,
}

/// Documents of one source.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Documents {
    pub(crate) source: String,
    pub(crate) documents: usize,
    pub(crate) tokens: usize,
    pub(crate) bytes: usize,
    pub(crate) nats_per_token: Estimate,
    pub(crate) bits_per_byte: Estimate,
}

impl Figures {
    /// What the replies say.
    pub(crate) fn of(replies: &[Reply]) -> Self {
        let questions = [Mode::Chat, Mode::FiveShot].into_iter().filter_map(|mode| questions(replies, mode));
        Self {
            questions: questions.collect(),
            conditions: conditions(&requests(replies)),
            preferences: preferences(replies),
            documents: documents(replies),
        }
    }

    /// The mode that scores best: what a model is worth that may be asked either way.
    pub(crate) fn best(&self) -> Option<&Questions> {
        self.questions.iter().max_by(|one, other| one.average.value.total_cmp(&other.average.value))
    }
}

fn questions(replies: &[Reply], mode: Mode) -> Option<Questions> {
    let mut by_kind: BTreeMap<Kind, Vec<&QuestionReply>> = BTreeMap::new();
    asked(replies, mode).for_each(|reply| by_kind.entry(reply.kind).or_default().push(reply));
    let kinds: Vec<KindFigures> = by_kind
        .into_iter()
        .map(|(kind, replies)| {
            let (answer, share) = statistics::constant(replies.iter().map(|reply| reply.answer.as_str()));
            KindFigures {
                kind,
                count: replies.len(),
                accuracy: statistics::share(replies.iter().map(|reply| reply.right)),
                constant_answer: answer.to_owned(),
                constant_share: share,
            }
        })
        .collect();
    let ended = |ending| asked(replies, mode).filter(|reply| reply.ending == ending).count();
    (!kinds.is_empty()).then(|| Questions {
        mode,
        average: statistics::average(&kinds.iter().map(|kind| kind.accuracy).collect::<Vec<_>>()),
        constant: kinds.iter().map(|kind| kind.constant_share).sum::<f64>() / kinds.len() as f64,
        cut: ended(Ending::Cut),
        prompt_too_long: ended(Ending::PromptTooLong),
        kinds,
    })
}

fn asked(replies: &[Reply], mode: Mode) -> impl Iterator<Item = &QuestionReply> {
    replies.iter().filter_map(move |reply| match reply {
        Reply::Question(question) if question.mode == mode => Some(question),
        _ => None,
    })
}

fn requests(replies: &[Reply]) -> Vec<&RequestReply> {
    replies
        .iter()
        .filter_map(|reply| match reply {
            Reply::Request(request) => Some(request),
            _ => None,
        })
        .collect()
}

fn pairs(replies: &[Reply]) -> Vec<&PairReply> {
    replies
        .iter()
        .filter_map(|reply| match reply {
            Reply::Pair(pair) => Some(pair),
            _ => None,
        })
        .collect()
}

fn conditions(requests: &[&RequestReply]) -> Option<Conditions> {
    let mut by_instruction: BTreeMap<&str, Vec<bool>> = BTreeMap::new();
    for request in requests {
        for (id, followed) in request.instruction_ids.iter().zip(&request.followed) {
            by_instruction.entry(id).or_default().push(*followed);
        }
    }
    let met: Vec<f64> =
        requests.iter().map(|request| request.followed.iter().filter(|met| **met).count() as f64).collect();
    let asked: Vec<f64> = requests.iter().map(|request| request.followed.len() as f64).collect();
    (!requests.is_empty()).then(|| Conditions {
        requests: requests.len(),
        whole_requests: statistics::share(requests.iter().map(|request| request.all())),
        // The conditions of one request are met or missed together.
        conditions: statistics::ratio(&met, &asked),
        by_instruction: by_instruction
            .into_iter()
            .map(|(id, followed)| InstructionFigures {
                id: id.to_owned(),
                count: followed.len(),
                followed: statistics::share(followed),
            })
            .collect(),
    })
}

fn preferences(replies: &[Reply]) -> Option<Preferences> {
    let pairs = pairs(replies);
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
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        })
        .sum();
    let count = pairs.len() as f64;
    Some(Preferences {
        pairs: pairs.len(),
        preferred: statistics::share(pairs.iter().map(|pair| pair.preferred())),
        longer: longer / count,
        shorter: (count - longer) / count,
        skipped,
    })
}

fn documents(replies: &[Reply]) -> Vec<Documents> {
    let mut by_source: BTreeMap<&str, Vec<&DocumentReply>> = BTreeMap::new();
    for reply in replies {
        if let Reply::Document(document) = reply {
            by_source.entry(&document.source).or_default().push(document);
        }
    }
    let of = |(source, documents): (&str, Vec<&DocumentReply>)| {
        let column =
            |of: fn(&DocumentReply) -> f64| documents.iter().map(|one| of(one)).collect::<Vec<f64>>();
        let nats = column(|document| document.nats);
        let bits = column(|document| document.nats / std::f64::consts::LN_2);
        let (tokens, bytes) = (column(|one| one.tokens as f64), column(|one| one.bytes as f64));
        Documents {
            source: source.to_owned(),
            documents: documents.len(),
            tokens: documents.iter().map(|document| document.tokens).sum(),
            bytes: documents.iter().map(|document| document.bytes).sum(),
            nats_per_token: statistics::ratio(&nats, &tokens),
            bits_per_byte: statistics::ratio(&bits, &bytes),
        }
    };
    by_source.into_iter().map(of).collect()
}

/// What a model gained over the one before, on the same questions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Gain {
    /// Of what.
    pub(crate) what: &'static str,
    /// How the one before and this one were asked, where that can differ.
    pub(crate) modes: Option<(Mode, Mode)>,
    /// How many both were asked.
    pub(crate) count: usize,
    /// A difference of shares.
    pub(crate) gain: Estimate,
}

/// Paired differences of everything that both models were asked; questions in the mode that suits each best.
pub(crate) fn gains(before: &[Reply], after: &[Reply]) -> Vec<Gain> {
    let mut gains = Vec::new();
    if let (Some(earlier), Some(later)) = (Figures::of(before).best(), Figures::of(after).best()) {
        gains.extend(questions_gained(before, earlier.mode, after, later.mode));
    }
    let whole = |replies| by_id(requests(replies).into_iter().map(|request| (&*request.id, request.all())));
    gains.extend(gained("whole requests", &whole(before), &whole(after)));
    let likelier = |replies| by_id(pairs(replies).into_iter().map(|pair| (&*pair.id, pair.preferred())));
    gains.extend(gained("preferred pairs", &likelier(before), &likelier(after)));
    gains
}

fn by_id<'a>(verdicts: impl Iterator<Item = (&'a str, bool)>) -> BTreeMap<&'a str, f64> {
    verdicts.map(|(id, good)| (id, f64::from(good))).collect()
}

fn gained(what: &'static str, before: &BTreeMap<&str, f64>, after: &BTreeMap<&str, f64>) -> Option<Gain> {
    let both: Vec<(f64, f64)> =
        after.iter().filter_map(|(id, later)| Some((*before.get(id)?, *later))).collect();
    let gain = statistics::paired(&both);
    (!both.is_empty()).then_some(Gain { what, modes: None, count: both.len(), gain })
}

/// The mean over kinds of the paired differences.
fn questions_gained(before: &[Reply], earlier: Mode, after: &[Reply], later: Mode) -> Option<Gain> {
    let (mut count, mut kinds) = (0, Vec::new());
    for kind in Kind::ALL {
        let of = |replies, mode| {
            by_id(asked(replies, mode).filter(|one| one.kind == kind).map(|one| (&*one.id, one.right)))
        };
        if let Some(gain) = gained("", &of(before, earlier), &of(after, later)) {
            count += gain.count;
            kinds.push(gain.gain);
        }
    }
    let gain = statistics::average(&kinds);
    (count > 0).then_some(Gain { what: "questions", modes: Some((earlier, later)), count, gain })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replies::Side;

    fn question(mode: Mode, kind: Kind, id: usize, answer: &str, right: bool) -> Reply {
        Reply::Question(QuestionReply {
            mode,
            id: format!("{}-{id}", kind.name()),
            kind,
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
    fn kinds_count_the_same_however_many_their_questions() {
        let mut replies: Vec<Reply> = (0..8)
            .map(|id| question(Mode::Chat, Kind::Place, id, if id < 6 { "barn" } else { "mill" }, true))
            .collect();
        replies.extend((0..2).map(|id| question(Mode::Chat, Kind::Sum, id, &id.to_string(), false)));
        let figures = Figures::of(&replies);
        let questions = &figures.questions[0];
        assert_eq!((questions.kinds.len(), questions.average.value, questions.constant), (2, 0.5, 0.625));
        assert_eq!(questions.kinds[0].constant_answer, "barn");
        assert!(
            figures.conditions.is_none() && figures.preferences.is_none() && figures.documents.is_empty()
        );
    }

    #[test]
    fn gains_are_over_the_better_mode_and_the_same_questions() {
        let asked = |mode, right: [bool; 4]| {
            right
                .into_iter()
                .enumerate()
                .map(move |(id, right)| question(mode, Kind::Day, id, "Monday", right))
        };
        let mut before: Vec<Reply> = asked(Mode::Chat, [false; 4]).collect();
        before.extend(asked(Mode::FiveShot, [true, false, false, false]));
        let mut after: Vec<Reply> = asked(Mode::Chat, [true, true, true, false]).collect();
        after.push(question(Mode::Chat, Kind::Day, 9, "Monday", true));
        let gains = gains(&before, &after);
        assert_eq!(gains.len(), 1);
        assert_eq!((gains[0].modes, gains[0].count), (Some((Mode::FiveShot, Mode::Chat)), 4));
        assert_eq!(gains[0].gain, statistics::paired(&[(1.0, 1.0), (0.0, 1.0), (0.0, 1.0), (0.0, 0.0)]));
    }

    #[test]
    fn equal_probabilities_prefer_nothing_and_equal_lengths_count_half() {
        let mut replies =
            vec![pair(1, (-1.0, 3), (-2.0, 2)), pair(2, (-1.0, 2), (-1.0, 2)), pair(3, (-3.0, 1), (-1.0, 2))];
        replies
            .push(Reply::SkippedPair(crate::replies::SkippedPair { id: "4".into(), reason: "long".into() }));
        let found = Figures::of(&replies).preferences.expect("there are pairs");
        assert!((found.preferred.value - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!((found.pairs, found.longer, found.shorter, found.skipped["long"]), (3, 0.5, 0.5, 1));
    }
}
