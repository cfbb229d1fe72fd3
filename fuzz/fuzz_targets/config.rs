//! A `config.json`, and the tensors that it asks for.
#![no_main]

use checkpoint::ModelConfig;
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;

thread_local! {
    static FOLDER: RefCell<tempfile::TempDir> = RefCell::new(tempfile::tempdir().expect("a folder for files"));
}

fuzz_target!(|bytes: &[u8]| {
    FOLDER.with_borrow(|folder| {
        let path = folder.path().join("config.json");
        std::fs::write(&path, bytes).expect("the file is written");
        if let Ok(config) = ModelConfig::read(&path) {
            let _ = config.to_json();
        }
    });
});
