//! The table of kernels beside their sources; everything else on the emulated card.

use super::kernels::signatures;
use std::collections::BTreeMap;
use std::path::Path;

/// `KERNEL(threads, name, parameters) {` of all sources: name to parameters (name, type).
fn declared() -> BTreeMap<String, Vec<(String, String)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let sources = files.filter(|path| path.extension().is_some_and(|extension| extension == "cu"));
    let mut found = BTreeMap::new();
    for source in sources.map(|path| std::fs::read_to_string(path).unwrap()) {
        for text in source.split("\nKERNEL(").skip(1) {
            let text = text.split_once(") {").expect("a kernel has a body").0;
            let mut parts = text.split(',').map(|part| part.replace("__restrict__", ""));
            let name = parts.nth(1).unwrap().trim().to_owned();
            let parameter = |part: String| {
                let words: Vec<&str> = part.split_whitespace().collect();
                let (name, written) = words.split_last().unwrap();
                ((*name).to_owned(), written.join(" "))
            };
            found.insert(name, parts.map(parameter).collect());
        }
    }
    found
}

#[test]
fn every_launch_has_the_kernels_own_parameters() {
    let declared = declared();
    let all = signatures::all();
    assert!(all.len() > 30 && declared.len() >= 35, "{} of {}", all.len(), declared.len());
    for (name, parameters) in all {
        assert_eq!(Some(&parameters), declared.get(&name), "{name}");
    }
}

#[cfg(feature = "emulated")]
mod emulated {
    use crate::gpu::card::Card;
    use crate::gpu::compare::{Extent, Finding, all, golden_gradients, models};
    use std::path::Path;

    #[track_caller]
    fn assert_right(findings: &[Finding]) {
        assert!(!findings.is_empty());
        let wrong: Vec<String> =
            findings.iter().filter(|finding| !finding.right()).map(ToString::to_string).collect();
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), findings.len(), wrong.join("\n"));
    }

    #[test]
    fn every_operation_is_the_cpus() {
        assert_right(&all(&Card::emulated(), Extent::Small).unwrap());
    }

    #[test]
    fn whole_models_are_the_cpus() {
        assert_right(&models(&Card::emulated()).unwrap());
    }

    #[test]
    fn gradients_are_transformers() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/goldens/training/gradients_tiny.safetensors");
        assert_right(&golden_gradients(&Card::emulated(), &file).unwrap());
    }
}
