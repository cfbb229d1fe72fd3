//! What `training/gpu/check` runs on a GPU: comparisons of operations, whole models and goldens with the CPU, and timed
//! training steps with what each kernel takes. Prints a tab-separated line for each result: what, the number, what is
//! required or expected, the verdict.

mod numbers;
mod results;
mod steps;

use anyhow::{Context, Result, bail};
use checkpoint::ModelConfig;
use half::bf16;
use kernels::AttentionShape;
use results::{line, report};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use steps::Run;
use training::gpu::compare::{self, Extent, Part};
use training::gpu::device::Gpu;
use training::gpu::speed;

const USAGE: &str = "gpu_check COMMAND
    facts                                  the GPU, the driver, the libraries
    small [PART]                           every kernel on small shapes
    operations PART                        the same on odd and real shapes
    models | shapes                        whole models; two layers of the real shapes
    goldens FILES                          gradients of transformers
    ceiling SIDE                           a product of square matrices, and the rate of memory
    attention LENGTH TOKENS                attention alone
    profile SHAPE LENGTH TOKENS STEPS [LAUNCHES]
                                           timed steps, and what each kernel takes; LAUNCHES is a file for all launches
    bits SHAPE LENGTH TOKENS               hashes of the gradients and weights of two steps
    numbers SHAPE LENGTH TOKENS            loss and norms of gradients, for torch_step.py
PART is one of f32-only, rows-f32, rows-bf16, attention-f32, attention-bf16; SHAPE of tiny, 135m, 360m, 1.7b";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("gpu_check: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether all results are right.
fn run(words: &[&str]) -> Result<bool> {
    if words.is_empty() || words == ["--help"] {
        bail!("{USAGE}");
    }
    let gpu = Gpu::open(0)?;
    match words {
        ["facts"] => facts(&gpu),
        ["operations", name] => Ok(report(name, &compare::operations(&gpu, part(name)?, Extent::Full)?)),
        ["small", name] => Ok(report(name, &compare::operations(&gpu, part(name)?, Extent::Small)?)),
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
        ["ceiling", side] => ceiling(&gpu, number(side)?),
        ["attention", length, tokens] => attention(&gpu, number(length)?, number(tokens)?),
        ["profile", shape, length, tokens, steps, rest @ ..] => {
            let run = Run::new(shape, number(length)?, number(tokens)?)?;
            steps::profile(&gpu, &run, number(steps)?, rest.first().map(PathBuf::from).as_deref())
        }
        ["bits", shape, length, tokens] => {
            steps::bits(&gpu, &Run::new(shape, number(length)?, number(tokens)?)?)
        }
        ["numbers", shape, length, tokens] => {
            numbers::numbers(&gpu, &Run::new(shape, number(length)?, number(tokens)?)?)
        }
        _ => bail!("{USAGE}"),
    }
}

fn number(text: &str) -> Result<usize> {
    text.parse().with_context(|| format!("`{text}` is not a number"))
}

fn part(name: &str) -> Result<Part> {
    let part = Part::ALL.into_iter().find(|part| part.name() == name);
    part.with_context(|| format!("parts are {}", Part::ALL.map(Part::name).join(", ")))
}

fn facts(gpu: &Gpu) -> Result<bool> {
    let facts = gpu.facts()?;
    for facts in [&facts.decisive, &facts.others] {
        for (name, value) in facts.as_object().into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            line(&format!("GPU: {}", name.replace('_', " ")), &value, "-", "-");
        }
    }
    Ok(true)
}

fn ceiling(gpu: &Gpu, side: usize) -> Result<bool> {
    let flops = speed::product::<bf16>(gpu, side)? / 1e12;
    let expected = speed::datasheet(gpu.name())
        .map_or_else(|| "-".to_owned(), |sheet| format!("{:.0}", 0.65 * sheet / 1e12));
    line(&format!("{side}-cubed bf16 product, TFLOP/s"), &format!("{flops:.1}"), &expected, "-");
    let bytes = side * side * 32;
    let rate = speed::memory(gpu, bytes / 6)? / 1e12;
    line("memory: f32 read and bf16 written, TB/s", &format!("{rate:.3}"), "-", "-");
    Ok(true)
}

/// Measures attention by itself, to see which part of a step to improve first.
fn attention(gpu: &Gpu, length: usize, tokens: usize) -> Result<bool> {
    for (name, config) in [("135m", ModelConfig::smollm2_135m()), ("1.7b", ModelConfig::smollm2_1_7b())] {
        let ModelConfig { heads, kv_heads, head_dim, .. } = config;
        let shape = AttentionShape { heads, kv_heads, head_dim };
        let [forward, backward] = speed::attention(gpu, shape, length, tokens)?.map(|flops| flops / 1e12);
        let what = format!("attention of {name}, T={length}, TFLOP/s forward, backward");
        line(&what, &format!("{forward:.1}, {backward:.1}"), "-", "-");
    }
    Ok(true)
}
