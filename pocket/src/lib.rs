//! The pocket world: an unlimited number of small English texts that are true by construction, with checkers that read
//! them back. The pocket models are trained on it and measured on it.
//!
//! Everything follows from a seed. Names, and the combinations of facts that questions are about, are split into
//! training and test by their hash, and every question contains what is needed to answer it, so scores measure skill
//! and not memory. There is one exception: in documents, a follow-up question may be about a held-out combination.

pub mod audit;
pub mod score;
pub mod tasks;
pub mod texts;
pub mod web;
pub mod world;

mod comparison;
mod documents;
mod draw;
mod exchange;
mod facts;
mod lessons;
mod letters;
mod names;
mod output;
mod questions;
mod requests;
mod rows;
mod scenes;
mod split;
mod stories;
mod talks;
mod templates;
mod text;
mod vocabulary;

pub use draw::Draw;
pub use questions::{Kind, Question};
pub use requests::Request;
pub use split::Split;
