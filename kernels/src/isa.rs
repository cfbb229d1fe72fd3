//! The choice of the instruction set, and the macro that compiles a kernel for each.

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use crate::{avx2::Avx2, avx512::Avx512};

/// An instruction set that kernels are compiled for. The f32 kernels return the same bits on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// 512-bit vectors: x86-64 with AVX-512F and VL.
    Avx512,
    /// 256-bit vectors: x86-64 with AVX2 and FMA.
    Avx2,
    /// Plain Rust: fast if the compilation target has fused multiply-add (aarch64), slow on old x86-64.
    Portable,
}

/// The instruction set that this process uses: the widest that the CPU has, detected once.
///
/// The environment variable `SMOL_KERNELS` (`portable`, `avx2` or `avx512`) selects another one. It is ignored if the
/// CPU lacks that instruction set or the value is anything else.
pub fn isa() -> Isa {
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| {
        let available = available_isas();
        let requested = match std::env::var("SMOL_KERNELS").as_deref() {
            Ok("portable") => Some(Isa::Portable),
            Ok("avx2") => Some(Isa::Avx2),
            Ok("avx512") => Some(Isa::Avx512),
            _ => None,
        };
        requested.filter(|isa| available.contains(isa)).unwrap_or(available[0])
    })
}

/// Instructions beyond the instruction set that matter here, and whether the CPU has them. AMX is not used yet.
#[cfg(target_arch = "x86_64")]
pub fn cpu_features() -> Vec<(&'static str, bool)> {
    vec![
        ("AVX2", is_x86_feature_detected!("avx2")),
        ("AVX-512", is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl")),
        ("AVX-512 BF16", is_x86_feature_detected!("avx512bf16")),
        ("AVX-512 VNNI", is_x86_feature_detected!("avx512vnni")),
        ("AVX-512 FP16 (not used)", is_x86_feature_detected!("avx512fp16")),
    ]
}

/// Instructions beyond the instruction set that matter here: none are told apart on this CPU.
#[cfg(not(target_arch = "x86_64"))]
pub fn cpu_features() -> Vec<(&'static str, bool)> {
    Vec::new()
}

/// The instruction sets of this CPU, widest first; `Portable` is always the last.
pub(crate) fn available_isas() -> Vec<Isa> {
    let is_available = |isa: &Isa| match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => Avx512::detect().is_some(),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Avx2::detect().is_some(),
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx512 | Isa::Avx2 => false,
        Isa::Portable => true,
    };
    [Isa::Avx512, Isa::Avx2, Isa::Portable].into_iter().filter(is_available).collect()
}

/// Runs `kernel(simd, arguments...)` compiled for an [`Isa`]. If the CPU lacks it, the portable kernel runs, whose
/// result is the same.
macro_rules! on_isa {
    ($isa:expr, $kernel:ident($($name:ident: $type:ty),* $(,)?)) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512vl")]
        fn on_avx512(simd: $crate::avx512::Avx512, $($name: $type),*) {
            $kernel(simd, $($name),*);
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn on_avx2(simd: $crate::avx2::Avx2, $($name: $type),*) {
            $kernel(simd, $($name),*);
        }
        match $isa {
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Isa::Avx512 if let Some(simd) = $crate::avx512::Avx512::detect() => {
                // SAFETY: `simd` proves that the CPU has AVX-512F and VL.
                unsafe { on_avx512(simd, $($name),*) }
            }
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Isa::Avx2 if let Some(simd) = $crate::avx2::Avx2::detect() => {
                // SAFETY: `simd` proves that the CPU has AVX2 and FMA.
                unsafe { on_avx2(simd, $($name),*) }
            }
            _ => $kernel($crate::simd::Portable, $($name),*),
        }
    }};
}
pub(crate) use on_isa;
