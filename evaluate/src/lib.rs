//! `smoleval`: scores models on benchmarks ([`benchmark`]) and on held-out rows ([`score`]) and shows the figures side by
//! side with their standard errors.
//!
//! Questions are judged by a checker that the caller provides ([`score::QuestionChecker`]), and the caller may hand in
//! tasks of its own ([`task::TasksOfFile`]); everything else is read from files.

pub mod benchmark;
pub mod report;
/// What code tasks run in.
pub use ::sandbox;
pub mod score;
pub mod statistics;
pub mod task;

mod columns;
mod figures;
mod format;
mod gains;
mod jsonl;
mod math;
mod replies;
mod results;
mod rouge;
mod table;
mod tasks;
mod words_to_number;

#[cfg(test)]
#[path = "../tests/shared/mod.rs"]
mod shared;
