//! The operations that go row by row, the products and the optimizer.

use super::{Extent, Findings, drawn};
use crate::gpu::card::Matrix;
use crate::gpu::kernels::{
    AdamW, CastToBf16, CrossEntropyForward, CrossEntropyGradient, CrossEntropyGradientHalved,
    EmbeddingBackward, EmbeddingForward, Fill, GradientNorm, NORM_PARTS, NormBackward, NormBackwardWeight,
    NormForward, Rotate, SquaredNorm, SwigluBackward, SwigluForward,
};
use crate::gpu::lists::{ById, Chunks};
use crate::gpu::plan::NORM_ROWS;
use crate::gpu::trainer::corrected;
use crate::model::Layout;
use crate::optimizer::{Optimizer, OptimizerSettings};
use crate::random::mix;
use anyhow::Result;
use half::bf16;
use kernels::training::{self, Direction, TokenLoss};
use kernels::{Element, Into, RopeTable, gemm};
use smollm::ModelConfig;

const EPSILON: f32 = 1e-5;

/// Rows and channels: none of a block's sizes, then the models' own.
fn shapes(extent: Extent) -> &'static [(usize, usize)] {
    match extent {
        Extent::Small => &[(1, 24), (19, 20), (5, 576)],
        Extent::Full => &[(1, 24), (19, 20), (33, 7), (257, 576), (130, 960), (515, 2048)],
    }
}

/// Some rows of so many, ascending.
fn some_rows(tokens: usize) -> Vec<u32> {
    (0..tokens as u32).filter(|row| *row == 0 || !mix(7, u64::from(*row)).is_multiple_of(3)).collect()
}

fn ids(tokens: usize, vocabulary: usize) -> Vec<u32> {
    (0..tokens as u64).map(|token| (mix(3, token) % vocabulary as u64) as u32).collect()
}

/// What is of one type only.
pub(super) fn f32_only(findings: &mut Findings<'_>, extent: Extent) -> Result<()> {
    for (tokens, channels) in shapes(extent) {
        embedding_backward(findings, *tokens, *channels)?;
    }
    optimizer(findings, 1.0, 1.0)?;
    // Clipped, and without a clip.
    optimizer(findings, 1e-3, 1.0)?;
    optimizer(findings, 0.0, 1.0)?;
    // Nothing may change.
    optimizer(findings, 1.0, f32::INFINITY)?;
    small_ones(findings)
}

/// What is of the activations' type.
pub(super) fn both<E: Element>(findings: &mut Findings<'_>, extent: Extent) -> Result<()> {
    for (tokens, channels) in shapes(extent) {
        embedding_forward::<E>(findings, *tokens, *channels)?;
        norm::<E>(findings, *tokens, *channels)?;
        swiglu::<E>(findings, *tokens, *channels)?;
    }
    for (heads, head_dim) in [(4, 6), (3, 64), (9, 8)] {
        rotate::<E>(findings, 37, heads, head_dim)?;
    }
    for (rows, vocabulary) in [(3, 61), (2, 512), (5, 4099), (3, 49_152)] {
        if extent == Extent::Full || vocabulary < 5000 {
            cross_entropy::<E>(findings, rows, vocabulary)?;
        }
    }
    let sides = if extent == Extent::Full { (130, 576, 257) } else { (13, 24, 9) };
    products::<E>(findings, sides)
}

fn embedding_forward<E: Element>(findings: &mut Findings<'_>, t: usize, c: usize) -> Result<()> {
    let (table, ids) = (drawn::<f32>(1, 53 * c), ids(t, 53));
    let mut expected = vec![0.0; t * c];
    // What is stored is what is read, whatever the type.
    let rounded: Vec<E> = table.iter().map(|value| E::from_f32(*value)).collect();
    training::embedding_forward(&mut expected, &super::widened(&rounded), &ids, c);
    let (table, device_ids) = (findings.put(&rounded)?, findings.put(&ids)?);
    let mut x = findings.card.allocate::<f32>("a comparison", t * c)?;
    let channels = c as u32;
    EmbeddingForward { x: x.write(), table: table.read(), ids: device_ids.read(), channels }
        .launch(findings.card)?;
    let found = findings.get(x.read())?;
    findings.same(&format!("embedding ({t}, {c})"), &found, &expected);
    Ok(())
}

fn embedding_backward(findings: &mut Findings<'_>, t: usize, c: usize) -> Result<()> {
    let (dx, before, ids) = (drawn::<f32>(2, t * c), drawn::<f32>(3, 11 * c), ids(t, 11));
    let mut expected = before.clone();
    training::embedding_backward(&mut expected, &dx, &ids, c);
    let by_id = ById::new(&ids);
    let (mut dtable, dx) = (findings.put(&before)?, findings.put(&dx)?);
    let (ids, order) = (findings.put(&ids)?, findings.put(&by_id.order)?);
    let segments = findings.put(&by_id.segments)?;
    EmbeddingBackward {
        dtable: dtable.write(),
        dx: dx.read(),
        ids: ids.read(),
        order: order.read(),
        segments: segments.read(),
        channels: c as u32,
    }
    .launch(findings.card)?;
    let found = findings.get(dtable.read())?;
    findings.same(&format!("embedding's gradient ({t}, {c})"), &found, &expected);
    Ok(())
}

/// With an addition before it and rows picked from it, and its gradients.
fn norm<E: Element>(findings: &mut Findings<'_>, t: usize, c: usize) -> Result<()> {
    let (x, delta, w) = (drawn::<f32>(4, t * c), drawn::<E>(5, t * c), drawn::<f32>(6, c));
    let rows = some_rows(t);
    let n = rows.len();
    let total: Vec<f32> = x.iter().zip(&delta).map(|(x, delta)| x + delta.to_f32()).collect();
    let mut normed = vec![E::default(); t * c];
    training::rms_norm_forward(&mut normed, &total, &w, EPSILON);
    let (device_x, device_delta, device_w) = (findings.put(&x)?, findings.put(&delta)?, findings.put(&w)?);
    let device_rows = findings.put(&rows)?;
    let mut sum = findings.card.zeros::<f32>("a comparison", t * c)?;
    for picks in [false, true] {
        let count = if picks { n } else { t };
        let mut y = findings.card.allocate::<E>("a comparison", count * c)?;
        NormForward {
            y: y.write(),
            sum: Some(sum.write()),
            x: device_x.read(),
            delta: Some(device_delta.read()),
            w: device_w.read(),
            rows: picks.then_some(device_rows.read()),
            channels: c as u32,
            epsilon: EPSILON,
        }
        .launch(findings.card)?;
        let found = findings.get(y.read())?;
        let of_rows =
            |values: &[E]| rows.iter().flat_map(|row| values[*row as usize * c..][..c].to_vec()).collect();
        let expected: Vec<E> = if picks { of_rows(&normed) } else { normed.clone() };
        findings.compare(&format!("norm ({t}, {c}), {count} rows"), &found, &expected);
    }
    let found = findings.get(sum.read())?;
    findings.compare(&format!("residual sum ({t}, {c})"), &found, &total);
    norm_gradients::<E>(findings, &total, &w, &rows)
}

fn norm_gradients<E: Element>(findings: &mut Findings<'_>, x: &[f32], w: &[f32], rows: &[u32]) -> Result<()> {
    let (c, n) = (w.len(), rows.len());
    let t = x.len() / c;
    let (dy, before, dw_before) = (drawn::<E>(8, n * c), drawn::<f32>(9, t * c), drawn::<f32>(10, c));
    let picked = |values: &[f32]| -> Vec<f32> {
        rows.iter().flat_map(|row| values[*row as usize * c..][..c].to_vec()).collect()
    };
    let (mut drows, mut dw) = (picked(&before), dw_before.clone());
    training::rms_norm_backward(&mut drows, &mut dw, &super::widened(&dy), &picked(x), w, EPSILON);
    let mut expected = before.clone();
    for (row, drow) in rows.iter().zip(drows.chunks_exact(c)) {
        expected[*row as usize * c..][..c].copy_from_slice(drow);
    }
    let (mut device_dx, mut device_dw) = (findings.put(&before)?, findings.put(&dw_before)?);
    let rounded: Vec<E> = before.iter().map(|value| E::from_f32(*value)).collect();
    let mut copy = findings.put(&rounded)?;
    let parts = n.div_ceil(NORM_ROWS);
    let mut partial = findings.card.allocate::<f32>("a comparison", parts * c)?;
    let (device_dy, device_x, device_w) = (findings.put(&dy)?, findings.put(x)?, findings.put(w)?);
    let device_rows = findings.put(rows)?;
    NormBackward {
        dx: device_dx.write(),
        dx_copy: Some(copy.write()),
        partial: partial.write(),
        dy: device_dy.read(),
        x: device_x.read(),
        w: device_w.read(),
        rows: Some(device_rows.read()),
        count: n as u32,
        channels: c as u32,
        epsilon: EPSILON,
    }
    .launch(findings.card)?;
    let (parts, channels) = (parts as u32, c as u32);
    NormBackwardWeight { dw: device_dw.write(), partial: partial.read(), parts, channels }
        .launch(findings.card)?;
    let (found, found_dw, found_copy) =
        (findings.get(device_dx.read())?, findings.get(device_dw.read())?, findings.get(copy.read())?);
    findings.compare(&format!("norm's gradient ({t}, {c})"), &found, &expected);
    findings.compare(&format!("norm's weights' gradient ({t}, {c})"), &found_dw, &dw);
    let rounded: Vec<E> = expected.iter().map(|value| E::from_f32(*value)).collect();
    findings.compare(&format!("norm's gradient, its copy ({t}, {c})"), &found_copy, &rounded);
    Ok(())
}

fn swiglu<E: Element>(findings: &mut Findings<'_>, t: usize, f: usize) -> Result<()> {
    let (gate_up, dout) = (drawn::<E>(11, t * 2 * f), drawn::<E>(12, t * f));
    let mut out = vec![E::default(); t * f];
    training::swiglu_forward(&mut out, &gate_up, f);
    let mut dgate_up = gate_up.clone();
    training::swiglu_backward(&mut dgate_up, &dout, f);
    let (mut device, mut device_dout) = (findings.put(&gate_up)?, findings.put(&dout)?);
    let mut made = findings.card.allocate::<E>("a comparison", t * f)?;
    let (tokens, features) = (t as u32, f as u32);
    SwigluForward { out: made.write(), gate_up: device.read(), tokens, features }.launch(findings.card)?;
    let found = findings.get(made.read())?;
    findings.compare(&format!("swiglu ({t}, {f})"), &found, &out);
    SwigluBackward { gate_up: device.write(), dout: device_dout.write(), tokens, features }
        .launch(findings.card)?;
    let (found, again) = (findings.get(device.read())?, findings.get(device_dout.read())?);
    findings.compare(&format!("swiglu's gradient ({t}, {f})"), &found, &dgate_up);
    findings.compare(&format!("swiglu made again ({t}, {f})"), &again, &out);
    Ok(())
}

/// There, and back again.
fn rotate<E: Element>(findings: &mut Findings<'_>, t: usize, heads: usize, d: usize) -> Result<()> {
    let (row, table) = ((heads + 2) * d, RopeTable::new(50, d, 1e4));
    let positions: Vec<u32> = (0..t as u64).map(|token| (mix(13, token) % 50) as u32).collect();
    let x = drawn::<E>(14, t * row);
    let mut device = findings.put(&x)?;
    let (cos, sin) = (findings.put(table.cosines())?, findings.put(table.sines())?);
    let device_positions = findings.put(&positions)?;
    let mut expected = x;
    for (sign, direction) in [(1.0, Direction::Forward), (-1.0, Direction::Backward)] {
        training::rotate(&mut expected, row, heads, &positions, &table, direction);
        Rotate {
            x: device.write(),
            positions: device_positions.read(),
            cos: cos.read(),
            sin: sin.read(),
            row: row as u32,
            heads: heads as u32,
            head_dim: d as u32,
            sign,
        }
        .launch(findings.card)?;
        let found = findings.get(device.read())?;
        findings.compare(&format!("rotary {direction:?}, {heads} heads of {d}"), &found, &expected);
    }
    Ok(())
}

/// f32 logits; the gradient is of the activations' type.
fn cross_entropy<E: Element>(findings: &mut Findings<'_>, n: usize, v: usize) -> Result<()> {
    let mut logits = drawn::<f32>(15, n * v);
    logits.iter_mut().for_each(|logit| *logit *= 4.0);
    let (targets, weights) = (ids(n, v), drawn::<f32>(16, n));
    let mut results = vec![TokenLoss::default(); n];
    training::cross_entropy_forward(&mut results, &logits, &targets);
    let mut gradient = logits.clone();
    training::cross_entropy_backward(&mut gradient, &targets, &results, &weights);
    let gradient: Vec<E> = gradient.iter().map(|value| E::from_f32(*value)).collect();
    let mut device = findings.put(&logits)?;
    let (device_targets, device_weights) = (findings.put(&targets)?, findings.put(&weights)?);
    let numbers = || findings.card.allocate::<f32>("a comparison", n);
    let (mut log_probability, mut entropy) = (numbers()?, numbers()?);
    let mut best = findings.card.allocate::<u32>("a comparison", n)?;
    for gradient_too in [false, true] {
        let (log_probability, best, entropy) = (log_probability.write(), best.write(), entropy.write());
        let (targets, weights, vocabulary) = (device_targets.read(), device_weights.read(), v as u32);
        if !gradient_too {
            let logits = device.read();
            CrossEntropyForward { log_probability, best, entropy, logits, targets, vocabulary }
                .launch(findings.card)?;
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
            }
            .launch(findings.card)?;
        } else {
            let logits = device.write().cast::<E>();
            CrossEntropyGradient { log_probability, best, entropy, logits, targets, weights, vocabulary }
                .launch(findings.card)?;
        }
    }
    let of = |part: fn(&TokenLoss) -> f32| results.iter().map(part).collect::<Vec<f32>>();
    let found = findings.get(log_probability.read())?;
    findings.compare(&format!("log-probability ({n}, {v})"), &found, &of(|token| token.log_probability));
    let found = findings.get(entropy.read())?;
    findings.compare(&format!("entropy ({n}, {v})"), &found, &of(|token| token.entropy));
    let found: Vec<f32> =
        findings.get(best.read())?.iter().map(|best| f32::from(u8::from(*best != 0))).collect();
    findings.same(&format!("likeliest ({n}, {v})"), &found, &of(|token| f32::from(u8::from(token.best))));
    let found: Vec<E> = if E::BF16 {
        let halves = findings.get(device.read().halves::<E>())?;
        halves.chunks_exact(2 * v).flat_map(|row| row[..v].to_vec()).collect()
    } else {
        findings.get(device.read().cast::<E>())?
    };
    findings.compare(&format!("logits' gradient ({n}, {v})"), &found, &gradient);
    Ok(())
}

/// Every way to read the operands that the model uses; replaced in the activations' type and in f32, and added to.
fn products<E: Element>(findings: &mut Findings<'_>, (m, n, k): (usize, usize, usize)) -> Result<()> {
    let (a, b) = (drawn::<E>(17, m * k), drawn::<E>(18, k * n));
    let (device_a, device_b) = (findings.put(&a)?, findings.put(&b)?);
    for case in 0..4 {
        let (a_turned, b_turned) = (case & 1 > 0, case & 2 > 0);
        let (a_rows, a_columns) = if a_turned { (k, m) } else { (m, k) };
        let (b_rows, b_columns) = if b_turned { (n, k) } else { (k, n) };
        let (x, y) =
            (kernels::Matrix::new(&a, a_rows, a_columns), kernels::Matrix::new(&b, b_rows, b_columns));
        let (x, y) = (if a_turned { x.transposed() } else { x }, if b_turned { y.transposed() } else { y });
        let device_x = Matrix::new(device_a.read(), a_rows, a_columns);
        let device_y = Matrix::new(device_b.read(), b_rows, b_columns);
        let device_x = if a_turned { device_x.transposed() } else { device_x };
        let device_y = if b_turned { device_y.transposed() } else { device_y };
        let name = format!("product {m} x {k} x {n}, case {case}");

        let mut expected = vec![E::default(); m * n];
        gemm::<E, _, _, _>(&mut expected, x, y, Into::Replace);
        let mut out = findings.card.allocate::<E>("a comparison", m * n)?;
        findings.card.product(out.write(), device_x, device_y, Into::Replace)?;
        let found = findings.get(out.read())?;
        findings.compare(&name, &found, &expected);

        let mut expected = drawn::<f32>(19, m * n);
        let mut out = findings.put(&expected)?;
        gemm::<E, _, _, _>(&mut expected, x, y, Into::Add);
        findings.card.product(out.write(), device_x, device_y, Into::Add)?;
        let found = findings.get(out.read())?;
        findings.compare(&format!("{name}, added in f32"), &found, &expected);
    }
    Ok(())
}

/// Three steps of AdamW on a small model's layout; `factor` scales the gradients.
fn optimizer(findings: &mut Findings<'_>, max_grad_norm: f32, factor: f32) -> Result<()> {
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
    let length = layout.len();
    let settings =
        OptimizerSettings { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1, max_grad_norm };
    let mut weights = drawn::<f32>(20, length);
    let mut optimizer = Optimizer::new(length);
    let chunks = Chunks::new(&layout);
    let (firsts, counts) = (findings.put(&chunks.firsts)?, findings.put(&chunks.counts)?);
    let decayed = findings.put(&chunks.decayed)?;
    let (mut device_weights, mut mean, mut square) =
        (findings.put(&weights)?, findings.put(&optimizer.mean)?, findings.put(&optimizer.square)?);
    let mut copy = findings.card.zeros::<bf16>("a comparison", length)?;
    let mut norm = findings.card.allocate::<f32>("a comparison", 1)?;
    let mut partial = findings.card.allocate::<f64>("a comparison", NORM_PARTS)?;
    let name = format!("AdamW, clip {max_grad_norm}, gradients times {factor}");
    for step in 1..=3 {
        let mut gradients = drawn::<f32>(21 + step, length);
        gradients.iter_mut().for_each(|gradient| *gradient *= factor);
        let expected_norm = optimizer.step(&mut weights, &gradients, &layout, settings, 1e-2);
        let gradients = findings.put(&gradients)?;
        SquaredNorm { partial: partial.write(), gradients: gradients.read(), length: length as u64 }
            .launch(findings.card)?;
        GradientNorm { norm: norm.write(), partial: partial.read() }.launch(findings.card)?;
        let (rate, root) = corrected(settings, 1e-2, step);
        AdamW {
            weights: device_weights.write(),
            copy: Some(copy.write()),
            mean: mean.write(),
            square: square.write(),
            gradients: gradients.read(),
            firsts: firsts.read(),
            counts: counts.read(),
            decayed: decayed.read(),
            norm: norm.read(),
            learning_rate: 1e-2,
            beta1: settings.beta1,
            beta2: settings.beta2,
            epsilon: settings.epsilon,
            weight_decay: settings.weight_decay,
            rate,
            root,
            max_norm: max_grad_norm,
        }
        .launch(findings.card)?;
        let found = findings.get(norm.read())?;
        if expected_norm.is_finite() {
            findings.compare(&format!("{name}: norm"), &found, &[expected_norm]);
        } else {
            findings.same(
                &format!("{name}: norm is finite"),
                &[f32::from(u8::from(found[0].is_finite()))],
                &[0.0],
            );
        }
    }
    let (found, found_mean, found_square) =
        (findings.get(device_weights.read())?, findings.get(mean.read())?, findings.get(square.read())?);
    findings.compare(&format!("{name}: weights"), &found, &weights);
    findings.compare(&format!("{name}: mean"), &found_mean, &optimizer.mean);
    findings.compare(&format!("{name}: square"), &found_square, &optimizer.square);
    if factor.is_finite() {
        let rounded: Vec<bf16> = found.iter().map(|value| bf16::from_f32(*value)).collect();
        let copy = findings.get(copy.read())?;
        findings.same(&format!("{name}: copy"), &copy, &rounded);
    }
    Ok(())
}

fn small_ones(findings: &mut Findings<'_>) -> Result<()> {
    let values = drawn::<f32>(30, 5003);
    let device = findings.put(&values)?;
    let mut rounded = findings.card.allocate::<bf16>("a comparison", values.len())?;
    CastToBf16 { out: rounded.write(), r#in: device.read(), length: values.len() as u64 }
        .launch(findings.card)?;
    let expected: Vec<bf16> = values.iter().map(|value| bf16::from_f32(*value)).collect();
    let found = findings.get(rounded.read())?;
    findings.same("rounding", &found, &expected);
    let mut filled = findings.card.allocate::<f32>("a comparison", 4099)?;
    Fill { out: filled.write(), value: 0.3, length: 4099 }.launch(findings.card)?;
    let found = findings.get(filled.read())?;
    findings.same("filling", &found, &vec![0.3; 4099]);
    Ok(())
}
