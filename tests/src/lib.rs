//! What the whole-system tests share: where the test data is, and a model that needs no download.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod crash;

use checkpoint::{ModelConfig, weights};
use std::path::{Path, PathBuf};

/// The shared data folder, from `SMOL_SHARED` or beside the checkout; `None` (said in one line) where
/// there is none.
///
/// # Panics
/// When it is absent and `SMOL_REQUIRE_SHARED=1` demands it.
pub fn shared_data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::env::var_os("SMOL_SHARED").map_or(beside, PathBuf::from).join("data");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(
        std::env::var("SMOL_REQUIRE_SHARED").as_deref() != Ok("1"),
        "SMOL_REQUIRE_SHARED=1, but {} is not there",
        folder.display()
    );
    println!("skipped: no shared test data at {} (set SMOL_SHARED)", folder.display());
    None
}

/// SmolLM2-135M-Instruct as a Q4_1 GGUF file, in the folder that `SMOL_REAL_MODEL` names (`tests/real_model` prints it);
/// `None` (said in one line) where there is none.
///
/// # Panics
/// When it is absent and `SMOL_REQUIRE_REAL_MODEL=1` demands it.
pub fn real_model() -> Option<PathBuf> {
    let folder = std::env::var_os("SMOL_REAL_MODEL").map(PathBuf::from);
    let file = folder.map(|folder| folder.join("SmolLM2-135M-Instruct.Q4_1.gguf"));
    if let Some(file) = file.filter(|file| file.is_file()) {
        return Some(file);
    }
    let is_required = std::env::var("SMOL_REQUIRE_REAL_MODEL").as_deref() == Ok("1");
    assert!(!is_required, "SMOL_REQUIRE_REAL_MODEL=1, but `SMOL_REAL_MODEL` names no folder with the model");
    println!("skipped: no real model (set SMOL_REAL_MODEL to what tests/real_model prints)");
    None
}

/// Gemma 3 270M as a Q4_K_M GGUF file, if it is in the folder that `SMOL_REAL_MODEL` names: it is no part of what
/// `tests/real_model` fetches (`goldens/make_answer_goldens.py` says where it is from).
pub fn gemma_model() -> Option<PathBuf> {
    let folder = std::env::var_os("SMOL_REAL_MODEL").map(PathBuf::from)?;
    let places = ["gemma-3-270m-q4_k_m.gguf", "gemma/gemma-3-270m-q4_k_m.gguf"];
    let file = places.map(|place| folder.join(place)).into_iter().find(|file| file.is_file());
    if file.is_none() {
        println!("skipped: no gemma-3-270m-q4_k_m.gguf in {}", folder.display());
    }
    file
}

/// A file of this package's `goldens` folder.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens").join(name)
}

/// Writes weights that follow from the tensors' names alone, by the formula that
/// `goldens/make_engine_goldens.py` repeats in Python.
///
/// # Panics
/// When the folder cannot be written.
pub fn write_hashed_weights(folder: &Path, config: &ModelConfig) {
    let tensors: Vec<_> = weights::expected_tensors(config)
        .into_iter()
        .map(|(name, shape)| {
            let values = random::hashed_values(&name, shape.iter().product());
            (name, shape, values)
        })
        .collect();
    weights::write(&folder.join("model.safetensors"), &tensors, weights::Precision::F32)
        .expect("the test folder can be written");
}
