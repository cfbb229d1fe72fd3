//! How numbers are stored: weights and cached keys and values.

/// How a packed matrix stores its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightFormat {
    /// 32-bit floats; products are exact f32.
    F32,
    /// bfloat16; activations are rounded to it before each product.
    Bf16,
    /// 8-bit integers with an f16 scale for every 32 of a row, as llama.cpp's `Q8_0`; activations likewise.
    Q8_0,
    /// 4-bit integers with an f16 scale for every 32 of a row, as llama.cpp's `Q4_0`; activations 8-bit.
    Q4_0,
}

/// How cached keys and values are stored.
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
    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}
