//! Every kernel of `posttrain/cuda` as a struct with the kernel's own parameters, by its names, in its order and
//! types (a test reads them in the sources): what is launched is written by name and cannot change places.
//! `geometry` checks the lengths of all operands against the shape before anything is launched.
//!
//! Shapes: T tokens, C channels, F feed-forward, H heads, K key heads, D head dimension, V vocabulary, N rows.

use super::buffer::{In, Out};
use super::card::{Card, Geometry};
use super::plan::NORM_ROWS;
use anyhow::Result;
use kernels::Element;

/// A kernel's argument as a word, in its low bytes, and a letter for its type: p pointer, u u32, l u64, f f32.
trait Argument {
    const LETTER: u8;
    fn word(&self) -> u64;
}

impl<T> Argument for In<'_, T> {
    const LETTER: u8 = b'p';

    fn word(&self) -> u64 {
        self.address()
    }
}

impl<T> Argument for Out<'_, T> {
    const LETTER: u8 = b'p';

    fn word(&self) -> u64 {
        self.address()
    }
}

impl<A: Argument> Argument for Option<A> {
    const LETTER: u8 = b'p';

    fn word(&self) -> u64 {
        self.as_ref().map_or(0, Argument::word)
    }
}

impl Argument for u32 {
    const LETTER: u8 = b'u';

    fn word(&self) -> u64 {
        u64::from(*self)
    }
}

impl Argument for u64 {
    const LETTER: u8 = b'l';

    fn word(&self) -> u64 {
        *self
    }
}

impl Argument for f32 {
    const LETTER: u8 = b'f';

    fn word(&self) -> u64 {
        u64::from(self.to_bits())
    }
}

fn letter<A: Argument>(_: &A) -> u8 {
    A::LETTER
}

/// Makes a kernel's struct and its `launch`. With `<E>` there is one kernel for each type of activations, named with
/// the type.
macro_rules! kernel {
    ($(#[$meta:meta])* $name:literal $kernel:ident<E> { $( $field:ident: $type:ty, )* }) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $kernel<'a, E> { $( #[doc = concat!("`", stringify!($field), "`")] pub $field: $type, )* }

        impl<E: Element> $kernel<'_, E> {
            /// Launches it.
            ///
            /// # Errors
            /// What the driver says.
            ///
            /// # Panics
            /// If the lengths do not fit the shape.
            pub fn launch(self, card: &Card) -> Result<()> {
                let name = if E::BF16 { concat!($name, "_bf16") } else { concat!($name, "_f32") };
                let geometry = self.geometry();
                let letters = [$( letter(&self.$field) ),*];
                card.launch(name, geometry, &mut [$( self.$field.word() ),*], &letters)
            }
        }

        #[cfg(test)]
        impl<'a, E: signatures::Named> $kernel<'a, E> {
            pub(super) fn signature() -> (String, Vec<(String, String)>) {
                let parameters = [$( (stringify!($field), <$type as signatures::Written>::written()) ),*];
                signatures::made(concat!($name, "_"), E::SUFFIX, &parameters)
            }
        }
    };
    ($(#[$meta:meta])* $name:literal $kernel:ident { $( $field:ident: $type:ty, )* }) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $kernel<'a> { $( #[doc = concat!("`", stringify!($field), "`")] pub $field: $type, )* }

        impl $kernel<'_> {
            /// Launches it.
            ///
            /// # Errors
            /// What the driver says.
            ///
            /// # Panics
            /// If the lengths do not fit the shape.
            pub fn launch(self, card: &Card) -> Result<()> {
                let geometry = self.geometry();
                let letters = [$( letter(&self.$field) ),*];
                card.launch($name, geometry, &mut [$( self.$field.word() ),*], &letters)
            }
        }

        #[cfg(test)]
        impl<'a> $kernel<'a> {
            pub(super) fn signature() -> (String, Vec<(String, String)>) {
                let parameters = [$( (stringify!($field), <$type as signatures::Written>::written()) ),*];
                signatures::made($name, "", &parameters)
            }
        }
    };
}

/// Refuses lengths that do not fit: one sentence for all kernels.
macro_rules! fits {
    ($kernel:literal, $( $condition:expr ),+ $(,)?) => {
        assert!($( $condition )&&+, concat!($kernel, ": lengths"))
    };
}

mod attention;
#[cfg(test)]
pub(super) mod signatures;

pub use attention::{
    AttentionBackwardKey, AttentionBackwardKey64, AttentionBackwardQuery, AttentionBackwardQuery64,
    AttentionDelta, AttentionForward, AttentionForward64, TENSOR_HEAD_DIM,
};

/// A count as kernels take it.
fn count(value: usize) -> u32 {
    u32::try_from(value).expect("kernels count in 32 bits")
}

/// One row of blocks.
fn line(blocks: usize, threads: u32, shared: usize) -> Geometry {
    Geometry { grid: [count(blocks), 1, 1], block: [threads, 1, 1], shared: count(shared) }
}

/// Whole warps for so many threads, at least one, at most 256.
fn warps(threads: usize) -> u32 {
    count((threads.div_ceil(32) * 32).clamp(32, 256))
}

/// Threads that share a row of C channels, four each.
fn row_threads(channels: u32) -> u32 {
    warps((channels as usize).div_ceil(4))
}

/// Blocks that stride over so many elements, eight a thread.
fn strides(elements: usize, most: usize) -> Geometry {
    let blocks = elements.div_ceil(2048).min(most);
    line(blocks, 256, 0)
}

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
        fits!("embedding_forward", self.x.len() == self.ids.len() * c, self.table.len().is_multiple_of(c));
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
        fits!(
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
    /// v = x + delta; sum = v; y = w v / rms(v), of the rows given, or of all. `sum` and `delta` may be left out.
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
        fits!(
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
    /// dx += the gradient of x (T, C), dx_copy = dx rounded, partial (⌈N / 16⌉, C) for `NormBackwardWeight`.
    "norm_backward" NormBackward<E> {
        dx: Out<'a, f32>,
        dx_copy: Option<Out<'a, E>>,
        partial: Out<'a, f32>,
        dy: In<'a, E>,
        x: In<'a, f32>,
        w: In<'a, f32>,
        rows: Option<In<'a, u32>>,
        count: u32,
        channels: u32,
        epsilon: f32,
    }
}

impl<E: Element> NormBackward<'_, E> {
    fn geometry(&self) -> Geometry {
        let (n, c) = (self.count as usize, self.channels as usize);
        fits!(
            "norm_backward",
            self.dy.len() == n * c,
            self.x.len() == self.dx.len(),
            self.w.len() == c,
            self.partial.len() == n.div_ceil(NORM_ROWS) * c,
            self.rows.map_or(self.x.len() == n * c, |rows| rows.len() == n),
            self.dx_copy.as_ref().is_none_or(|copy| copy.len() == self.dx.len()),
        );
        line(n.div_ceil(NORM_ROWS), row_threads(self.channels), 4 * c + 256)
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
        fits!("norm_backward_weight", self.dw.len() == c, self.partial.len() == self.parts as usize * c);
        let grid = if self.parts == 0 { 0 } else { count(c.div_ceil(32)) };
        Geometry { grid: [grid, 1, 1], block: [32, 32, 1], shared: 4224 }
    }
}

kernel! {
    /// Turns the first `heads` heads of every row of x (T, row) by its position's angle, times `sign`.
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
        let (row, turned) = (self.row as usize, (self.heads * self.head_dim) as usize);
        fits!(
            "rotate",
            self.x.len() == self.positions.len() * row,
            turned <= row,
            self.cos.len() == self.sin.len(),
            self.cos.len().is_multiple_of(self.head_dim as usize / 2),
        );
        line(self.positions.len(), warps(turned.div_ceil(16)), 0)
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
        fits!("swiglu_forward", self.out.len() == elements, self.gate_up.len() == 2 * elements);
        strides(elements, 1 << 30)
    }
}

kernel! {
    /// gate_up (T, 2F) becomes its own gradient, and dout (T, F) what the forward pass made of gate_up.
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
        fits!("swiglu_backward", self.dout.len() == elements, self.gate_up.len() == 2 * elements);
        strides(elements, 1 << 30)
    }
}

/// Threads of a row of logits.
const CROSS_ENTROPY: u32 = 512;

/// The geometry of the kernels of logits (N, V) and N targets; `each` are the lengths of what has a number a row.
fn a_block_each_row(
    kernel: &str,
    targets: In<'_, u32>,
    each: &[usize],
    logits: usize,
    vocabulary: u32,
) -> Geometry {
    let n = targets.len();
    let fit = each.iter().all(|len| *len == n) && logits == n * vocabulary as usize;
    assert!(fit, "{kernel}: lengths");
    line(n, CROSS_ENTROPY, 512)
}

kernel! {
    /// Log-probability, whether it is the likeliest, and entropy of the target of each row of logits (N, V).
    "cross_entropy_forward" CrossEntropyForward<E> {
        log_probability: Out<'a, f32>,
        best: Out<'a, u32>,
        entropy: Out<'a, f32>,
        logits: In<'a, E>,
        targets: In<'a, u32>,
        vocabulary: u32,
    }
}

impl<E: Element> CrossEntropyForward<'_, E> {
    fn geometry(&self) -> Geometry {
        let each = [self.log_probability.len(), self.best.len(), self.entropy.len()];
        a_block_each_row("cross_entropy_forward", self.targets, &each, self.logits.len(), self.vocabulary)
    }
}

kernel! {
    /// As `CrossEntropyForward`; logits become the gradient of -Σ weight log probability.
    "cross_entropy_gradient" CrossEntropyGradient<E> {
        log_probability: Out<'a, f32>,
        best: Out<'a, u32>,
        entropy: Out<'a, f32>,
        logits: Out<'a, E>,
        targets: In<'a, u32>,
        weights: In<'a, f32>,
        vocabulary: u32,
    }
}

impl<E: Element> CrossEntropyGradient<'_, E> {
    fn geometry(&self) -> Geometry {
        let each = [self.log_probability.len(), self.best.len(), self.entropy.len(), self.weights.len()];
        a_block_each_row("cross_entropy_gradient", self.targets, &each, self.logits.len(), self.vocabulary)
    }
}

kernel! {
    /// As `CrossEntropyGradient` from f32 logits, the gradient as bf16 in the first half of each row: N rows of V
    /// numbers, 2V numbers apart.
    "cross_entropy_gradient_f32_bf16" CrossEntropyGradientHalved {
        log_probability: Out<'a, f32>,
        best: Out<'a, u32>,
        entropy: Out<'a, f32>,
        logits: Out<'a, f32>,
        targets: In<'a, u32>,
        weights: In<'a, f32>,
        vocabulary: u32,
    }
}

impl CrossEntropyGradientHalved<'_> {
    fn geometry(&self) -> Geometry {
        let each = [self.log_probability.len(), self.best.len(), self.entropy.len(), self.weights.len()];
        a_block_each_row(
            "cross_entropy_gradient_f32_bf16",
            self.targets,
            &each,
            self.logits.len(),
            self.vocabulary,
        )
    }
}

/// Partial sums of the norm.
pub const NORM_PARTS: usize = 1024;

kernel! {
    /// partial (1024): sums of squares.
    "squared_norm" SquaredNorm {
        partial: Out<'a, f64>,
        gradients: In<'a, f32>,
        length: u64,
    }
}

impl SquaredNorm<'_> {
    fn geometry(&self) -> Geometry {
        fits!("squared_norm", self.partial.len() == NORM_PARTS, self.gradients.len() as u64 == self.length,);
        line(NORM_PARTS, 256, 64)
    }
}

kernel! {
    /// norm (1) = √Σ partial (1024).
    "gradient_norm" GradientNorm {
        norm: Out<'a, f32>,
        partial: In<'a, f64>,
    }
}

impl GradientNorm<'_> {
    fn geometry(&self) -> Geometry {
        fits!("gradient_norm", self.norm.len() == 1, self.partial.len() == NORM_PARTS);
        line(1, 1024, 256)
    }
}

kernel! {
    /// A step of AdamW over all chunks, after clipping by `norm`; nothing changes where that is not finite.
    "adamw" AdamW {
        weights: Out<'a, f32>,
        copy: Option<Out<'a, half::bf16>>,
        mean: Out<'a, f32>,
        square: Out<'a, f32>,
        gradients: In<'a, f32>,
        firsts: In<'a, u64>,
        counts: In<'a, u32>,
        decayed: In<'a, u32>,
        norm: In<'a, f32>,
        learning_rate: f32,
        beta1: f32,
        beta2: f32,
        epsilon: f32,
        weight_decay: f32,
        rate: f32,
        root: f32,
        max_norm: f32,
    }
}

impl AdamW<'_> {
    fn geometry(&self) -> Geometry {
        let (length, chunks) = (self.weights.len(), self.firsts.len());
        fits!(
            "adamw",
            [self.mean.len(), self.square.len(), self.gradients.len()] == [length; 3],
            self.copy.as_ref().is_none_or(|copy| copy.len() == length),
            [self.counts.len(), self.decayed.len()] == [chunks; 2],
            self.norm.len() == 1,
        );
        line(chunks, 256, 0)
    }
}

kernel! {
    /// out = in, rounded to bf16.
    "cast_f32_bf16" CastToBf16 {
        out: Out<'a, half::bf16>,
        r#in: In<'a, f32>,
        length: u64,
    }
}

impl CastToBf16<'_> {
    fn geometry(&self) -> Geometry {
        fits!("cast_f32_bf16", self.out.len() as u64 == self.length, self.r#in.len() as u64 == self.length,);
        strides(self.out.len(), 65_536)
    }
}

kernel! {
    /// out = value everywhere.
    "fill_f32" Fill {
        out: Out<'a, f32>,
        value: f32,
        length: u64,
    }
}

impl Fill<'_> {
    fn geometry(&self) -> Geometry {
        fits!("fill_f32", self.out.len() as u64 == self.length);
        strides(self.out.len(), 65_536)
    }
}
