//! RMS norm.

use super::*;
use crate::training::{rms_norm_add, rms_norm_backward, rms_norm_forward};
use candle_core::Result;
use half::bf16;

fn reference(x: &Tensor, w: &Tensor, epsilon: f32) -> Result<Tensor> {
    let root = (x.sqr()?.mean_keepdim(1)? + f64::from(epsilon))?.sqrt()?;
    x.broadcast_div(&root)?.broadcast_mul(w)
}

fn forward<E: Element>(x: &[f32], w: &[f32], epsilon: f32) -> Vec<E> {
    let mut y = vec![E::from_f32(f32::NAN); x.len()];
    rms_norm_forward(&mut y, x, w, epsilon);
    y
}

fn backward(dy: &[f32], x: &[f32], w: &[f32], epsilon: f32) -> (Vec<f32>, Vec<f32>) {
    let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
    rms_norm_backward(&mut dx, Some(&mut dw), dy, x, w, epsilon);
    (dx, dw)
}

/// Returns x, w and dy.
fn inputs(tokens: usize, channels: usize) -> [Vec<f32>; 3] {
    [elements(tokens * channels, 1, 4.0), elements(channels, 2, 4.0), elements(tokens * channels, 3, 2.0)]
}

fn check(tokens: usize, channels: usize, epsilon: f32) {
    let what = format!("rms_norm T={tokens} C={channels}");
    let [x, w, dy] = inputs(tokens, channels);
    let (x64, w64) = (variable(&x, (tokens, channels)), variable(&w, channels));
    let y = reference(&x64, &w64, epsilon).unwrap();
    assert_near(&forward::<f32>(&x, &w, epsilon), &flat(&y), &what);
    assert_near(&forward::<bf16>(&x, &w, epsilon), &flat(&y), &what);

    let (dx, dw) = backward(&dy, &x, &w, epsilon);
    let gradients = backpropagate(&y, &dy);
    assert_near(&dx, &gradient(&gradients, &x64), &format!("{what} dx"));
    assert_near(&dw, &gradient(&gradients, &w64), &format!("{what} dw"));
    assert_slopes(&dx, &x, &what, |x| loss(&forward::<f32>(x, &w, epsilon), &dy));
    assert_slopes(&dw, &w, &what, |w| loss(&forward::<f32>(&x, w, epsilon), &dy));
}

#[test]
fn one_channel() {
    // With a small epsilon y is only the sign of x, and its gradient is rounding noise.
    check(3, 1, 0.5);
}

#[test]
fn one_token() {
    check(1, 37, 1e-5);
}

#[test]
fn channels_around_the_number_of_lanes() {
    check(3, 15, 1e-5);
    check(4, 16, 1e-5);
    check(5, 17, 1e-5);
}

#[test]
fn tokens_around_the_block_size() {
    check(31, 7, 1e-5);
    check(32, 7, 1e-5);
    check(65, 7, 1e-5);
}

#[test]
fn the_width_of_a_model() {
    check(67, 576, 1e-5);
}

#[test]
fn gradients_are_added() {
    let [x, w, dy] = inputs(5, 19);
    let (dx, dw) = backward(&dy, &x, &w, 1e-5);
    let (mut more_dx, mut more_dw) = (numbers(x.len(), 4), numbers(w.len(), 5));
    let add = |before: &[f32], gradient: &[f32]| -> Vec<f32> {
        before.iter().zip(gradient).map(|(before, gradient)| before + gradient).collect()
    };
    let (expected_dx, expected_dw) = (add(&more_dx, &dx), add(&more_dw, &dw));
    rms_norm_backward(&mut more_dx, Some(&mut more_dw), &dy, &x, &w, 1e-5);
    assert_eq!((bits(&more_dx), bits(&more_dw)), (bits(&expected_dx), bits(&expected_dw)));
}

#[test]
fn frozen_weights_leave_the_gradient_of_x() {
    let [x, w, dy] = inputs(67, 19);
    let (dx, _) = backward(&dy, &x, &w, 1e-5);
    let mut frozen = vec![0.0; x.len()];
    rms_norm_backward(&mut frozen, None, &dy, &x, &w, 1e-5);
    assert_eq!(bits(&frozen), bits(&dx));
}

#[test]
fn threads_do_not_change_a_bit() {
    let [x, w, dy] = inputs(131, 33);
    assert_threads_agree(|| {
        let (dx, dw) = backward(&dy, &x, &w, 1e-5);
        [forward(&x, &w, 1e-5), dx, dw].concat()
    });
}

/// What a branch adds may be stored in bf16: the same sums of the same numbers.
#[test]
fn inputs_in_bf16_are_read_as_they_are() {
    let [x, w, dy] = inputs(35, 48);
    let stored: Vec<bf16> = x.iter().map(|x| bf16::from_f32(*x)).collect();
    let widened = single(&stored);
    let (dx, dw) = backward(&dy, &widened, &w, 1e-5);
    let (mut stored_dx, mut stored_dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
    rms_norm_backward(&mut stored_dx, Some(&mut stored_dw), &dy, &stored, &w, 1e-5);
    assert_eq!(bits(&[stored_dx, stored_dw].concat()), bits(&[dx, dw].concat()));

    let normed = forward::<f32>(&widened, &w, 1e-5);
    let mut stream = dy.clone();
    rms_norm_add(&mut stream, &stored, &w, 1e-5);
    let expected: Vec<f32> = dy.iter().zip(&normed).map(|(dy, normed)| dy + normed).collect();
    assert_eq!(bits(&stream), bits(&expected));
}
