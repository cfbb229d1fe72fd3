//! Attention's kernels: the plain ones for any head, and those on tensor cores for bf16 heads of 64.

#[cfg(test)]
use super::signatures;
use super::{Argument, Card, Element, Geometry, In, Out, Result, count, letter, line};

/// What all kernels of attention are given, checked once.
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

    fn possible(&self) -> bool {
        self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads) && (1..=128).contains(&self.head_dim)
    }

    /// Refuses lengths of the forward pass that do not fit.
    fn fit_forward(&self, kernel: &str, out: usize, log_sums: usize, qkv: usize) {
        let fit = out == self.out() && log_sums == self.log_sums() && qkv == self.qkv();
        assert!(self.possible() && fit, "{kernel}: lengths");
    }

    /// Refuses lengths of either half of the backward pass that do not fit: of dqkv and qkv, of dout, of the log sums
    /// and delta.
    fn fit_backward(&self, kernel: &str, wide: [usize; 2], dout: usize, each: [usize; 2]) {
        let fit = wide == [self.qkv(); 2] && dout == self.out() && each == [self.log_sums(); 2];
        assert!(self.possible() && fit, "{kernel}: lengths");
    }

    fn geometry(heads: u32, tiles: In<'_, u32>, shared: usize) -> Geometry {
        let count = count(tiles.len() / 4);
        assert!(tiles.len().is_multiple_of(4), "attention: tiles");
        // Blocks start along the first side: those that run together read one head's keys, which the cache then holds.
        Geometry { grid: [count, heads, 1], block: [128, 1, 1], shared: self::count(shared) }
    }
}

/// `Heads` of a kernel's own fields.
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
    /// out (T, H D) and log_sums (H, T) from qkv (T, (H + 2K) D), any D up to 128.
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
        heads!(self).fit_forward("attention_forward", self.out.len(), self.log_sums.len(), self.qkv.len());
        Heads::geometry(self.heads, self.tiles, 16 * (self.head_dim as usize + 32))
    }
}

kernel! {
    /// delta (H, T) = Σ dout out of each head.
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
        fits!(
            "attention_delta",
            self.delta.len() == rows,
            [self.dout.len(), self.out.len()] == [rows * self.head_dim as usize; 2],
        );
        line(rows.div_ceil(32), 256, 0)
    }
}

/// The two halves of attention's backward pass have the same parameters.
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
                let (wide, each) =
                    ([self.dqkv.len(), self.qkv.len()], [self.log_sums.len(), self.delta.len()]);
                heads.fit_backward($name, wide, self.dout.len(), each);
                Heads::geometry(self.$grid, self.tiles, 16 * (2 * self.head_dim as usize + $shared))
            }
        }
    };
}

attention_backward! {
    /// The queries' columns of dqkv, any D up to 128.
    "attention_backward_query" AttentionBackwardQuery, heads, 32
}

attention_backward! {
    /// The keys' and values' columns of dqkv, any D up to 128.
    "attention_backward_key" AttentionBackwardKey, kv_heads, 64
}

/// D of the kernels that use tensor cores.
pub const TENSOR_HEAD_DIM: u32 = 64;

kernel! {
    /// `AttentionForward` in bf16 with D = 64 on tensor cores.
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
        heads.fit_forward("attention_forward_64", self.out.len(), self.log_sums.len(), self.qkv.len());
        Heads::geometry(self.heads, self.tiles, 49_152)
    }
}

/// As `attention_backward!`, in bf16 with D = 64 on tensor cores.
macro_rules! attention_backward_64 {
    ($(#[$meta:meta])* $name:literal $kernel:ident, $grid:ident, $shared:expr) => {
        kernel! {
            $(#[$meta])*
            $name $kernel {
                dqkv: Out<'a, half::bf16>,
                dout: In<'a, half::bf16>,
                log_sums: In<'a, f32>,
                delta: In<'a, f32>,
                qkv: In<'a, half::bf16>,
                tiles: In<'a, u32>,
                tokens: u32,
                heads: u32,
                kv_heads: u32,
            }
        }

        impl $kernel<'_> {
            fn geometry(&self) -> Geometry {
                let heads = heads!(self, TENSOR_HEAD_DIM);
                let (wide, each) =
                    ([self.dqkv.len(), self.qkv.len()], [self.log_sums.len(), self.delta.len()]);
                heads.fit_backward($name, wide, self.dout.len(), each);
                Heads::geometry(self.$grid, self.tiles, $shared)
            }
        }
    };
}

attention_backward_64! {
    /// The queries' columns of dqkv.
    "attention_backward_query_64" AttentionBackwardQuery64, heads, 65_536
}

attention_backward_64! {
    /// The keys' and values' columns of dqkv.
    "attention_backward_key_64" AttentionBackwardKey64, kv_heads, 66_560
}
