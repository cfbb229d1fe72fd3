//! How kernels are launched: a struct for each kernel with the kernel's own parameters, by name, in its order and
//! types, so that arguments cannot change places. `geometry` checks the lengths of all operands against the shape
//! before anything is launched.

use crate::gpu::buffer::{In, Out};
use crate::gpu::driver::Geometry;

/// A kernel's argument: its bits in the low bytes of a word, and a letter for its type (p pointer, u u32, l u64, f f32).
pub(crate) trait Argument {
    const LETTER: u8;
    fn word(&self) -> u64;

    /// Returns the bytes of an operand; 0 for a number.
    fn bytes(&self) -> u64 {
        0
    }
}

impl<T> Argument for In<'_, T> {
    const LETTER: u8 = b'p';

    fn word(&self) -> u64 {
        self.address()
    }

    fn bytes(&self) -> u64 {
        (self.len() * size_of::<T>()) as u64
    }
}

impl<T> Argument for Out<'_, T> {
    const LETTER: u8 = b'p';

    fn word(&self) -> u64 {
        self.address()
    }

    fn bytes(&self) -> u64 {
        (self.len() * size_of::<T>()) as u64
    }
}

impl<A: Argument> Argument for Option<A> {
    const LETTER: u8 = b'p';

    fn word(&self) -> u64 {
        self.as_ref().map_or(0, Argument::word)
    }

    fn bytes(&self) -> u64 {
        self.as_ref().map_or(0, Argument::bytes)
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

/// Returns the letter of the argument's type.
pub(crate) fn letter<A: Argument>(_: &A) -> u8 {
    A::LETTER
}

/// Defines a kernel's struct and its `launch`. With `<E>` there is one kernel for each data type of activations, which
/// its name ends with.
macro_rules! kernel {
    ($(#[$meta:meta])* $name:literal $kernel:ident<E> { $( $field:ident: $type:ty, )* }) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub(crate) struct $kernel<'a, E> { $( pub(crate) $field: $type, )* }

        impl<E: kernels::Element> $kernel<'_, E> {
            /// Launches the kernel. Errors are the driver's; lengths that do not fit the shape panic.
            pub(crate) fn launch(self, gpu: &$crate::gpu::device::Gpu) -> anyhow::Result<()> {
                use $crate::gpu::kernels::launch::{Argument, letter};
                let name = if E::BF16 { concat!($name, "_bf16") } else { concat!($name, "_f32") };
                let geometry = self.geometry();
                let letters = [$( letter(&self.$field) ),*];
                let bytes = [$( self.$field.bytes() ),*].iter().sum();
                gpu.launch(name, geometry, &mut [$( self.$field.word() ),*], &letters, bytes)
            }
        }

        #[cfg(test)]
        impl<'a, E: $crate::gpu::kernels::signatures::ElementName> $kernel<'a, E> {
            pub(crate) fn signature() -> $crate::gpu::kernels::signatures::Signature {
                use $crate::gpu::kernels::signatures::{CType, signature};
                let parameters = [$( (stringify!($field), <$type as CType>::c_type()) ),*];
                signature(concat!($name, "_"), E::SUFFIX, &parameters)
            }
        }
    };
    ($(#[$meta:meta])* $name:literal $kernel:ident { $( $field:ident: $type:ty, )* }) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub(crate) struct $kernel<'a> { $( pub(crate) $field: $type, )* }

        impl $kernel<'_> {
            /// Launches the kernel. Errors are the driver's; lengths that do not fit the shape panic.
            pub(crate) fn launch(self, gpu: &$crate::gpu::device::Gpu) -> anyhow::Result<()> {
                use $crate::gpu::kernels::launch::{Argument, letter};
                let geometry = self.geometry();
                let letters = [$( letter(&self.$field) ),*];
                let bytes = [$( self.$field.bytes() ),*].iter().sum();
                gpu.launch($name, geometry, &mut [$( self.$field.word() ),*], &letters, bytes)
            }
        }

        #[cfg(test)]
        impl<'a> $kernel<'a> {
            pub(crate) fn signature() -> $crate::gpu::kernels::signatures::Signature {
                use $crate::gpu::kernels::signatures::{CType, signature};
                let parameters = [$( (stringify!($field), <$type as CType>::c_type()) ),*];
                signature($name, "", &parameters)
            }
        }
    };
}

/// Panics where lengths do not fit the shape, with the same words for all kernels.
macro_rules! check_lengths {
    ($kernel:literal, $( $condition:expr ),+ $(,)?) => {
        assert!($( $condition )&&+, concat!($kernel, ": lengths"))
    };
}

pub(super) use {check_lengths, kernel};

/// Returns a count as kernels take it.
pub(super) fn count(value: usize) -> u32 {
    u32::try_from(value).expect("kernels count in 32 bits")
}

/// Returns one row of blocks; `shared` are bytes of shared memory.
pub(super) fn line(blocks: usize, threads: u32, shared: usize) -> Geometry {
    Geometry { grid: [count(blocks), 1, 1], block: [threads, 1, 1], shared: count(shared) }
}

/// Returns the threads of whole warps for this many, from 32 to 256.
pub(super) fn warps(threads: usize) -> u32 {
    count((threads.div_ceil(32) * 32).clamp(32, 256))
}

/// Returns the threads of a block that processes a row of C channels, four channels each.
pub(super) fn row_threads(channels: u32) -> u32 {
    warps((channels as usize).div_ceil(4))
}

/// Returns blocks that stride over this many elements, eight elements a thread, at most `limit` blocks.
pub(super) fn strides(elements: usize, limit: usize) -> Geometry {
    let blocks = elements.div_ceil(2048).min(limit);
    line(blocks, 256, 0)
}
