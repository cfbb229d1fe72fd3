//! How fast a run goes: tokens per second, the share of what the machine's products reach (MFU), the time left;
//! on a terminal as a progress line, elsewhere as a plain line now and then.
//!
//! MFU counts 6 FLOPs a token and weight of the layers' matrices, 6 a trained token and weight of the head, and
//! 6 · layers · H D · length² a sequence for causal attention (half of the square). The peak is `SMOL_PEAK_TFLOPS`, or
//! what the maker of the card says of it, or a matrix product measured when the run begins.

use crate::recipe::{Precision, Training};
use anyhow::Result;
use half::bf16;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kernels::{Element, Into, Matrix, gemm};
use smollm::ModelConfig;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Between two lines where there is no terminal.
const QUIET: Duration = Duration::from_secs(10);
/// Side of the product that is measured.
const SIDE: usize = 1024;

/// Counts and shows.
#[derive(Debug)]
pub(crate) struct Meter {
    bar: ProgressBar,
    terminal: bool,
    total: u64,
    first_step: u64,
    begun: Instant,
    shown: Option<Instant>,
    flops: Flops,
    peak: Peak,
    /// When the step that goes on began.
    since: Instant,
    /// Since `rates` was last asked: seconds of steps, their tokens, their FLOPs.
    busy: f64,
    tokens: usize,
    work: f64,
    /// The last rates, for the line.
    rates: (f64, f64),
}

impl Meter {
    /// A meter for a run of `total` steps that stands after `step`.
    ///
    /// # Errors
    /// When the card that is to be measured fails.
    pub(crate) fn new(config: &ModelConfig, training: &Training, total: u64, step: u64) -> Result<Self> {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}").expect("the template is ours");
        let bar = ProgressBar::with_draw_target(Some(total), target).with_style(style);
        bar.set_position(step);
        let peak = Peak::find(training)?;
        let now = Instant::now();
        Ok(Self {
            bar,
            terminal,
            total,
            first_step: step,
            begun: now,
            shown: None,
            flops: flops(config),
            peak,
            since: now,
            busy: 0.0,
            tokens: 0,
            work: 0.0,
            rates: (f64::NAN, f64::NAN),
        })
    }

    /// What MFU means here.
    pub(crate) fn convention(&self) -> String {
        format!(
            "6 FLOPs a token and weight of the layers' matrices, 6 a trained token and weight of the head, 6 layers H D length² a sequence for causal attention; over {:.3} TFLOP/s, {} (or SMOL_PEAK_TFLOPS)",
            self.peak.flops / 1e12,
            self.peak.source
        )
    }

    /// Counts a step.
    pub(crate) fn step(&mut self, tokens: usize, attended: f64, trained: usize) {
        self.busy += self.since.elapsed().as_secs_f64();
        self.go_on();
        self.tokens += tokens;
        let Flops { token, attention, head } = self.flops;
        self.work += token * tokens as f64 + attention * attended + head * trained as f64;
    }

    /// What was done since the last step was not training: the rates leave it out.
    pub(crate) fn go_on(&mut self) {
        self.since = Instant::now();
    }

    /// Tokens per second and MFU since this was last asked.
    pub(crate) fn rates(&mut self) -> (f64, f64) {
        self.rates = (self.tokens as f64 / self.busy, self.work / self.busy / self.peak.flops);
        (self.busy, self.tokens, self.work) = (0.0, 0, 0.0);
        self.rates
    }

    /// Shows where the run stands.
    pub(crate) fn show(&mut self, step: u64, values: &[(&str, f64)]) {
        let of =
            |name: &str| values.iter().find(|(key, _)| *key == name).map_or(f64::NAN, |(_, value)| *value);
        let done = (step - self.first_step).max(1) as f64;
        let left = self.begun.elapsed().as_secs_f64() / done * self.total.saturating_sub(step) as f64;
        let text = format!(
            "loss {:.4}, lr {:.2e}, {:.0} tokens/s, MFU {:.0}%, {} left",
            of("loss"),
            of("learning_rate"),
            self.rates.0,
            100.0 * self.rates.1,
            duration(left)
        );
        if self.terminal {
            self.bar.set_position(step);
            self.bar.set_message(text);
        } else if step == self.total || self.shown.is_none_or(|shown| shown.elapsed() >= QUIET) {
            self.shown = Some(Instant::now());
            eprintln!("step {step}/{}: {text}", self.total);
        }
    }

    /// A line for good.
    pub(crate) fn line(&self, text: &str) {
        if self.terminal { self.bar.println(text) } else { eprintln!("{text}") }
    }

    /// The last line.
    pub(crate) fn end(&self, text: &str) {
        self.bar.finish_and_clear();
        eprintln!("{text}");
    }
}

/// What a step's work is made of.
#[derive(Clone, Copy, Debug)]
struct Flops {
    /// A token through all layers' matrices.
    token: f64,
    /// Attention, for each unit of Σ length².
    attention: f64,
    /// A trained token through the head.
    head: f64,
}

fn flops(config: &ModelConfig) -> Flops {
    let (c, f) = (config.hidden_size as f64, config.intermediate_size as f64);
    let mixed = (config.heads * config.head_dim) as f64;
    let qkv = mixed + 2.0 * (config.kv_heads * config.head_dim) as f64;
    let layers = config.layers as f64;
    Flops {
        token: 6.0 * layers * (c * qkv + mixed * c + 3.0 * c * f),
        attention: 6.0 * layers * mixed,
        head: 6.0 * c * config.vocab_size as f64,
    }
}

/// What 100% MFU would be.
#[derive(Clone, Debug)]
struct Peak {
    /// FLOP/s.
    flops: f64,
    /// Who says so.
    source: String,
}

impl Peak {
    fn find(training: &Training) -> Result<Self> {
        let told = std::env::var("SMOL_PEAK_TFLOPS").ok().and_then(|text| text.parse::<f64>().ok());
        if let Some(told) = told.filter(|told| *told > 0.0) {
            return Ok(Self { flops: told * 1e12, source: "SMOL_PEAK_TFLOPS".to_owned() });
        }
        #[cfg(feature = "_card")]
        if let crate::device::Device::Cuda(ordinal) = training.device {
            let card = crate::gpu::card::Card::open(ordinal)?;
            return Self::of_card(&card, training.precision);
        }
        let flops = match training.precision {
            Precision::F32 => measured::<f32>(),
            Precision::Bf16 => measured::<bf16>(),
        };
        Ok(Self { flops, source: format!("a {SIDE}-cubed product measured at the start") })
    }

    #[cfg(feature = "_card")]
    fn of_card(card: &crate::gpu::card::Card, precision: Precision) -> Result<Self> {
        use crate::gpu::speed;
        if let (Precision::Bf16, Some(flops)) = (precision, speed::datasheet(card.name())) {
            return Ok(Self { flops, source: format!("the data sheet's dense bf16 of {}", card.name()) });
        }
        let flops = match precision {
            Precision::F32 => speed::product::<f32>(card, SIDE)?,
            Precision::Bf16 => speed::product::<bf16>(card, 4 * SIDE)?,
        };
        Ok(Self { flops, source: "a product measured on the card at the start".to_owned() })
    }
}

/// FLOP/s of a product of this type on the CPU: the best of a few.
fn measured<E: Element>() -> f64 {
    let numbers: Vec<E> = (0..SIDE * SIDE).map(|i| E::from_f32((i % 13) as f32 / 13.0)).collect();
    let mut out = vec![0.0f32; SIDE * SIDE];
    let matrix = Matrix::new(&numbers, SIDE, SIDE);
    let best = (0..12)
        .map(|_| {
            let start = Instant::now();
            gemm::<E, _, _, _>(&mut out, matrix, matrix, Into::Replace);
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    2.0 * (SIDE as f64).powi(3) / best
}

/// Seconds as people say them.
fn duration(seconds: f64) -> String {
    match seconds.round() as u64 {
        whole @ 0..60 => format!("{whole} s"),
        whole @ 60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        whole @ 3_600..86_400 => format!("{} h {} min", whole / 3_600, whole / 60 % 60),
        whole => format!("{} d {} h", whole / 86_400, whole / 3_600 % 24),
    }
}
