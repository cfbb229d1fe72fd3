//! Rules about a text: each measures it, and drops it with the value that decided and the limit. They decide as datatrove's
//! filters do, in their order, so that a page is dropped for the same reason.

mod c4;
mod fineweb;
mod gopher;
mod pii;
mod refinedweb;
mod repetition;

#[cfg(test)]
mod tests;

pub use c4::C4;
pub use fineweb::FineWeb;
pub use gopher::GopherQuality;
pub use pii::Pii;
pub use refinedweb::RefinedWebLines;
pub use repetition::GopherRepetition;

use crate::words;
use std::cell::OnceCell;

/// A text and its words, which are split once for all rules.
#[derive(Debug)]
pub struct Text<'a> {
    text: &'a str,
    words: OnceCell<Vec<&'a str>>,
}

impl<'a> Text<'a> {
    /// A text.
    pub fn new(text: &'a str) -> Self {
        Self { text, words: OnceCell::new() }
    }

    /// The text as it is.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// Its words, as spaCy splits English.
    pub fn words(&self) -> &[&'a str] {
        self.words.get_or_init(|| words::words(self.text))
    }
}

/// What a rule found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// What was measured, by name: up to the value that decided, all of them for a text that is kept.
    pub values: Vec<(&'static str, f64)>,
    /// Why the text is dropped; `None` for one that is kept.
    pub dropped: Option<Dropped>,
    /// The text as the rule leaves it, where it changes it.
    pub text: Option<String>,
}

/// Why a text is dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct Dropped {
    /// The reason, by the name that datatrove gives it.
    pub reason: String,
    /// The value that decided.
    pub value: f64,
    /// The limit that it was compared with.
    pub limit: f64,
}

impl Outcome {
    /// Measures a value; returns whether the text is dropped because it is below the limit.
    fn is_below(&mut self, name: &'static str, value: f64, limit: Option<f64>, reason: &str) -> bool {
        self.measure(name, value);
        self.drop_if(limit.is_some_and(|limit| value < limit), reason, value, limit)
    }

    /// Measures a value; returns whether the text is dropped because it is above the limit.
    fn is_above(&mut self, name: &'static str, value: f64, limit: Option<f64>, reason: &str) -> bool {
        self.measure(name, value);
        self.drop_if(limit.is_some_and(|limit| value > limit), reason, value, limit)
    }

    fn measure(&mut self, name: &'static str, value: f64) {
        if !self.values.iter().any(|(known, _)| *known == name) {
            self.values.push((name, value));
        }
    }

    fn drop_if(&mut self, is_out: bool, reason: &str, value: f64, limit: Option<f64>) -> bool {
        if is_out {
            self.dropped =
                Some(Dropped { reason: reason.to_owned(), value, limit: limit.unwrap_or_default() });
        }
        is_out
    }
}

/// The share of a whole; 0 of nothing.
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
