//! f32 to bf16 as files store it.

use crate::element::{Element, vectorized};

/// Writes the nearest bf16 of each value, ties to even, as two little-endian bytes.
///
/// # Panics
/// If there are not two bytes for each value.
pub fn bf16_bytes(bytes: &mut [u8], values: &[f32]) {
    assert_eq!(bytes.len(), 2 * values.len(), "bf16_bytes: give two bytes for each value");
    convert(bytes, values);
}

vectorized! {
    fn convert(bytes: &mut [u8], values: &[f32]) {
        for (bytes, value) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(values) {
            *bytes = value.bf16_bits().to_le_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    /// All upper halves with lower halves around the ties: every kind of number, NaN and infinities included.
    #[test]
    fn bytes_are_those_of_the_half_crate() {
        let lower = [0_u32, 1, 0x7fff, 0x8000, 0x8001, 0xffff];
        let of_upper = |upper: u32| lower.map(|lower| f32::from_bits(upper << 16 | lower));
        let values: Vec<f32> = (0..1 << 16).flat_map(of_upper).collect();
        let mut bytes = vec![0; 2 * values.len()];
        bf16_bytes(&mut bytes, &values);
        for (value, bytes) in values.iter().zip(bytes.as_chunks::<2>().0) {
            assert_eq!(bf16::from_f32(*value).to_le_bytes(), *bytes, "{:x}", value.to_bits());
        }
    }
}
