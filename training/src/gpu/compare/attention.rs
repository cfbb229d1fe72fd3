//! Causal attention over packed sequences, forward and backward; two backward passes must give the same bits.

use super::comparison::{Comparisons, normal};
use crate::gpu::attention::{Angles, BackwardScratch, Saved, Shape, backward, forward};
use crate::gpu::lists::Tiles;
use anyhow::Result;
use kernels::training::{self, Direction};
use kernels::{AttentionShape, Element, RopeTable};

/// Heads, key heads, head dimension; then the sequences' lengths.
type Case = ((usize, usize, usize), &'static [usize]);

/// One token; sequences of one row more and one row less than a tile; grouped heads and single ones.
const SMALL: &[Case] = &[((2, 1, 64), &[1, 129]), ((3, 1, 6), &[5, 1, 40]), ((2, 2, 8), &[17])];
const FULL: &[Case] = &[
    ((9, 3, 64), &[1, 7, 128, 127, 129, 300]),
    ((4, 4, 64), &[513]),
    ((15, 5, 64), &[2, 255, 64]),
    ((3, 1, 6), &[5, 1, 140, 64]),
    ((8, 4, 8), &[33, 256]),
    ((2, 1, 128), &[70, 200]),
    // More blocks than run at once.
    ((32, 32, 64), &[2048, 1000]),
    ((6, 2, 64), &[8192, 3]),
];

/// Compares in this data type.
pub(super) fn compare<E: Element>(comparisons: &mut Comparisons<'_>, full: bool) -> Result<()> {
    let cases = if full { FULL } else { SMALL };
    cases.iter().try_for_each(|case| one::<E>(comparisons, *case))
}

fn one<E: Element>(
    comparisons: &mut Comparisons<'_>,
    ((heads, kv_heads, head_dim), lengths): Case,
) -> Result<()> {
    let shape = AttentionShape { heads, kv_heads, head_dim };
    let mut starts = vec![0];
    for length in lengths {
        starts.push(starts[starts.len() - 1] + length);
    }
    let t = starts[starts.len() - 1];
    let (row, out_row) = ((heads + 2 * kv_heads) * head_dim, heads * head_dim);
    let (qkv, dout) = (normal::<E>(40, t * row), normal::<E>(41, t * out_row));
    let (mut out, mut log_sums) = (vec![E::default(); t * out_row], vec![0.0; heads * t]);
    training::attention_forward(&mut out, &mut log_sums, &qkv, shape, &starts, usize::MAX);
    let mut dqkv = vec![E::default(); t * row];
    training::attention_backward(&mut dqkv, &dout, &out, &log_sums, &qkv, shape, &starts, usize::MAX);
    let positions: Vec<u32> = lengths.iter().flat_map(|length| 0..*length as u32).collect();
    let table = RopeTable::new(positions.iter().max().map_or(1, |last| *last as usize + 1), head_dim, 1e4);
    training::rotate(&mut dqkv, row, heads + kv_heads, &positions, &table, Direction::Backward);
    let positions = comparisons.upload(&positions)?;
    let (cos, sin) = (comparisons.upload(table.cosines())?, comparisons.upload(table.sines())?);

    let tiles = Tiles::new(&starts);
    let by_query = comparisons.upload(tiles.by_query.as_flattened())?;
    let by_key = comparisons.upload(tiles.by_key.as_flattened())?;
    let (device_qkv, device_dout) = (comparisons.upload(&qkv)?, comparisons.upload(&dout)?);
    let gpu = comparisons.gpu;
    let mut device_out = comparisons.allocate::<E>(t * out_row)?;
    let mut sums = comparisons.allocate::<f32>(heads * t)?;
    let shape = Shape::new(t, shape);
    let name = format!("attention, {heads} heads on {kv_heads} of {head_dim}, {lengths:?}");
    forward(gpu, device_out.write(), sums.write(), device_qkv.read(), by_query.read(), shape)?;
    let (actual, actual_sums) =
        (comparisons.download(device_out.read())?, comparisons.download(sums.read())?);
    comparisons.compare(&name, &actual, &out);
    comparisons.compare(&format!("{name}: log sums"), &actual_sums, &log_sums);

    let mut gradients = Vec::new();
    for _ in 0..2 {
        let mut gradient = comparisons.allocate::<E>(t * row)?;
        let mut delta = comparisons.allocate::<f32>(heads * t)?;
        let mut key_partial = comparisons.allocate::<f32>(2 * heads * t * head_dim)?;
        let saved = Saved {
            dout: device_dout.read(),
            out: device_out.read(),
            log_sums: sums.read(),
            qkv: device_qkv.read(),
            by_query: by_query.read(),
            by_key: by_key.read(),
            angles: Angles { positions: positions.read(), cos: cos.read(), sin: sin.read() },
        };
        let scratch = BackwardScratch { delta: delta.write(), key_partial: key_partial.write() };
        backward(gpu, gradient.write(), scratch, saved, shape)?;
        gradients.push(comparisons.download(gradient.read())?);
    }
    comparisons.compare(&format!("{name}: gradient"), &gradients[0], &dqkv);
    comparisons.compare_bits(&format!("{name}: gradient computed twice"), &gradients[0], &gradients[1]);
    Ok(())
}
