//! The speed of a run: tokens/s, model FLOPs utilization (MFU) and the time that is left; on a terminal as a progress
//! bar, elsewhere as a plain line every few seconds.
//!
//! MFU counts 6 FLOPs a token and weight of the layers' matrices, 6 a trained token and weight of the head, and
//! 6 · layers · H D · length² a sequence for causal attention (half of the square), where a window leaves fewer pairs, of
//! those. Under an adapter the weights have no
//! gradients, so it is 4 instead of 6 for the matrices, and the adapter's own work is not counted. It is relative to `SMOL_PEAK_TFLOPS`,
//! or to the data sheet of the GPU, or to a matrix product that is measured when the run starts.

use anyhow::Result;
use report::numbers::separated;
use std::time::Instant;
use terminal::Progress;
use training::{ComputeSettings, Parameters, Peak};

/// Measures and shows the speed.
#[derive(Debug)]
pub(crate) struct Meter {
    progress: Progress,
    total: u64,
    first_step: u64,
    flops: Flops,
    peak: Peak,
    /// When the current step started.
    step_start: Instant,
    /// The seconds of all steps since the last call of `rates`, and their tokens and FLOPs.
    seconds: f64,
    tokens: usize,
    work: f64,
    /// What `rates` returned last.
    last_rates: (f64, f64),
}

impl Meter {
    /// Returns a meter for a run of `total` steps, of which `step` are done.
    ///
    /// # Errors
    /// When the peak of the device cannot be measured.
    pub(crate) fn new(
        parameters: &Parameters,
        compute: &ComputeSettings,
        total: u64,
        step: u64,
    ) -> Result<Self> {
        let peak = peak(compute)?;
        Ok(Self {
            progress: Progress::new("", "steps", Some(total)).resumed_at(step),
            total,
            first_step: step,
            flops: Flops::new(parameters),
            peak,
            step_start: Instant::now(),
            seconds: 0.0,
            tokens: 0,
            work: 0.0,
            last_rates: (f64::NAN, f64::NAN),
        })
    }

    /// Returns how MFU is computed, for run.json.
    pub(crate) fn convention(&self) -> String {
        format!(
            "{0} FLOPs a token and weight of the layers' matrices, {0} a trained token and weight of the head, 6 layers H D length² a sequence for causal attention; relative to {1:.3} TFLOP/s, {2} (SMOL_PEAK_TFLOPS overrides it)",
            self.flops.of_weight,
            self.peak.flops / 1e12,
            self.peak.source
        )
    }

    /// Counts a step.
    pub(crate) fn step(&mut self, tokens: usize, attended: f64, trained: usize) {
        self.seconds += self.step_start.elapsed().as_secs_f64();
        self.start_step();
        self.tokens += tokens;
        let Flops { token, attention, head, .. } = self.flops;
        self.work += token * tokens as f64 + attention * attended + head * trained as f64;
    }

    /// Starts the next step now: the time since the last one was not training, and the rates exclude it.
    pub(crate) fn start_step(&mut self) {
        self.step_start = Instant::now();
    }

    /// Returns tokens/s and MFU since the last call.
    pub(crate) fn rates(&mut self) -> (f64, f64) {
        self.last_rates = (self.tokens as f64 / self.seconds, self.work / self.seconds / self.peak.flops);
        (self.seconds, self.tokens, self.work) = (0.0, 0, 0.0);
        self.last_rates
    }

    /// Shows the progress after a step.
    pub(crate) fn show(&self, step: u64, values: &[(&str, f64)]) {
        let value =
            |name: &str| values.iter().find(|(key, _)| *key == name).map_or(f64::NAN, |(_, value)| *value);
        let text = || {
            format!(
                "loss {:.4}, lr {:.2e}, {} tokens/s, MFU {:.0}%",
                value("loss"),
                value("learning_rate"),
                separated(self.last_rates.0.round() as u64),
                100.0 * self.last_rates.1,
            )
        };
        self.progress.set_with(step, text);
        // A log should lack neither the first line nor the last one.
        if step == self.first_step + 1 || step == self.total {
            self.progress.show(text());
        }
    }

    /// Prints a line that stays.
    pub(crate) fn line(&self, text: &str) {
        self.progress.line(text);
    }

    /// Prints the last line and removes the bar.
    pub(crate) fn end(&self, text: &str) {
        self.progress.finish_with(text);
    }
}

/// The FLOPs of a step's parts.
#[derive(Clone, Copy, Debug)]
struct Flops {
    /// Of a weight of a matrix and a token.
    of_weight: f64,
    /// Of a token, in the matrices of all layers.
    token: f64,
    /// Of attention, for each unit of Σ length².
    attention: f64,
    /// Of a trained token, in the head.
    head: f64,
}

impl Flops {
    fn new(parameters: &Parameters) -> Self {
        let config = &parameters.config;
        let is_adapter = parameters.layout.len() < config.parameters();
        let of_weight = if is_adapter { 4.0 } else { 6.0 };
        let (c, f) = (config.hidden_size as f64, config.intermediate_size as f64);
        let attention_out = (config.heads * config.head_dim) as f64;
        let qkv = attention_out + 2.0 * (config.kv_heads * config.head_dim) as f64;
        let layers = config.layers as f64;
        Self {
            of_weight,
            token: of_weight * layers * (c * qkv + attention_out * c + 3.0 * c * f),
            attention: 6.0 * layers * attention_out,
            head: of_weight * c * config.vocab_size as f64,
        }
    }
}

/// Returns what 100% MFU is.
fn peak(compute: &ComputeSettings) -> Result<Peak> {
    let tflops = std::env::var("SMOL_PEAK_TFLOPS").ok().and_then(|text| text.parse::<f64>().ok());
    match tflops.filter(|tflops| *tflops > 0.0) {
        Some(tflops) => Ok(Peak { flops: tflops * 1e12, source: "SMOL_PEAK_TFLOPS".to_owned() }),
        None => Peak::of(compute),
    }
}
