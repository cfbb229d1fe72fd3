//! Storage formats of packed weights and of cached keys and values. The engine and its callers choose them.

/// The storage format of a packed matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightFormat {
    /// 32-bit floats. Activations stay f32.
    F32,
    /// bfloat16. Activations are rounded to bfloat16 before each product.
    Bf16,
    /// 8-bit integers with one f16 scale per 32 columns, as llama.cpp's `Q8_0`. Activations are quantized to 8 bits.
    Q8_0,
    /// 4-bit integers with one f16 scale per 32 columns, as llama.cpp's `Q4_0`. Activations are quantized to 8 bits.
    Q4_0,
    /// The numbers of `Q8_0`. Activations are quantized to 16 bits, so that results are near those of the same weights
    /// in f32.
    Q8_0Wide,
    /// The numbers of `Q4_0`, with activations as for `Q8_0Wide`.
    Q4_0Wide,
    /// 4-bit integers with one f16 scale and one f16 minimum per 32 columns, as llama.cpp's `Q4_1`, with activations as
    /// for `Q8_0Wide`.
    Q4_1,
}

impl WeightFormat {
    /// Returns whether weights are small integers in blocks of 32 columns, and activations are quantized as well.
    pub fn is_quantized(self) -> bool {
        !matches!(self, Self::F32 | Self::Bf16)
    }

    /// Returns whether a weight is half a byte.
    pub(crate) fn has_nibbles(self) -> bool {
        matches!(self, Self::Q4_0 | Self::Q4_0Wide | Self::Q4_1)
    }

    /// Returns whether activations have 16 bits.
    pub(crate) fn is_wide(self) -> bool {
        matches!(self, Self::Q8_0Wide | Self::Q4_0Wide | Self::Q4_1)
    }
}

/// The storage format of cached keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheFormat {
    /// 32-bit floats.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
}

impl CacheFormat {
    /// Returns the size of one number, in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}
