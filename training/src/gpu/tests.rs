//! The kernels' structs are compared with the CUDA sources; everything else runs on the emulated GPU.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::kernels::signatures::Signature;
use super::kernels::*;
use half::bf16;
use std::collections::BTreeMap;
use std::path::Path;

/// Returns `KERNEL(threads, name, parameters) {` of all sources: name to parameters (name, type).
fn declared() -> BTreeMap<String, Vec<(String, String)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let sources = files.filter(|path| path.extension().is_some_and(|extension| extension == "cu"));
    let mut kernels = BTreeMap::new();
    for source in sources.map(|path| std::fs::read_to_string(path).unwrap()) {
        for text in source.split("\nKERNEL(").skip(1) {
            let text = text.split_once(") {").expect("a kernel has a body").0;
            let mut parts = text.split(',').map(|part| part.replace("__restrict__", ""));
            let name = parts.nth(1).unwrap().trim().to_owned();
            let parameter = |part: String| {
                let words: Vec<&str> = part.split_whitespace().collect();
                let (name, c_type) = words.split_last().unwrap();
                ((*name).to_owned(), c_type.join(" "))
            };
            kernels.insert(name, parts.map(parameter).collect());
        }
    }
    kernels
}

/// Returns the signatures of all structs.
fn launched() -> Vec<Signature> {
    macro_rules! both {
        ($($kernel:ident),*) => { [$( $kernel::<f32>::signature(), $kernel::<bf16>::signature() ),*] };
    }
    let typed = both!(
        EmbeddingForward,
        NormForward,
        NormBackward,
        Rotate,
        SwigluForward,
        SwigluBackward,
        CrossEntropyForward,
        CrossEntropyGradient,
        AttentionForward,
        AttentionDelta,
        AttentionBackwardQuery,
        AttentionBackwardKey
    );
    let others = [
        EmbeddingBackward::signature(),
        NormBackwardWeight::signature(),
        CrossEntropyGradientHalved::signature(),
        SquaredNorm::signature(),
        GradientNorm::signature(),
        AdamW::signature(),
        CastToBf16::signature(),
        Fill::signature(),
        AttentionForward64::signature(),
        AttentionBackwardQuery64::signature(),
        AttentionBackwardKey64::signature(),
        AttentionKeySums64::signature(),
        ProductF32::signature(),
        ProductBf16::signature(),
        ProductBf16F32::signature(),
    ];
    typed.into_iter().chain(others).collect()
}

#[test]
fn every_launch_has_the_kernels_own_parameters() {
    let (declared, launched) = (declared(), launched());
    assert!(launched.len() > 30 && declared.len() >= 35, "{} of {}", launched.len(), declared.len());
    for (name, parameters) in launched {
        assert_eq!(Some(&parameters), declared.get(&name), "{name}");
    }
}

#[cfg(feature = "emulated")]
mod emulated {
    use crate::backend::{Backend, TrainingState};
    use crate::batch::{Batch, Sequence};
    use crate::gpu::compare::{Comparison, Extent, Part, golden_gradients, models, operations};
    use crate::gpu::device::Gpu;
    use crate::gpu::trainer::Trainer;
    use crate::memory::Plan;
    use crate::optimizer::Optimizer;
    use crate::parameters::Parameters;
    use crate::settings::{Kept, Precision};
    use checkpoint::ModelConfig;
    use half::bf16;
    use kernels::Element;
    use std::path::Path;
    use std::sync::Arc;

    #[track_caller]
    fn assert_all_pass(comparisons: &[Comparison]) {
        assert!(!comparisons.is_empty());
        let wrong: Vec<String> =
            comparisons.iter().filter(|comparison| !comparison.passes()).map(ToString::to_string).collect();
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), comparisons.len(), wrong.join("\n"));
    }

    #[test]
    fn every_operation_is_the_cpus() {
        for part in Part::ALL {
            assert_all_pass(&operations(&Gpu::emulated(), part, Extent::Small).unwrap());
        }
    }

    #[test]
    fn whole_models_are_the_cpus() {
        assert_all_pass(&models(&Gpu::emulated()).unwrap());
    }

    /// The kernels that stand in for cuBLAS compute what it does, in every way that operands are read.
    #[test]
    fn rows_are_the_cpus_without_cublas() {
        for part in [Part::RowsF32, Part::RowsBf16] {
            assert_all_pass(&operations(&Gpu::emulated_without_cublas(), part, Extent::Small).unwrap());
        }
    }

    #[test]
    fn an_id_without_a_row_is_refused_before_anything_is_computed() {
        let config = ModelConfig {
            layers: 1,
            hidden_size: 16,
            heads: 1,
            kv_heads: 1,
            head_dim: 8,
            intermediate_size: 16,
            vocab_size: 70,
            ..ModelConfig::smollm2_135m()
        };
        let parameters = Parameters::random(&config, 1, false);
        let optimizer = Optimizer::new(parameters.values.len());
        let state = TrainingState { parameters, optimizer };
        let mut trainer = Trainer::<f32>::new(Gpu::emulated(), state, 64, Kept::Layers, 64).unwrap();
        let batch = |last: u32| {
            Batch::new([Sequence { ids: vec![1, 2, last].into(), trained: vec![true; 3].into() }])
        };
        trainer.gradient(&batch(69), 0.1).unwrap();
        let error = trainer.gradient(&batch(70), 0.1).unwrap_err().to_string();
        assert!(error.contains("token id 70") && error.contains("has 70 tokens"), "{error}");
    }

    #[test]
    fn a_profile_has_every_launch_by_name() {
        let config = ModelConfig {
            layers: 2,
            hidden_size: 64,
            heads: 1,
            kv_heads: 1,
            intermediate_size: 48,
            vocab_size: 70,
            ..ModelConfig::smollm2_135m()
        };
        let gpu = Gpu::emulated();
        let parameters = Parameters::random(&config, 1, false);
        let optimizer = Optimizer::new(parameters.values.len());
        let state = TrainingState { parameters, optimizer };
        let mut trainer = Trainer::<bf16>::new(Arc::clone(&gpu), state, 64, Kept::Layers, 64).unwrap();
        let batch = Batch::new([Sequence { ids: (0..40).collect(), trained: vec![true; 40].into() }]);
        trainer.gradient(&batch, 0.1).unwrap();
        gpu.start_profile();
        trainer.gradient(&batch, 0.1).unwrap();
        let launches = gpu.take_profile().unwrap();
        let count = |name: &str| launches.iter().filter(|launch| launch.name.starts_with(name)).count();
        assert_eq!(count("attention_forward_64"), 2);
        // Two in a layer and the last one; those of the layers once more in the backward pass.
        assert_eq!(count("norm_forward_bf16"), 9);
        // Twelve in a layer, three in the head.
        assert_eq!(count("product"), 27);
        assert!(launches.iter().all(|launch| launch.bytes > 0 && launch.seconds >= 0.0));
        let head =
            launches.iter().find(|launch| launch.name.starts_with("product 39 x 70 x 64, bf16 to f32"));
        assert_eq!(head.unwrap().flops, 2.0 * 39.0 * 70.0 * 64.0);
        // Nothing is recorded after it was taken.
        trainer.gradient(&batch, 0.1).unwrap();
        assert!(gpu.take_profile().unwrap().is_empty());
    }

    /// What training loops call is the same on either device. (With both features the GPU is a real one.)
    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_learner_on_a_gpu_learns_what_it_learns_on_the_cpu() {
        use crate::learner::Learner;
        use crate::optimizer::OptimizerSettings;
        use crate::settings::{ComputeSettings, Device};
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
        let settings = OptimizerSettings {
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.01,
            max_grad_norm: 1.0,
        };
        let batch = Batch::new([0u32, 30].map(|first| {
            let ids: Vec<u32> = (first..first + 25).map(|id| id * 7 % 70).collect();
            Sequence { trained: vec![true; ids.len()].into(), ids: ids.into() }
        }));
        let runs = [Device::Cpu, Device::Cuda(0)].map(|device| {
            let compute = ComputeSettings {
                device,
                micro_batch_tokens: 32,
                precision: Precision::F32,
                layer_checkpointing: false,
                keep_norms: false,
            };
            let parameters = Parameters::random(&config, 1, false);
            let optimizer = Optimizer::new(parameters.values.len());
            let state = TrainingState { parameters, optimizer };
            let mut learner = Learner::new(state, 64, &compute, settings).unwrap();
            learner.set_rope(500.0, 25).unwrap();
            let losses: Vec<f64> = (0..8)
                .map(|_| {
                    let losses = learner.gradient(&batch, 1.0 / batch.targets.len() as f32).unwrap();
                    learner.update(1e-2).unwrap();
                    losses.iter().map(|token| f64::from(token.log_probability)).sum()
                })
                .collect();
            learner.sync_to_host().unwrap();
            assert!(losses[7] > losses[0], "{losses:?}");
            assert_eq!(learner.state().optimizer.step, 8);
            // Gradients that are not finite change nothing and do not count as a step.
            learner.gradient(&batch, f32::INFINITY).unwrap();
            assert!(learner.update(1e-2).unwrap_err().to_string().contains("the step was not applied"));
            learner.sync_to_host().unwrap();
            assert_eq!(learner.state().optimizer.step, 8);
            (losses, learner.state().parameters.values.to_vec())
        });
        let [(cpu_losses, cpu), (losses, gpu)] = runs;
        for (actual, expected) in losses.iter().zip(&cpu_losses) {
            assert!((actual / expected - 1.0).abs() < 1e-4, "{losses:?}, {cpu_losses:?}");
        }
        let close = |a: &f32, b: &f32| (a - b).abs() <= 1e-3 * (1.0 + b.abs());
        assert!(gpu.iter().zip(&cpu).all(|(a, b)| close(a, b)));
    }

    /// A trainer allocates what the estimate counts, apart from tables that do not grow with the batch.
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
        fn allocated<E: Element>(config: &ModelConfig, kept: Kept, tokens: usize) -> u64 {
            let gpu = Gpu::emulated();
            let parameters = Parameters::random(config, 1, false);
            let optimizer = Optimizer::new(parameters.values.len());
            let state = TrainingState { parameters, optimizer };
            Trainer::<E>::new(Arc::clone(&gpu), state, 128, kept, tokens).unwrap();
            gpu.peak()
        }
        let cases =
            [(Kept::Layers, 500), (Kept::Inputs, 500), (Kept::Layers, 77), (Kept::LayersAndNorms, 500)];
        for (kept, tokens) in cases {
            for precision in [Precision::F32, Precision::Bf16] {
                let allocated = match precision {
                    Precision::F32 => allocated::<f32>(&config, kept, tokens),
                    Precision::Bf16 => allocated::<bf16>(&config, kept, tokens),
                };
                let mut plan = Plan::new(&config, precision, kept == Kept::Inputs);
                if kept == Kept::LayersAndNorms {
                    plan = plan.with_norms_that_fit(tokens, u64::MAX);
                }
                let estimate = plan.estimate(tokens);
                let parts = estimate.parts.iter().filter(|(name, _)| *name != "runtime");
                let planned: u64 = parts.map(|(_, bytes)| bytes).sum();
                let apart = allocated as i64 - planned as i64;
                assert!(
                    apart.abs() < 64 << 10,
                    "{allocated} allocated, {planned} planned: {}",
                    estimate.line()
                );
            }
        }
    }

    #[test]
    fn gradients_are_transformers() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/goldens/training/gradients_tiny.safetensors");
        assert_all_pass(&golden_gradients(&Gpu::emulated(), &file).unwrap());
    }
}
