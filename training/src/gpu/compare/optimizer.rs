//! AdamW and the norm of the gradients.

use super::comparison::{Comparisons, PURPOSE, narrowed, normal};
use crate::gpu::buffer::{Buffer, In};
use crate::gpu::device::Gpu;
use crate::gpu::kernels::{AdamW, GradientNorm, NORM_PARTS, SquaredNorm};
use crate::gpu::lists::Chunks;
use crate::gpu::trainer::bias_corrected;
use crate::optimizer::{Optimizer, OptimizerSettings};
use crate::parameters::Layout;
use anyhow::Result;
use checkpoint::ModelConfig;
use half::bf16;

/// The learning rate of all steps.
const RATE: f32 = 1e-2;

/// Compares steps that are clipped and steps that are not, and one that must change nothing.
pub(super) fn compare(comparisons: &mut Comparisons<'_>) -> Result<()> {
    steps(comparisons, 1.0, 1.0)?;
    steps(comparisons, 1e-3, 1.0)?;
    steps(comparisons, 0.0, 1.0)?;
    steps(comparisons, 1.0, f32::INFINITY)
}

/// The operands of AdamW on the device.
struct Operands {
    weights: Buffer<f32>,
    copy: Buffer<bf16>,
    mean: Buffer<f32>,
    square: Buffer<f32>,
    firsts: Buffer<u64>,
    counts: Buffer<u32>,
    decayed: Buffer<u32>,
    partial: Buffer<f64>,
    norm: Buffer<f32>,
}

impl Operands {
    fn new(comparisons: &Comparisons<'_>, layout: &Layout, weights: &[f32]) -> Result<Self> {
        let chunks = Chunks::new(layout);
        let zeros = || comparisons.gpu.zeros::<f32>(PURPOSE, layout.len());
        Ok(Self {
            weights: comparisons.upload(weights)?,
            copy: comparisons.gpu.zeros(PURPOSE, layout.len())?,
            mean: zeros()?,
            square: zeros()?,
            firsts: comparisons.upload(&chunks.firsts)?,
            counts: comparisons.upload(&chunks.counts)?,
            decayed: comparisons.upload(&chunks.decayed)?,
            partial: comparisons.allocate(NORM_PARTS)?,
            norm: comparisons.allocate(1)?,
        })
    }

    fn step(
        &mut self,
        gpu: &Gpu,
        gradients: In<'_, f32>,
        settings: OptimizerSettings,
        step: u64,
    ) -> Result<()> {
        let Self { weights, copy, mean, square, firsts, counts, decayed, partial, norm } = self;
        SquaredNorm { partial: partial.write(), gradients, length: gradients.len() as u64 }.launch(gpu)?;
        GradientNorm { norm: norm.write(), partial: partial.read() }.launch(gpu)?;
        let (rate, root) = bias_corrected(settings, RATE, step);
        AdamW {
            weights: weights.write(),
            copy: Some(copy.write()),
            mean: mean.write(),
            square: square.write(),
            gradients,
            firsts: firsts.read(),
            counts: counts.read(),
            decayed: decayed.read(),
            norm: norm.read(),
            learning_rate: RATE,
            beta1: settings.beta1,
            beta2: settings.beta2,
            epsilon: settings.epsilon,
            weight_decay: settings.weight_decay,
            rate,
            root,
            max_norm: settings.max_grad_norm,
        }
        .launch(gpu)
    }
}

/// Three steps on a small model's layout; `factor` scales the gradients.
fn steps(comparisons: &mut Comparisons<'_>, max_grad_norm: f32, factor: f32) -> Result<()> {
    let config = ModelConfig {
        layers: 1,
        hidden_size: 20,
        heads: 2,
        kv_heads: 1,
        head_dim: 6,
        intermediate_size: 9,
        vocab_size: 1801,
        ..ModelConfig::smollm2_135m()
    };
    let layout = Layout::new(&config);
    let settings =
        OptimizerSettings { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1, max_grad_norm };
    let mut weights = normal::<f32>(20, layout.len());
    let mut optimizer = Optimizer::new(layout.len());
    let mut operands = Operands::new(comparisons, &layout, &weights)?;
    let name = format!("AdamW, clip {max_grad_norm}, gradients times {factor}");
    for step in 1..=3 {
        let mut gradients = normal::<f32>(21 + step, layout.len());
        gradients.iter_mut().for_each(|gradient| *gradient *= factor);
        let expected = optimizer.step(&mut weights, &gradients, &layout, settings, RATE);
        let gradients = comparisons.upload(&gradients)?;
        operands.step(comparisons.gpu, gradients.read(), settings, step)?;
        let actual = comparisons.download(operands.norm.read())?;
        if expected.is_finite() {
            comparisons.compare(&format!("{name}: norm"), &actual, &[expected]);
        } else {
            let is_finite = f32::from(u8::from(actual[0].is_finite()));
            comparisons.compare_bits(&format!("{name}: norm is finite"), &[is_finite], &[0.0]);
        }
    }
    let actual = comparisons.download(operands.weights.read())?;
    comparisons.compare(&format!("{name}: weights"), &actual, &weights);
    if factor.is_finite() {
        let copy = comparisons.download(operands.copy.read())?;
        comparisons.compare_bits(&format!("{name}: copy"), &copy, &narrowed::<bf16>(&actual));
    }
    let mean = comparisons.download(operands.mean.read())?;
    comparisons.compare(&format!("{name}: mean"), &mean, &optimizer.mean);
    let square = comparisons.download(operands.square.read())?;
    comparisons.compare(&format!("{name}: square"), &square, &optimizer.square);
    Ok(())
}
