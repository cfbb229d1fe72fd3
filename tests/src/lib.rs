//! What the whole-system tests share: where the test data is, and a model that needs no download.

use smollm::{ModelConfig, weights};
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
            let values = hashed_values(&name, shape.iter().product());
            (name, shape, values)
        })
        .collect();
    weights::write(&folder.join("model.safetensors"), &tensors, weights::Precision::F32)
        .expect("the test folder can be written");
}

/// Uniform in ±0.0721687836 for matrices, 1 ± 0.1 for norms: SplitMix64 of the name's FNV-1a hash.
fn hashed_values(name: &str, count: usize) -> Vec<f32> {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    let norm = name.ends_with("norm.weight");
    let value = |index: u64| {
        let mut z: u64 = seed.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let unit = (z >> 40) as f32 * 2.0f32.powi(-24);
        let signed = 2.0 * unit - 1.0;
        if norm { 1.0 + signed * 0.1 } else { signed * 0.072_168_78 }
    };
    (0..count as u64).map(value).collect()
}
