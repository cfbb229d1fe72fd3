//! Vectors of sixteen f32 lanes: the trait that every inference kernel is generic over, and its portable form.
//!
//! Each kernel exists once, so the instruction sets cannot drift apart; `isa::on_isa!` compiles it for every one of
//! them. Kernels and all functions on vectors that they call are `#[inline(always)]`: only code that is inlined into
//! the function that enables an instruction set may use it.

/// Lanes of a vector. They are part of the summation order, so they are the same on every instruction set.
pub(crate) const LANES: usize = 16;

/// Arithmetic on vectors of 16 lanes. A value of the type proves that the CPU has the instructions.
pub(crate) trait Simd: Copy {
    /// Sixteen lanes of f32.
    type Vector: Copy;
    /// Whether 24 accumulators and their operands fit in the registers. It decides the shape of tiles.
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
    /// The sum of the lanes, as a tree: lane l plus l+8, then l+4, l+2, l+1.
    fn sum(self, vector: Self::Vector) -> f32;

    /// Loads fewer than 16 values and pads them with zeros.
    #[inline(always)]
    fn load_tail(self, values: &[f32]) -> Self::Vector {
        let mut padded = [0.0; LANES];
        padded[..values.len()].copy_from_slice(values);
        self.load(&padded)
    }
}

/// Implements [`Simd`] for a wrapper around a type that implements it.
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

/// Plain Rust arrays, for every other CPU. The tests compare the other implementations with this one.
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
