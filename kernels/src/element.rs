//! The element types of training tensors (f32, or bf16 in mixed precision), and the functions on slices of them that
//! the training operations share. Sums are always f32.

use crate::isa::{Isa, isa};
use half::bf16;

/// A stored number. Conversion to f32 is exact; conversion from f32 rounds to nearest, ties to even.
pub trait Element: Copy + Default + Send + Sync + 'static {
    /// Whether the type is bf16, whose products use bf16 multipliers if the CPU has them.
    const BF16: bool;
    /// Returns the value as f32.
    fn to_f32(self) -> f32;
    /// Returns the nearest value of this type.
    fn from_f32(value: f32) -> Self;
    /// Returns the bits of the nearest bf16.
    fn bf16_bits(self) -> u16;
    /// Returns the numbers as they are if the type is f32.
    fn as_f32(values: &[Self]) -> Option<&[f32]>;
    /// As `as_f32`, writable.
    fn as_f32_mut(values: &mut [Self]) -> Option<&mut [f32]>;
}

impl Element for f32 {
    const BF16: bool = false;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn bf16_bits(self) -> u16 {
        // Integer arithmetic without a branch, so that the compiler vectorizes even four conversions. The `half` crate
        // branches on NaN first.
        let bits = self.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        let nan = (bits & 0x7fff_ffff) > 0x7f80_0000;
        (if nan { bits >> 16 | 0x40 } else { rounded }) as u16
    }

    #[inline(always)]
    fn as_f32(values: &[Self]) -> Option<&[f32]> {
        Some(values)
    }

    #[inline(always)]
    fn as_f32_mut(values: &mut [Self]) -> Option<&mut [f32]> {
        Some(values)
    }
}

impl Element for bf16 {
    const BF16: bool = true;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        Self::from_bits(value.bf16_bits())
    }

    #[inline(always)]
    fn bf16_bits(self) -> u16 {
        self.to_bits()
    }

    #[inline(always)]
    fn as_f32(_: &[Self]) -> Option<&[f32]> {
        None
    }

    #[inline(always)]
    fn as_f32_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }
}

/// Defines functions that are compiled for each instruction set and dispatched at run time: the compiler vectorizes
/// their plain loops. Functions they call must be `#[inline(always)]`; others stay compiled for the oldest CPU.
macro_rules! vectorized {
    ($($(#[$doc:meta])* $visible:vis fn $name:ident $(<$($element:ident),+>)? ($($argument:ident: $type:ty),* $(,)?)
        $(-> $result:ty)? $body:block)*) => { $(
        $(#[$doc])*
        #[allow(clippy::too_many_arguments, reason = "a kernel's operands are its arguments")]
        $visible fn $name $(<$($element: $crate::element::Element),+>)? ($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn plain $(<$($element: $crate::element::Element),+>)? ($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,fma")]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn on_avx512 $(<$($element: $crate::element::Element),+>)? ($($argument: $type),*) $(-> $result)? {
                plain($($argument),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn on_avx2 $(<$($element: $crate::element::Element),+>)? ($($argument: $type),*) $(-> $result)? {
                plain($($argument),*)
            }
            match $crate::element::vectorized_isa() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `vectorized_isa` has detected these features.
                $crate::isa::Isa::Avx512 => unsafe { on_avx512($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::isa::Isa::Avx2 => unsafe { on_avx2($($argument),*) },
                _ => plain($($argument),*),
            }
        }
    )* };
}
pub(crate) use vectorized;

/// The instruction set of `vectorized!` functions: as [`isa`], but AVX-512 only with BW and DQ.
pub(crate) fn vectorized_isa() -> Isa {
    #[cfg(target_arch = "x86_64")]
    if isa() == Isa::Avx512 && !(is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512dq"))
    {
        return if is_x86_feature_detected!("avx2") { Isa::Avx2 } else { Isa::Portable };
    }
    isa()
}

/// The sum of `term(a, b)` over two slices of equal length, in 16 lanes: one order on every CPU.
#[inline(always)]
pub(crate) fn sum_of<E: Element, F: Element>(a: &[E], b: &[F], term: impl Fn(f32, f32) -> f32) -> f32 {
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut lanes = [0.0f32; 16];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..16 {
            lanes[lane] += term(a[lane].to_f32(), b[lane].to_f32());
        }
    }
    for (lane, (a, b)) in a_tail.iter().zip(b_tail).enumerate() {
        lanes[lane] += term(a.to_f32(), b.to_f32());
    }
    add_lanes(lanes)
}

/// The sum of squares, in 16 lanes by fused multiply-add: the order that the crate states for inference.
#[inline(always)]
pub(crate) fn sum_of_squares<E: Element>(x: &[E]) -> f32 {
    let (chunks, tail) = x.as_chunks::<16>();
    let mut lanes = [0.0f32; 16];
    for chunk in chunks {
        for lane in 0..16 {
            lanes[lane] = chunk[lane].to_f32().mul_add(chunk[lane].to_f32(), lanes[lane]);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(tail) {
        *lane = x.to_f32().mul_add(x.to_f32(), *lane);
    }
    add_lanes(lanes)
}

/// The sum of the lanes, as a tree.
#[inline(always)]
fn add_lanes(mut lanes: [f32; 16]) -> f32 {
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
    }
    lanes[0]
}

/// The largest value of a slice, or -infinity if it is empty.
#[inline(always)]
pub(crate) fn maximum_of(values: &[f32]) -> f32 {
    let (chunks, tail) = values.as_chunks::<16>();
    let mut lanes = [f32::NEG_INFINITY; 16];
    for chunk in chunks {
        for lane in 0..16 {
            lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
        }
    }
    lanes.iter().chain(tail).fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a })
}

/// e^x for x <= 88, without a branch; 0 below -87.33. The series and its error are those of `elementwise::exp`; here
/// the compiler chooses the vectors.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = (std::f64::consts::LN_2 - LN_2_HIGH as f64) as f32;
    let scaled = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = scaled - ROUND;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
    let mut series = 1.0 / 5040.0f32;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 1.0 / 2.0, 1.0, 1.0] {
        series = series.mul_add(r, coefficient);
    }
    // The low bits of `scaled` hold n; shifted into the exponent they multiply by 2^n.
    let value = f32::from_bits(series.to_bits().wrapping_add(scaled.to_bits() << 23));
    if x < -87.336_54 { 0.0 } else { value }
}
