//! Log-probabilities, the gradient of logits, and matrix products.

use super::comparison::{Comparisons, ids, narrowed, normal};
use crate::gpu::kernels::{CrossEntropyForward, CrossEntropyGradient, CrossEntropyGradientHalved};
use crate::gpu::matrix::Matrix;
use crate::memory::logits_row;
use anyhow::Result;
use kernels::training::{self, TokenLoss};
use kernels::{Accumulate, Element, gemm};

/// Compares with activations of this data type.
pub(super) fn compare<E: Element>(comparisons: &mut Comparisons<'_>, full: bool) -> Result<()> {
    for (rows, vocabulary) in [(3, 61), (2, 512), (5, 4099), (3, 49_152), (2, 49_154)] {
        if full || vocabulary < 5000 {
            // As the model has them, and without gaps.
            for stride in [logits_row(vocabulary), vocabulary] {
                cross_entropy::<E>(comparisons, rows, vocabulary, stride)?;
            }
        }
    }
    products::<E>(comparisons, if full { (130, 576, 257) } else { (13, 24, 9) })
}

/// f32 logits, and their gradient in the data type of the activations.
fn cross_entropy<E: Element>(
    comparisons: &mut Comparisons<'_>,
    n: usize,
    v: usize,
    row: usize,
) -> Result<()> {
    let mut logits = normal::<f32>(15, n * v);
    logits.iter_mut().for_each(|logit| *logit *= 4.0);
    let (targets, weights) = (ids(n, v), normal::<f32>(16, n));
    let mut results = vec![TokenLoss::default(); n];
    training::cross_entropy_forward(&mut results, &logits, &targets);
    let mut gradient = logits.clone();
    training::cross_entropy_backward(&mut gradient, &targets, &results, &weights);
    let gradient: Vec<E> = narrowed(&gradient);
    // NaN between the rows.
    let padding = vec![f32::NAN; row - v];
    let padded: Vec<f32> = logits.chunks_exact(v).flat_map(|logits| [logits, &padding].concat()).collect();
    let mut device = comparisons.upload(&padded)?;
    let (device_targets, device_weights) = (comparisons.upload(&targets)?, comparisons.upload(&weights)?);
    let per_row = || comparisons.allocate::<f32>(n);
    let (mut log_probability, mut entropy) = (per_row()?, per_row()?);
    let mut best = comparisons.allocate::<u32>(n)?;
    for with_gradient in [false, true] {
        let (log_probability, best, entropy) = (log_probability.write(), best.write(), entropy.write());
        let (targets, weights) = (device_targets.read(), device_weights.read());
        let (vocabulary, stride) = (v as u32, row as u32);
        if !with_gradient {
            let logits = device.read();
            CrossEntropyForward { log_probability, best, entropy, logits, targets, vocabulary, stride }
                .launch(comparisons.gpu)?;
        } else if E::BF16 {
            let logits = device.write();
            CrossEntropyGradientHalved {
                log_probability,
                best,
                entropy,
                logits,
                targets,
                weights,
                vocabulary,
                stride,
            }
            .launch(comparisons.gpu)?;
        } else {
            let logits = device.write().cast::<E>();
            CrossEntropyGradient {
                log_probability,
                best,
                entropy,
                logits,
                targets,
                weights,
                vocabulary,
                stride,
            }
            .launch(comparisons.gpu)?;
        }
    }
    let column = |part: fn(&TokenLoss) -> f32| results.iter().map(part).collect::<Vec<f32>>();
    let actual = comparisons.download(log_probability.read())?;
    comparisons.compare(
        &format!("log-probability ({n}, {v} of {row})"),
        &actual,
        &column(|token| token.log_probability),
    );
    let actual = comparisons.download(entropy.read())?;
    comparisons.compare(&format!("entropy ({n}, {v} of {row})"), &actual, &column(|token| token.entropy));
    let actual: Vec<f32> =
        comparisons.download(best.read())?.iter().map(|best| f32::from(u8::from(*best != 0))).collect();
    comparisons.compare_bits(
        &format!("whether it is the highest ({n}, {v} of {row})"),
        &actual,
        &column(|token| f32::from(u8::from(token.best))),
    );
    let actual: Vec<E> = if E::BF16 {
        let gradient = comparisons.download(device.read().reinterpret::<E>())?;
        gradient.chunks_exact(2 * row).flat_map(|row| row[..v].to_vec()).collect()
    } else {
        let gradient = comparisons.download(device.read().cast::<E>())?;
        gradient.chunks_exact(row).flat_map(|row| row[..v].to_vec()).collect()
    };
    comparisons.compare(&format!("gradient of the logits ({n}, {v} of {row})"), &actual, &gradient);
    Ok(())
}

/// Every way in which the model reads the operands, into a result that is replaced and into an f32 result that is added to.
fn products<E: Element>(comparisons: &mut Comparisons<'_>, (m, n, k): (usize, usize, usize)) -> Result<()> {
    let (a, b) = (normal::<E>(17, m * k), normal::<E>(18, k * n));
    let (device_a, device_b) = (comparisons.upload(&a)?, comparisons.upload(&b)?);
    for case in 0..4 {
        let (turn_a, turn_b) = (case & 1 > 0, case & 2 > 0);
        let (a_rows, a_columns) = if turn_a { (k, m) } else { (m, k) };
        let (b_rows, b_columns) = if turn_b { (n, k) } else { (k, n) };
        let (x, y) =
            (kernels::Matrix::new(&a, a_rows, a_columns), kernels::Matrix::new(&b, b_rows, b_columns));
        let (x, y) = (if turn_a { x.transposed() } else { x }, if turn_b { y.transposed() } else { y });
        let device_x = Matrix::new(device_a.read(), a_rows, a_columns);
        let device_y = Matrix::new(device_b.read(), b_rows, b_columns);
        let device_x = if turn_a { device_x.transposed() } else { device_x };
        let device_y = if turn_b { device_y.transposed() } else { device_y };
        let name = format!("product {m} x {k} x {n}, case {case}");

        let mut expected = vec![E::default(); m * n];
        gemm::<E, _, _, _>(&mut expected, x, y, Accumulate::Replace);
        let mut out = comparisons.allocate::<E>(m * n)?;
        comparisons.gpu.product(out.write(), device_x, device_y, Accumulate::Replace)?;
        let actual = comparisons.download(out.read())?;
        comparisons.compare(&name, &actual, &expected);

        let mut expected = normal::<f32>(19, m * n);
        let mut out = comparisons.upload(&expected)?;
        gemm::<E, _, _, _>(&mut expected, x, y, Accumulate::Add);
        comparisons.gpu.product(out.write(), device_x, device_y, Accumulate::Add)?;
        let actual = comparisons.download(out.read())?;
        comparisons.compare(&format!("{name}, added in f32"), &actual, &expected);
    }
    Ok(())
}
