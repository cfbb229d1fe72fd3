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
    /// 4-bit integers with one f16 scale and one f16 minimum per 32 columns, as llama.cpp's `Q4_1`. Activations are
    /// quantized to 8 bits.
    Q4_1,
}

impl WeightFormat {
    /// Returns whether weights are small integers in blocks of 32 columns, and activations are quantized to 8 bits.
    pub fn is_quantized(self) -> bool {
        matches!(self, Self::Q8_0 | Self::Q4_0 | Self::Q4_1)
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
