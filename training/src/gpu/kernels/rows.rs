//! Kernels that process activations row by row: embedding, RMSNorm, rotary position embedding, SwiGLU.

use super::launch::{check_lengths, count, kernel, line, row_threads, strides, warps};
use crate::gpu::buffer::{In, Out};
use crate::gpu::driver::Geometry;
use kernels::Element;

kernel! {
    /// x (T, C) = rows of table (V, C).
    "embedding_forward" EmbeddingForward<E> {
        x: Out<'a, f32>,
        table: In<'a, E>,
        ids: In<'a, u32>,
        channels: u32,
    }
}

impl<E: Element> EmbeddingForward<'_, E> {
    fn geometry(&self) -> Geometry {
        let c = self.channels as usize;
        check_lengths!(
            "embedding_forward",
            self.x.len() == self.ids.len() * c,
            self.table.len().is_multiple_of(c)
        );
        line(self.ids.len(), row_threads(self.channels), 0)
    }
}

kernel! {
    /// dtable (V, C) += dx (T, C) at the rows of ids (T), in the order of `lists::ById`.
    "embedding_backward" EmbeddingBackward {
        dtable: Out<'a, f32>,
        dx: In<'a, f32>,
        ids: In<'a, u32>,
        order: In<'a, u32>,
        segments: In<'a, u32>,
        channels: u32,
    }
}

impl EmbeddingBackward<'_> {
    fn geometry(&self) -> Geometry {
        let (c, t) = (self.channels as usize, self.ids.len());
        check_lengths!(
            "embedding_backward",
            self.dx.len() == t * c,
            self.order.len() == t,
            !self.segments.is_empty(),
            self.dtable.len().is_multiple_of(c),
        );
        let grid = [count(self.segments.len() - 1), count(c.div_ceil(512)), 1];
        Geometry { grid, block: [128, 1, 1], shared: 0 }
    }
}

kernel! {
    /// v = x + delta; sum = v; y = w v / rms(v), for the given rows or for all. `sum` and `delta` are optional.
    "norm_forward" NormForward<E> {
        y: Out<'a, E>,
        sum: Option<Out<'a, f32>>,
        x: In<'a, f32>,
        delta: Option<In<'a, E>>,
        w: In<'a, f32>,
        rows: Option<In<'a, u32>>,
        channels: u32,
        epsilon: f32,
    }
}

impl<E: Element> NormForward<'_, E> {
    fn geometry(&self) -> Geometry {
        let c = self.channels as usize;
        let n = self.rows.map_or(self.x.len() / c, |rows| rows.len());
        check_lengths!(
            "norm_forward",
            self.y.len() == n * c,
            self.w.len() == c,
            self.x.len().is_multiple_of(c),
            self.sum.as_ref().is_none_or(|sum| sum.len() == self.x.len()),
            self.delta.is_none_or(|delta| delta.len() == self.x.len()),
        );
        line(n, row_threads(self.channels), 4 * c + 128)
    }
}

kernel! {
    /// dx += the gradient of x (T, C); dx_copy = dx rounded; partial (⌈N / block_rows⌉, C) is for
    /// `NormBackwardWeight`.
    "norm_backward" NormBackward<E> {
        dx: Out<'a, f32>,
        dx_copy: Option<Out<'a, E>>,
        partial: Out<'a, f32>,
        dy: In<'a, E>,
        x: In<'a, f32>,
        w: In<'a, f32>,
        rows: Option<In<'a, u32>>,
        count: u32,
        block_rows: u32,
        channels: u32,
        epsilon: f32,
    }
}

impl<E: Element> NormBackward<'_, E> {
    fn geometry(&self) -> Geometry {
        let (n, c) = (self.count as usize, self.channels as usize);
        let blocks = n.div_ceil(self.block_rows as usize);
        check_lengths!(
            "norm_backward",
            self.dy.len() == n * c,
            self.x.len() == self.dx.len(),
            self.w.len() == c,
            self.partial.len() == blocks * c,
            self.rows.map_or(self.x.len() == n * c, |rows| rows.len() == n),
            self.dx_copy.as_ref().is_none_or(|copy| copy.len() == self.dx.len()),
        );
        line(blocks, row_threads(self.channels), 4 * c + 256)
    }
}

kernel! {
    /// dw (C) += Σ partial (parts, C).
    "norm_backward_weight" NormBackwardWeight {
        dw: Out<'a, f32>,
        partial: In<'a, f32>,
        parts: u32,
        channels: u32,
    }
}

impl NormBackwardWeight<'_> {
    fn geometry(&self) -> Geometry {
        let c = self.channels as usize;
        check_lengths!(
            "norm_backward_weight",
            self.dw.len() == c,
            self.partial.len() == self.parts as usize * c
        );
        let grid = if self.parts == 0 { 0 } else { count(c.div_ceil(32)) };
        Geometry { grid: [grid, 1, 1], block: [32, 32, 1], shared: 4224 }
    }
}

kernel! {
    /// Rotates the first `heads` heads of every row of x (T, row) by the angle of its position, times `sign`.
    "rotate" Rotate<E> {
        x: Out<'a, E>,
        positions: In<'a, u32>,
        cos: In<'a, f32>,
        sin: In<'a, f32>,
        row: u32,
        heads: u32,
        head_dim: u32,
        sign: f32,
    }
}

impl<E: Element> Rotate<'_, E> {
    fn geometry(&self) -> Geometry {
        let (row, rotated) = (self.row as usize, (self.heads * self.head_dim) as usize);
        check_lengths!(
            "rotate",
            self.x.len() == self.positions.len() * row,
            rotated <= row,
            self.cos.len() == self.sin.len(),
            self.cos.len().is_multiple_of(self.head_dim as usize / 2),
        );
        line(self.positions.len(), warps(rotated.div_ceil(16)), 0)
    }
}

kernel! {
    /// out (T, F) = silu(gate) up from gate_up (T, 2F).
    "swiglu_forward" SwigluForward<E> {
        out: Out<'a, E>,
        gate_up: In<'a, E>,
        tokens: u32,
        features: u32,
    }
}

impl<E: Element> SwigluForward<'_, E> {
    fn geometry(&self) -> Geometry {
        let elements = self.tokens as usize * self.features as usize;
        check_lengths!("swiglu_forward", self.out.len() == elements, self.gate_up.len() == 2 * elements);
        strides(elements, 1 << 30)
    }
}

kernel! {
    /// The gradient of gate_up (T, 2F) replaces it, and the output of the forward pass replaces dout (T, F).
    "swiglu_backward" SwigluBackward<E> {
        gate_up: Out<'a, E>,
        dout: Out<'a, E>,
        tokens: u32,
        features: u32,
    }
}

impl<E: Element> SwigluBackward<'_, E> {
    fn geometry(&self) -> Geometry {
        let elements = self.tokens as usize * self.features as usize;
        check_lengths!("swiglu_backward", self.dout.len() == elements, self.gate_up.len() == 2 * elements);
        strides(elements, 1 << 30)
    }
}
