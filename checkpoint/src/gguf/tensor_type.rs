//! The types of a GGUF file's tensors: how many numbers a block holds, and in how many bytes.

use super::{k_quants, quants};

/// A type of tensor that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are those of the format")]
#[allow(non_camel_case_types, reason = "the names are those of the format")]
pub enum TensorType {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    Iq4_Nl,
}

/// Names of the types that cannot be read, for the error; by number.
const OTHERS: [(u32, &str); 18] = [
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];

impl TensorType {
    /// Every type, in the order of the enum.
    pub const ALL: [Self; 14] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2_K,
        Self::Q3_K,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
        Self::Iq4_Nl,
    ];

    /// Its number in the format: `ggml_type` of
    /// <https://github.com/ggml-org/llama.cpp/blob/master/ggml/include/ggml.h>.
    pub fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q2_K => 10,
            Self::Q3_K => 11,
            Self::Q4_K => 12,
            Self::Q5_K => 13,
            Self::Q6_K => 14,
            Self::Iq4_Nl => 20,
            Self::Bf16 => 30,
        }
    }

    /// Its name in the format.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2_K => "Q2_K",
            Self::Q3_K => "Q3_K",
            Self::Q4_K => "Q4_K",
            Self::Q5_K => "Q5_K",
            Self::Q6_K => "Q6_K",
            Self::Iq4_Nl => "IQ4_NL",
        }
    }

    pub(super) fn from_number(number: u32) -> Result<Self, String> {
        if let Some(known) = Self::ALL.into_iter().find(|kind| kind.number() == number) {
            return Ok(known);
        }
        let name = OTHERS.iter().find(|(other, _)| *other == number).map(|(_, name)| *name);
        let readable = Self::ALL.map(Self::name).join(", ");
        Err(match name {
            Some(name) => format!("is {name}, which cannot be read; use a file with types of {readable}"),
            None => format!("has the unknown type {number}; use a file with types of {readable}"),
        })
    }

    /// Numbers of one block.
    pub fn block(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 | Self::Iq4_Nl => quants::BLOCK,
            Self::Q2_K | Self::Q3_K | Self::Q4_K | Self::Q5_K | Self::Q6_K => k_quants::BLOCK,
        }
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q4_0 | Self::Iq4_Nl => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2_K => 84,
            Self::Q3_K => 110,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
        }
    }

    /// Converts whole blocks to f32, exactly as the `gguf` Python package does.
    ///
    /// # Panics
    /// If `bytes` is not whole blocks, or `out` has another number of values.
    pub fn dequantize(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(bytes.len() % self.block_bytes(), 0, "dequantize: the bytes are not whole blocks");
        let values = bytes.len() / self.block_bytes() * self.block();
        assert_eq!(out.len(), values, "dequantize: `out` has another number of values than the blocks");
        match self {
            Self::F32 => quants::f32s(bytes, out),
            Self::F16 => quants::f16s(bytes, out),
            Self::Bf16 => quants::bf16s(bytes, out),
            Self::Q4_0 => quants::each(bytes, out, quants::q4_0),
            Self::Q4_1 => quants::each(bytes, out, quants::q4_1),
            Self::Q5_0 => quants::each(bytes, out, quants::q5_0),
            Self::Q5_1 => quants::each(bytes, out, quants::q5_1),
            Self::Q8_0 => quants::each(bytes, out, quants::q8_0),
            Self::Iq4_Nl => quants::each(bytes, out, quants::iq4_nl),
            Self::Q2_K => quants::each(bytes, out, k_quants::q2_k),
            Self::Q3_K => quants::each(bytes, out, k_quants::q3_k),
            Self::Q4_K => quants::each(bytes, out, k_quants::q4_k),
            Self::Q5_K => quants::each(bytes, out, k_quants::q5_k),
            Self::Q6_K => quants::each(bytes, out, k_quants::q6_k),
        }
    }
}
