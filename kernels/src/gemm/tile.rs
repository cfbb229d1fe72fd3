//! The register tile: 6 rows of A against a panel of B (4 rows and one vector where registers are few: with 12 sums of
//! AVX2 the compiler kept some of them on the stack, at half the speed), and the instruction sets it is compiled for.

use super::{Into, Matrix, Target, pack, scratch};
use crate::element::Element;
use crate::simd::{LANES, Portable, Simd};
use std::ops::Range;

/// Columns of the widest tile.
const MOST_COLUMNS: usize = 4 * LANES;

/// How two packed numbers are multiplied and added.
pub(crate) trait Multiply: Copy + Send + Sync {
    /// What panels hold: STEP values of k.
    type Packed: Copy + Default + Send + Sync + 'static;
    /// Sixteen packed numbers.
    type Operand: Copy;
    /// Sixteen f32 sums.
    type Sums: Copy;
    /// Values of k in a packed number.
    const STEP: usize;
    /// Columns of a panel.
    const WIDTH: usize;
    /// Rows of a tile.
    const ROWS: usize = if Self::WIDTH == MOST_COLUMNS { 6 } else { 4 };

    /// Packs the values at k and k + STEP - 1.
    fn pack<E: Element>(first: E, second: E) -> Self::Packed;
    /// The slice as packed numbers where that is what it already holds.
    fn as_packed<E: Element>(values: &[E]) -> Option<*const Self::Packed>;
    fn zero(self) -> Self::Sums;
    fn splat(self, value: Self::Packed) -> Self::Operand;
    /// # Safety
    /// Sixteen packed numbers must lie at the pointer.
    unsafe fn load(self, values: *const Self::Packed) -> Self::Operand;
    fn multiply_add(self, a: Self::Operand, b: Self::Operand, sums: Self::Sums) -> Self::Sums;
    fn load_sums(self, values: &[f32; LANES]) -> Self::Sums;
    fn add(self, a: Self::Sums, b: Self::Sums) -> Self::Sums;
    fn store(self, out: &mut [f32; LANES], sums: Self::Sums);
    /// Runs work compiled for the instruction set.
    fn enter(self, job: impl Job);
}

/// Work to be compiled for an instruction set: `run` must be `#[inline(always)]`, a closure would not be
/// inlined into the function that enables the instructions.
pub(crate) trait Job {
    /// Does it.
    fn run(self);
}

/// A whole product.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a, A, B, C> {
    pub(crate) c: Target<C>,
    pub(crate) a: Matrix<'a, A>,
    pub(crate) b: Matrix<'a, B>,
    pub(crate) into: Into,
}

impl<A, B, C: Element> Product<'_, A, B, C> {
    /// A sum of nothing: zeros, or what is there.
    pub(super) fn clear(self) {
        if self.into == Into::Replace {
            for row in 0..self.c.rows {
                let start = row * self.c.row_stride;
                // SAFETY: the row and its columns exist in the target and are nobody else's meanwhile.
                let out = unsafe { std::slice::from_raw_parts_mut(self.c.data.add(start), self.c.columns) };
                out.fill(C::default());
            }
        }
    }
}

/// The packed part of B that is being multiplied.
#[derive(Clone, Copy)]
pub(super) struct Block<'a, P> {
    pub(super) column: usize,
    pub(super) block_columns: usize,
    /// First k.
    pub(super) first: usize,
    pub(super) block_depth: usize,
    pub(super) panels: &'a [P],
}

/// Some rows of A against all panels of the block.
pub(super) fn rows<M: Multiply, A: Element, B: Element, C: Element>(
    multiply: M,
    product: Product<'_, A, B, C>,
    block: Block<'_, M::Packed>,
    rows: Range<usize>,
) {
    let mut scratch = scratch::take::<M::Packed>();
    multiply.enter(Rows { multiply, product, block, rows, scratch: &mut scratch });
    scratch::give(scratch);
}

struct Rows<'a, M: Multiply, A, B, C> {
    multiply: M,
    product: Product<'a, A, B, C>,
    block: Block<'a, M::Packed>,
    rows: Range<usize>,
    scratch: &'a mut Vec<M::Packed>,
}

impl<M: Multiply, A: Element, B: Element, C: Element> Job for Rows<'_, M, A, B, C> {
    #[inline(always)]
    fn run(self) {
        let Self { multiply, product, block, rows, scratch } = self;
        match M::ROWS {
            6 => rows_inside::<M, A, B, C, 6, 4>(multiply, product, block, rows, scratch),
            _ => rows_inside::<M, A, B, C, 4, 1>(multiply, product, block, rows, scratch),
        }
    }
}

/// A slice of A as the tile reads it: row r's step s at `start + rows[r] + s * step`.
struct Slice<P> {
    start: *const P,
    row: usize,
    step: usize,
    /// Elements from one tile's rows to the next's.
    tile: usize,
}

#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "rows and vectors index registers, several arrays at once")]
fn rows_inside<M: Multiply, A: Element, B: Element, C: Element, const ROWS: usize, const VECTORS: usize>(
    multiply: M,
    product: Product<'_, A, B, C>,
    block: Block<'_, M::Packed>,
    rows: Range<usize>,
    scratch: &mut Vec<M::Packed>,
) {
    let steps = block.block_depth.div_ceil(M::STEP);
    let slice = slice_of_a::<M, A>(product.a, rows.clone(), &block, steps, ROWS, scratch);
    let width = VECTORS * LANES;
    for (index, panel) in block.panels.chunks_exact(width * steps).enumerate() {
        let column = index * width;
        let columns = width.min(block.block_columns - column);
        for (tile, row) in rows.clone().step_by(ROWS).enumerate() {
            let count = ROWS.min(rows.end - row);
            // Rows beyond the last are the last again; their sums are not stored.
            let offsets: [usize; ROWS] =
                std::array::from_fn(|row| tile * slice.tile + row.min(count - 1) * slice.row);
            let mut sums = [[multiply.zero(); VECTORS]; ROWS];
            for step in 0..steps {
                let mut operands = [multiply.splat(M::Packed::default()); VECTORS];
                for vector in 0..VECTORS {
                    // SAFETY: the panel holds `steps` steps of `width` packed numbers.
                    operands[vector] =
                        unsafe { multiply.load(panel.as_ptr().add(step * width + vector * LANES)) };
                }
                for row in 0..ROWS {
                    // SAFETY: `slice_of_a` made or found `steps` steps of every row; packed pairs may lie
                    // at odd multiples of two bytes.
                    let value = unsafe { slice.start.add(offsets[row] + step * slice.step).read_unaligned() };
                    let value = multiply.splat(value);
                    for vector in 0..VECTORS {
                        sums[row][vector] = multiply.multiply_add(value, operands[vector], sums[row][vector]);
                    }
                }
            }
            let replace = product.into == Into::Replace && block.first == 0;
            // Counted to constants, so that the sums stay in registers.
            for row_of_tile in 0..ROWS {
                for vector in 0..VECTORS {
                    let from = vector * LANES;
                    if row_of_tile >= count || from >= columns {
                        break;
                    }
                    let place = (row + row_of_tile) * product.c.row_stride + block.column + column + from;
                    let length = LANES.min(columns - from);
                    // SAFETY: the row and its columns are this block's alone and exist in the target.
                    let out = unsafe { std::slice::from_raw_parts_mut(product.c.data.add(place), length) };
                    put(multiply, out, sums[row_of_tile][vector], replace);
                }
            }
        }
    }
}

/// Sums to where they belong: as a vector where they are sixteen f32.
#[inline(always)]
fn put<M: Multiply, C: Element>(multiply: M, out: &mut [C], sums: M::Sums, replace: bool) {
    if !C::BF16 && out.len() == LANES {
        // SAFETY: sixteen elements that are not bf16 are sixteen f32.
        let out = unsafe { &mut *out.as_mut_ptr().cast::<[f32; LANES]>() };
        let sums = if replace { sums } else { multiply.add(multiply.load_sums(out), sums) };
        return multiply.store(out, sums);
    }
    let mut line = [0.0; LANES];
    multiply.store(&mut line, sums);
    let set = |(out, value): (&mut C, &f32)| *out = C::from_f32(*value);
    let add = |(out, value): (&mut C, &f32)| *out = C::from_f32(out.to_f32() + value);
    // Sixteen by a constant, so that the rounding of bf16 vectorises; sums are only ever added to f32.
    match (<&mut [C; LANES]>::try_from(&mut *out), replace) {
        (Ok(out), true) => out.iter_mut().zip(&line).for_each(set),
        (Err(_), true) => out.iter_mut().zip(&line).for_each(set),
        (_, false) => out.iter_mut().zip(&line).for_each(add),
    }
}

/// A as it lies where the tile can read that, else packed into `scratch`.
#[inline(always)]
fn slice_of_a<M: Multiply, A: Element>(
    a: Matrix<'_, A>,
    rows: Range<usize>,
    block: &Block<'_, M::Packed>,
    steps: usize,
    tile_rows: usize,
    scratch: &mut Vec<M::Packed>,
) -> Slice<M::Packed> {
    let depth = block.first..block.first + block.block_depth;
    let whole = |count: usize| count.is_multiple_of(M::STEP);
    if a.column_stride == 1 {
        let aligned = whole(a.row_stride) && whole(depth.len());
        let first = &a.data[rows.start * a.row_stride + depth.start..];
        if let Some(start) = M::as_packed(first).filter(|_| aligned) {
            let row = a.row_stride / M::STEP;
            return Slice { start, row, step: 1, tile: tile_rows * row };
        }
        scratch.resize(rows.len() * steps, M::Packed::default());
        pack::rows_by_row::<M, A>(scratch, a, rows, depth);
        return Slice { start: scratch.as_ptr(), row: steps, step: 1, tile: tile_rows * steps };
    }
    scratch.resize(rows.len().div_ceil(tile_rows) * tile_rows * steps, M::Packed::default());
    pack::outer_by_step::<M, A>(scratch, tile_rows, a, rows, depth);
    Slice { start: scratch.as_ptr(), row: 1, step: tile_rows, tile: tile_rows * steps }
}

/// Lets generic code run compiled for an instruction set.
pub(crate) trait Enter: Simd + Send + Sync {
    /// Runs work compiled for the instruction set.
    fn enter(self, job: impl Job);
}

impl Enter for Portable {
    #[inline(always)]
    fn enter(self, job: impl Job) {
        job.run();
    }
}

#[cfg(target_arch = "x86_64")]
impl Enter for crate::avx512::Avx512 {
    #[inline(always)]
    fn enter(self, job: impl Job) {
        #[target_feature(enable = "avx512f,avx512vl,fma")]
        fn inside(job: impl Job) {
            job.run();
        }
        // SAFETY: `self` proves AVX-512F and VL; every such CPU has FMA.
        unsafe { inside(job) }
    }
}

#[cfg(target_arch = "x86_64")]
impl Enter for crate::avx2::Avx2 {
    #[inline(always)]
    fn enter(self, job: impl Job) {
        #[target_feature(enable = "avx2,fma")]
        fn inside(job: impl Job) {
            job.run();
        }
        // SAFETY: `self` proves AVX2 and FMA.
        unsafe { inside(job) }
    }
}

/// f32 products.
#[derive(Clone, Copy)]
pub(super) struct Single<S>(pub(super) S);

/// bf16 products where the CPU has none: values rounded to bf16, multiplied in f32.
#[derive(Clone, Copy)]
pub(super) struct Rounded<S>(pub(super) S);

macro_rules! f32_multiply {
    ($name:ident, $pack:expr, $as_packed:expr) => {
        impl<S: Enter> Multiply for $name<S> {
            type Packed = f32;
            type Operand = S::Vector;
            type Sums = S::Vector;
            const STEP: usize = 1;
            const WIDTH: usize = if S::WIDE { MOST_COLUMNS } else { LANES };

            #[inline(always)]
            fn pack<E: Element>(first: E, _: E) -> f32 {
                let pack: fn(E) -> f32 = $pack;
                pack(first)
            }

            #[inline(always)]
            fn as_packed<E: Element>(values: &[E]) -> Option<*const f32> {
                ($as_packed && !E::BF16).then_some(values.as_ptr().cast())
            }

            #[inline(always)]
            fn zero(self) -> S::Vector {
                self.0.splat(0.0)
            }

            #[inline(always)]
            fn splat(self, value: f32) -> S::Vector {
                self.0.splat(value)
            }

            #[inline(always)]
            unsafe fn load(self, values: *const f32) -> S::Vector {
                // SAFETY: the caller says that sixteen lie there.
                self.0.load(unsafe { &*values.cast() })
            }

            #[inline(always)]
            fn multiply_add(self, a: S::Vector, b: S::Vector, sums: S::Vector) -> S::Vector {
                self.0.multiply_add(a, b, sums)
            }

            #[inline(always)]
            fn load_sums(self, values: &[f32; LANES]) -> S::Vector {
                self.0.load(values)
            }

            #[inline(always)]
            fn add(self, a: S::Vector, b: S::Vector) -> S::Vector {
                self.0.add(a, b)
            }

            #[inline(always)]
            fn store(self, out: &mut [f32; LANES], sums: S::Vector) {
                self.0.store(out, sums);
            }

            #[inline(always)]
            fn enter(self, job: impl Job) {
                self.0.enter(job);
            }
        }
    };
}
f32_multiply!(Single, |value| value.to_f32(), true);
f32_multiply!(Rounded, |value| f32::from_bits(u32::from(value.bf16_bits()) << 16), false);

#[cfg(target_arch = "x86_64")]
pub(super) use pairs::Pairs;

#[cfg(target_arch = "x86_64")]
mod pairs {
    use super::{Element, Job, LANES, MOST_COLUMNS, Multiply};
    use std::arch::x86_64::*;

    /// bf16 products two at a time. A value is proof that the CPU has AVX-512 BF16.
    #[derive(Clone, Copy)]
    pub(crate) struct Pairs(());

    impl Pairs {
        /// `None` where the CPU lacks it.
        pub(crate) fn detect() -> Option<Self> {
            let has = is_x86_feature_detected!("avx512bf16")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl");
            has.then_some(Self(()))
        }
    }

    impl Multiply for Pairs {
        type Packed = u32;
        type Operand = __m512i;
        type Sums = __m512;
        const STEP: usize = 2;
        const WIDTH: usize = MOST_COLUMNS;

        #[inline(always)]
        fn pack<E: Element>(first: E, second: E) -> u32 {
            u32::from(first.bf16_bits()) | u32::from(second.bf16_bits()) << 16
        }

        #[inline(always)]
        fn as_packed<E: Element>(values: &[E]) -> Option<*const u32> {
            E::BF16.then_some(values.as_ptr().cast())
        }

        #[inline(always)]
        fn zero(self) -> __m512 {
            // SAFETY: `self` proves AVX-512F.
            unsafe { _mm512_setzero_ps() }
        }

        #[inline(always)]
        fn splat(self, value: u32) -> __m512i {
            // SAFETY: `self` proves AVX-512F.
            unsafe { _mm512_set1_epi32(value.cast_signed()) }
        }

        #[inline(always)]
        unsafe fn load(self, values: *const u32) -> __m512i {
            // SAFETY: the caller says that sixteen lie there; `self` proves AVX-512F.
            unsafe { _mm512_loadu_si512(values.cast()) }
        }

        #[inline(always)]
        fn multiply_add(self, a: __m512i, b: __m512i, sums: __m512) -> __m512 {
            // SAFETY: `self` proves AVX-512 BF16; both types are 512 bits of bf16 pairs.
            unsafe {
                let pairs = |bits: __m512i| std::mem::transmute::<__m512i, __m512bh>(bits);
                _mm512_dpbf16_ps(sums, pairs(a), pairs(b))
            }
        }

        #[inline(always)]
        fn load_sums(self, values: &[f32; LANES]) -> __m512 {
            // SAFETY: the reference covers the sixteen values read; `self` proves AVX-512F.
            unsafe { _mm512_loadu_ps(values.as_ptr()) }
        }

        #[inline(always)]
        fn add(self, a: __m512, b: __m512) -> __m512 {
            // SAFETY: `self` proves AVX-512F.
            unsafe { _mm512_add_ps(a, b) }
        }

        #[inline(always)]
        fn store(self, out: &mut [f32; LANES], sums: __m512) {
            // SAFETY: the reference covers the sixteen values written; `self` proves AVX-512F.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sums) }
        }

        #[inline(always)]
        fn enter(self, job: impl Job) {
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512bf16,fma")]
            fn inside(job: impl Job) {
                job.run();
            }
            // SAFETY: `self` proves these.
            unsafe { inside(job) }
        }
    }
}
