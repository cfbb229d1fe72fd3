//! The kernel of each storage format. Each is compiled on its own for every instruction set: all in one function would
//! be too much for the compiler.

use super::activations::Panel;
use super::encoding::Encoding;
use super::matrix::PAIR;
use super::pairs::{Job, Kernel, multiply_pairs};
use super::sums::{QuantizedTile, bf16_sums, f32_sums, quantized_sums};
use super::wide_sums::{WideFormat, wide_sums};
use crate::format::{ActivationFormat, WeightFormat};
use crate::isa::Isa;
use crate::lanes::{Lanes, on_lanes};

/// Defines a type per format, [`multiply_section`], and a function per format, which it calls.
macro_rules! formats {
    ($($format:ident $function:ident,)*) => {
        $(
            #[allow(dead_code, reason = "a type only")]
            struct $format;

            #[inline(always)]
            fn $function<L: Lanes>(lanes: L, job: &Job<'_>, first: usize, last: usize) {
                multiply_pairs::<L, $format>(lanes, job, first, last);
            }
        )*

        /// Multiplies the pairs of tiles `first..last` of a section with all tokens.
        pub(super) fn multiply_section(isa: Isa, job: &Job<'_>, first: usize, last: usize) {
            match job.section.format {
                $(WeightFormat::$format => {
                    on_lanes!(isa, $function(job: &Job<'_>, first: usize, last: usize));
                })*
            }
        }
    };
}

formats! {
    F32 f32,
    Bf16 bf16,
    Q8_0 q8_0,
    Q4_0 q4_0,
    Q8_0Wide q8_0_wide,
    Q4_0Wide q4_0_wide,
    Q4_1 q4_1,
    Q5_0 q5_0,
    Q5_1 q5_1,
    Iq4Nl iq4_nl,
    Q2K q2_k,
    Q3K q3_k,
    Q4K q4_k,
    Q5K q5_k,
    Q6K q6_k,
}

/// Implements the kernel of formats whose activations have 16 bits.
macro_rules! wide_formats {
    ($($format:ident)*) => { $(
        impl WideFormat for $format {
            const ENCODING: Encoding = Encoding::of(WeightFormat::$format);
        }

        impl Kernel for $format {
            const ACTIVATIONS: ActivationFormat = WeightFormat::$format.activations();

            #[inline(always)]
            unsafe fn sums<L: Lanes, const WIDTH: usize>(
                lanes: L,
                job: &Job<'_>,
                tiles: [*const u8; PAIR],
                panel: Panel,
            ) -> [[L::Vector; WIDTH]; PAIR] {
                let mut sums = [[lanes.splat(0.0); WIDTH]; PAIR];
                let x = job.x.wide(panel);
                for (sums, tile) in sums.iter_mut().zip(tiles) {
                    let tile = QuantizedTile::new(tile, &job.section.layout);
                    // SAFETY: tile and activations have these blocks.
                    *sums = unsafe { wide_sums::<L, Self, WIDTH>(lanes, tile, x) };
                }
                sums
            }
        }
    )* };
}
wide_formats! { Q8_0Wide Q4_0Wide Q4_1 Q5_0 Q5_1 Iq4Nl Q2K Q3K Q4K Q5K Q6K }

/// Whether the sums of WIDTH tokens and both tiles fit in the registers: with 16 of them, those of four tokens and one
/// tile do, or those of fewer tokens and both tiles.
fn fit_together<L: Lanes, const WIDTH: usize>() -> bool {
    L::WIDE || WIDTH < 4
}

impl Kernel for F32 {
    const ACTIVATIONS: ActivationFormat = ActivationFormat::F32;

    #[inline(always)]
    unsafe fn sums<L: Lanes, const WIDTH: usize>(
        lanes: L,
        job: &Job<'_>,
        tiles: [*const u8; PAIR],
        panel: Panel,
    ) -> [[L::Vector; WIDTH]; PAIR] {
        let (words, groups) = (job.x.words(panel), job.section.layout.padded_columns);
        let [one, two] = tiles;
        // Both tiles are written out: a closure that is not inlined may not use the instructions.
        // SAFETY: tiles and panel have these groups.
        unsafe {
            if fit_together::<L, WIDTH>() {
                f32_sums(lanes, tiles, words, groups)
            } else {
                [f32_sums(lanes, [one], words, groups)[0], f32_sums(lanes, [two], words, groups)[0]]
            }
        }
    }
}

impl Kernel for Bf16 {
    const ACTIVATIONS: ActivationFormat = ActivationFormat::Bf16;

    #[inline(always)]
    unsafe fn sums<L: Lanes, const WIDTH: usize>(
        lanes: L,
        job: &Job<'_>,
        tiles: [*const u8; PAIR],
        panel: Panel,
    ) -> [[L::Vector; WIDTH]; PAIR] {
        let (words, groups) = (job.x.words(panel), job.section.layout.padded_columns / 2);
        let [one, two] = tiles;
        // SAFETY: tiles and panel have these groups.
        unsafe {
            if fit_together::<L, WIDTH>() {
                bf16_sums(lanes, tiles, words, groups)
            } else {
                [bf16_sums(lanes, [one], words, groups)[0], bf16_sums(lanes, [two], words, groups)[0]]
            }
        }
    }
}

/// Implements the kernel of formats whose activations have 8 bits, with or without two weights in a byte.
macro_rules! byte_formats {
    ($($format:ident $nibbles:literal)*) => { $(
        impl Kernel for $format {
            const ACTIVATIONS: ActivationFormat = WeightFormat::$format.activations();

            #[inline(always)]
            unsafe fn sums<L: Lanes, const WIDTH: usize>(
                lanes: L,
                job: &Job<'_>,
                tiles: [*const u8; PAIR],
                panel: Panel,
            ) -> [[L::Vector; WIDTH]; PAIR] {
                let mut sums = [[lanes.splat(0.0); WIDTH]; PAIR];
                let (words, scales, offsets) = job.x.bytes(panel);
                for (sums, tile) in sums.iter_mut().zip(tiles) {
                    let tile = QuantizedTile::new(tile, &job.section.layout);
                    // SAFETY: tile and activations have these blocks.
                    *sums = unsafe { quantized_sums::<L, WIDTH, $nibbles>(lanes, tile, words, scales, offsets) };
                }
                sums
            }
        }
    )* };
}
byte_formats! { Q8_0 false Q4_0 true }
