//! Tests of the whole server: over HTTP, in this process, with a scripted engine and with a real model.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod behavior;
mod bounds;
mod client;
mod compatible;
mod continued;
mod description;
mod encoders;
mod log;
mod on_demand;
mod paths;
mod recorded;
pub(crate) mod scripted;
mod stories;
mod strangers;

use std::path::{Path, PathBuf};

/// The folder of a small real model, in `SMOL_SHARED` or beside the checkout; `None`, with a line of output, where it is
/// missing.
pub(crate) fn stories_folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("SMOL_SHARED").map_or(beside, PathBuf::from);
    let folder = shared.join("data/models/stories260k");
    if folder.is_dir() {
        return Some(folder);
    }
    let required = std::env::var("SMOL_REQUIRE_SHARED").as_deref() == Ok("1");
    assert!(!required, "SMOL_REQUIRE_SHARED=1, but {} does not exist", folder.display());
    println!("skipped: {} does not exist (set SMOL_SHARED)", folder.display());
    None
}
