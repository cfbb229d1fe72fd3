//! SwiGLU.

use super::*;
use crate::training::{swiglu_backward, swiglu_forward};
use candle_core::Result;
use half::bf16;

fn reference(gate_up: &Tensor, features: usize) -> Result<Tensor> {
    let (gate, up) = (gate_up.narrow(1, 0, features)?, gate_up.narrow(1, features, features)?);
    let silu = (&gate / (gate.neg()?.exp()? + 1.0)?)?;
    silu * up
}

fn forward<E: Element>(gate_up: &[E], features: usize) -> Vec<E> {
    let mut out = vec![E::from_f32(f32::NAN); gate_up.len() / 2];
    swiglu_forward(&mut out, gate_up, features);
    out
}

fn backward<E: Element>(gate_up: &[E], dout: &[E], features: usize) -> Vec<E> {
    let mut gradient = gate_up.to_vec();
    swiglu_backward(&mut gradient, dout, features);
    gradient
}

fn check<E: Element>(tokens: usize, features: usize, scale: f32) {
    let what = format!("swiglu T={tokens} F={features} of {scale}");
    let gate_up: Vec<E> = elements(tokens * 2 * features, 1, scale);
    let dout: Vec<E> = elements(tokens * features, 2, 2.0);
    let gate_up64 = variable(&gate_up, (tokens, 2 * features));
    let out = reference(&gate_up64, features).unwrap();
    assert_near(&forward(&gate_up, features), &flat(&out), &what);

    let dgate_up = backward(&gate_up, &dout, features);
    let expected = gradient(&backpropagate(&out, &dout), &gate_up64);
    assert_near(&dgate_up, &expected, &format!("{what} gradient"));
    if !E::BF16 {
        let (x, dx, dout) = (single(&gate_up), single(&dgate_up), single(&dout));
        assert_slopes(&dx, &x, &what, |x| loss(&forward(x, features), &dout));
    }
}

#[test]
fn one_feature() {
    check::<f32>(3, 1, 4.0);
    check::<bf16>(3, 1, 4.0);
}

#[test]
fn features_of_odd_number() {
    check::<f32>(1, 17, 4.0);
    check::<f32>(33, 37, 4.0);
    check::<bf16>(65, 131, 4.0);
}

#[test]
fn gates_that_saturate() {
    check::<f32>(5, 100, 60.0);
    check::<bf16>(5, 100, 60.0);
}

#[test]
fn the_width_of_a_model() {
    check::<f32>(35, 1536, 4.0);
    check::<bf16>(35, 1536, 4.0);
}

#[test]
fn large_gates_are_fully_open_or_closed() {
    let gates = [1e4, -1e4, 200.0, -200.0, 0.0];
    let gate_up = [gates, [3.0; 5]].concat();
    assert_eq!(forward(&gate_up, 5), [3e4, 0.0, 600.0, 0.0, 0.0]);
    let (dgate, dup) = ([3.0, 0.0, 3.0, 0.0, 1.5], [1e4, 0.0, 200.0, 0.0, 0.0]);
    assert_eq!(backward(&gate_up, &[1.0; 5], 5), [dgate, dup].concat());
}

#[test]
fn threads_do_not_change_a_bit() {
    let (gate_up, dout) = (elements::<f32>(131 * 2 * 33, 3, 4.0), elements(131 * 33, 4, 2.0));
    assert_threads_agree(|| [forward(&gate_up, 33), backward(&gate_up, &dout, 33)].concat());
}
