//! Launches of attention: on tensor cores in bf16 with a head dimension of 64, else the plain kernels.

use super::buffer::{In, Out};
use super::device::Gpu;
use super::kernels::{
    AttentionBackwardKey, AttentionBackwardKey64, AttentionBackwardQuery, AttentionBackwardQuery64,
    AttentionDelta, AttentionForward, AttentionForward64, TENSOR_HEAD_DIM,
};
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
}

/// dqkv (T, (H + 2K) D), still with the rotary embedding; delta (H, T) is scratch.
pub(super) fn backward<E: Element>(
    gpu: &Gpu,
    mut dqkv: Out<'_, E>,
    mut delta: Out<'_, f32>,
    saved: Saved<'_, E>,
    shape: Shape,
) -> Result<()> {
    let Shape { tokens, heads, kv_heads, head_dim } = shape;
    let Saved { dout, out, log_sums, qkv, by_query, by_key } = saved;
    AttentionDelta { delta: delta.reborrow(), dout, out, tokens, heads, head_dim }.launch(gpu)?;
    let delta = delta.read();
    // Both kernels take the same operands and write different columns.
    macro_rules! pass {
        ($tiles:expr, $plain:ident, $tensor_core:ident) => {
            let (dqkv, tiles) = (dqkv.reborrow(), $tiles);
            if shape.uses_tensor_cores::<E>() {
                let (dqkv, dout, qkv) = (dqkv.cast::<bf16>(), dout.cast::<bf16>(), qkv.cast::<bf16>());
                $tensor_core { dqkv, dout, log_sums, delta, qkv, tiles, tokens, heads, kv_heads }
                    .launch(gpu)?;
            } else {
                $plain { dqkv, dout, log_sums, delta, qkv, tiles, tokens, heads, kv_heads, head_dim }
                    .launch(gpu)?;
            }
        };
    }
    pass!(by_query, AttentionBackwardQuery, AttentionBackwardQuery64);
    pass!(by_key, AttentionBackwardKey, AttentionBackwardKey64);
    Ok(())
}
