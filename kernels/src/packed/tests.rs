//! Packed products: the documented order, the same bits on every instruction set and in every batch, the numbers of
//! each format.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::activations::Activations;
use super::blocks::BlockType;
use super::layout::BLOCK;
use super::matrix::PackedMatrix;
use super::product::{Epilogue, multiply};
use crate::format::WeightFormat::{self, Bf16, F32, Q4_0, Q4_0Wide, Q4_1, Q8_0, Q8_0Wide};
use crate::isa::{Isa, isa};
use crate::simd::LANES;
use crate::tests::{ISAS, assert_close, bits, numbers};

fn pack(format: WeightFormat, weights: &[f32], columns: usize) -> PackedMatrix {
    PackedMatrix::pack(format, weights.len() / columns, columns, |row, out| {
        out.copy_from_slice(&weights[row * columns..][..columns]);
    })
}

/// Returns the product (T, N) without the padding of the stride.
fn product(isa: Isa, x: &[f32], matrix: &PackedMatrix) -> Vec<f32> {
    let (columns, rows) = (matrix.columns, matrix.rows());
    let stride = rows.next_multiple_of(LANES);
    let mut activations = Activations::on(isa);
    activations.fill(matrix.format(), x, columns, columns);
    let mut out = vec![f32::NAN; x.len() / columns * stride];
    multiply(&mut out, stride, &activations, matrix, Epilogue::Store);
    out.chunks(stride).flat_map(|row| row[..rows].to_vec()).collect()
}

fn unpack(matrix: &PackedMatrix) -> Vec<f32> {
    let mut rows = vec![0.0; matrix.rows() * matrix.columns];
    for (index, row) in rows.chunks_mut(matrix.columns).enumerate() {
        matrix.row(index, row);
    }
    rows
}

#[test]
fn f32_sums_column_after_column_on_every_instruction_set() {
    for columns in [1, 7, 33, 576] {
        for rows in [1, 15, 16, 33, 49] {
            for tokens in [1, 2, 5, 7, 13, 25] {
                let (x, w) = (numbers(tokens * columns, 1), numbers(rows * columns, 2));
                let in_order =
                    |x: &[f32], w: &[f32]| x.iter().zip(w).fold(0.0f32, |sum, (x, w)| w.mul_add(*x, sum));
                let expected: Vec<f32> =
                    x.chunks(columns).flat_map(|x| w.chunks(columns).map(move |w| in_order(x, w))).collect();
                for isa in ISAS {
                    let out = product(isa, &x, &pack(F32, &w, columns));
                    assert_eq!(bits(&out), bits(&expected), "{isa:?} K={columns} N={rows} T={tokens}");
                }
            }
        }
    }
}

#[test]
fn quantized_products_are_the_same_bits_on_every_instruction_set() {
    for format in [Q8_0, Q4_0, Q8_0Wide, Q4_0Wide, Q4_1] {
        for (rows, columns, tokens) in [(33, 576, 1), (48, 96, 13), (17, 100, 7), (64, 1536, 12)] {
            let (x, w) = (numbers(tokens * columns, 3), numbers(rows * columns, 4));
            let matrix = pack(format, &w, columns);
            let portable = product(Isa::Portable, &x, &matrix);
            for isa in ISAS {
                assert_eq!(bits(&product(isa, &x, &matrix)), bits(&portable), "{isa:?} {format:?}");
            }
        }
    }
}

#[test]
fn every_format_is_near_the_f64_product_of_the_stored_weights() {
    // Relative to the sum of the absolute values of the terms: the error of rounding the activations.
    for (format, limit) in [
        (F32, 1e-6),
        (Bf16, 3e-3),
        (Q8_0, 4e-3),
        (Q4_0, 4e-3),
        (Q8_0Wide, 2e-5),
        (Q4_0Wide, 2e-5),
        (Q4_1, 2e-5),
    ] {
        let (rows, columns, tokens) = (50, 300, 9);
        let (x, w) = (numbers(tokens * columns, 5), numbers(rows * columns, 6));
        let matrix = pack(format, &w, columns);
        let stored = unpack(&matrix);
        for isa in ISAS {
            let out = product(isa, &x, &matrix);
            for (index, value) in out.iter().enumerate() {
                let x = &x[index / rows * columns..][..columns];
                let w = &stored[index % rows * columns..][..columns];
                let terms = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w));
                let scale: f64 = terms.clone().map(f64::abs).sum();
                let error = (f64::from(*value) - terms.sum::<f64>()).abs();
                assert!(error < limit * scale, "{format:?} {isa:?}: off by {error} of {scale}");
            }
        }
    }
}

#[test]
fn a_token_alone_equals_the_token_in_a_batch() {
    for format in [F32, Bf16, Q8_0, Q4_0, Q8_0Wide, Q4_0Wide, Q4_1] {
        let (rows, columns, tokens) = (80, 576, 31);
        let (x, w) = (numbers(tokens * columns, 7), numbers(rows * columns, 8));
        let matrix = pack(format, &w, columns);
        for isa in ISAS {
            let together = product(isa, &x, &matrix);
            for (x, expected) in x.chunks(columns).zip(together.chunks(rows)) {
                assert_eq!(bits(&product(isa, x, &matrix)), bits(expected), "{format:?} {isa:?}");
            }
        }
    }
}

#[test]
fn formats_store_weights_with_the_stated_precision() {
    let w = numbers(3 * 70, 9);
    assert_eq!(unpack(&pack(F32, &w, 70)), w);
    let rounded: Vec<f32> = w.iter().map(|w| half::bf16::from_f32(*w).to_f32()).collect();
    assert_eq!(unpack(&pack(Bf16, &w, 70)), rounded);
    for (format, step) in [
        (Q8_0, 1.0 / 127.0),
        (Q4_0, 1.0 / 8.0),
        (Q8_0Wide, 1.0 / 127.0),
        (Q4_0Wide, 1.0 / 8.0),
        (Q4_1, 1.0 / 8.0),
    ] {
        // 70 columns: the last block of a row has six.
        for (row, stored) in w.chunks(70).zip(unpack(&pack(format, &w, 70)).chunks(70)) {
            for (row, stored) in row.chunks(BLOCK).zip(stored.chunks(BLOCK)) {
                let largest = row.iter().fold(0.0f32, |a, b| a.max(b.abs()));
                for (w, stored) in row.iter().zip(stored) {
                    // At most half a step, but a whole one for q4_0, which has no +8.
                    assert!((w - stored).abs() <= largest * step * 1.001, "{format:?}: {w} became {stored}");
                }
            }
        }
    }
}

/// Blocks of every layout become the numbers that they state, whatever a quantizer would have made of these.
#[test]
fn packed_blocks_keep_their_numbers() {
    let (rows, blocks) = (19, 3);
    let half = |value: f32| half::f16::from_f32(value).to_le_bytes();
    let scale = |row: usize, block: usize| (row as f32 - 9.5) / 64.0 + block as f32 / 8.0;
    let minimum = |row: usize| row as f32 / 4.0 - 1.0;
    for kind in [BlockType::Q8_0, BlockType::Q4_0, BlockType::Q4_1, BlockType::Q5_0] {
        let has_minimum = kind == BlockType::Q4_1;
        let head = if has_minimum { 4 } else { 2 };
        let byte = |row: usize, index: usize| ((row * 131 + index * 89 + 7) % 251) as u8;
        let block = |row: usize, block: usize| {
            let mut bytes: Vec<u8> = half(scale(row, block)).to_vec();
            bytes.extend(if has_minimum { half(minimum(row)).to_vec() } else { Vec::new() });
            bytes.extend((head..kind.bytes()).map(|index| byte(row, block * 40 + index)));
            bytes
        };
        let stored: Vec<Vec<u8>> =
            (0..rows).map(|row| (0..blocks).flat_map(|index| block(row, index)).collect()).collect();
        let matrix = PackedMatrix::pack_blocks(kind, rows, blocks * BLOCK, |row| {
            (row != 5).then(|| stored[row].as_slice())
        });
        assert_eq!(matrix.format(), kind.format());
        for (index, value) in unpack(&matrix).into_iter().enumerate() {
            let (row, column) = (index / (blocks * BLOCK), index % (blocks * BLOCK));
            let bytes = &stored[row][column / BLOCK * kind.bytes()..][..kind.bytes()];
            let inner = column % BLOCK;
            let nibble = |from: usize| i32::from(bytes[from + inner % 16] >> (inner / 16 * 4) & 15);
            let quant = match kind {
                BlockType::Q8_0 => i32::from(bytes[2 + inner] as i8),
                BlockType::Q4_0 => nibble(2) - 8,
                BlockType::Q4_1 => nibble(4),
                BlockType::Q5_0 => (nibble(6) | i32::from(bytes[2 + inner / 8] >> (inner % 8) & 1) << 4) - 16,
            };
            let round = |value: f32| half::f16::from_f32(value).to_f32();
            let added = if has_minimum { round(minimum(row)) } else { 0.0 };
            let expected = round(scale(row, column / BLOCK)) * quant as f32 + added;
            let expected = if row == 5 { 0.0 } else { expected };
            assert_eq!(value, expected, "{kind:?}, row {row}, column {column}");
        }
    }
}

#[test]
fn epilogues_add_and_gate() {
    let (columns, tokens) = (40, 5);
    let (x, w) = (numbers(tokens * columns, 10), numbers(64 * columns, 11));
    let matrix = pack(F32, &w, columns);
    let plain = product(isa(), &x, &matrix);
    let mut activations = Activations::default();
    activations.fill(F32, &x, columns, columns);
    let before = numbers(tokens * 64, 12);
    let mut added = before.clone();
    multiply(&mut added, 64, &activations, &matrix, Epilogue::Add);
    for ((added, before), plain) in added.iter().zip(&before).zip(&plain) {
        assert_eq!(added.to_bits(), (before + plain).to_bits());
    }
    let mut gated = vec![f32::NAN; tokens * 32];
    multiply(&mut gated, 32, &activations, &matrix, Epilogue::Gate);
    for (index, value) in gated.iter().enumerate() {
        let (token, column) = (index / 32, index % 32);
        let row = token * 64 + column / 16 * 32 + column % 16;
        let (gate, up) = (f64::from(plain[row]), f64::from(plain[row + 16]));
        assert_close(*value, gate / (1.0 + (-gate).exp()) * up, 1.0, "gate");
    }
}

#[test]
fn gelu_gates_in_its_tanh_form() {
    let (columns, tokens) = (40, 3);
    let (x, w) = (numbers(tokens * columns, 13), numbers(32 * columns, 14));
    let matrix = pack(F32, &w, columns);
    let plain = product(isa(), &x, &matrix);
    let mut activations = Activations::default();
    activations.fill(F32, &x, columns, columns);
    let mut gated = vec![f32::NAN; tokens * 16];
    multiply(&mut gated, 16, &activations, &matrix, Epilogue::GeluGate);
    for (index, value) in gated.iter().enumerate() {
        let row = index / 16 * 32 + index % 16;
        let (gate, up) = (f64::from(plain[row]), f64::from(plain[row + 16]));
        let y = (2.0 / std::f64::consts::PI).sqrt() * (gate + 0.044_715 * gate.powi(3));
        assert_close(*value, 0.5 * gate * (1.0 + y.tanh()) * up, 1.0, "gelu");
    }
}
