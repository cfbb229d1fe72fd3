//! Measures tokens/s of whole training steps (forward, backward, clipping, AdamW) of a random model with SmolLM2-135M's
//! shape on the CPU, and the peak memory of the process: our side of `training/benchmarks/against_torch`.
//!
//! `cargo run --release -p training --example step_speed -- [f32|bf16] [SEQUENCES] [TOKENS OF EACH] [STEPS]`

use checkpoint::ModelConfig;
use half::bf16;
use kernels::Element;
use std::time::Instant;
use training::cpu::Model;
use training::{Batch, Optimizer, OptimizerSettings, Parameters, Sequence};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: usize| {
        arguments.get(index).map_or(default, |text| text.parse().expect("a whole number"))
    };
    let (sequences, tokens, steps) = (number(1, 2), number(2, 1024), number(3, 4));
    if arguments.first().is_some_and(|mode| mode == "f32") {
        run::<f32>("f32", sequences, tokens, steps);
    } else {
        run::<bf16>("bf16 mixed", sequences, tokens, steps);
    }
}

fn run<E: Element>(mode: &str, sequences: usize, tokens: usize, steps: usize) {
    let config = ModelConfig::smollm2_135m();
    let mut parameters = Parameters::random(&config, 0, false);
    let mut gradients = vec![0.0; parameters.values.len()];
    let mut optimizer = Optimizer::new(parameters.values.len());
    let mut model = Model::<E>::new(&config, tokens, false);
    let batch = Batch::new((0..sequences).map(|sequence| {
        let ids = (0..tokens).map(|token| random::mix(sequence as u64, token as u64) as u32 % 49152);
        Sequence { ids: ids.collect(), trained: vec![true; tokens].into() }
    }));
    let settings =
        OptimizerSettings { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.01, max_grad_norm: 1.0 };
    let weight = 1.0 / batch.targets.len() as f32;
    let mut best = f64::INFINITY;
    for step in 0..steps {
        let start = Instant::now();
        model.forward(&parameters.values, &batch);
        let forward = start.elapsed().as_secs_f64();
        let losses = model.losses_and_gradient(&parameters.values, &mut gradients, &batch, |_, _| weight);
        let head = start.elapsed().as_secs_f64();
        model.backward(&parameters.values, &mut gradients, &batch);
        let backward = start.elapsed().as_secs_f64();
        let norm = optimizer.step(&mut parameters.values, &gradients, &parameters.layout, settings, 1e-4);
        gradients.fill(0.0);
        let seconds = start.elapsed().as_secs_f64();
        let loss: f32 = losses.iter().map(|token| -token.log_probability * weight).sum();
        eprintln!(
            "step {step}: loss {loss:.4}, norm {norm:.3}, {seconds:.2} s: forward {forward:.2}, head {:.2}, backward {:.2}, optimizer {:.2}",
            head - forward,
            backward - head,
            seconds - backward
        );
        if step > 0 {
            best = best.min(seconds);
        }
    }
    let peak = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        peak.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().split(' ').next()?.parse().ok());
    println!(
        "training {mode} B={sequences} T={tokens}: {:.1} tokens/s, peak {:.2} GB, {} threads",
        (sequences * tokens) as f64 / best,
        peak.unwrap_or(f64::NAN) / 1e6 * 1.024,
        rayon::current_num_threads()
    );
}
