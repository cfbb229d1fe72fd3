//! How often each lesson and each kind of question is drawn, and what the categories of Magpie are about.

use crate::draw::Draw;
use crate::questions::Kind;
use crate::talks::Topic;

/// What a conversation teaches.
#[derive(Clone, Copy)]
pub(super) enum Lesson {
    Question,
    Talk,
    Magpie,
    Difficulty,
    Quality,
    Classification,
    Reward,
    Constraint,
    InstructionIds,
    Arguments,
    Rewrite,
    Summary,
    Faithfulness,
    Preference,
    Rating,
}

/// The lessons with their weights.
pub(super) const LESSONS: [(Lesson, usize); 15] = [
    (Lesson::Question, 38),
    (Lesson::Talk, 4),
    (Lesson::Magpie, 20),
    (Lesson::Difficulty, 2),
    (Lesson::Quality, 18),
    (Lesson::Classification, 2),
    (Lesson::Reward, 10),
    (Lesson::Constraint, 12),
    (Lesson::InstructionIds, 5),
    (Lesson::Arguments, 5),
    (Lesson::Rewrite, 7),
    (Lesson::Summary, 7),
    (Lesson::Faithfulness, 10),
    (Lesson::Preference, 4),
    (Lesson::Rating, 14),
];

/// The kinds of questions with their weights: higher where models learn slowly to look up what belongs together.
pub(super) const KINDS: [(Kind, usize); 13] = [
    (Kind::Owner, 2),
    (Kind::Place, 2),
    (Kind::Age, 2),
    (Kind::Job, 2),
    (Kind::Day, 2),
    (Kind::Most, 2),
    (Kind::Moves, 2),
    (Kind::Code, 2),
    (Kind::Next, 2),
    (Kind::Color, 1),
    (Kind::Backwards, 1),
    (Kind::Length, 1),
    (Kind::Sum, 1),
];

/// The categories of Magpie with questions, and the kinds of their questions.
pub(super) const QUESTION_CATEGORIES: [(&str, &[Kind]); 7] = [
    ("information-seeking", &[Kind::Place, Kind::Owner, Kind::Color, Kind::Job]),
    ("reasoning", &[Kind::Moves, Kind::Age]),
    ("planning", &[Kind::Day]),
    ("editing", &[Kind::Backwards, Kind::Next]),
    ("coding", &[Kind::Code]),
    ("math", &[Kind::Sum]),
    ("data-analysis", &[Kind::Most, Kind::Length]),
];

/// The categories of Magpie with conversations that have no single right answer, and their topics.
pub(super) const TALK_CATEGORIES: [(&str, Topic); 4] = [
    ("role-playing", Topic::Role),
    ("creative-writing", Topic::Scene),
    ("advice-seeking", Topic::Advice),
    ("brainstorming", Topic::Ideas),
];

/// Draws an element of a list by its weight.
pub(super) fn weighted<T: Copy>(list: &[(T, usize)], draw: &mut Draw) -> T {
    let mut rest = draw.below(list.iter().map(|(_, weight)| weight).sum());
    for (element, weight) in list {
        if rest < *weight {
            return *element;
        }
        rest -= weight;
    }
    unreachable!("the number drawn is below the sum of the weights")
}
