use crate::adapters::Runs;
use crate::families::open;
use crate::family_training::trainable;
use crate::lora::{COMPUTE, OPTIMIZER};
use crate::programs::{killed_and_resumed, metric, refused, succeeds};
use checkpoint::Checkpoint;
use checkpoint::weights::{Precision, expected_tensors, write};
use std::path::Path;
use training::{
    Base, Batch, Distillation, Divergence, Learner, Optimizer, OptimizerSettings, Parameters, Sequence,
    TrainingState, teacher,
};

/// The model with some noise added to its weights: a student that has something to learn from the model itself.
pub(crate) fn write_student(from: &Path, into: &Path) {
    let original = open(from);
    std::fs::create_dir_all(into).unwrap();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), into.join(name)).unwrap();
        }
    }
    let mut state = 7;
    let tensors: Vec<(String, Vec<usize>, Vec<f32>)> = expected_tensors(&original.config)
        .into_iter()
        .map(|(name, shape)| {
            let mut values = original.weights.tensor(&name);
            let size = values.iter().map(|value| value.abs()).sum::<f32>() / values.len() as f32;
            values.iter_mut().for_each(|value| {
                *value += size * (random::unit(random::next(&mut state)) - 0.5) as f32;
            });
            (name, shape, values)
        })
        .collect();
    write(&into.join("model.safetensors"), &tensors, Precision::F32).unwrap();
}

fn batch() -> Batch {
    let sequence = |length: usize| Sequence {
        ids: (0..length).map(|index| ((index * 31 + length) % 500) as u32).collect::<Vec<u32>>().into(),
        trained: (0..length).map(|index| index % 3 > 0).collect::<Vec<bool>>().into(),
    };
    Batch::new([30, 7, 60].map(sequence))
}

/// A learner of these weights, with an optimizer whose mean is the last gradient.
fn learner(parameters: &Parameters) -> Learner {
    let bare = OptimizerSettings { beta1: 0.0, weight_decay: 0.0, max_grad_norm: 0.0, ..OPTIMIZER };
    let state =
        TrainingState { optimizer: Optimizer::new(parameters.values.len()), parameters: parameters.clone() };
    Learner::new(state, 256, &COMPUTE, bare).unwrap()
}

/// Through the whole model: the change of the mean divergence along the gradient is the gradient's square.
#[test]
fn the_gradient_is_that_of_the_divergence() {
    let Some(runs) = Runs::new() else { return };
    let student = runs.path("student");
    write_student(&runs.model, &student);
    let (original, student, batch) = (open(&runs.model), open(&student), batch());
    let parameters = |of: &Checkpoint| Parameters::from_weights(&of.config, &of.weights);
    let base = Base::from_weights(&original.config, &original.weights);
    let mut teacher = teacher(base, 256, &COMPUTE).unwrap();
    let weights = vec![1.0 / batch.targets.len() as f32; batch.targets.len()];
    for beta in [0.0, 0.5, 1.0] {
        let target = Distillation { divergence: Divergence { beta, temperature: 1.3 }, weights: &weights };
        let mut mean = |parameters: &Parameters, gradient: bool| {
            let mut learner = learner(parameters);
            let tokens = learner.distill(&batch, teacher.as_mut(), target, gradient).unwrap();
            let sum: f64 = tokens.divergences.iter().map(|value| f64::from(*value)).sum();
            if gradient {
                learner.update(0.0).unwrap();
            }
            (sum / batch.targets.len() as f64, learner.state().optimizer.mean.clone())
        };
        let (same, _) = mean(&parameters(&original), false);
        assert!(same.abs() < 1e-6, "beta {beta}: the teacher is {same} from itself");
        let start = parameters(&student);
        let (value, gradient) = mean(&start, true);
        let square: f64 = gradient.iter().map(|one| f64::from(*one).powi(2)).sum();
        assert!(value > 0.01 && square > 0.0, "beta {beta}: {value}, {square}");
        // A step that changes the divergence by a thousandth of a nat.
        let step = (1e-3 / square) as f32;
        let mut moved = |sign: f32| {
            let mut parameters = start.clone();
            parameters
                .values
                .iter_mut()
                .zip(gradient.iter())
                .for_each(|(value, one)| *value += sign * step * one);
            mean(&parameters, false).0
        };
        let slope = (moved(1.0) - moved(-1.0)) / (2.0 * f64::from(step));
        println!("beta {beta}: {value:.3} nats, slope {:.4} of the gradient's square", slope / square);
        assert!((slope / square - 1.0).abs() < 0.02, "beta {beta}: {slope}, not {square}");
    }
}

/// Learned, and resumed to the bit: all weights and an adapter, forward and reverse.
#[test]
fn a_student_learns_its_teacher_and_resumes_to_the_bit() {
    let Some(runs) = Runs::new() else { return };
    let student = runs.path("student");
    write_student(&runs.model, &student);
    let teacher = runs.model.to_str().unwrap();
    for (name, flags) in [
        ("full", &["--learning-rate", "1e-3"][..]),
        (
            "adapter",
            &["--lora-rank", "4", "--lora-dropout", "0.1", "--learning-rate", "1e-2", "--distill-beta", "1"],
        ),
    ] {
        let command = |out: &str| {
            let mut command =
                runs.train_from(&student, "sft", out, &["--teacher", teacher, "--save-steps", "6"]);
            command
                .args(["--steps", "100", "--eval-split", "0.1", "--micro-batch-tokens", "200"])
                .args(flags);
            command
        };
        let (whole, torn) = (format!("whole-{name}"), format!("torn-{name}"));
        let text = succeeds(&mut command(&whole));
        assert!(text.contains("the distributions of") && text.contains("are learned"), "{text}");
        killed_and_resumed(|| command(&torn), &runs.path(&torn), 2);
        let file = if name == "full" { "model.safetensors" } else { "adapter_model.safetensors" };
        let bytes = |out: &str| std::fs::read(runs.path(out).join(file)).unwrap();
        assert!(bytes(&whole) == bytes(&torn), "{name}: resumed weights differ");
        for metric_name in ["loss", "cross_entropy", "eval_loss", "eval_cross_entropy"] {
            let values = metric(&runs.path(&whole), metric_name);
            assert_eq!(values, metric(&runs.path(&torn), metric_name), "{name}: {metric_name}");
            println!("{name}: {metric_name} from {:.3} to {:.3}", values[0], values[values.len() - 1]);
        }
        let losses = metric(&runs.path(&whole), "loss");
        assert!(losses[losses.len() - 1] < 0.5 * losses[0], "{name}: {losses:?}");
    }
    // The teacher and the divergence are part of the run.
    let mut other =
        runs.train_from(&student, "sft", "whole-full", &["--teacher", teacher, "--save-steps", "6"]);
    other.args([
        "--steps",
        "100",
        "--eval-split",
        "0.1",
        "--micro-batch-tokens",
        "200",
        "--learning-rate",
        "1e-3",
    ]);
    refused(other.args(["--distill-beta", "0.5"]), "distill_beta");
}

#[test]
fn what_cannot_teach_is_refused() {
    let Some(runs) = Runs::new() else { return };
    let other = trainable("qwen3");
    let other = other.path().to_str().unwrap();
    let model = runs.model.to_str().unwrap();
    for (flags, expected) in [
        (&["--teacher", other][..], "has other tokens than the model: 67 and 512 embedding rows"),
        (&["--distill-beta", "1"], "`--distill-beta` has no effect without `--teacher`"),
        (&["--teacher", model, "--distill-beta", "2"], "`distill_beta` is 2"),
        (&["--teacher", model, "--distill-temperature", "0"], "`distill_temperature` is 0"),
        (&["--teacher", "no/such/folder"], "no/such/folder"),
    ] {
        refused(&mut runs.train("sft", "out", flags), expected);
    }
}
