//! Whether two answers in LaTeX are the same: two published normalizations as they are, and an equivalence of our own.
//! They disagree often, so every score names the one that it is from.

mod boxed;
mod expression;
mod hendrycks;
mod minerva;

pub(crate) use boxed::last_boxed;
pub(crate) use expression::are_equivalent;
pub(crate) use hendrycks::normalize as normalize_hendrycks;
pub(crate) use minerva::{final_answer, normalize as normalize_minerva};
