//! Attention over packed sequences, forward and backward, and that the backward pass has the same bits twice.

use super::{Extent, Findings, drawn};
use crate::gpu::attention::{Saved, Shape, backward, forward};
use crate::gpu::lists::Tiles;
use anyhow::Result;
use kernels::{AttentionShape, Element, training};

/// Heads, key heads, head dimension; then the sequences' lengths.
type Case = ((usize, usize, usize), &'static [usize]);

/// One token, tiles that end within a sequence, one row more and less than a tile; grouped heads and single ones.
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

pub(super) fn compare<E: Element>(findings: &mut Findings<'_>, extent: Extent) -> Result<()> {
    let cases = if extent == Extent::Full { FULL } else { SMALL };
    cases.iter().try_for_each(|case| one::<E>(findings, *case))
}

fn one<E: Element>(findings: &mut Findings<'_>, ((heads, kv_heads, head_dim), lengths): Case) -> Result<()> {
    let shape = AttentionShape { heads, kv_heads, head_dim };
    let mut starts = vec![0];
    for length in lengths {
        starts.push(starts[starts.len() - 1] + length);
    }
    let t = starts[starts.len() - 1];
    let (row, mixed) = ((heads + 2 * kv_heads) * head_dim, heads * head_dim);
    let (qkv, dout) = (drawn::<E>(40, t * row), drawn::<E>(41, t * mixed));
    let (mut out, mut log_sums) = (vec![E::default(); t * mixed], vec![0.0; heads * t]);
    training::attention_forward(&mut out, &mut log_sums, &qkv, shape, &starts);
    let mut dqkv = vec![E::default(); t * row];
    training::attention_backward(&mut dqkv, &dout, &out, &log_sums, &qkv, shape, &starts);

    let tiles = Tiles::new(&starts);
    let by_query = findings.put(tiles.by_query.as_flattened())?;
    let by_key = findings.put(tiles.by_key.as_flattened())?;
    let (device_qkv, device_dout) = (findings.put(&qkv)?, findings.put(&dout)?);
    let card = findings.card;
    let mut device_out = card.allocate::<E>("a comparison", t * mixed)?;
    let mut sums = card.allocate::<f32>("a comparison", heads * t)?;
    let shape = Shape::new(t, shape);
    let name = format!("attention, {heads} heads on {kv_heads} of {head_dim}, {lengths:?}");
    forward(card, device_out.write(), sums.write(), device_qkv.read(), by_query.read(), shape)?;
    let (found, found_sums) = (findings.get(device_out.read())?, findings.get(sums.read())?);
    findings.compare(&name, &found, &out);
    findings.compare(&format!("{name}: log sums"), &found_sums, &log_sums);

    let mut answers = Vec::new();
    for _ in 0..2 {
        let mut gradient = card.allocate::<E>("a comparison", t * row)?;
        let mut delta = card.allocate::<f32>("a comparison", heads * t)?;
        let saved = Saved {
            dout: device_dout.read(),
            out: device_out.read(),
            log_sums: sums.read(),
            qkv: device_qkv.read(),
            by_query: by_query.read(),
            by_key: by_key.read(),
        };
        backward(card, gradient.write(), delta.write(), saved, shape)?;
        answers.push(findings.get(gradient.read())?);
    }
    findings.compare(&format!("{name}: gradient"), &answers[0], &dqkv);
    findings.same(&format!("{name}: gradient twice"), &answers[0], &answers[1]);
    Ok(())
}
