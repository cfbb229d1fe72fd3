//! Operations by row: embedding, RMSNorm, rotary position embedding, SwiGLU; and casts.

use super::comparison::{Comparisons, PURPOSE, ids, narrowed, normal, widened};
use crate::gpu::kernels::{
    CastToBf16, EmbeddingBackward, EmbeddingForward, Fill, NormBackward, NormBackwardWeight, NormForward,
    Rotate, SwigluBackward, SwigluForward,
};
use crate::gpu::lists::ById;
use crate::memory::norm_block_rows;
use anyhow::Result;
use half::bf16;
use kernels::training::{self, Direction};
use kernels::{Element, RopeTable};
use random::mix;

const EPSILON: f32 = 1e-5;

/// Rows and channels: none a multiple of a block's size, then those of the models.
fn shapes(full: bool) -> &'static [(usize, usize)] {
    match full {
        false => &[(1, 24), (19, 20), (5, 576)],
        true => &[(1, 24), (19, 20), (33, 7), (257, 576), (130, 960), (515, 2048)],
    }
}

/// Returns some of this many rows, ascending.
fn some_rows(tokens: usize) -> Vec<u32> {
    (0..tokens as u32).filter(|row| *row == 0 || !mix(7, u64::from(*row)).is_multiple_of(3)).collect()
}

/// Compares what is f32 whatever the activations are.
pub(super) fn compare_f32_only(comparisons: &mut Comparisons<'_>, full: bool) -> Result<()> {
    for (tokens, channels) in shapes(full) {
        embedding_backward(comparisons, *tokens, *channels)?;
    }
    casts(comparisons)
}

/// Compares what has the data type of the activations.
pub(super) fn compare<E: Element>(comparisons: &mut Comparisons<'_>, full: bool) -> Result<()> {
    for (tokens, channels) in shapes(full) {
        embedding_forward::<E>(comparisons, *tokens, *channels)?;
        norm::<E>(comparisons, *tokens, *channels)?;
        swiglu::<E>(comparisons, *tokens, *channels)?;
    }
    for (heads, head_dim) in [(4, 6), (3, 64), (9, 8)] {
        rotate::<E>(comparisons, 37, heads, head_dim)?;
    }
    Ok(())
}

fn embedding_forward<E: Element>(comparisons: &mut Comparisons<'_>, t: usize, c: usize) -> Result<()> {
    let (table, ids) = (normal::<f32>(1, 53 * c), ids(t, 53));
    let mut expected = vec![0.0; t * c];
    let rounded: Vec<E> = narrowed(&table);
    training::embedding_forward(&mut expected, &widened(&rounded), &ids, c);
    let (table, device_ids) = (comparisons.upload(&rounded)?, comparisons.upload(&ids)?);
    let mut x = comparisons.allocate::<f32>(t * c)?;
    let channels = c as u32;
    EmbeddingForward { x: x.write(), table: table.read(), ids: device_ids.read(), channels }
        .launch(comparisons.gpu)?;
    let actual = comparisons.download(x.read())?;
    comparisons.compare_bits(&format!("embedding ({t}, {c})"), &actual, &expected);
    Ok(())
}

fn embedding_backward(comparisons: &mut Comparisons<'_>, t: usize, c: usize) -> Result<()> {
    let (dx, before, ids) = (normal::<f32>(2, t * c), normal::<f32>(3, 11 * c), ids(t, 11));
    let mut expected = before.clone();
    training::embedding_backward(&mut expected, &dx, &ids, c);
    let by_id = ById::new(&ids);
    let (mut dtable, dx) = (comparisons.upload(&before)?, comparisons.upload(&dx)?);
    let (ids, order) = (comparisons.upload(&ids)?, comparisons.upload(&by_id.order)?);
    let segments = comparisons.upload(&by_id.segments)?;
    EmbeddingBackward {
        dtable: dtable.write(),
        dx: dx.read(),
        ids: ids.read(),
        order: order.read(),
        segments: segments.read(),
        channels: c as u32,
    }
    .launch(comparisons.gpu)?;
    let actual = comparisons.download(dtable.read())?;
    comparisons.compare_bits(&format!("gradient of the embedding ({t}, {c})"), &actual, &expected);
    Ok(())
}

/// With an addition before it, of all rows and of some; and its gradients.
fn norm<E: Element>(comparisons: &mut Comparisons<'_>, t: usize, c: usize) -> Result<()> {
    let (x, delta, w) = (normal::<f32>(4, t * c), normal::<E>(5, t * c), normal::<f32>(6, c));
    let rows = some_rows(t);
    let n = rows.len();
    let total: Vec<f32> = x.iter().zip(&delta).map(|(x, delta)| x + delta.to_f32()).collect();
    let mut normed = vec![E::default(); t * c];
    training::rms_norm_forward(&mut normed, &total, &w, EPSILON);
    let (device_x, device_delta, device_w) =
        (comparisons.upload(&x)?, comparisons.upload(&delta)?, comparisons.upload(&w)?);
    let device_rows = comparisons.upload(&rows)?;
    let mut sum = comparisons.gpu.zeros::<f32>(PURPOSE, t * c)?;
    for picks in [false, true] {
        let count = if picks { n } else { t };
        let mut y = comparisons.allocate::<E>(count * c)?;
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
        .launch(comparisons.gpu)?;
        let actual = comparisons.download(y.read())?;
        let of_rows =
            |values: &[E]| rows.iter().flat_map(|row| values[*row as usize * c..][..c].to_vec()).collect();
        let expected: Vec<E> = if picks { of_rows(&normed) } else { normed.clone() };
        comparisons.compare(&format!("norm ({t}, {c}), {count} rows"), &actual, &expected);
    }
    let actual = comparisons.download(sum.read())?;
    comparisons.compare(&format!("residual sum ({t}, {c})"), &actual, &total);
    norm_gradients::<E>(comparisons, &total, &w, &rows)
}

fn norm_gradients<E: Element>(
    comparisons: &mut Comparisons<'_>,
    x: &[f32],
    w: &[f32],
    rows: &[u32],
) -> Result<()> {
    let (c, n) = (w.len(), rows.len());
    let t = x.len() / c;
    let (dy, before, dw_before) = (normal::<E>(8, n * c), normal::<f32>(9, t * c), normal::<f32>(10, c));
    let picked = |values: &[f32]| -> Vec<f32> {
        rows.iter().flat_map(|row| values[*row as usize * c..][..c].to_vec()).collect()
    };
    let (mut drows, mut dw) = (picked(&before), dw_before.clone());
    training::rms_norm_backward(&mut drows, Some(&mut dw), &widened(&dy), &picked(x), w, EPSILON);
    let mut expected = before.clone();
    for (row, drow) in rows.iter().zip(drows.chunks_exact(c)) {
        expected[*row as usize * c..][..c].copy_from_slice(drow);
    }
    let (mut device_dx, mut device_dw) = (comparisons.upload(&before)?, comparisons.upload(&dw_before)?);
    let rounded: Vec<E> = narrowed(&before);
    let mut copy = comparisons.upload(&rounded)?;
    // More rows than a block gets where there are few, too.
    let block_rows = if c == 20 { 5 } else { norm_block_rows(n) };
    let parts = n.div_ceil(block_rows);
    let mut partial = comparisons.allocate::<f32>(parts * c)?;
    let (device_dy, device_x, device_w) =
        (comparisons.upload(&dy)?, comparisons.upload(x)?, comparisons.upload(w)?);
    let device_rows = comparisons.upload(rows)?;
    NormBackward {
        dx: device_dx.write(),
        dx_copy: Some(copy.write()),
        partial: partial.write(),
        dy: device_dy.read(),
        x: device_x.read(),
        w: device_w.read(),
        rows: Some(device_rows.read()),
        count: n as u32,
        block_rows: block_rows as u32,
        channels: c as u32,
        epsilon: EPSILON,
    }
    .launch(comparisons.gpu)?;
    let (parts, channels) = (parts as u32, c as u32);
    NormBackwardWeight { dw: device_dw.write(), partial: partial.read(), parts, channels }
        .launch(comparisons.gpu)?;
    let (actual, actual_dw, actual_copy) = (
        comparisons.download(device_dx.read())?,
        comparisons.download(device_dw.read())?,
        comparisons.download(copy.read())?,
    );
    comparisons.compare(&format!("gradient of the norm ({t}, {c})"), &actual, &expected);
    comparisons.compare(&format!("gradient of the norm's weights ({t}, {c})"), &actual_dw, &dw);
    let rounded: Vec<E> = narrowed(&expected);
    comparisons.compare(&format!("rounded gradient of the norm ({t}, {c})"), &actual_copy, &rounded);
    Ok(())
}

fn swiglu<E: Element>(comparisons: &mut Comparisons<'_>, t: usize, f: usize) -> Result<()> {
    let (gate_up, dout) = (normal::<E>(11, t * 2 * f), normal::<E>(12, t * f));
    let mut out = vec![E::default(); t * f];
    training::swiglu_forward(&mut out, &gate_up, f);
    let mut dgate_up = gate_up.clone();
    training::swiglu_backward(&mut dgate_up, &dout, f);
    let (mut device, mut device_dout) = (comparisons.upload(&gate_up)?, comparisons.upload(&dout)?);
    let mut device_out = comparisons.allocate::<E>(t * f)?;
    let (tokens, features) = (t as u32, f as u32);
    SwigluForward { out: device_out.write(), gate_up: device.read(), tokens, features }
        .launch(comparisons.gpu)?;
    let actual = comparisons.download(device_out.read())?;
    comparisons.compare(&format!("swiglu ({t}, {f})"), &actual, &out);
    SwigluBackward { gate_up: device.write(), dout: device_dout.write(), tokens, features }
        .launch(comparisons.gpu)?;
    let (actual, output) = (comparisons.download(device.read())?, comparisons.download(device_dout.read())?);
    comparisons.compare(&format!("gradient of swiglu ({t}, {f})"), &actual, &dgate_up);
    comparisons.compare(&format!("swiglu's output in its backward pass ({t}, {f})"), &output, &out);
    Ok(())
}

/// Forward, and back.
fn rotate<E: Element>(comparisons: &mut Comparisons<'_>, t: usize, heads: usize, d: usize) -> Result<()> {
    let (row, table) = ((heads + 2) * d, RopeTable::new(50, d, 1e4));
    let positions: Vec<u32> = (0..t as u64).map(|token| (mix(13, token) % 50) as u32).collect();
    let x = normal::<E>(14, t * row);
    let mut device = comparisons.upload(&x)?;
    let (cos, sin) = (comparisons.upload(table.cosines())?, comparisons.upload(table.sines())?);
    let device_positions = comparisons.upload(&positions)?;
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
        .launch(comparisons.gpu)?;
        let actual = comparisons.download(device.read())?;
        comparisons.compare(&format!("rotary {direction:?}, {heads} heads of {d}"), &actual, &expected);
    }
    Ok(())
}

fn casts(comparisons: &mut Comparisons<'_>) -> Result<()> {
    let values = normal::<f32>(30, 5003);
    let device = comparisons.upload(&values)?;
    let mut rounded = comparisons.allocate::<bf16>(values.len())?;
    CastToBf16 { out: rounded.write(), r#in: device.read(), length: values.len() as u64 }
        .launch(comparisons.gpu)?;
    let expected: Vec<bf16> = narrowed(&values);
    let actual = comparisons.download(rounded.read())?;
    comparisons.compare_bits("rounding", &actual, &expected);
    let mut filled = comparisons.allocate::<f32>(4099)?;
    Fill { out: filled.write(), value: 0.3, length: 4099 }.launch(comparisons.gpu)?;
    let actual = comparisons.download(filled.read())?;
    comparisons.compare_bits("filling", &actual, &vec![0.3; 4099]);
    Ok(())
}
