//! GeGLU with GELU in its tanh form.

use super::*;
use crate::training::{geglu_backward, geglu_forward};
use candle_core::Result;
use half::bf16;

fn reference(gate_up: &Tensor, features: usize) -> Result<Tensor> {
    let (gate, up) = (gate_up.narrow(1, 0, features)?, gate_up.narrow(1, features, features)?);
    let inner = ((&gate + (gate.powf(3.0)? * 0.044_715)?)? * (2.0 / std::f64::consts::PI).sqrt())?;
    (((inner.tanh()? + 1.0)? * gate)? * 0.5)? * up
}

fn forward<E: Element>(gate_up: &[E], features: usize) -> Vec<E> {
    let mut out = vec![E::from_f32(f32::NAN); gate_up.len() / 2];
    geglu_forward(&mut out, gate_up, features);
    out
}

fn check<E: Element>(tokens: usize, features: usize, scale: f32) {
    let what = format!("geglu T={tokens} F={features} of {scale}");
    let gate_up: Vec<E> = elements(tokens * 2 * features, 1, scale);
    let dout: Vec<E> = elements(tokens * features, 2, 2.0);
    let gate_up64 = variable(&gate_up, (tokens, 2 * features));
    let out = reference(&gate_up64, features).unwrap();
    assert_near(&forward(&gate_up, features), &flat(&out), &what);

    let mut dgate_up = gate_up.clone();
    geglu_backward(&mut dgate_up, &dout, features);
    let expected = gradient(&backpropagate(&out, &dout), &gate_up64);
    assert_near(&dgate_up, &expected, &format!("{what} gradient"));
    if !E::BF16 {
        let (x, dx, dout) = (single(&gate_up), single(&dgate_up), single(&dout));
        assert_slopes(&dx, &x, &what, |x| loss(&forward(x, features), &dout));
    }
}

#[test]
fn one_feature_and_odd_numbers() {
    for (tokens, features) in [(3, 1), (1, 17), (33, 37), (65, 131)] {
        check::<f32>(tokens, features, 4.0);
        check::<bf16>(tokens, features, 4.0);
    }
}

#[test]
fn gates_that_saturate() {
    check::<f32>(5, 100, 40.0);
    check::<bf16>(5, 100, 40.0);
    let gate_up = [1e4, -1e4, 0.0, 3.0, 3.0, 3.0];
    assert_eq!(forward::<f32>(&gate_up, 3), [3e4, 0.0, 0.0]);
    let mut gradient = gate_up;
    geglu_backward(&mut gradient, &[1.0; 3], 3);
    assert_eq!(gradient, [3.0, 0.0, 1.5, 1e4, 0.0, 0.0]);
}
