//! How fast a GPU is: by its data sheet, and by measured products and attention.

use super::attention::{Angles, BackwardScratch, Saved, Shape, backward, forward};
use super::buffer::Buffer;
use super::device::Gpu;
use super::kernels::CastToBf16;
use super::lists::Tiles;
use super::matrix::Matrix;
use anyhow::Result;
use half::bf16;
use kernels::{Accumulate, AttentionShape, Element, RopeTable};
use std::time::Instant;

/// Dense bf16 FLOP/s with f32 sums by NVIDIA's data sheets. The first name that is part of the GPU's counts, so slower
/// variants come before the models they are named after.
const DATA_SHEETS: [(&str, f64); 21] = [
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H200 NVL", 835e12),
    ("GH200", 989e12),
    ("H200", 989e12),
    ("H100", 989e12),
    ("H20", 148e12),
    ("B200", 2250e12),
    ("B300", 2250e12),
    ("A100", 312e12),
    ("A800", 312e12),
    ("L40S", 362e12),
    ("L40", 181e12),
    ("L4", 121e12),
    ("A10G", 70e12),
    ("NVIDIA A40", 150e12),
    ("RTX A6000", 155e12),
    ("RTX 6000 Ada", 364e12),
    ("RTX 3090", 71e12),
    ("RTX 4090", 165e12),
    ("RTX 5090", 210e12),
];

/// Runs of a measurement; the fastest counts.
const RUNS: usize = 8;
/// The purpose of the memory, in errors.
const PURPOSE: &str = "the operands of a measurement";

/// Returns the FLOP/s in the data sheet of the GPU with this name, if it is known. A part of a GPU (MIG) has less than its
/// sheet.
pub fn datasheet(name: &str) -> Option<f64> {
    let sheets = if name.contains("MIG") { &[][..] } else { &DATA_SHEETS };
    sheets.iter().find(|(known, _)| name.contains(known)).map(|(_, flops)| *flops)
}

/// Returns the FLOP/s of a product of square matrices with this side and an f32 result.
///
/// # Errors
/// When the GPU fails.
pub fn product<E: Element>(gpu: &Gpu, side: usize) -> Result<f64> {
    let elements = elements::<E>(gpu, side * side)?;
    let mut out = gpu.allocate::<f32>(PURPOSE, side * side)?;
    let seconds = fastest(gpu, || {
        let matrix = Matrix::new(elements.read(), side, side);
        gpu.product(out.write(), matrix, matrix, Accumulate::Replace)
    })?;
    Ok(2.0 * (side as f64).powi(3) / seconds)
}

/// Returns the bytes a second of a kernel that reads this many f32 and writes as many bf16.
///
/// # Errors
/// When the GPU fails.
pub fn memory(gpu: &Gpu, count: usize) -> Result<f64> {
    let from = gpu.zeros::<f32>(PURPOSE, count)?;
    let mut to = gpu.allocate::<bf16>(PURPOSE, count)?;
    let length = count as u64;
    let seconds = fastest(gpu, || CastToBf16 { out: to.write(), r#in: from.read(), length }.launch(gpu))?;
    Ok((count * (size_of::<f32>() + size_of::<bf16>())) as f64 / seconds)
}

/// Returns the FLOP/s of causal attention in bf16 over this many tokens in sequences of `length`: of the forward pass,
/// which counts as two products of half the square, and of the backward pass, which counts as five.
///
/// # Errors
/// When the GPU fails.
pub fn attention(gpu: &Gpu, shape: AttentionShape, length: usize, tokens: usize) -> Result<[f64; 2]> {
    let starts: Vec<usize> = (0..=tokens / length).map(|sequence| sequence * length).collect();
    let tokens = starts[starts.len() - 1];
    let AttentionShape { heads, kv_heads, head_dim } = shape;
    let (row, out_row) = ((heads + 2 * kv_heads) * head_dim, heads * head_dim);
    let (qkv, dout) = (elements::<bf16>(gpu, tokens * row)?, elements::<bf16>(gpu, tokens * out_row)?);
    let tiles = Tiles::new(&starts);
    let by_query = gpu.copy_of(PURPOSE, tiles.by_query.as_flattened())?;
    let by_key = gpu.copy_of(PURPOSE, tiles.by_key.as_flattened())?;
    let mut out = gpu.allocate::<bf16>(PURPOSE, tokens * out_row)?;
    let mut dqkv = gpu.allocate::<bf16>(PURPOSE, tokens * row)?;
    let mut log_sums = gpu.allocate::<f32>(PURPOSE, tokens * heads)?;
    let mut delta = gpu.allocate::<f32>(PURPOSE, tokens * heads)?;
    let mut key_partial = gpu.allocate::<f32>(PURPOSE, 2 * tokens * heads * head_dim)?;
    let positions: Vec<u32> = (0..tokens).map(|token| (token % length) as u32).collect();
    let positions = gpu.copy_of(PURPOSE, &positions)?;
    let table = RopeTable::new(length, head_dim, 1e4);
    let (cos, sin) = (gpu.copy_of(PURPOSE, table.cosines())?, gpu.copy_of(PURPOSE, table.sines())?);
    let shape = Shape::new(tokens, shape);
    let forward_seconds =
        fastest(gpu, || forward(gpu, out.write(), log_sums.write(), qkv.read(), by_query.read(), shape))?;
    let backward_seconds = fastest(gpu, || {
        let saved = Saved {
            dout: dout.read(),
            out: out.read(),
            log_sums: log_sums.read(),
            qkv: qkv.read(),
            by_query: by_query.read(),
            by_key: by_key.read(),
            angles: Angles { positions: positions.read(), cos: cos.read(), sin: sin.read() },
        };
        let scratch = BackwardScratch { delta: delta.write(), key_partial: key_partial.write() };
        backward(gpu, dqkv.write(), scratch, saved, shape)
    })?;
    // A product over half the square: 2 D T length / 2 a head.
    let product = (tokens * length * out_row) as f64;
    Ok([2.0 * product / forward_seconds, 5.0 * product / backward_seconds])
}

/// Returns random elements of the size of weights: with simpler ones a GPU draws less power and is faster.
fn elements<E: Element>(gpu: &Gpu, count: usize) -> Result<Buffer<E>> {
    let element = |index: usize| (random::mix(1, index as u64) % 2001) as f32 / 1000.0 - 1.0;
    let values: Vec<E> = (0..count).map(|index| E::from_f32(element(index))).collect();
    gpu.copy_of(PURPOSE, &values)
}

/// Returns the seconds of the fastest run.
fn fastest(gpu: &Gpu, mut launch: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        gpu.wait()?;
        let start = Instant::now();
        launch()?;
        gpu.wait()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::datasheet;

    #[test]
    fn gpus_are_found_by_the_drivers_name_for_them() {
        assert_eq!(datasheet("NVIDIA H200"), Some(989e12));
        assert_eq!(datasheet("NVIDIA H100 80GB HBM3"), Some(989e12));
        assert_eq!(datasheet("NVIDIA H100 PCIe"), Some(756e12));
        assert_eq!(datasheet("NVIDIA H20"), Some(148e12));
        assert_eq!(datasheet("NVIDIA L4"), Some(121e12));
        assert_eq!(datasheet("NVIDIA GeForce RTX 4090"), Some(165e12));
        assert_eq!(datasheet("NVIDIA H200 NVL"), Some(835e12));
        assert_eq!(datasheet("NVIDIA GeForce RTX 3090 Ti"), Some(71e12));
        assert_eq!(datasheet("NVIDIA H100 80GB HBM3 MIG 3g.40gb"), None);
        assert_eq!(datasheet("NVIDIA RTX A4000"), None);
        assert_eq!(datasheet("something else"), None);
    }
}
