//! What a question asks for, written and read by the same templates.

use crate::draw::Draw;
use crate::templates::{Slots, read};
use crate::vocabulary::{Sort, sort_of};

/// The form of a question, without its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Where,
    Owner,
    Color,
    Oldest,
    Youngest,
    WhoWorks,
    Work,
    PlaceOfDay,
    DayOfPlace,
    After,
    Before,
    Backwards,
    Length,
    HowMany,
    Most,
    Fewest,
    Prints,
}

/// The sentences of each form, in the order of [`Form`]. `{t}` in `After` and `Before` may also be an animal, so these
/// are read without the templates' rules.
const FORMS: [(Form, &[&str]); 17] = [
    (Form::Where, &["Where is {n}?", "Where is {n} now?", "In which place is {n}?", "Where can I find {n}?"]),
    (Form::Owner, &["Who has the {c} {t}?", "Who owns the {c} {t}?", "Whose is the {c} {t}?"]),
    (Form::Color, &["What colour is {n}'s {t}?", "Which colour has the {t} of {n}?"]),
    (Form::Oldest, &["Who is the oldest?", "Who is the oldest of them?"]),
    (Form::Youngest, &["Who is the youngest?", "Who is the youngest of them?"]),
    (Form::WhoWorks, &["Who is the {j}?", "Who works as a {j}?"]),
    (Form::Work, &["What is the work of {n}?", "What does {n} work as?"]),
    (Form::PlaceOfDay, &["Where does {n} go on {d}?", "Which place does {n} visit on {d}?"]),
    (Form::DayOfPlace, &["When does {n} go to the {p}?", "On which day does {n} go to the {p}?"]),
    (Form::After, &["What comes after the {t}?", "What comes next after the {t}?"]),
    (Form::Before, &["What comes before the {t}?"]),
    (Form::Backwards, &["Write the list backwards.", "What is the list from the end to the start?"]),
    (Form::Length, &["How many things are on the list?", "How long is the list?"]),
    (Form::HowMany, &["How many {t}s does {n} have now?", "How many {t}s has {n} now?"]),
    (Form::Most, &["Who has the most {t}s?"]),
    (Form::Fewest, &["Who has the fewest {t}s?"]),
    (Form::Prints, &["print x", "What does this print?", "What is x at the end?"]),
];

/// A form with its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) form: Form,
    words: Slots,
}

impl Query {
    pub(super) fn new(form: Form, words: &[(char, &str)]) -> Self {
        Self { form, words: Slots::new(words) }
    }

    /// The word of a slot; empty if there is none.
    pub(super) fn get(&self, slot: char) -> &str {
        self.words.get(slot)
    }

    /// Another query; with the first word of this one if both have the same form and several words.
    pub(super) fn mixed_with(&self, other: &Self) -> Self {
        let mut words: Vec<(char, &str)> = other.words.iter().collect();
        let own: Vec<(char, &str)> = self.words.iter().collect();
        if self.form == other.form && words.len() > 1 {
            words[0] = own[0];
        }
        Self::new(other.form, &words)
    }

    /// Whether the question contains this word, which may be in the plural.
    pub(super) fn contains(&self, word: &str) -> bool {
        self.words.iter().any(|(_, own)| word.strip_prefix(own).is_some_and(|rest| matches!(rest, "" | "s")))
    }

    /// One of the sentences that ask it.
    pub(super) fn sentence(&self, draw: &mut Draw) -> String {
        let (_, templates) = FORMS[self.form as usize];
        // The first one ends a procedure; only the others are sentences.
        let templates = if self.form == Form::Prints { &templates[1..] } else { templates };
        self.fill(draw.pick(templates))
    }

    /// A template with the words of the query.
    pub(super) fn fill(&self, template: &str) -> String {
        self.words.fill(template)
    }

    /// The query that a sentence asks.
    pub(super) fn read(sentence: &str) -> Option<Self> {
        // Follow-ups begin with "And".
        let without_and = sentence.strip_prefix("And w").map(|rest| format!("W{rest}"));
        let sentence = without_and.as_deref().unwrap_or(sentence);
        for (form, templates) in FORMS {
            for template in templates {
                if matches!(form, Form::After | Form::Before) {
                    let (start, end) = template.split_once("{t}")?;
                    let word = sentence.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
                    if let Some(word) =
                        word.filter(|word| matches!(sort_of(word), Some(Sort::Thing | Sort::Animal)))
                    {
                        return Some(Self::new(form, &[('t', word)]));
                    }
                } else if let Some(words) = read(template, sentence) {
                    return Some(Self::new(form, &words));
                }
            }
        }
        None
    }
}
