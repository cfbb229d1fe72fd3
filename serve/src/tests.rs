//! Tests of the server as a whole: over HTTP, in this process, against a scripted engine and a real model.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod behaviour;
mod client;
pub(crate) mod scripted;
mod stories;

use std::path::{Path, PathBuf};

/// The folder of a small real model, from `SMOL_SHARED` or beside the checkout; `None`, said in one line, where it
/// is not.
pub(crate) fn stories_folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("SMOL_SHARED").map_or(beside, PathBuf::from);
    let folder = shared.join("data/models/stories260k");
    if folder.is_dir() {
        return Some(folder);
    }
    let required = std::env::var("SMOL_REQUIRE_SHARED").as_deref() == Ok("1");
    assert!(!required, "SMOL_REQUIRE_SHARED=1, but {} is not there", folder.display());
    println!("skipped: no {} (set SMOL_SHARED)", folder.display());
    None
}
