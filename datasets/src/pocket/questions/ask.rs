//! What a question asks for, written and read by the same templates.

use super::super::Draw;
use super::super::sentence::{Slots, read};
use super::super::words::{Sort, sort_of};

/// A question's form; its words are in slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Where,
    Owner,
    Colour,
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

/// `{t}` in `After` and `Before` may be an animal, too, so these are read by hand.
const FORMS: [(Form, &[&str]); 17] = [
    (Form::Where, &["Where is {n}?", "Where is {n} now?", "In which place is {n}?", "Where can I find {n}?"]),
    (Form::Owner, &["Who has the {c} {t}?", "Who owns the {c} {t}?", "Whose is the {c} {t}?"]),
    (Form::Colour, &["What colour is {n}'s {t}?", "Which colour has the {t} of {n}?"]),
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

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) form: Form,
    words: Slots,
}

impl Ask {
    pub(super) fn new(form: Form, words: &[(char, &str)]) -> Self {
        Self { form, words: Slots::new(words) }
    }

    pub(super) fn get(&self, slot: char) -> &str {
        self.words.get(slot)
    }

    /// Another question with the first of this one's words where it has several and both are of one form.
    pub(super) fn crossed(&self, other: &Self) -> Self {
        let mut words: Vec<(char, &str)> = other.words.iter().collect();
        let own: Vec<(char, &str)> = self.words.iter().collect();
        if self.form == other.form && words.len() > 1 {
            words[0] = own[0];
        }
        Self::new(other.form, &words)
    }

    /// Whether the question names this, or several of it.
    pub(super) fn names(&self, word: &str) -> bool {
        self.words
            .iter()
            .any(|(_, named)| word.strip_prefix(named).is_some_and(|rest| matches!(rest, "" | "s")))
    }

    pub(super) fn sentence(&self, draw: &mut Draw) -> String {
        let (_, templates) = FORMS[self.form as usize];
        // The first one ends a procedure; asked in words are the others.
        let templates = if self.form == Form::Prints { &templates[1..] } else { templates };
        self.fill(draw.pick(templates))
    }

    pub(super) fn fill(&self, template: &str) -> String {
        self.words.fill(template)
    }

    pub(super) fn read(sentence: &str) -> Option<Self> {
        // Follow-ups begin with "And".
        let lowered = sentence.strip_prefix("And w").map(|rest| format!("W{rest}"));
        let sentence = lowered.as_deref().unwrap_or(sentence);
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
