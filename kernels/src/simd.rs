//! Sixteen f32 lanes as one vector: the trait that every kernel is written against, and its portable form.
//!
//! Kernels exist once, generic over `Simd`, so the paths cannot drift apart; `on_path!` compiles each for
//! every instruction set. Kernels and everything they call on vectors are `#[inline(always)]`: only code
//! inlined into the function that enables an instruction set may use it.

/// Lanes of a vector; part of the summation order, so it is the same on every path.
pub(crate) const LANES: usize = 16;

/// Arithmetic on vectors of 16 lanes. A value of the type is proof that the CPU has the instructions.
pub(crate) trait Simd: Copy {
    /// Sixteen lanes of f32.
    type Vector: Copy;
    /// Whether 24 sums and their operands fit the registers at once; decides the shape of tiles.
    const WIDE: bool;

    fn splat(self, value: f32) -> Self::Vector;
    fn load(self, values: &[f32; LANES]) -> Self::Vector;
    fn store(self, out: &mut [f32; LANES], vector: Self::Vector);
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn subtract(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn multiply(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn divide(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// a * b + c, rounded once.
    fn multiply_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// a where a > b, else b (so b where either is NaN).
    fn maximum(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `yes` where a < b, else `no` (so `no` where either is NaN).
    fn select_less(
        self,
        a: Self::Vector,
        b: Self::Vector,
        yes: Self::Vector,
        no: Self::Vector,
    ) -> Self::Vector;
    /// 2^n for whole n in -126..=127; unspecified outside.
    fn power_of_two(self, n: Self::Vector) -> Self::Vector;
    /// The lanes added as the tree l with l+8, l+4, l+2, l+1.
    fn sum(self, vector: Self::Vector) -> f32;

    /// Fewer than 16 values, padded with zeros.
    #[inline(always)]
    fn load_tail(self, values: &[f32]) -> Self::Vector {
        let mut padded = [0.0; LANES];
        padded[..values.len()].copy_from_slice(values);
        self.load(&padded)
    }
}

/// Runs `kernel(simd, arguments...)` compiled for the instruction set of a `Path`. A path that the CPU
/// lacks runs as the portable one, whose answer is the same.
macro_rules! on_path {
    ($path:expr, $kernel:ident($($name:ident: $type:ty),* $(,)?)) => {{
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
        match $path {
            #[cfg(target_arch = "x86_64")]
            $crate::Path::Avx512 if let Some(simd) = $crate::avx512::Avx512::detect() => {
                // SAFETY: the CPU has AVX-512F and VL: `simd` was detected.
                unsafe { on_avx512(simd, $($name),*) }
            }
            #[cfg(target_arch = "x86_64")]
            $crate::Path::Avx2 if let Some(simd) = $crate::avx2::Avx2::detect() => {
                // SAFETY: the CPU has AVX2 and FMA: `simd` was detected.
                unsafe { on_avx2(simd, $($name),*) }
            }
            _ => $kernel($crate::simd::Portable, $($name),*),
        }
    }};
}
pub(crate) use on_path;

/// Implements [`Simd`] for a type that wraps another that has it.
#[cfg(target_arch = "x86_64")]
macro_rules! delegate_simd {
    (@ $name:ident($($argument:ident: $type:ty),*) -> $result:ty) => {
        #[inline(always)]
        fn $name(self, $($argument: $type),*) -> $result {
            self.0.$name($($argument),*)
        }
    };
    ($outer:ty, $inner:ty) => {
        impl Simd for $outer {
            type Vector = <$inner as Simd>::Vector;
            const WIDE: bool = <$inner as Simd>::WIDE;
            $crate::simd::delegate_simd!(@ splat(value: f32) -> Self::Vector);
            $crate::simd::delegate_simd!(@ load(values: &[f32; LANES]) -> Self::Vector);
            $crate::simd::delegate_simd!(@ add(a: Self::Vector, b: Self::Vector) -> Self::Vector);
            $crate::simd::delegate_simd!(@ subtract(a: Self::Vector, b: Self::Vector) -> Self::Vector);
            $crate::simd::delegate_simd!(@ multiply(a: Self::Vector, b: Self::Vector) -> Self::Vector);
            $crate::simd::delegate_simd!(@ divide(a: Self::Vector, b: Self::Vector) -> Self::Vector);
            $crate::simd::delegate_simd!(@ multiply_add(a: Self::Vector, b: Self::Vector, c: Self::Vector)
                -> Self::Vector);
            $crate::simd::delegate_simd!(@ maximum(a: Self::Vector, b: Self::Vector) -> Self::Vector);
            $crate::simd::delegate_simd!(@ select_less(a: Self::Vector, b: Self::Vector, yes: Self::Vector,
                no: Self::Vector) -> Self::Vector);
            $crate::simd::delegate_simd!(@ power_of_two(n: Self::Vector) -> Self::Vector);
            $crate::simd::delegate_simd!(@ sum(vector: Self::Vector) -> f32);

            #[inline(always)]
            fn store(self, out: &mut [f32; LANES], vector: Self::Vector) {
                self.0.store(out, vector);
            }
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(crate) use delegate_simd;

/// Plain Rust arrays, for every other CPU; also the definition that the tests hold the others to.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// Applies a function lane by lane.
#[inline(always)]
fn zip(a: [f32; LANES], b: [f32; LANES], function: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    std::array::from_fn(|lane| function(a[lane], b[lane]))
}

impl Simd for Portable {
    type Vector = [f32; LANES];
    const WIDE: bool = false;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Vector {
        [value; LANES]
    }

    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> Self::Vector {
        *values
    }

    #[inline(always)]
    fn store(self, out: &mut [f32; LANES], vector: Self::Vector) {
        *out = vector;
    }

    #[inline(always)]
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn subtract(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn multiply(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn divide(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn multiply_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        std::array::from_fn(|lane| a[lane].mul_add(b[lane], c[lane]))
    }

    #[inline(always)]
    fn maximum(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn select_less(
        self,
        a: Self::Vector,
        b: Self::Vector,
        yes: Self::Vector,
        no: Self::Vector,
    ) -> Self::Vector {
        std::array::from_fn(|lane| if a[lane] < b[lane] { yes[lane] } else { no[lane] })
    }

    #[inline(always)]
    fn power_of_two(self, n: Self::Vector) -> Self::Vector {
        // The exponent field of an f32 starts at bit 23 and is biased by 127.
        n.map(|n| f32::from_bits(((n as i32).wrapping_add(127) << 23) as u32))
    }

    #[inline(always)]
    fn sum(self, vector: Self::Vector) -> f32 {
        let mut lanes = vector;
        for half in [8, 4, 2, 1] {
            for lane in 0..half {
                lanes[lane] += lanes[lane + half];
            }
        }
        lanes[0]
    }
}
