//! RMS norm of single heads, in place.

use super::*;
use crate::training::{NormedHeads, head_norm_backward, head_norm_forward};
use candle_core::Result;
use half::bf16;

const EPSILON: f32 = 1e-5;

/// Rows (T, heads x D) whose heads `first..first + count` are normed.
fn reference(x: &Tensor, w: &Tensor, heads: usize, first: usize, count: usize) -> Result<Tensor> {
    let (tokens, width) = (x.dim(0)?, w.dim(0)?);
    let by_head = x.reshape((tokens, heads, width))?;
    let before = by_head.narrow(1, 0, first)?;
    let normed = by_head.narrow(1, first, count)?;
    let after = by_head.narrow(1, first + count, heads - first - count)?;
    let scale = (normed.sqr()?.mean_keepdim(2)? + f64::from(EPSILON))?.sqrt()?;
    let normed = normed.broadcast_div(&scale)?.broadcast_mul(w)?;
    let parts: Vec<Tensor> =
        [before, normed, after].into_iter().filter(|part| part.elem_count() > 0).collect();
    Tensor::cat(&parts, 1)?.reshape((tokens, heads * width))
}

fn check<E: Element>(tokens: usize, heads: usize, (first, count): (usize, usize), width: usize) {
    let what = format!("head_norm T={tokens}, {first}+{count} of {heads} heads of {width}");
    let (row, kept) = (heads * width, (first + count) * width);
    let x: Vec<E> = elements(tokens * row, 1, 4.0);
    let dy: Vec<E> = elements(tokens * row, 2, 2.0);
    let w: Vec<f32> = elements(width, 3, 2.0);
    let normed = NormedHeads { first, count, weight: &w, epsilon: EPSILON };
    let (x64, w64) = (variable(&x, (tokens, row)), variable(&w, width));
    let out = reference(&x64, &w64, heads, first, count).unwrap();
    let mut y = x.clone();
    head_norm_forward(&mut y, row, normed);
    assert_near(&y, &flat(&out), &what);

    let gradients = backpropagate(&out, &dy);
    let (mut dx, mut dw) = (dy.clone(), vec![1.0f32; width]);
    let begin: Vec<E> = x.chunks(row).flat_map(|row| row[..kept].to_vec()).collect();
    head_norm_backward(&mut dx, Some(&mut dw), &begin, (row, kept), normed);
    assert_near(&dx, &gradient(&gradients, &x64), &format!("{what} dx"));
    let expected: Vec<f64> = gradient(&gradients, &w64).iter().map(|dw| dw + 1.0).collect();
    assert_near(&dw, &expected, &format!("{what} dw"));
    let mut frozen = dy;
    head_norm_backward(&mut frozen, None, &begin, (row, kept), normed);
    assert_eq!(bits(&single(&frozen)), bits(&single(&dx)), "{what}");
}

#[test]
fn queries_and_keys() {
    for (tokens, heads, normed, width) in [
        (1, 3, (0, 1), 2),
        (35, 8, (0, 4), 16),
        (35, 8, (4, 2), 16),
        (131, 5, (0, 4), 18),
        (33, 1, (0, 1), 64),
    ] {
        check::<f32>(tokens, heads, normed, width);
        check::<bf16>(tokens, heads, normed, width);
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let (x, dy) = (elements::<f32>(531 * 48, 4, 4.0), elements::<f32>(531 * 48, 5, 2.0));
    let w: Vec<f32> = elements(8, 6, 2.0);
    let heads = NormedHeads { first: 1, count: 4, weight: &w, epsilon: EPSILON };
    assert_threads_agree(|| {
        let (mut y, mut dx, mut dw) = (x.clone(), dy.clone(), vec![0.0; 8]);
        head_norm_forward(&mut y, 48, heads);
        head_norm_backward(&mut dx, Some(&mut dw), &x, (48, 48), heads);
        [y, dx, dw].concat()
    });
}
