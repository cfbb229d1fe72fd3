//! A GGUF file: header, metadata, tensors of every type; and if it is a model, its blocks packed as they are and a few
//! tokens run.
#![no_main]

use checkpoint::Checkpoint;
use checkpoint::gguf::GgufFile;
use engine::{CacheFormat, Chunk, KvCache, LogitPositions, Model};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;

/// Tables of more positions are large, whatever the file holds.
const MOST_POSITIONS: usize = 4096;

thread_local! {
    static FOLDER: RefCell<tempfile::TempDir> = RefCell::new(tempfile::tempdir().expect("a folder for files"));
}

fuzz_target!(|bytes: &[u8]| {
    FOLDER.with_borrow(|folder| {
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, bytes).expect("the file is written");
        let Ok(file) = GgufFile::open(&path) else { return };
        for name in file.names() {
            let tensor = file.tensor(name).expect("a tensor of the list");
            let mut values = vec![0.0; tensor.shape.iter().product()];
            tensor.kind.dequantize(tensor.bytes, &mut values);
        }
        let Ok(checkpoint) = Checkpoint::open(path.to_str().expect("a UTF-8 path"), None) else { return };
        if checkpoint.config.max_positions > MOST_POSITIONS || checkpoint.config.max_positions < 2 {
            return;
        }
        let model = Model::load(&checkpoint, None, CacheFormat::F16);
        let mut cache = KvCache::new();
        let logits = LogitPositions::Last;
        model.forward(&mut [Chunk { ids: &[0, 0], cache: &mut cache, logits, hidden_sum: None, adapter: None }]);
    });
});
