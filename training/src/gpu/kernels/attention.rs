//! Kernels of causal attention: plain ones for any head dimension up to 128, and those that use tensor cores, for bf16
//! and a head dimension of 64.

use super::launch::{check_lengths, count, kernel, line};
use crate::gpu::buffer::{In, Out};
use crate::gpu::driver::Geometry;
use kernels::Element;

/// The shape that all kernels of attention are given.
#[derive(Clone, Copy, Debug)]
struct Heads {
    tokens: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
}

impl Heads {
    /// (T, (H + 2K) D)
    fn qkv(&self) -> usize {
        self.tokens as usize * (self.heads + 2 * self.kv_heads) as usize * self.head_dim as usize
    }

    /// (T, H D)
    fn out(&self) -> usize {
        self.log_sums() * self.head_dim as usize
    }

    /// (H, T)
    fn log_sums(&self) -> usize {
        self.tokens as usize * self.heads as usize
    }

    fn is_supported(&self) -> bool {
        self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads) && (1..=128).contains(&self.head_dim)
    }

    /// Panics where lengths of the forward pass do not fit.
    fn check_forward(&self, kernel: &str, out: usize, log_sums: usize, qkv: usize) {
        let fit = out == self.out() && log_sums == self.log_sums() && qkv == self.qkv();
        assert!(self.is_supported() && fit, "{kernel}: lengths");
    }

    /// Panics where lengths of a kernel of the backward pass do not fit: `wide` are those of dqkv and qkv, `per_head`
    /// those of log_sums and delta.
    fn check_backward(&self, kernel: &str, wide: [usize; 2], dout: usize, per_head: [usize; 2]) {
        let fit = wide == [self.qkv(); 2] && dout == self.out() && per_head == [self.log_sums(); 2];
        assert!(self.is_supported() && fit, "{kernel}: lengths");
    }

    fn geometry(heads: u32, tiles: In<'_, u32>, shared: usize) -> Geometry {
        let count = count(tiles.len() / 4);
        assert!(tiles.len().is_multiple_of(4), "attention: tiles");
        // Blocks start along the first axis: those that run together read one head's keys, which then stay in the cache.
        Geometry { grid: [count, heads, 1], block: [128, 1, 1], shared: self::count(shared) }
    }
}

/// Builds `Heads` from a kernel's own fields.
macro_rules! heads {
    ($kernel:expr) => {
        heads!($kernel, $kernel.head_dim)
    };
    ($kernel:expr, $head_dim:expr) => {
        Heads {
            tokens: $kernel.tokens,
            heads: $kernel.heads,
            kv_heads: $kernel.kv_heads,
            head_dim: $head_dim,
        }
    };
}

kernel! {
    /// out (T, H D) and log_sums (H, T) from qkv (T, (H + 2K) D), for D up to 128.
    "attention_forward" AttentionForward<E> {
        out: Out<'a, E>,
        log_sums: Out<'a, f32>,
        qkv: In<'a, E>,
        tiles: In<'a, u32>,
        tokens: u32,
        heads: u32,
        kv_heads: u32,
        head_dim: u32,
    }
}

impl<E: Element> AttentionForward<'_, E> {
    fn geometry(&self) -> Geometry {
        heads!(self).check_forward("attention_forward", self.out.len(), self.log_sums.len(), self.qkv.len());
        Heads::geometry(self.heads, self.tiles, 16 * (self.head_dim as usize + 32))
    }
}

kernel! {
    /// delta (H, T) = Σ dout · out over the elements of each head.
    "attention_delta" AttentionDelta<E> {
        delta: Out<'a, f32>,
        dout: In<'a, E>,
        out: In<'a, E>,
        tokens: u32,
        heads: u32,
        head_dim: u32,
    }
}

impl<E: Element> AttentionDelta<'_, E> {
    fn geometry(&self) -> Geometry {
        let rows = self.tokens as usize * self.heads as usize;
        check_lengths!(
            "attention_delta",
            self.delta.len() == rows,
            [self.dout.len(), self.out.len()] == [rows * self.head_dim as usize; 2],
        );
        line(rows.div_ceil(32), 256, 0)
    }
}

/// Defines one of the two kernels of attention's backward pass, which have the same parameters.
macro_rules! attention_backward {
    ($(#[$meta:meta])* $name:literal $kernel:ident, $grid:ident, $shared:expr) => {
        kernel! {
            $(#[$meta])*
            $name $kernel<E> {
                dqkv: Out<'a, E>,
                dout: In<'a, E>,
                log_sums: In<'a, f32>,
                delta: In<'a, f32>,
                qkv: In<'a, E>,
                tiles: In<'a, u32>,
                tokens: u32,
                heads: u32,
                kv_heads: u32,
                head_dim: u32,
            }
        }

        impl<E: Element> $kernel<'_, E> {
            fn geometry(&self) -> Geometry {
                let heads = heads!(self);
                let (wide, per_head) =
                    ([self.dqkv.len(), self.qkv.len()], [self.log_sums.len(), self.delta.len()]);
                heads.check_backward($name, wide, self.dout.len(), per_head);
                Heads::geometry(self.$grid, self.tiles, 16 * (2 * self.head_dim as usize + $shared))
            }
        }
    };
}

attention_backward! {
    /// The columns of the queries in dqkv, for D up to 128.
    "attention_backward_query" AttentionBackwardQuery, heads, 32
}

attention_backward! {
    /// The columns of keys and values in dqkv, for D up to 128.
    "attention_backward_key" AttentionBackwardKey, kv_heads, 64
}

/// The head dimension of the kernels that use tensor cores.
pub(crate) const TENSOR_HEAD_DIM: u32 = 64;

kernel! {
    /// `AttentionForward` on tensor cores, in bf16 with D = 64.
    "attention_forward_64" AttentionForward64 {
        out: Out<'a, half::bf16>,
        log_sums: Out<'a, f32>,
        qkv: In<'a, half::bf16>,
        tiles: In<'a, u32>,
        tokens: u32,
        heads: u32,
        kv_heads: u32,
    }
}

impl AttentionForward64<'_> {
    fn geometry(&self) -> Geometry {
        let heads = heads!(self, TENSOR_HEAD_DIM);
        heads.check_forward("attention_forward_64", self.out.len(), self.log_sums.len(), self.qkv.len());
        Heads::geometry(self.heads, self.tiles, 49_152)
    }
}

kernel! {
    /// The columns of the queries in dqkv, before the rotary embedding: on tensor cores, in bf16 with D = 64.
    "attention_backward_query_64" AttentionBackwardQuery64 {
        dqkv: Out<'a, half::bf16>,
        dout: In<'a, half::bf16>,
        log_sums: In<'a, f32>,
        delta: In<'a, f32>,
        qkv: In<'a, half::bf16>,
        tiles: In<'a, u32>,
        cos: In<'a, f32>,
        sin: In<'a, f32>,
        tokens: u32,
        heads: u32,
        kv_heads: u32,
    }
}

impl AttentionBackwardQuery64<'_> {
    fn geometry(&self) -> Geometry {
        let heads = heads!(self, TENSOR_HEAD_DIM);
        let (wide, per_head) = ([self.dqkv.len(), self.qkv.len()], [self.log_sums.len(), self.delta.len()]);
        heads.check_backward("attention_backward_query_64", wide, self.dout.len(), per_head);
        check_angles(self.cos, self.sin);
        Heads::geometry(self.heads, self.tiles, 49_152)
    }
}

kernel! {
    /// The columns of keys and values in dqkv, before the rotary embedding: on tensor cores, in bf16 with D = 64. With
    /// `partial` (2, H, T, 64) a block computes one query head instead of a group, for `AttentionKeySums64`.
    "attention_backward_key_64" AttentionBackwardKey64 {
        dqkv: Out<'a, half::bf16>,
        partial: Option<Out<'a, f32>>,
        dout: In<'a, half::bf16>,
        log_sums: In<'a, f32>,
        delta: In<'a, f32>,
        qkv: In<'a, half::bf16>,
        tiles: In<'a, u32>,
        cos: In<'a, f32>,
        sin: In<'a, f32>,
        tokens: u32,
        heads: u32,
        kv_heads: u32,
    }
}

impl AttentionBackwardKey64<'_> {
    fn geometry(&self) -> Geometry {
        let heads = heads!(self, TENSOR_HEAD_DIM);
        let (wide, per_head) = ([self.dqkv.len(), self.qkv.len()], [self.log_sums.len(), self.delta.len()]);
        heads.check_backward("attention_backward_key_64", wide, self.dout.len(), per_head);
        check_angles(self.cos, self.sin);
        check_lengths!(
            "attention_backward_key_64",
            self.partial.as_ref().is_none_or(|partial| partial.len() == 2 * heads.out())
        );
        let blocks = if self.partial.is_some() { self.heads } else { self.kv_heads };
        Heads::geometry(blocks, self.tiles, 49_664)
    }
}

kernel! {
    /// The columns of keys and values in dqkv: the sums of `partial` over the query heads of each group.
    "attention_key_sums_64" AttentionKeySums64 {
        dqkv: Out<'a, half::bf16>,
        partial: In<'a, f32>,
        positions: In<'a, u32>,
        cos: In<'a, f32>,
        sin: In<'a, f32>,
        tokens: u32,
        heads: u32,
        kv_heads: u32,
    }
}

impl AttentionKeySums64<'_> {
    fn geometry(&self) -> Geometry {
        let heads = heads!(self, TENSOR_HEAD_DIM);
        check_angles(self.cos, self.sin);
        check_lengths!(
            "attention_key_sums_64",
            heads.is_supported(),
            self.dqkv.len() == heads.qkv(),
            self.partial.len() == 2 * heads.out(),
            self.positions.len() == self.tokens as usize,
        );
        line((self.tokens as usize * self.kv_heads as usize).div_ceil(16), 256, 0)
    }
}

/// Panics where these are not cosines and sines (P, 32).
fn check_angles(cos: In<'_, f32>, sin: In<'_, f32>) {
    assert!(
        cos.len() == sin.len() && cos.len().is_multiple_of(TENSOR_HEAD_DIM as usize / 2),
        "attention: angles"
    );
}
