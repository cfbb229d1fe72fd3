//! Weights: one safetensors file, or an index and a file, against a small config.
#![no_main]

use checkpoint::ModelConfig;
use checkpoint::weights::Weights;
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;

thread_local! {
    static FOLDER: RefCell<tempfile::TempDir> = RefCell::new(tempfile::tempdir().expect("a folder for files"));
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    FOLDER.with_borrow(|folder| {
        let folder = folder.path();
        let index = folder.join("model.safetensors.index.json");
        let _ = std::fs::remove_file(&index);
        if first % 2 == 1 {
            std::fs::write(index, rest).expect("the file is written");
        } else {
            std::fs::write(folder.join("model.safetensors"), rest).expect("the file is written");
        }
        let _ = Weights::open(folder, &ModelConfig::smollm2_135m());
    });
});
