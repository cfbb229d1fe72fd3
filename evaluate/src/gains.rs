//! What one model gained over another on the same questions, requests and pairs.

use crate::figures::Figures;
use crate::replies::{PromptMode, Reply, kinds, pairs, questions, requests};
use crate::statistics::{self, Estimate};
use std::collections::BTreeMap;

/// A paired difference between two models.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Gain {
    /// What the two models are compared on.
    pub(crate) measure: &'static str,
    /// The modes in which the first and the second model were asked, for questions.
    pub(crate) modes: Option<(PromptMode, PromptMode)>,
    /// The number of items that both models have.
    pub(crate) count: usize,
    /// The difference of shares.
    pub(crate) gain: Estimate,
}

/// The paired differences of everything that both models have; for questions, in the best mode of each model.
pub(crate) fn gains(before: &[Reply], after: &[Reply]) -> Vec<Gain> {
    let mut gains = Vec::new();
    if let (Some(earlier), Some(later)) =
        (Figures::of_replies(before).best_mode(), Figures::of_replies(after).best_mode())
    {
        gains.extend(gain_of_questions(before, earlier, after, later));
    }
    let whole_requests =
        |replies| by_id(requests(replies).map(|request| (&*request.id, request.follows_all())));
    gains.extend(gain("whole requests", &whole_requests(before), &whole_requests(after)));
    let preferred_pairs = |replies| by_id(pairs(replies).map(|pair| (&*pair.id, pair.prefers_chosen())));
    gains.extend(gain("preferred pairs", &preferred_pairs(before), &preferred_pairs(after)));
    gains
}

fn by_id<'a>(verdicts: impl Iterator<Item = (&'a str, bool)>) -> BTreeMap<&'a str, f64> {
    verdicts.map(|(id, verdict)| (id, f64::from(verdict))).collect()
}

/// The difference over the ids that both have; none without any.
fn gain(measure: &'static str, before: &BTreeMap<&str, f64>, after: &BTreeMap<&str, f64>) -> Option<Gain> {
    let pairs: Vec<(f64, f64)> =
        after.iter().filter_map(|(id, later)| Some((*before.get(id)?, *later))).collect();
    let gain = statistics::mean_difference(&pairs);
    (!pairs.is_empty()).then_some(Gain { measure, modes: None, count: pairs.len(), gain })
}

/// The mean over kinds of the paired differences.
fn gain_of_questions(
    before: &[Reply],
    earlier: PromptMode,
    after: &[Reply],
    later: PromptMode,
) -> Option<Gain> {
    let (mut count, mut gains) = (0, Vec::new());
    for kind in kinds(questions(after, later)) {
        let verdicts = |replies, mode| {
            let of_kind = questions(replies, mode).filter(|question| question.kind == kind);
            by_id(of_kind.map(|question| (&*question.id, question.right)))
        };
        if let Some(gain) = gain("", &verdicts(before, earlier), &verdicts(after, later)) {
            count += gain.count;
            gains.push(gain.gain);
        }
    }
    let gain = statistics::average(&gains);
    (count > 0).then_some(Gain { measure: "questions", modes: Some((earlier, later)), count, gain })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replies::{Ending, QuestionReply};

    fn question(mode: PromptMode, id: usize, right: bool) -> Reply {
        Reply::Question(QuestionReply {
            mode,
            id: format!("day-{id}"),
            kind: "day".to_owned(),
            question: String::new(),
            answer: "Monday".to_owned(),
            reply: String::new(),
            ending: Ending::Stopped,
            right,
        })
    }

    #[test]
    fn gains_are_over_the_better_mode_and_the_same_questions() {
        let replies = |mode, right: [bool; 4]| {
            right.into_iter().enumerate().map(move |(id, right)| question(mode, id, right))
        };
        let mut before: Vec<Reply> = replies(PromptMode::Chat, [false; 4]).collect();
        before.extend(replies(PromptMode::FiveShot, [true, false, false, false]));
        let mut after: Vec<Reply> = replies(PromptMode::Chat, [true, true, true, false]).collect();
        after.push(question(PromptMode::Chat, 9, true));
        let gains = gains(&before, &after);
        assert_eq!(gains.len(), 1);
        assert_eq!((gains[0].modes, gains[0].count), (Some((PromptMode::FiveShot, PromptMode::Chat)), 4));
        let expected = statistics::mean_difference(&[(1.0, 1.0), (0.0, 1.0), (0.0, 1.0), (0.0, 0.0)]);
        assert_eq!(gains[0].gain, expected);
    }
}
