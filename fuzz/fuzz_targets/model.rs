//! Models of fastText, and the list of a repository's files that the hub sends.
#![no_main]

use curate::fasttext::Model;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, mut rest)) = bytes.split_first() else { return };
    if first % 2 == 0 {
        hub::fuzzing::listing(rest);
    } else if let Ok(model) = Model::read(&mut rest) {
        let _ = model.predict("The boat leaves at seven, le bateau part à sept heures.");
    }
});
