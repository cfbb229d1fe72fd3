//! The inner operation of a product for each element type and instruction set, and how generic code is compiled for
//! one.
//!
//! | type | operands | CPU |
//! | --- | --- | --- |
//! | [`F32Products`] | f32 | any |
//! | [`RoundedProducts`] | f32 values rounded to bf16 | any without bf16 multipliers |
//! | `bf16_pairs::Bf16Pairs` | pairs of bf16 | AVX-512 BF16 |

use crate::element::Element;
use crate::simd::{LANES, Portable, Simd};

/// Columns of the widest panel.
pub(super) const MOST_COLUMNS: usize = 4 * LANES;

/// Multiplies and adds vectors of packed numbers. A packed number holds STEP consecutive values of k.
pub(crate) trait Multiply: Copy + Send + Sync {
    /// One packed number.
    type Packed: Copy + Default + Send + Sync + 'static;
    /// A vector of sixteen packed numbers.
    type Operand: Copy;
    /// A vector of sixteen f32 sums.
    type Sums: Copy;
    /// Values of k in a packed number.
    const STEP: usize;
    /// Columns of a panel.
    const WIDTH: usize;
    /// Whether consecutive steps are packed in pairs with the second one first.
    const SWAPS_PAIRS: bool = false;
    /// Rows of a tile.
    const ROWS: usize = if Self::WIDTH == MOST_COLUMNS { 6 } else { 4 };

    /// Packs the values at k and k + STEP - 1.
    fn pack<E: Element>(first: E, second: E) -> Self::Packed;
    /// Returns the slice as packed numbers if its elements already have that form.
    fn as_packed<E: Element>(values: &[E]) -> Option<*const Self::Packed>;
    fn zero(self) -> Self::Sums;
    fn splat(self, value: Self::Packed) -> Self::Operand;
    /// # Safety
    /// Sixteen packed numbers must be readable at the pointer.
    unsafe fn load(self, values: *const Self::Packed) -> Self::Operand;
    fn multiply_add(self, a: Self::Operand, b: Self::Operand, sums: Self::Sums) -> Self::Sums;
    fn load_sums(self, values: &[f32; LANES]) -> Self::Sums;
    fn add(self, a: Self::Sums, b: Self::Sums) -> Self::Sums;
    fn store(self, out: &mut [f32; LANES], sums: Self::Sums);
    /// Runs a job compiled for the instruction set.
    fn dispatch(self, job: impl Job);
}

/// Work to be compiled for an instruction set. `run` must be `#[inline(always)]`; a closure would not be inlined into
/// the function that enables the instructions.
pub(crate) trait Job {
    /// Does the work.
    fn run(self);
}

/// Runs generic code compiled for an instruction set.
pub(crate) trait Dispatch: Simd + Send + Sync {
    /// Runs a job compiled for the instruction set.
    fn dispatch(self, job: impl Job);
}

impl Dispatch for Portable {
    #[inline(always)]
    fn dispatch(self, job: impl Job) {
        job.run();
    }
}

#[cfg(target_arch = "x86_64")]
impl Dispatch for crate::avx512::Avx512 {
    #[inline(always)]
    fn dispatch(self, job: impl Job) {
        #[target_feature(enable = "avx512f,avx512vl,fma")]
        fn inside(job: impl Job) {
            job.run();
        }
        // SAFETY: `self` proves AVX-512F and VL; every such CPU has FMA.
        unsafe { inside(job) }
    }
}

#[cfg(target_arch = "x86_64")]
impl Dispatch for crate::avx2::Avx2 {
    #[inline(always)]
    fn dispatch(self, job: impl Job) {
        #[target_feature(enable = "avx2,fma")]
        fn inside(job: impl Job) {
            job.run();
        }
        // SAFETY: `self` proves AVX2 and FMA.
        unsafe { inside(job) }
    }
}

/// Products in f32.
#[derive(Clone, Copy)]
pub(super) struct F32Products<S>(pub(super) S);

/// Products of bf16 values on a CPU without bf16 multipliers: values are rounded to bf16 and multiplied in f32, in the
/// order of the instruction that these CPUs lack, which the engine keeps as well.
#[derive(Clone, Copy)]
pub(super) struct RoundedProducts<S>(pub(super) S);

macro_rules! f32_multiply {
    ($name:ident, $pack:expr, $is_f32:expr) => {
        impl<S: Dispatch> Multiply for $name<S> {
            type Packed = f32;
            type Operand = S::Vector;
            type Sums = S::Vector;
            const STEP: usize = 1;
            const WIDTH: usize = if S::WIDE { MOST_COLUMNS } else { LANES };
            const SWAPS_PAIRS: bool = !$is_f32;

            #[inline(always)]
            fn pack<E: Element>(first: E, _: E) -> f32 {
                let pack: fn(E) -> f32 = $pack;
                pack(first)
            }

            #[inline(always)]
            fn as_packed<E: Element>(values: &[E]) -> Option<*const f32> {
                ($is_f32 && !E::BF16).then_some(values.as_ptr().cast())
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
                // SAFETY: the caller guarantees sixteen readable numbers.
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
            fn dispatch(self, job: impl Job) {
                self.0.dispatch(job);
            }
        }
    };
}
f32_multiply!(F32Products, |value| value.to_f32(), true);
f32_multiply!(RoundedProducts, |value| f32::from_bits(u32::from(value.bf16_bits()) << 16), false);
