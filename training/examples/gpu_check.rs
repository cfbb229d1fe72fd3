//! What `training/gpu/check` runs on a GPU: comparisons of operations, whole models and goldens with the CPU, and timed
//! training steps. Prints a tab-separated line for each result: what, the number, the limit, the verdict.
//!
//! `gpu_check operations PART | small | models | shapes | goldens FILES | benchmark SHAPE LENGTH TOKENS STEPS | attention | ceiling`

use anyhow::{Context, Result, bail, ensure};
use checkpoint::ModelConfig;
use half::bf16;
use kernels::AttentionShape;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;
use training::gpu::compare::{self, Comparison, Extent, Part};
use training::gpu::device::Gpu;
use training::gpu::speed;
use training::gpu::trainer::Trainer;
use training::memory::{Plan, gib};
use training::{
    Backend, Batch, Optimizer, OptimizerSettings, Parameters, Precision, Sequence, TrainingState,
};

/// Dense bf16 FLOP/s of an H200, for MFU where the GPU's own data sheet is not known.
const PEAK: f64 = 989e12;
/// Side of the square matrices of `ceiling`.
const SIDE: usize = 8192;
const SETTINGS: OptimizerSettings =
    OptimizerSettings { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.01, max_grad_norm: 1.0 };

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("gpu_check: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether all results are right.
fn run(arguments: &[String]) -> Result<bool> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let gpu = Gpu::open(0)?;
    match words.as_slice() {
        ["operations", name] => {
            let part = Part::ALL.into_iter().find(|part| part.name() == *name);
            let part = part.with_context(|| format!("parts are {}", Part::ALL.map(Part::name).join(", ")))?;
            Ok(report(name, &compare::operations(&gpu, part, Extent::Full)?))
        }
        ["small"] => {
            let parts = Part::ALL.map(|part| compare::operations(&gpu, part, Extent::Small));
            let comparisons = parts.into_iter().collect::<Result<Vec<_>>>()?.concat();
            Ok(report("operations, small shapes", &comparisons))
        }
        ["shapes"] => Ok(report("two layers of the real shapes", &compare::shapes(&gpu)?)),
        ["models"] => Ok(report("whole models", &compare::models(&gpu)?)),
        ["goldens", files @ ..] => {
            let mut comparisons = Vec::new();
            for file in files {
                comparisons.extend(compare::golden_gradients(&gpu, Path::new(file))?);
            }
            Ok(report("gradients of transformers", &comparisons))
        }
        ["benchmark", shape, length, tokens, steps] => {
            let number =
                |text: &str| text.parse::<usize>().with_context(|| format!("`{text}` is not a number"));
            benchmark(&gpu, shape, number(length)?, number(tokens)?, number(steps)?)
        }
        ["ceiling"] => {
            let flops = speed::product::<bf16>(&gpu, SIDE)?;
            println!("{SIDE}-cubed bf16 product, TFLOP/s on {}\t{:.0}\t-\t-", gpu.name(), flops / 1e12);
            Ok(true)
        }
        ["attention"] => attention(&gpu).map(|()| true),
        _ => bail!(
            "operations PART | small | models | shapes | goldens FILES | benchmark SHAPE LENGTH TOKENS STEPS | attention | ceiling"
        ),
    }
}

/// Prints the wrong comparisons, and for each limit the one that came nearest to it. Standard error has all of them.
fn report(what: &str, comparisons: &[Comparison]) -> bool {
    let wrong: Vec<&Comparison> = comparisons.iter().filter(|comparison| !comparison.passes()).collect();
    wrong.iter().for_each(|comparison| println!("{comparison}"));
    for limit in [0.0, 1e-4, 1e-2, 5e-2] {
        let group: Vec<&Comparison> =
            comparisons.iter().filter(|comparison| comparison.limit == limit).collect();
        let worst = group.iter().max_by(|a, b| a.difference.abs().total_cmp(&b.difference.abs()));
        if let Some(worst) = worst {
            let name =
                if limit == 0.0 { "to the same bits".to_owned() } else { format!("worst is {}", worst.what) };
            let verdict = if group.iter().all(|comparison| comparison.passes()) { "ok" } else { "WRONG" };
            let (count, difference) = (group.len(), worst.difference);
            println!("{what}: {count} comparisons, {name}\t{difference:.1e}\t{limit:.0e}\t{verdict}");
        }
    }
    wrong.is_empty() && !comparisons.is_empty()
}

/// Returns the configuration of a shape, and the share of the peak that it must reach with sequences of this length.
fn shape(name: &str, length: usize) -> Result<(ModelConfig, f64)> {
    Ok(match name {
        "135m" => (ModelConfig::smollm2_135m(), 0.30),
        "360m" => (ModelConfig::smollm2_360m(), 0.30),
        "1.7b" => (ModelConfig::smollm2_1_7b(), if length > 4096 { 0.38 } else { 0.45 }),
        _ => bail!("`{name}` is not a shape; expected 135m, 360m or 1.7b"),
    })
}

/// Returns the FLOPs of a token of training: 6 a weight, the tied head once, and 6 · layers · H D · length for causal
/// attention (half of the square).
fn flops_of_token(config: &ModelConfig, length: usize) -> f64 {
    let attention = 6 * config.layers * config.heads * config.head_dim * length;
    6.0 * config.parameters() as f64 + attention as f64
}

/// Measures attention by itself, to see which part of a step to improve first.
fn attention(gpu: &Gpu) -> Result<()> {
    for (name, config) in [("135m", ModelConfig::smollm2_135m()), ("1.7b", ModelConfig::smollm2_1_7b())] {
        for length in [2048, 8192] {
            let ModelConfig { heads, kv_heads, head_dim, .. } = config;
            let shape = AttentionShape { heads, kv_heads, head_dim };
            let [forward, backward] = speed::attention(gpu, shape, length, 32_768)?.map(|flops| flops / 1e12);
            println!(
                "attention of {name}, T={length}, TFLOP/s forward, backward\t{forward:.0}, {backward:.0}\t-\t-"
            );
        }
    }
    Ok(())
}

fn benchmark(gpu: &Arc<Gpu>, name: &str, length: usize, tokens: usize, steps: usize) -> Result<bool> {
    let (config, needed) = shape(name, length)?;
    let plan = Plan::new(&config, Precision::Bf16, false);
    let free = gpu.free()?;
    let most = plan.most_tokens(free).context("not even 256 tokens fit into the GPU's memory")?;
    let sequences = tokens.min(most) / length;
    ensure!(sequences > 0, "{most} tokens fit into the GPU's memory, but a sequence has {length}");
    let tokens = sequences * length;
    let parameters = Parameters::random(&config, 0, false);
    let optimizer = Optimizer::new(parameters.values.len());
    let state = TrainingState { parameters, optimizer };
    let mut trainer = Trainer::<bf16>::new(Arc::clone(gpu), state, length, false, tokens)?;
    let (times, losses) = timed_steps(&mut trainer, name, length, sequences, steps)?;
    let rate = tokens as f64 / times[times.len() / 2];
    let mfu = rate * flops_of_token(&config, length) / speed::datasheet(gpu.name()).unwrap_or(PEAK);
    let title = format!("{name} T={length}, {tokens} tokens a step");
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    let learns = last < first;
    let verdict = if learns { "ok" } else { "WRONG" };
    println!("{title}: the same batch in every step, loss {first:.3} to\t{last:.3}\t{first:.3}\t{verdict}");
    println!("{title}: ours, tokens/s\t{rate:.0}\t-\t-");
    let verdict = if mfu >= needed { "ok" } else { "MISSED" };
    println!("{title}: ours, MFU\t{:.1}%\t{:.0}%\t{verdict}", 100.0 * mfu, 100.0 * needed);
    let (used, planned) = (gib(free.saturating_sub(gpu.free()?)), gib(plan.estimate(tokens).total()));
    println!("{title}: ours, GiB of GPU memory (planned {planned})\t{used}\t-\t-");
    Ok(learns)
}

/// Trains on one batch of random tokens. Returns the seconds of every step but the first, ascending, and the losses.
fn timed_steps(
    trainer: &mut Trainer<bf16>,
    name: &str,
    length: usize,
    sequences: usize,
    steps: usize,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let batch = Batch::new((0..sequences).map(|sequence| {
        let id = |token: usize| random::mix(sequence as u64, token as u64) as u32 % 49_152;
        Sequence { ids: (0..length).map(id).collect(), trained: vec![true; length].into() }
    }));
    let weight = 1.0 / batch.targets.len() as f32;
    let (mut times, mut all_losses) = (Vec::new(), Vec::new());
    for step in 0..=steps {
        let start = Instant::now();
        let losses = trainer.gradient(&batch, weight)?;
        let norm = trainer.update(SETTINGS, 1e-4)?;
        let seconds = start.elapsed().as_secs_f64();
        let loss: f64 = losses.iter().map(|token| f64::from(-token.log_probability * weight)).sum();
        eprintln!("{name} T={length}: step {step}, loss {loss:.4}, norm {norm:.3}, {seconds:.3} s");
        // The time of a step that computes nonsense means nothing.
        ensure!(loss.is_finite() && norm.is_finite(), "step {step}: loss {loss}, norm {norm}");
        all_losses.push(loss);
        // The first step is the warm-up of the measurement.
        if step > 0 {
            times.push(seconds);
        }
    }
    times.sort_by(f64::total_cmp);
    Ok((times, all_losses))
}
