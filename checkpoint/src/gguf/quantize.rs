//! f32 to the blocks of a GGUF file, rounded as the `gguf` Python package and llama.cpp's reference functions do
//! (`quantize_row_q8_0_ref` and `quantize_row_q4_0_ref` of
//! <https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-quants.c>).

use super::quants::BLOCK;
use super::tensor_type::TensorType;
use half::{bf16, f16};

/// Appends values as blocks of a type that can be written: F32, F16, BF16, Q8_0 or Q4_0.
///
/// # Panics
/// If the values are not whole blocks, or the type cannot be written.
pub fn quantize(kind: TensorType, values: &[f32], out: &mut Vec<u8>) {
    assert_eq!(values.len() % kind.block(), 0, "quantize: the values are not whole blocks");
    match kind {
        TensorType::F32 => out.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        TensorType::F16 => out.extend(values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes())),
        TensorType::Bf16 => out.extend(values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes())),
        TensorType::Q8_0 => values.as_chunks().0.iter().for_each(|block| q8_0(block, out)),
        TensorType::Q4_0 => values.as_chunks().0.iter().for_each(|block| q4_0(block, out)),
        other => unreachable!("{} is not written", other.name()),
    }
}

fn q8_0(block: &[f32; BLOCK], out: &mut Vec<u8>) {
    let largest = block.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    out.extend(f16::from_f32(scale).to_le_bytes());
    // Half away from zero; in range by the choice of the scale.
    out.extend(block.iter().map(|value| (value * inverse).round() as i8 as u8));
}

fn q4_0(block: &[f32; BLOCK], out: &mut Vec<u8>) {
    // The first of the values with the largest magnitude, with its sign.
    let largest = block
        .iter()
        .fold(0.0f32, |largest, value| if value.abs() > largest.abs() { *value } else { largest });
    let scale = largest / -8.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    out.extend(f16::from_f32(scale).to_le_bytes());
    let quant = |value: f32| (f64::from(value) * f64::from(inverse) + 8.5).clamp(0.0, 15.0) as u8;
    let (low, high) = block.split_at(BLOCK / 2);
    out.extend(low.iter().zip(high).map(|(low, high)| quant(*low) | quant(*high) << 4));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Within half a step of each block, and exact where the type holds the value.
    #[test]
    fn blocks_read_back_within_half_a_step() {
        let values: Vec<f32> = (0..128).map(|index| ((index * 37 % 101) as f32 - 50.0) / 7.0).collect();
        let steps = [
            (TensorType::F32, 0.0),
            (TensorType::F16, 50.0 / 7.0 / 2048.0),
            (TensorType::Bf16, 50.0 / 7.0 / 256.0),
            (TensorType::Q8_0, 50.0 / 7.0 / 127.0 * 0.51),
            (TensorType::Q4_0, 50.0 / 7.0 / 8.0 * 1.01),
        ];
        for (kind, error) in steps {
            let (mut bytes, mut read) = (Vec::new(), vec![0.0; values.len()]);
            quantize(kind, &values, &mut bytes);
            kind.dequantize(&bytes, &mut read);
            let worst = values.iter().zip(&read).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
            assert!(worst <= error, "{}: {worst}", kind.name());
        }
    }

    #[test]
    fn blocks_equal_those_of_the_gguf_package() {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/gguf/quantized.json");
        let golden: serde_json::Value =
            serde_json::from_slice(&std::fs::read(golden).expect("a golden file")).expect("JSON");
        let mut values: Vec<f32> =
            (0..8192i64).map(|index| (index * 7919 % 20011 - 10005) as f32 / 977.0).collect();
        values[64..96].fill(0.0);
        for kind in [TensorType::F32, TensorType::F16, TensorType::Bf16, TensorType::Q8_0, TensorType::Q4_0] {
            let mut bytes = Vec::new();
            quantize(kind, &values, &mut bytes);
            assert_eq!(golden[kind.name()], files::hash::sha256(&bytes), "{}", kind.name());
        }
    }

    #[test]
    fn a_block_of_zeros_stays_zeros() {
        for kind in [TensorType::Q8_0, TensorType::Q4_0] {
            let (mut bytes, mut read) = (Vec::new(), [1.0; BLOCK]);
            quantize(kind, &[0.0; BLOCK], &mut bytes);
            kind.dequantize(&bytes, &mut read);
            assert_eq!(read, [0.0; BLOCK]);
        }
    }
}
