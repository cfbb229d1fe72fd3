//! Whole-system tests: real files, real processes, numbers from other implementations.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

/// What a request may ask of the engine, and that an answer depends on nothing else.
mod answers;
/// Logits, greedy answers and scores against transformers.
mod forward;
/// `smoltalk gen` from command line to dataset: whole runs, kills, bad input.
mod generation;
/// Rows on disk: every layout, every fault.
mod rows;
/// A teacher that says what a script says, good and bad.
mod scripted_teacher;
/// Text and conversations against Hugging Face's tokenizers and templates.
mod tokens;
