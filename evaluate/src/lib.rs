//! `smoleval`: scores models on benchmarks ([`benchmark`]) and on held-out rows ([`score`]) and shows the figures side by
//! side with their standard errors.
//!
//! Questions are judged by a checker that the caller provides ([`score::QuestionChecker`]); everything else is read
//! from files.

pub mod benchmark;
pub mod report;
pub mod sandbox;
pub mod score;

mod columns;
mod figures;
mod format;
mod gains;
mod jsonl;
mod math;
mod replies;
mod results;
mod statistics;
mod table;
mod task;
mod tasks;

/// The folder of shared test data, from `SMOL_SHARED` or beside the checkout; `None` (said in one line) where there is
/// none.
#[cfg(test)]
fn shared_data() -> Option<std::path::PathBuf> {
    use std::path::{Path, PathBuf};
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::env::var_os("SMOL_SHARED").map_or(beside, PathBuf::from).join("data");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var("SMOL_REQUIRE_SHARED").as_deref() != Ok("1"), "{} is not there", folder.display());
    println!("skipped: no shared test data at {} (set SMOL_SHARED)", folder.display());
    None
}
