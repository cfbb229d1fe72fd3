//! The table of kernels beside their sources; everything else on the emulated card.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

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
    use crate::gpu::compare::{Extent, Finding, Part, golden_gradients, models, operations};
    use crate::gpu::plan::Plan;
    use crate::gpu::trainer::Trainer;
    use crate::model::Parameters;
    use crate::optimizer::Optimizer;
    use crate::recipe::Precision;
    use kernels::Element;
    use smollm::ModelConfig;
    use std::path::Path;
    use std::sync::Arc;

    #[track_caller]
    fn assert_right(findings: &[Finding]) {
        assert!(!findings.is_empty());
        let wrong: Vec<String> =
            findings.iter().filter(|finding| !finding.right()).map(ToString::to_string).collect();
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), findings.len(), wrong.join("\n"));
    }

    #[test]
    fn every_operation_is_the_cpus() {
        for part in Part::ALL {
            assert_right(&operations(&Card::emulated(), part, Extent::Small).unwrap());
        }
    }

    #[test]
    fn whole_models_are_the_cpus() {
        assert_right(&models(&Card::emulated()).unwrap());
    }

    /// What the three loops call is the same on either device. (With both features the card is a real one.)
    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_learner_on_a_card_learns_what_it_learns_on_the_cpu() {
        use crate::device::{Device, MicroBatch};
        use crate::learner::Learner;
        use crate::model::{Batch, Sequence};
        use crate::recipe::Training;
        let config = ModelConfig {
            layers: 2,
            hidden_size: 48,
            heads: 2,
            kv_heads: 1,
            head_dim: 8,
            intermediate_size: 40,
            vocab_size: 70,
            initializer_range: 0.1,
            ..ModelConfig::smollm2_135m()
        };
        let batch = Batch::new([0u32, 30].map(|first| {
            let ids: Vec<u32> = (first..first + 25).map(|id| id * 7 % 70).collect();
            Sequence { trained: vec![true; ids.len()].into(), ids: ids.into() }
        }));
        let learned = [Device::Cpu, Device::Cuda(0)].map(|device| {
            let training = Training {
                device,
                micro_batch_tokens: MicroBatch::Tokens(32),
                precision: Precision::F32,
                ..Training::default()
            };
            let parameters = Parameters::random(&config, 1, false);
            let optimizer = Optimizer::new(parameters.values.len());
            let mut learner = Learner::<f32>::new(parameters, optimizer, 64, &training).unwrap();
            learner.set_rope(500.0, 25).unwrap();
            let losses: Vec<f64> = (0..8)
                .map(|_| {
                    let losses = learner.gradient(&batch, 1.0 / batch.targets.len() as f32).unwrap();
                    learner.update(1e-2).unwrap();
                    losses.iter().map(|token| f64::from(token.log_probability)).sum()
                })
                .collect();
            learner.bring_home().unwrap();
            assert!(losses[7] > losses[0], "{losses:?}");
            assert_eq!(learner.optimizer.step, 8);
            // Gradients that are not finite change nothing, and the next step is not theirs.
            learner.gradient(&batch, f32::INFINITY).unwrap();
            assert!(learner.update(1e-2).unwrap_err().to_string().contains("nothing of this step was kept"));
            learner.bring_home().unwrap();
            assert_eq!(learner.optimizer.step, 8);
            (losses, learner.parameters.values)
        });
        let [(cpu_losses, cpu), (losses, card)] = learned;
        for (found, expected) in losses.iter().zip(&cpu_losses) {
            assert!((found / expected - 1.0).abs() < 1e-4, "{losses:?}, {cpu_losses:?}");
        }
        let apart = |a: &f32, b: &f32| (a - b).abs() <= 1e-3 * (1.0 + b.abs());
        assert!(card.iter().zip(&cpu).all(|(a, b)| apart(a, b)));
    }

    /// What a trainer allocates is what the estimate said, but for tables that do not grow with the batch.
    #[test]
    fn the_estimate_is_what_is_allocated() {
        let config = ModelConfig {
            layers: 2,
            hidden_size: 96,
            heads: 3,
            kv_heads: 1,
            intermediate_size: 72,
            vocab_size: 300,
            ..ModelConfig::smollm2_135m()
        };
        fn allocated<E: Element>(config: &ModelConfig, checkpointed: bool, tokens: usize) -> u64 {
            let card = Card::emulated();
            let parameters = Parameters::random(config, 1, false);
            let optimizer = Optimizer::new(parameters.values.len());
            Trainer::<E>::new(Arc::clone(&card), &parameters, &optimizer, 128, checkpointed, tokens).unwrap();
            card.peak()
        }
        for (checkpointed, tokens) in [(false, 500), (true, 500), (false, 77)] {
            for precision in [Precision::F32, Precision::Bf16] {
                let found = match precision {
                    Precision::F32 => allocated::<f32>(&config, checkpointed, tokens),
                    Precision::Bf16 => allocated::<half::bf16>(&config, checkpointed, tokens),
                };
                let estimate = Plan::new(&config, precision, checkpointed).estimate(tokens);
                let planned: u64 = estimate
                    .parts
                    .iter()
                    .filter(|(name, _)| *name != "runtime")
                    .map(|(_, bytes)| bytes)
                    .sum();
                let apart = found as i64 - planned as i64;
                assert!(apart.abs() < 64 << 10, "{found} allocated, {planned} planned: {}", estimate.line());
            }
        }
    }

    #[test]
    fn gradients_are_transformers() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/goldens/training/gradients_tiny.safetensors");
        assert_right(&golden_gradients(&Card::emulated(), &file).unwrap());
    }
}
