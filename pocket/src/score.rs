//! `smolpocket score`: `smoleval score` with the questions of the pocket world, which only its checker can judge, and with
//! its tasks.

use crate::questions::{Verdict, check};
use crate::tasks::tasks;
use anyhow::Result;
use evaluate::score::{Options, QuestionChecker};

/// Scores models on the rows that `smolpocket world` holds out; returns the exit code.
///
/// # Errors
/// Those of `smoleval score`.
pub fn run(options: &Options) -> Result<u8> {
    evaluate::score::run(options, Some(QuestionChecker { is_right }), &[tasks])
}

/// Whether a reply answers a question of the world; the error says why the question has no answer.
fn is_right(question: &str, reply: &str) -> Result<bool, &'static str> {
    match check(&[question], reply) {
        Verdict::Right => Ok(true),
        Verdict::Wrong => Ok(false),
        Verdict::Unanswerable => Err("the question does not contain its answer"),
        Verdict::Unreadable => Err("it is not a question of the pocket world"),
    }
}
