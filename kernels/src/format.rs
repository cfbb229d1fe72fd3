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
    /// in f32; so they are in all formats below, which are those of llama.cpp.
    Q8_0Wide,
    /// The numbers of `Q4_0`.
    Q4_0Wide,
    /// 4-bit integers with one f16 scale and one f16 minimum per 32 columns.
    Q4_1,
    /// 5-bit integers with one f16 scale per 32 columns.
    Q5_0,
    /// 5-bit integers with one f16 scale and one f16 minimum per 32 columns.
    Q5_1,
    /// One of sixteen uneven steps, with one f16 scale per 32 columns.
    Iq4Nl,
    /// 2-bit integers with a scale and a minimum of four bits per 16 columns, and two f16 per 256.
    Q2K,
    /// 3-bit integers with a scale of six bits per 16 columns, and one f16 per 256.
    Q3K,
    /// 4-bit integers with a scale and a minimum of six bits per 32 columns, and two f16 per 256.
    Q4K,
    /// 5-bit integers with a scale and a minimum of six bits per 32 columns, and two f16 per 256.
    Q5K,
    /// 6-bit integers with a scale of eight bits per 16 columns, and one f16 per 256.
    Q6K,
}

impl WeightFormat {
    /// Returns whether weights are small integers in blocks of 32 or 256 columns, and activations are quantized as well.
    pub fn is_quantized(self) -> bool {
        !matches!(self, Self::F32 | Self::Bf16)
    }

    /// Returns the form that activations must have.
    pub(crate) const fn activations(self) -> ActivationFormat {
        match self {
            Self::F32 => ActivationFormat::F32,
            Self::Bf16 => ActivationFormat::Bf16,
            Self::Q8_0 => ActivationFormat::Bytes { bias: 128 },
            Self::Q4_0 => ActivationFormat::Bytes { bias: 8 },
            _ => ActivationFormat::Wide,
        }
    }
}

/// The form of the activations of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActivationFormat {
    /// As they are.
    F32,
    /// Rounded to bfloat16.
    Bf16,
    /// Quantized to 8 bits, for weights whose stored numbers are too large by the bias.
    Bytes {
        /// The bias.
        bias: i32,
    },
    /// Quantized to 16 bits, for any weights.
    Wide,
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
