//! The pocket world: small English texts that are true by construction, endlessly many, and checkers that read
//! them back. What the pocket models are made of and measured on.
//!
//! Everything follows from a seed. Names, and the combinations of facts, are split by their hash between training and
//! test, and every question holds what is needed to answer it: what is measured is skill, not memory.

pub mod documents;
mod draw;
mod facts;
pub mod letters;
mod names;
pub mod questions;
pub mod requests;
mod scenes;
mod sentence;
pub mod stories;
pub mod talks;
mod words;

pub use draw::Draw;
pub use facts::Fact;
pub use names::Split;
pub use questions::{Kind, Question, Verdict, check};

/// The words of the world in a text (names, places, things, numbers), each once, in its order.
pub fn told(text: &str) -> Vec<&str> {
    let mut list: Vec<&str> = Vec::new();
    for word in words::of_world(text) {
        if !list.contains(&word) {
            list.push(word);
        }
    }
    list
}
