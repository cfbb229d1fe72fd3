use crate::adapters::Runs;
use crate::families::open;
use crate::lora::{COMPUTE, OPTIMIZER};
use crate::programs::{killed_and_resumed, metric, posttrain, refused, succeeds};
use checkpoint::Checkpoint;
use checkpoint::adapter::{AdapterConfig, LinearModule};
use checkpoint::gguf::{TensorType, quantize};
use checkpoint::weights::{Precision, expected_tensors, write};
use serde_json::Value;
use std::path::Path;
use training::{
    AdapterSettings, Base, Batch, ComputeSettings, Learner, Optimizer, OptimizerSettings, Sequence,
    TrainingState, scorer_of_base,
};

/// Copies a checkpoint's small files, and its weights in f32 as `change` makes them.
fn copied(from: &Path, checkpoint: &Checkpoint, into: &Path, change: impl Fn(&str, usize, &mut [f32])) {
    std::fs::create_dir_all(into).unwrap();
    for name in ["config.json", "tokenizer.json"] {
        std::fs::copy(from.join(name), into.join(name)).unwrap();
    }
    let tensors: Vec<(String, Vec<usize>, Vec<f32>)> = expected_tensors(&checkpoint.config)
        .into_iter()
        .map(|(name, shape)| {
            let mut values = checkpoint.weights.tensor(&name);
            change(&name, *shape.last().unwrap(), &mut values);
            (name, shape, values)
        })
        .collect();
    write(&into.join("model.safetensors"), &tensors, Precision::F32).unwrap();
}

fn is_linear(name: &str) -> bool {
    LinearModule::ALL.iter().any(|module| name.ends_with(&format!("{}.weight", module.name())))
}

/// Log-probabilities and the gradient of an adapter whose matrices are random, over a frozen base.
fn gradients(base: Base, precision: training::Precision) -> (Vec<f32>, Vec<f32>) {
    let adapter = AdapterConfig {
        base: String::new(),
        rank: 3,
        alpha: 6.0,
        dropout: 0.0,
        rslora: false,
        modules: LinearModule::ALL.to_vec(),
    };
    let (settings, config) = (AdapterSettings::new(&adapter, 1), base.config.clone());
    let mut parameters = settings.start(&config);
    for (index, value) in parameters.values.iter_mut().enumerate() {
        *value += 0.1 * (random::uniform(5, index as u64) - 0.5) as f32;
    }
    let sequence = |length: usize| Sequence {
        ids: (0..length).map(|index| ((index * 31 + length) % 500) as u32).collect::<Vec<u32>>().into(),
        trained: vec![true; length].into(),
    };
    let batch = Batch::new([40, 1, 90].map(sequence));
    // With beta1 = 0 and without clipping the mean of the gradients is the gradient.
    let bare = OptimizerSettings { beta1: 0.0, weight_decay: 0.0, max_grad_norm: 0.0, ..OPTIMIZER };
    let compute = ComputeSettings { precision, ..COMPUTE };
    let state = TrainingState { optimizer: Optimizer::new(parameters.values.len()), parameters };
    let mut learner = Learner::of_adapter(base, state, settings, 256, &compute, bare).unwrap();
    let losses = learner.gradient(&batch, 1.0 / 128.0).unwrap();
    learner.update(0.0).unwrap();
    (losses.iter().map(|token| token.log_probability).collect(), learner.state().optimizer.mean.to_vec())
}

/// Against an adapter over the dequantized weights, in both precisions: the same bits.
#[test]
fn gradients_are_those_over_the_dequantized_weights() {
    let Some(runs) = Runs::new() else { return };
    let original = open(&runs.model);
    let (plain, _) =
        gradients(Base::from_weights(&original.config, &original.weights), training::Precision::F32);
    for kind in [TensorType::Q8_0, TensorType::Q4_0] {
        let folder = runs.path(kind.name());
        copied(&runs.model, &original, &folder, |name, columns, values| {
            if is_linear(name) && columns.is_multiple_of(kind.block()) {
                let mut blocks = Vec::new();
                quantize(kind, values, &mut blocks);
                kind.dequantize(&blocks, values);
            }
        });
        let dequantized = open(&folder);
        let quantized = || Base::quantized(&original.config, &original.weights, Some(kind));
        let reference = || Base::from_weights(&dequantized.config, &dequantized.weights);
        let (fewer, all) = (quantized().bytes(), reference().bytes());
        assert_eq!(fewer as u64, Base::planned_bytes(&original.config, &original.weights, Some(kind)));
        assert!(fewer < all * 7 / 10, "{}: {fewer} of {all} bytes", kind.name());
        for precision in [training::Precision::F32, training::Precision::Bf16] {
            let (losses, found) = gradients(quantized(), precision);
            let (expected_losses, expected) = gradients(reference(), precision);
            assert!(found.iter().any(|value| *value != 0.0));
            assert!(losses == expected_losses && found == expected, "{} {precision:?}", kind.name());
            assert!(losses != plain, "{}: nothing is quantized", kind.name());
        }
    }
}

/// A GGUF file's blocks stay as they are, and mean what they mean when the file is read.
#[test]
fn a_gguf_file_keeps_its_bits() {
    let Some(runs) = Runs::new() else { return };
    for kind in ["q8_0", "q4_0"] {
        let gguf = runs.path(&format!("{kind}.gguf"));
        let mut export = posttrain(runs.folder.path());
        succeeds(export.arg("export").arg(&runs.model).arg("--gguf").arg(&gguf).args(["--type", kind]));
        let stored = open(&gguf);
        let folder = runs.path(&format!("{kind}-folder"));
        copied(&runs.model, &stored, &folder, |_, _, _| {});
        let written = open(&folder);
        let kept = || Base::from_weights(&stored.config, &stored.weights);
        let numbers = || Base::from_weights(&written.config, &written.weights);
        assert_eq!(kept().bytes() as u64, Base::planned_bytes(&stored.config, &stored.weights, None));
        assert!(kept().bytes() < numbers().bytes() * 7 / 10);
        let precision = training::Precision::Bf16;
        assert!(gradients(kept(), precision) == gradients(numbers(), precision), "{kind}");
        // A reference of DPO, without an adapter.
        let ids: Vec<u32> = (1..100).collect();
        let batch = Batch::new([Sequence { trained: vec![true; ids.len()].into(), ids: ids.into() }]);
        let losses = |base: &Base| {
            let tokens = scorer_of_base(base, 256, &COMPUTE).unwrap().losses(&batch).unwrap();
            tokens.into_iter().map(|token| token.log_probability).collect::<Vec<f32>>()
        };
        assert_eq!(losses(&kept()), losses(&numbers()), "{kind}");
        // A run says it, and what it trained opens over the file.
        let out = runs.path(&format!("{kind}-adapter"));
        let text = succeeds(
            runs.train_from(&gguf, "sft", out.to_str().unwrap(), &["--lora-rank", "2", "--steps", "2"])
                .args(["--micro-batch-tokens", "400"]),
        );
        assert!(text.contains("of the frozen weights are held in blocks of few bits"), "{text}");
        assert!(open(&out).weights.is_adapted());
        let again = ["--lora-rank", "2", "--quantize-base", "q4_0"];
        refused(&mut runs.train_from(&gguf, "sft", "again", &again), "are quantized already");
    }
}

#[test]
fn a_killed_adapter_over_quantized_weights_ends_with_the_same_bits() {
    let Some(runs) = Runs::new() else { return };
    for command in ["sft", "dpo"] {
        let start = |out: &str| {
            let flags =
                ["--lora-rank", "4", "--quantize-base", "q4_0", "--lora-dropout", "0.1", "--save-steps", "5"];
            let mut start = runs.train(command, out, &flags);
            start.args(["--steps", "80", "--learning-rate", "1e-2"]);
            start
        };
        let (whole, torn) = (format!("whole-{command}"), format!("torn-{command}"));
        succeeds(&mut start(&whole));
        killed_and_resumed(|| start(&torn), &runs.path(&torn), 3);
        runs.assert_equal(&whole, &torn, &["loss"]);
        let losses = metric(&runs.path(&whole), "loss");
        assert!(losses[losses.len() - 1] < 0.9 * losses[0], "{losses:?}");
    }
    refused(&mut runs.train("sft", "out", &["--quantize-base", "q8_0"]), "has no effect without an adapter");
    let cuda = ["--lora-rank", "4", "--quantize-base", "q8_0", "--device", "cuda"];
    refused(&mut runs.train("sft", "out", &cuda), "are only trained on the CPU");
    // What it was is part of the run: another one is refused.
    let other = ["--lora-rank", "4", "--quantize-base", "q8_0", "--lora-dropout", "0.1", "--save-steps", "5"];
    let mut other = runs.train("sft", "whole-sft", &other);
    refused(other.args(["--steps", "80", "--learning-rate", "1e-2"]), "quantize_base");
    let run: Value = crate::programs::read_json(&runs.path("whole-sft").join("run.json"));
    assert!(run.to_string().contains("\"quantize_base\":\"q4_0\""), "{run}");
}
