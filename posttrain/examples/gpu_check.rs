//! What `posttrain/gpu/check` runs on a card: operations, whole models and goldens beside the CPU, and whole training
//! steps by the clock. Prints a tab-separated line a finding: what, the number, the limit, the verdict.
//!
//! `gpu_check operations PART | small | models | shapes | goldens FILES | benchmark SHAPE LENGTH TOKENS STEPS | attention | ceiling`

use anyhow::{Context, Result, bail};
use half::bf16;
use kernels::AttentionShape;
use posttrain::gpu::card::Card;
use posttrain::gpu::compare::{self, Extent, Finding, Part};
use posttrain::gpu::plan::{Plan, fits};
use posttrain::gpu::speed;
use posttrain::gpu::trainer::Trainer;
use posttrain::model::{Batch, Parameters, Sequence};
use posttrain::optimizer::{Optimizer, OptimizerSettings};
use posttrain::recipe::Precision;
use smollm::ModelConfig;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// Dense bf16 FLOP/s of an H200, which MFU is over where the card's own data sheet is not known.
const PEAK: f64 = 989e12;
/// Side of the product that shows what can be reached.
const SIDE: usize = 8192;

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

/// Whether everything was right.
fn run(arguments: &[String]) -> Result<bool> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let card = Card::open(0)?;
    match words.as_slice() {
        ["operations", name] => {
            let part = Part::ALL.into_iter().find(|part| part.name() == *name);
            let part = part.with_context(|| format!("parts are {}", Part::ALL.map(Part::name).join(", ")))?;
            Ok(told(name, &compare::operations(&card, part, Extent::Full)?))
        }
        ["small"] => {
            let parts = Part::ALL.map(|part| compare::operations(&card, part, Extent::Small));
            let findings = parts.into_iter().collect::<Result<Vec<_>>>()?.concat();
            Ok(told("operations, small shapes", &findings))
        }
        ["shapes"] => Ok(told("two layers of the real shapes", &compare::shapes(&card)?)),
        ["models"] => Ok(told("whole models", &compare::models(&card)?)),
        ["goldens", files @ ..] => {
            let mut findings = Vec::new();
            for file in files {
                findings.extend(compare::golden_gradients(&card, Path::new(file))?);
            }
            Ok(told("gradients of transformers", &findings))
        }
        ["benchmark", shape, length, tokens, steps] => {
            let number = |text: &str| text.parse::<usize>().with_context(|| format!("{text:?} is no number"));
            benchmark(&card, shape, number(length)?, number(tokens)?, number(steps)?)
        }
        ["ceiling"] => {
            let flops = speed::product::<bf16>(&card, SIDE)?;
            println!("{SIDE}-cubed bf16 product, TFLOP/s on {}\t{:.0}\t-\t-", card.name(), flops / 1e12);
            Ok(true)
        }
        ["attention"] => attention(&card).map(|()| true),
        _ => bail!(
            "operations PART | small | models | shapes | goldens FILES | benchmark SHAPE LENGTH TOKENS STEPS | attention | ceiling"
        ),
    }
}

/// What is wrong, and the one that came nearest to its limit of each kind; all of them were said on stderr.
fn told(what: &str, findings: &[Finding]) -> bool {
    let wrong: Vec<&Finding> = findings.iter().filter(|finding| !finding.right()).collect();
    wrong.iter().for_each(|finding| println!("{finding}"));
    for limit in [0.0, 1e-4, 1e-2, 5e-2] {
        let of: Vec<&Finding> = findings.iter().filter(|finding| finding.limit == limit).collect();
        if let Some(worst) = of.iter().max_by(|a, b| a.found.abs().total_cmp(&b.found.abs())) {
            let name =
                if limit == 0.0 { "to the same bits".to_owned() } else { format!("worst is {}", worst.what) };
            let verdict = if of.iter().all(|finding| finding.right()) { "ok" } else { "WRONG" };
            println!("{what}: {} comparisons, {name}\t{:.1e}\t{limit:.0e}\t{verdict}", of.len(), worst.found);
        }
    }
    wrong.is_empty() && !findings.is_empty()
}

/// A shape's name, its config and the share of the peak it must reach at sequences of this length.
fn shape(name: &str, length: usize) -> Result<(ModelConfig, f64)> {
    Ok(match name {
        "135m" => (ModelConfig::smollm2_135m(), 0.30),
        "360m" => (ModelConfig::smollm2_360m(), 0.30),
        "1.7b" => (ModelConfig::smollm2_1_7b(), if length > 4096 { 0.38 } else { 0.45 }),
        _ => bail!("{name:?} is none of 135m, 360m, 1.7b"),
    })
}

/// FLOPs of a token of training: 6 a weight, the tied head once, and 6 · layers · H D · length for causal attention
/// (half of the square).
fn flops_of_token(config: &ModelConfig, length: usize) -> f64 {
    let attention = 6 * config.layers * config.heads * config.head_dim * length;
    6.0 * config.parameters() as f64 + attention as f64
}

/// How fast attention is by itself: which of a step's parts to look at first.
fn attention(card: &Card) -> Result<()> {
    for (name, config) in [("135m", ModelConfig::smollm2_135m()), ("1.7b", ModelConfig::smollm2_1_7b())] {
        for length in [2048, 8192] {
            let ModelConfig { heads, kv_heads, head_dim, .. } = config;
            let shape = AttentionShape { heads, kv_heads, head_dim };
            let [forward, backward] =
                speed::attention(card, shape, length, 32_768)?.map(|flops| flops / 1e12);
            println!(
                "attention of {name}, T={length}, TFLOP/s forward, backward\t{forward:.0}, {backward:.0}\t-\t-"
            );
        }
    }
    Ok(())
}

fn benchmark(card: &Arc<Card>, name: &str, length: usize, tokens: usize, steps: usize) -> Result<bool> {
    let (config, needed) = shape(name, length)?;
    let plan = Plan::new(&config, Precision::Bf16, false);
    let free = card.free()?;
    let most = fits(&plan, free / 100 * 94).context("not even 256 tokens fit into the card")?;
    let sequences = tokens.min(most) / length;
    anyhow::ensure!(sequences > 0, "{most} tokens fit into the card, a sequence has {length}");
    let tokens = sequences * length;
    let parameters = Parameters::random(&config, 0, false);
    let optimizer = Optimizer::new(parameters.values.len());
    let mut trainer = Trainer::<bf16>::new(Arc::clone(card), &parameters, &optimizer, length, false, tokens)?;
    let batch = Batch::new((0..sequences).map(|sequence| {
        let id = |token: usize| posttrain::random::mix(sequence as u64, token as u64) as u32 % 49_152;
        Sequence { ids: (0..length).map(id).collect(), trained: vec![true; length].into() }
    }));
    let settings =
        OptimizerSettings { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.01, max_grad_norm: 1.0 };
    let weight = 1.0 / batch.targets.len() as f32;
    let (mut times, mut all_losses) = (Vec::new(), Vec::new());
    for step in 0..=steps {
        let start = Instant::now();
        let losses = trainer.gradient(&batch, weight)?;
        let norm = trainer.update(settings, 1e-4, step as u64 + 1)?;
        let seconds = start.elapsed().as_secs_f64();
        let loss: f64 = losses.iter().map(|token| f64::from(-token.log_probability * weight)).sum();
        eprintln!("{name} T={length}: step {step}, loss {loss:.4}, norm {norm:.3}, {seconds:.3} s");
        // A step that computes nonsense is no faster or slower one.
        anyhow::ensure!(loss.is_finite() && norm.is_finite(), "step {step}: loss {loss}, norm {norm}");
        all_losses.push(loss);
        // The first one warms up.
        if step > 0 {
            times.push(seconds);
        }
    }
    times.sort_by(f64::total_cmp);
    let rate = tokens as f64 / times[times.len() / 2];
    let mfu = rate * flops_of_token(&config, length) / speed::datasheet(card.name()).unwrap_or(PEAK);
    let verdict = if mfu >= needed { "ok" } else { "MISSED" };
    let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
    let title = format!("{name} T={length}, {tokens} tokens a step");
    let (first, last) = (all_losses[0], all_losses[all_losses.len() - 1]);
    let learns = last < first;
    let verdict_of_loss = if learns { "ok" } else { "WRONG" };
    println!(
        "{title}: the same batch again and again, loss {first:.3} to\t{last:.3}\t{first:.3}\t{verdict_of_loss}"
    );
    println!("{title}: ours, tokens/s\t{rate:.0}\t-\t-");
    println!("{title}: ours, MFU\t{:.1}%\t{:.0}%\t{verdict}", 100.0 * mfu, 100.0 * needed);
    let used = gib(free.saturating_sub(card.free()?));
    let planned = gib(plan.estimate(tokens).total());
    println!("{title}: ours, GiB on the card (planned {planned:.1})\t{used:.1}\t-\t-");
    Ok(learns)
}
