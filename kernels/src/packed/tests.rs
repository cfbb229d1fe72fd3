//! Packed products: the documented order, the same bits on every instruction set and in every batch, the numbers of
//! each format.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::activations::Activations;
use super::blocks::BlockType;
use super::encoding::BLOCK;
use super::matrix::PackedMatrix;
use super::pairs::Epilogue;
use super::product::multiply;
use crate::elementwise::{gelu_gate_on, silu_gate_on};
use crate::format::WeightFormat::{self, Bf16, F32, Q4_0, Q4_0Wide, Q4_1, Q5_0, Q8_0, Q8_0Wide};
use crate::isa::{Isa, isa};
use crate::simd::LANES;
use crate::tests::{ISAS, assert_close, bits, cases, numbers};

fn pack(format: WeightFormat, weights: &[f32], columns: usize) -> PackedMatrix {
    PackedMatrix::pack(format, weights.len() / columns, columns, |row, out| {
        out.copy_from_slice(&weights[row * columns..][..columns]);
    })
}

const TYPES: [BlockType; 11] = [
    BlockType::Q8_0,
    BlockType::Q4_0,
    BlockType::Q4_1,
    BlockType::Q5_0,
    BlockType::Q5_1,
    BlockType::Iq4Nl,
    BlockType::Q2K,
    BlockType::Q3K,
    BlockType::Q4K,
    BlockType::Q5K,
    BlockType::Q6K,
];

/// Rows of random blocks, with scales (and minimums) of f16 between 0.004 and 0.016.
fn random_rows(kind: BlockType, rows: usize, columns: usize, seed: u64) -> Vec<Vec<u8>> {
    let halves: &[usize] = match kind {
        BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4K | BlockType::Q5K => &[0, 2],
        BlockType::Q2K => &[80, 82],
        BlockType::Q3K => &[108],
        BlockType::Q6K => &[208],
        _ => &[0],
    };
    let row_bytes = columns / kind.numbers() * kind.bytes();
    let bytes = numbers(rows * row_bytes, seed).into_iter().map(|number| ((number + 0.5) * 256.0) as u8);
    let mut bytes: Vec<u8> = bytes.collect();
    for block in bytes.chunks_exact_mut(kind.bytes()) {
        for at in halves {
            let value = 0.004 + f32::from(block[*at]) / 256.0 * 0.012;
            block[*at..at + 2].copy_from_slice(&half::f16::from_f32(value).to_le_bytes());
        }
    }
    bytes.chunks_exact(row_bytes).map(<[u8]>::to_vec).collect()
}

fn random_matrix(kind: BlockType, rows: usize, columns: usize, seed: u64) -> PackedMatrix {
    let stored = random_rows(kind, rows, columns, seed);
    PackedMatrix::pack_blocks(rows, columns, |row| Some((kind, stored[row].as_slice())))
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
    for &columns in cases(&[1, 7, 33, 576], 2) {
        for &rows in cases(&[1, 15, 33, 16, 49], 3) {
            for &tokens in cases(&[1, 2, 13, 5, 7, 25], 3) {
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
    for format in [Q8_0, Q4_0, Q8_0Wide, Q4_0Wide, Q4_1, Q5_0] {
        for &(rows, columns, tokens) in cases(&[(17, 100, 7), (33, 576, 1), (48, 96, 13), (64, 1536, 12)], 1)
        {
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
fn products_of_blocks_are_the_same_bits_on_every_instruction_set_and_in_every_batch() {
    for kind in TYPES {
        for &(rows, columns, tokens) in cases(&[(33, 256, 1), (48, 768, 31), (17, 512, 7), (65, 1536, 14)], 1)
        {
            let x = numbers(tokens * columns, 3);
            let matrix = random_matrix(kind, rows, columns, 4);
            let portable = product(Isa::Portable, &x, &matrix);
            for isa in ISAS {
                assert_eq!(bits(&product(isa, &x, &matrix)), bits(&portable), "{isa:?} {kind:?}");
                for (x, expected) in x.chunks(columns).zip(portable.chunks(rows)) {
                    assert_eq!(bits(&product(isa, x, &matrix)), bits(expected), "{kind:?} {isa:?} alone");
                }
            }
        }
    }
}

#[test]
fn products_of_blocks_are_near_the_f64_product_of_their_numbers() {
    for kind in TYPES {
        let (rows, columns, tokens) = if cfg!(miri) { (18, 256, 3) } else { (50, 512, 9) };
        let x = numbers(tokens * columns, 5);
        let matrix = random_matrix(kind, rows, columns, 6);
        assert_eq!(matrix.format(), kind.format());
        is_near(&x, &matrix, 2e-5);
    }
}

/// Asserts that the product differs from that in f64 by at most `limit` of the sum of the terms' absolute values.
fn is_near(x: &[f32], matrix: &PackedMatrix, limit: f64) {
    let (stored, columns, rows) = (unpack(matrix), matrix.columns, matrix.rows());
    for isa in ISAS {
        for (index, value) in product(isa, x, matrix).iter().enumerate() {
            let x = &x[index / rows * columns..][..columns];
            let w = &stored[index % rows * columns..][..columns];
            let terms = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w));
            let scale: f64 = terms.clone().map(f64::abs).sum();
            let error = (f64::from(*value) - terms.sum::<f64>()).abs();
            assert!(error < limit * scale, "{:?} {isa:?}: off by {error} of {scale}", matrix.format());
        }
    }
}

/// As queries, keys and values of llama.cpp's mixed files.
#[test]
fn rows_of_several_types_are_one_matrix() {
    let (columns, tokens) = if cfg!(miri) { (256, 1) } else { (512, 15) };
    let parts = [(BlockType::Q4K, 96), (BlockType::Q6K, 32), (BlockType::Q8_0, 50)];
    let stored = parts.map(|(kind, rows)| random_rows(kind, rows, columns, 7));
    let find = |row: usize| match row {
        row if row < 96 => (BlockType::Q4K, stored[0][row].as_slice()),
        row if row < 128 => (BlockType::Q6K, stored[1][row - 96].as_slice()),
        row => (BlockType::Q8_0, stored[2][row - 128].as_slice()),
    };
    let whole = PackedMatrix::pack_blocks(178, columns, |row| Some(find(row)));
    let alone = |part: usize| {
        let (kind, rows) = parts[part];
        PackedMatrix::pack_blocks(rows, columns, |row| Some((kind, stored[part][row].as_slice())))
    };
    let alone = [0, 1, 2].map(alone);
    assert_eq!(whole.bytes(), alone.iter().map(PackedMatrix::bytes).sum::<usize>());
    assert_eq!(unpack(&whole), alone.each_ref().map(unpack).concat());
    let x = numbers(tokens * columns, 8);
    for isa in ISAS {
        let products = alone.each_ref().map(|matrix| product(isa, &x, matrix));
        for (token, out) in product(isa, &x, &whole).chunks(178).enumerate() {
            let expected = [0, 1, 2].map(|part| {
                let rows = parts[part].1;
                products[part][token * rows..][..rows].to_vec()
            });
            assert_eq!(bits(out), bits(&expected.concat()), "{isa:?}");
        }
    }
    assert!(PackedMatrix::is_packable(178, |row| Some(find(row).0)));
    let type_of = |row: usize| Some(if row < 20 { BlockType::Q4K } else { BlockType::Q6K });
    assert!(!PackedMatrix::is_packable(40, type_of));
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
        (Q5_0, 2e-5),
    ] {
        let (rows, columns, tokens) = if cfg!(miri) { (18, 70, 3) } else { (50, 300, 9) };
        let (x, w) = (numbers(tokens * columns, 5), numbers(rows * columns, 6));
        let matrix = pack(format, &w, columns);
        is_near(&x, &matrix, limit);
    }
}

#[test]
fn a_token_alone_equals_the_token_in_a_batch() {
    for format in [F32, Bf16, Q8_0, Q4_0, Q8_0Wide, Q4_0Wide, Q4_1, Q5_0] {
        let (rows, columns, tokens) = if cfg!(miri) { (18, 70, 13) } else { (80, 576, 31) };
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
        (Q5_0, 1.0 / 16.0),
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
    for kind in [BlockType::Q8_0, BlockType::Q4_0, BlockType::Q4_1, BlockType::Q5_0, BlockType::Q5_1] {
        let has_minimum = matches!(kind, BlockType::Q4_1 | BlockType::Q5_1);
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
        let matrix = PackedMatrix::pack_blocks(rows, blocks * BLOCK, |row| {
            (row != 5).then(|| (kind, stored[row].as_slice()))
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
                BlockType::Q5_1 => nibble(8) | i32::from(bytes[4 + inner / 8] >> (inner % 8) & 1) << 4,
                other => unreachable!("{other:?}"),
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
    for isa in ISAS {
        let mut alone = vec![f32::NAN; gated.len()];
        silu_gate_on(isa, &mut alone, &plain);
        assert_eq!(bits(&alone), bits(&gated), "{isa:?}");
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
    for isa in ISAS {
        let mut alone = vec![f32::NAN; gated.len()];
        gelu_gate_on(isa, &mut alone, &plain);
        assert_eq!(bits(&alone), bits(&gated), "{isa:?}");
    }
}
