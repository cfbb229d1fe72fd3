//! The operations of a forward pass that training and inference have each for its own layout: the same bits.

use super::*;
use crate::training::{NormedHeads, geglu_forward, head_norm_forward, rms_norm_forward, swiglu_forward};
use crate::{Accumulate, Activations, Epilogue, Matrix, PackedMatrix, WeightFormat, gemm, multiply};
use half::bf16;

/// A product of training and one with packed weights, x (T, K) wᵀ.
fn products<E: Element>(format: WeightFormat, tokens: usize, inputs: usize, outputs: usize) {
    let (x, w): (Vec<f32>, Vec<f32>) =
        (elements(tokens * inputs, 1, 2.0), elements(outputs * inputs, 2, 2.0));
    let mut trained = vec![f32::NAN; tokens * outputs];
    let weights = Matrix::new(&w, outputs, inputs).transposed();
    gemm::<E, _, _, _>(&mut trained, Matrix::new(&x, tokens, inputs), weights, Accumulate::Chain);
    let packed = PackedMatrix::pack(format, outputs, inputs, |row, out| {
        out.copy_from_slice(&w[row * inputs..][..inputs]);
    });
    let mut activations = Activations::default();
    activations.fill(format, &x, inputs, inputs);
    let stride = outputs.next_multiple_of(16);
    let mut served = vec![0.0; tokens * stride];
    multiply(&mut served, stride, &activations, &packed, Epilogue::Store);
    for (token, (trained, served)) in trained.chunks(outputs).zip(served.chunks(stride)).enumerate() {
        let what = format!("{format:?}, K={inputs} N={outputs}, token {token} of {tokens}");
        assert_eq!(bits(trained), bits(&served[..outputs]), "{what}");
    }
}

/// Blocks of k and columns, odd ends of both.
#[test]
fn products_are_one_chain() {
    for inputs in [1, 2, 3, 17, 64, 255, 256, 257, 512, 515, 1101, 1536] {
        for (tokens, outputs) in [(1, 1), (7, 70), (100, 33), (13, 16)] {
            products::<f32>(WeightFormat::F32, tokens, inputs, outputs);
            products::<bf16>(WeightFormat::Bf16, tokens, inputs, outputs);
        }
    }
    products::<f32>(WeightFormat::F32, 5, 300, 3100);
    products::<bf16>(WeightFormat::Bf16, 5, 600, 3100);
}

#[test]
fn norms_and_gates() {
    for width in [1, 5, 16, 64, 100, 576] {
        let (x, w): (Vec<f32>, Vec<f32>) = (elements(9 * width, 3, 4.0), elements(width, 4, 2.0));
        let (mut trained, mut served) = (vec![0.0f32; x.len()], vec![0.0; x.len()]);
        rms_norm_forward(&mut trained, &x, &w, 1e-5);
        crate::rms_norm(&mut served, &x, &w, 1e-5);
        assert_eq!(bits(&trained), bits(&served), "norm of {width}");
        let mut heads = x.clone();
        let normed = NormedHeads { first: 1, count: 2, weight: &w, epsilon: 1e-5 };
        head_norm_forward(&mut heads, 3 * width, normed);
        for (row, (heads, served)) in heads.chunks(3 * width).zip(served.chunks(3 * width)).enumerate() {
            assert_eq!(bits(&heads[width..]), bits(&served[width..]), "heads of {width} in row {row}");
        }
    }
    // Rows of sixteen features: gate first, which is also how the engine alternates them.
    let gate_up: Vec<f32> = elements(32 * 500, 5, 60.0);
    let (mut trained, mut served) = (vec![0.0f32; 16 * 500], vec![0.0; 16 * 500]);
    swiglu_forward(&mut trained, &gate_up, 16);
    crate::swiglu_alternating(&mut served, &gate_up);
    assert_eq!(bits(&trained), bits(&served), "SwiGLU");
    geglu_forward(&mut trained, &gate_up, 16);
    crate::geglu_alternating(&mut served, &gate_up);
    assert_eq!(bits(&trained), bits(&served), "GeGLU");
}
