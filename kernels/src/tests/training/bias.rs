//! Biases.

use super::*;
use crate::training::{bias_backward, bias_forward};
use half::bf16;

#[test]
fn a_bias_is_added_to_every_row() {
    let mut y: Vec<f32> = (0..40 * 3).map(|index| index as f32).collect();
    bias_forward(&mut y, &[1.0, -2.0, 0.5]);
    for (row, y) in y.chunks_exact(3).enumerate() {
        let first = 3.0 * row as f32;
        assert_eq!(y, [first + 1.0, first - 1.0, first + 2.5]);
    }
}

fn check<E: Element>(tokens: usize, outputs: usize) {
    let dy: Vec<E> = elements(tokens * outputs, 1, 2.0);
    let mut dbias = vec![1.0f32; outputs];
    bias_backward(&mut dbias, &dy);
    let sum =
        |output: usize| dy.iter().skip(output).step_by(outputs).map(|dy| f64::from(dy.to_f32())).sum::<f64>();
    let expected: Vec<f64> = (0..outputs).map(|output| 1.0 + sum(output)).collect();
    assert_near(&dbias, &expected, &format!("bias T={tokens} O={outputs}"));
}

#[test]
fn the_gradient_is_the_sum_of_the_rows() {
    for (tokens, outputs) in [(1, 1), (31, 7), (32, 16), (131, 40)] {
        check::<f32>(tokens, outputs);
        check::<bf16>(tokens, outputs);
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let dy: Vec<f32> = elements(531 * 24, 2, 4.0);
    assert_threads_agree(|| {
        let mut dbias = vec![0.0; 24];
        bias_backward(&mut dbias, &dy);
        dbias
    });
}
