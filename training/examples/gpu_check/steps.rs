//! Timed training steps of a shape, what each kernel of a step takes, and hashes of what two steps leave.

use crate::results::line;
use anyhow::{Context, Result, bail, ensure};
use checkpoint::ModelConfig;
use half::bf16;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use training::gpu::device::Gpu;
use training::gpu::profile::{Launch, totals};
use training::gpu::speed;
use training::gpu::trainer::Trainer;
use training::memory::{Plan, gib};
use training::{
    Backend, Batch, Optimizer, OptimizerSettings, Parameters, Precision, Sequence, TrainingState,
};

/// Dense bf16 FLOP/s of an H200, for MFU where the GPU's own data sheet is not known.
const PEAK: f64 = 989e12;
const SETTINGS: OptimizerSettings =
    OptimizerSettings { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.01, max_grad_norm: 1.0 };
/// Rows of the table of kernels.
const LINES: usize = 24;

/// Microseconds of a launch that arithmetic expects of an H200 with SmolLM2-1.7B, 32,768 tokens in sequences of 2,048: bytes
/// at 3.4 TB/s, products at 680 TFLOP/s, attention at 150 to 200. A name that begins so.
const EXPECTED: [(&str, f64); 17] = [
    ("attention_forward_64", 1400.0),
    ("attention_backward_query_64", 2000.0),
    ("attention_backward_key_64", 2600.0),
    ("attention_delta_bf16", 80.0),
    ("product 32768 x 16384 x 2048,", 3200.0),
    ("product 32768 x 2048 x 8192,", 1600.0),
    ("product 32768 x 6144 x 2048,", 1200.0),
    ("product 32768 x 2048 x 2048,", 400.0),
    ("swiglu_forward_bf16", 470.0),
    ("swiglu_backward_bf16", 950.0),
    ("norm_forward_bf16", 240.0),
    ("norm_backward_bf16", 320.0),
    ("norm_backward_weight", 20.0),
    ("rotate_bf16", 160.0),
    ("cross_entropy_gradient_f32_bf16", 500.0),
    ("adamw", 13_500.0),
    ("squared_norm", 1800.0),
];

/// A shape, and the batch of a step.
pub(crate) struct Run {
    name: String,
    pub(crate) config: ModelConfig,
    pub(crate) length: usize,
    pub(crate) tokens: usize,
    /// The MFU in percent that arithmetic expects of an H100 or H200: the smallest and the largest.
    expected: Option<[u32; 2]>,
}

impl Run {
    /// Reads a shape's name; its steps have sequences of `length` and about `tokens` tokens.
    pub(crate) fn new(name: &str, length: usize, tokens: usize) -> Result<Self> {
        let is_long = length > 4096;
        let (config, expected) = match name {
            "tiny" => (tiny(), None),
            "135m" => (ModelConfig::smollm2_135m(), Some(if is_long { [16, 24] } else { [18, 27] })),
            "360m" => (ModelConfig::smollm2_360m(), None),
            "1.7b" => (ModelConfig::smollm2_1_7b(), Some(if is_long { [31, 45] } else { [41, 55] })),
            _ => bail!("`{name}` is not a shape; expected tiny, 135m, 360m or 1.7b"),
        };
        ensure!(tokens >= length && length > 1, "{tokens} tokens have no sequence of {length}");
        Ok(Self { name: name.to_owned(), config, length, tokens, expected })
    }

    /// Returns the FLOPs of a token of training: 6 a weight, the tied head once, and 6 · layers · H D · length for causal
    /// attention (half of the square).
    fn flops_of_token(&self) -> f64 {
        let ModelConfig { layers, heads, head_dim, .. } = self.config;
        6.0 * self.config.parameters() as f64 + (6 * layers * heads * head_dim * self.length) as f64
    }

    pub(crate) fn title(&self) -> String {
        format!("{} T={}, {} tokens a step", self.name, self.length, self.tokens)
    }

    /// Makes the step no larger than the GPU's memory allows.
    pub(crate) fn fit(&self, free: u64) -> Result<Self> {
        let plan = Plan::new(&self.config, Precision::Bf16, false);
        let most = plan.most_tokens(free).context("not even 256 tokens fit into the GPU's memory")?;
        let sequences = self.tokens.min(most) / self.length;
        ensure!(sequences > 0, "{most} tokens fit into the GPU's memory, but a sequence has {}", self.length);
        let Self { name, config, length, expected, .. } = self;
        let (name, config) = (name.clone(), config.clone());
        Ok(Self { name, config, length: *length, tokens: sequences * length, expected: *expected })
    }

    /// Returns the microseconds that arithmetic expects of a launch.
    fn expected_microseconds(&self, launch: &str) -> Option<f64> {
        let is_known = (self.name.as_str(), self.length, self.tokens) == ("1.7b", 2048, 32_768);
        EXPECTED.iter().find(|(name, _)| is_known && launch.starts_with(name)).map(|(_, time)| *time)
    }

    pub(crate) fn plan(&self, free: u64) -> Plan {
        Plan::new(&self.config, Precision::Bf16, false).with_norms_that_fit(self.tokens, free)
    }

    /// `free` are the bytes that were free before anything was allocated.
    fn trainer(&self, gpu: &Arc<Gpu>, free: u64) -> Result<Trainer<bf16>> {
        let parameters = Parameters::random(&self.config, 0, false);
        let optimizer = Optimizer::new(parameters.values.len());
        let state = TrainingState { parameters, optimizer };
        Trainer::new(Arc::clone(gpu), state, self.length, self.plan(free).kept(), self.tokens)
    }

    /// Returns random tokens, all of them trained.
    pub(crate) fn batch(&self) -> Batch {
        let vocabulary = self.config.vocab_size as u32;
        Batch::new((0..self.tokens / self.length).map(|sequence| {
            let id = |token: usize| random::mix(sequence as u64, token as u64) as u32 % vocabulary;
            Sequence { ids: (0..self.length).map(id).collect(), trained: vec![true; self.length].into() }
        }))
    }
}

/// A model for rehearsals without a GPU, with a head dimension that runs on tensor cores.
fn tiny() -> ModelConfig {
    ModelConfig {
        layers: 2,
        hidden_size: 128,
        heads: 2,
        kv_heads: 1,
        intermediate_size: 96,
        vocab_size: 300,
        ..ModelConfig::smollm2_135m()
    }
}

/// Does a step on the batch. Returns its seconds, loss and gradient norm.
fn step(trainer: &mut Trainer<bf16>, batch: &Batch) -> Result<(f64, f64, f32)> {
    let (start, weight) = (Instant::now(), 1.0 / batch.targets.len() as f32);
    let losses = trainer.gradient(batch, weight)?;
    let norm = trainer.update(SETTINGS, 1e-4)?;
    let seconds = start.elapsed().as_secs_f64();
    let loss: f64 = losses.iter().map(|token| f64::from(-token.log_probability * weight)).sum();
    eprintln!("loss {loss:.4}, norm {norm:.3}, {seconds:.3} s");
    // The time of a step that computes nonsense means nothing.
    ensure!(loss.is_finite() && norm.is_finite(), "loss {loss}, norm {norm}");
    Ok((seconds, loss, norm))
}

/// Times steps on one batch, then records one more with an event around each launch.
pub(crate) fn profile(gpu: &Arc<Gpu>, run: &Run, steps: usize, launches: Option<&Path>) -> Result<bool> {
    let free = gpu.free()?;
    let run = run.fit(free)?;
    let (mut trainer, batch, title) = (run.trainer(gpu, free)?, run.batch(), run.title());
    // The first step is the warm-up of the measurement.
    let (_, first, norm) = step(&mut trainer, &batch)?;
    line(&format!("{title}: loss and norm of the first step"), &format!("{first:.4}, {norm:.4}"), "-", "-");
    let (mut times, mut last) = (Vec::new(), first);
    for _ in 0..steps.max(1) {
        let (seconds, loss, _) = step(&mut trainer, &batch)?;
        times.push(seconds);
        last = loss;
    }
    times.sort_by(f64::total_cmp);
    let learns = last < first;
    let verdict = if learns { "ok" } else { "WRONG" };
    line(
        &format!("{title}: the same batch in every step, loss"),
        &format!("{last:.3}"),
        &format!("< {first:.3}"),
        verdict,
    );
    report_rate(gpu, &run, times[times.len() / 2]);
    let (used, planned) =
        (gib(free.saturating_sub(gpu.free()?)), gib(run.plan(free).estimate(run.tokens).total()));
    line(&format!("{title}: GiB of GPU memory"), &used, &format!("{planned} planned"), "-");
    gpu.start_profile();
    let (seconds, ..) = step(&mut trainer, &batch)?;
    report_profile(&run, seconds, &gpu.take_profile()?, launches)?;
    Ok(learns)
}

fn report_rate(gpu: &Gpu, run: &Run, seconds: f64) {
    let (title, rate) = (run.title(), run.tokens as f64 / seconds);
    line(&format!("{title}: tokens/s"), &format!("{rate:.0}"), "-", "-");
    let sheet = speed::datasheet(gpu.name());
    let mfu = 100.0 * rate * run.flops_of_token() / sheet.unwrap_or(PEAK);
    let (expected, verdict) = match run.expected.filter(|_| sheet == Some(PEAK)) {
        Some([low, high]) => (format!("{low} to {high}%"), if mfu < f64::from(low) { "BELOW" } else { "ok" }),
        None => ("-".to_owned(), "-"),
    };
    let what = if sheet.is_some() { "MFU" } else { "MFU if its peak were an H200's" };
    line(&format!("{title}: {what}"), &format!("{mfu:.1}%"), &expected, verdict);
}

/// Prints what took the most, and the gaps between launches; writes all launches in their order.
fn report_profile(run: &Run, step: f64, launches: &[Launch], file: Option<&Path>) -> Result<()> {
    let (title, totals) = (run.title(), totals(launches));
    let sum: f64 = totals.iter().map(|total| total.seconds).sum();
    for total in totals.iter().take(LINES) {
        let (seconds, count) = (total.seconds, total.launches);
        let mut value = format!("{:.3} ms, {:.1}%", 1e3 * seconds, 100.0 * seconds / sum);
        write!(value, ", {count} x {:.1} µs", 1e6 * seconds / count as f64)?;
        write!(value, ", {:.0} GB/s", total.bytes as f64 / seconds.max(1e-9) / 1e9)?;
        if total.flops > 0.0 {
            write!(value, ", {:.1} TFLOP/s", total.flops / seconds.max(1e-9) / 1e12)?;
        }
        let expected = run.expected_microseconds(&total.name);
        let expected = expected.map_or_else(|| "-".to_owned(), |time| format!("{time} µs"));
        line(&format!("{title}: {}", total.name), &value, &expected, "-");
    }
    let others: f64 = totals.iter().skip(LINES).map(|total| total.seconds).sum();
    let gaps = format!(
        "{:.3} ms in {} launches ({:.3} ms not listed), {:.3} ms between them and on the host",
        1e3 * sum,
        launches.len(),
        1e3 * others,
        1e3 * (step - sum).max(0.0)
    );
    line(&format!("{title}: a step of {:.3} ms with events", 1e3 * step), &gaps, "-", "-");
    if let Some(file) = file {
        let rows: String = launches
            .iter()
            .map(|launch| {
                format!(
                    "{}\t{:.3}\t{}\t{:.0}\n",
                    launch.name,
                    1e6 * launch.seconds,
                    launch.bytes,
                    launch.flops
                )
            })
            .collect();
        std::fs::write(file, format!("launch\tmicroseconds\tbytes\tFLOPs\n{rows}"))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Prints hashes of the gradients of the first step and of the weights after two, by tensor to standard error.
pub(crate) fn bits(gpu: &Arc<Gpu>, run: &Run) -> Result<bool> {
    let free = gpu.free()?;
    let run = run.fit(free)?;
    let (mut trainer, batch, title) = (run.trainer(gpu, free)?, run.batch(), run.title());
    let layout = trainer.state().parameters.layout.clone();
    let hashes = |what: &str, values: &[f32]| {
        let mut all = 0;
        for tensor in &layout.tensors {
            let bits = values[tensor.range.clone()].iter().map(|value| u64::from(value.to_bits()));
            let hash = bits.fold(0, random::mix);
            eprintln!("{what} of {}: {hash:016x}", tensor.name);
            all = random::mix(all, hash);
        }
        line(&format!("{title}: {what}, hash"), &format!("{all:016x}"), "-", "-");
    };
    trainer.gradient(&batch, 1.0 / batch.targets.len() as f32)?;
    trainer.edit_gradients(&mut |gradients| {
        hashes("gradients", gradients);
        Ok(())
    })?;
    trainer.update(SETTINGS, 1e-4)?;
    step(&mut trainer, &batch)?;
    trainer.sync_to_host()?;
    hashes("weights after two steps", &trainer.state().parameters.values);
    Ok(true)
}
