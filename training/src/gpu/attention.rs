//! Launches of attention: on tensor cores in bf16 with a head dimension of 64, else the plain kernels.

use super::buffer::{In, Out};
use super::device::Gpu;
use super::kernels::{
    AttentionBackwardKey, AttentionBackwardKey64, AttentionBackwardQuery, AttentionBackwardQuery64,
    AttentionDelta, AttentionForward, AttentionForward64, AttentionKeySums64, Rotate, TENSOR_HEAD_DIM,
};
use crate::memory::splits_groups;
use anyhow::Result;
use half::bf16;
use kernels::{AttentionShape, Element};

/// The shape of a call, as kernels take it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) tokens: u32,
    pub(super) heads: u32,
    pub(super) kv_heads: u32,
    pub(super) head_dim: u32,
}

impl Shape {
    pub(super) fn new(tokens: usize, shape: AttentionShape) -> Self {
        let AttentionShape { heads, kv_heads, head_dim } = shape;
        let [tokens, heads, kv_heads, head_dim] = [tokens, heads, kv_heads, head_dim].map(|size| size as u32);
        Self { tokens, heads, kv_heads, head_dim }
    }

    fn uses_tensor_cores<E: Element>(&self) -> bool {
        E::BF16 && self.head_dim == TENSOR_HEAD_DIM
    }
}

/// out (T, H D) and log_sums (H, T) from qkv (T, (H + 2K) D); `tiles` are those by query.
pub(super) fn forward<E: Element>(
    gpu: &Gpu,
    out: Out<'_, E>,
    log_sums: Out<'_, f32>,
    qkv: In<'_, E>,
    tiles: In<'_, u32>,
    shape: Shape,
) -> Result<()> {
    let Shape { tokens, heads, kv_heads, head_dim } = shape;
    if shape.uses_tensor_cores::<E>() {
        let (out, qkv) = (out.cast::<bf16>(), qkv.cast::<bf16>());
        AttentionForward64 { out, log_sums, qkv, tiles, tokens, heads, kv_heads }.launch(gpu)
    } else {
        AttentionForward { out, log_sums, qkv, tiles, tokens, heads, kv_heads, head_dim }.launch(gpu)
    }
}

/// The operands of attention's backward pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Saved<'a, E> {
    /// Gradient of `out` (T, H D).
    pub(super) dout: In<'a, E>,
    /// (T, H D)
    pub(super) out: In<'a, E>,
    /// (H, T)
    pub(super) log_sums: In<'a, f32>,
    /// (T, (H + 2K) D)
    pub(super) qkv: In<'a, E>,
    /// `Tiles::by_query`
    pub(super) by_query: In<'a, u32>,
    /// `Tiles::by_key`
    pub(super) by_key: In<'a, u32>,
    pub(super) angles: Angles<'a>,
}

impl<'a, E> Saved<'a, E> {
    fn in_bf16(self) -> Saved<'a, bf16> {
        let Self { dout, out, log_sums, qkv, by_query, by_key, angles } = self;
        Saved { dout: dout.cast(), out: out.cast(), log_sums, qkv: qkv.cast(), by_query, by_key, angles }
    }
}

/// The angles of the rotary embedding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Angles<'a> {
    /// (T)
    pub(super) positions: In<'a, u32>,
    /// (P, D / 2)
    pub(super) cos: In<'a, f32>,
    /// (P, D / 2)
    pub(super) sin: In<'a, f32>,
}

/// What the backward pass writes besides its result.
pub(super) struct BackwardScratch<'a> {
    /// (H, T)
    pub(super) delta: Out<'a, f32>,
    /// As many as `Sizes::key_partial`.
    pub(super) key_partial: Out<'a, f32>,
}

/// dqkv (T, (H + 2K) D): the gradient of queries and keys before the rotary embedding, and of values.
pub(super) fn backward<E: Element>(
    gpu: &Gpu,
    mut dqkv: Out<'_, E>,
    scratch: BackwardScratch<'_>,
    saved: Saved<'_, E>,
    shape: Shape,
) -> Result<()> {
    let Shape { tokens, heads, kv_heads, head_dim } = shape;
    let BackwardScratch { mut delta, key_partial } = scratch;
    let Saved { dout, out, log_sums, qkv, by_query, by_key, angles } = saved;
    AttentionDelta { delta: delta.reborrow(), dout, out, tokens, heads, head_dim }.launch(gpu)?;
    let delta = delta.read();
    if shape.uses_tensor_cores::<E>() {
        return backward_on_tensor_cores(gpu, dqkv.cast(), delta, key_partial, saved.in_bf16(), shape);
    }
    // Both kernels take the same operands and write different columns.
    macro_rules! pass {
        ($kernel:ident, $tiles:expr) => {
            $kernel {
                dqkv: dqkv.reborrow(),
                dout,
                log_sums,
                delta,
                qkv,
                tiles: $tiles,
                tokens,
                heads,
                kv_heads,
                head_dim,
            }
            .launch(gpu)?
        };
    }
    pass!(AttentionBackwardQuery, by_query);
    pass!(AttentionBackwardKey, by_key);
    let Angles { positions, cos, sin } = angles;
    let (row, heads) = ((heads + 2 * kv_heads) * head_dim, heads + kv_heads);
    Rotate { x: dqkv, positions, cos, sin, row, heads, head_dim, sign: -1.0 }.launch(gpu)
}

/// The same in bf16 with D = 64; the kernels rotate what they write.
fn backward_on_tensor_cores(
    gpu: &Gpu,
    mut dqkv: Out<'_, bf16>,
    delta: In<'_, f32>,
    mut key_partial: Out<'_, f32>,
    saved: Saved<'_, bf16>,
    shape: Shape,
) -> Result<()> {
    let Shape { tokens, heads, kv_heads, .. } = shape;
    let Saved { dout, log_sums, qkv, by_query, by_key, angles: Angles { positions, cos, sin }, .. } = saved;
    AttentionBackwardQuery64 {
        dqkv: dqkv.reborrow(),
        dout,
        log_sums,
        delta,
        qkv,
        tiles: by_query,
        cos,
        sin,
        tokens,
        heads,
        kv_heads,
    }
    .launch(gpu)?;
    let splits = splits_groups(by_key.len() / 4, heads as usize, kv_heads as usize);
    let sums = if splits { 2 * log_sums.len() * TENSOR_HEAD_DIM as usize } else { 0 };
    let mut partial = key_partial.reborrow().range(0..sums);
    AttentionBackwardKey64 {
        dqkv: dqkv.reborrow(),
        partial: splits.then(|| partial.reborrow()),
        dout,
        log_sums,
        delta,
        qkv,
        tiles: by_key,
        cos,
        sin,
        tokens,
        heads,
        kv_heads,
    }
    .launch(gpu)?;
    if splits {
        let partial = partial.read();
        AttentionKeySums64 { dqkv, partial, positions, cos, sin, tokens, heads, kv_heads }.launch(gpu)?;
    }
    Ok(())
}
