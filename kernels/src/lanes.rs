//! Dispatch for the kernels of packed products and cached attention: they need more instructions than [`Simd`] has.
//!
//! Byte products are exact integers, so they are the same bits on every instruction set. bfloat16 products are not: the
//! AVX-512 BF16 instruction flushes denormals and rounds differently. On one kind of CPU a result is the same whatever
//! the batch; between kinds of CPU only f32 and the quantized formats agree to the bit.
//!
//! [`Simd`]: crate::simd::Simd

use crate::isa::Isa;

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
mod operations;

pub(crate) use operations::Lanes;

/// The instruction set that [`on_lanes`] uses when `isa` is requested: many CPUs with AVX-512 lack its BF16 or VNNI and
/// use the next narrower one. Layouts that depend on the width of vectors must use this result.
pub(crate) fn lanes_isa(isa: Isa) -> Isa {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if avx512::Avx512Lanes::detect().is_some() => Isa::Avx512,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx2 if avx2::Avx2Lanes::detect().is_some() => Isa::Avx2,
        _ => Isa::Portable,
    }
}

/// Runs `kernel(lanes, arguments...)` compiled for the widest instruction set, up to `$isa`, that has the
/// instructions [`Lanes`] needs.
macro_rules! on_lanes {
    ($isa:expr, $kernel:ident($($name:ident: $type:ty),* $(,)?)) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(
            enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx512bf16,avx2,fma,f16c"
        )]
        fn on_avx512(lanes: $crate::lanes::avx512::Avx512Lanes, $($name: $type),*) {
            $kernel(lanes, $($name),*);
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c")]
        fn on_avx2(lanes: $crate::lanes::avx2::Avx2Lanes, $($name: $type),*) {
            $kernel(lanes, $($name),*);
        }
        match $isa {
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Isa::Avx512 if let Some(lanes) = $crate::lanes::avx512::Avx512Lanes::detect() => {
                // SAFETY: `lanes` proves that the CPU has these instructions.
                unsafe { on_avx512(lanes, $($name),*) }
            }
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Isa::Avx512 | $crate::isa::Isa::Avx2
                if let Some(lanes) = $crate::lanes::avx2::Avx2Lanes::detect() =>
            {
                // SAFETY: `lanes` proves that the CPU has these instructions.
                unsafe { on_avx2(lanes, $($name),*) }
            }
            _ => $kernel($crate::simd::Portable, $($name),*),
        }
    }};
}
pub(crate) use on_lanes;
