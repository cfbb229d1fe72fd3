//! Token embedding.

use super::*;
use crate::training::{embedding_backward, embedding_forward};

fn forward(table: &[f32], ids: &[u32], channels: usize) -> Vec<f32> {
    let mut x = vec![f32::NAN; ids.len() * channels];
    embedding_forward(&mut x, table, ids, channels);
    x
}

fn check(vocabulary: usize, channels: usize, ids: &[u32]) {
    let what = format!("embedding V={vocabulary} C={channels}");
    let table: Vec<f32> = elements(vocabulary * channels, 1, 2.0);
    let dx: Vec<f32> = elements(ids.len() * channels, 2, 2.0);
    let table64 = variable(&table, (vocabulary, channels));
    let x64 = table64.index_select(&Tensor::new(ids, &Device::Cpu).unwrap(), 0).unwrap();
    assert_eq!(double(&forward(&table, ids, channels)), flat(&x64), "{what}: copies are exact");

    let mut dtable = vec![0.0; table.len()];
    embedding_backward(&mut dtable, &dx, ids, channels);
    assert_near(&dtable, &gradient(&backpropagate(&x64, &dx), &table64), &what);
    assert_slopes(&dtable, &table, &what, |table| loss(&forward(table, ids, channels), &dx));
}

#[test]
fn every_id_once() {
    check(5, 3, &[4, 0, 2, 1, 3]);
}

#[test]
fn repeated_ids_add_up() {
    check(7, 5, &[6, 0, 6, 6, 3, 0, 0, 0, 6]);
}

#[test]
fn one_channel() {
    check(2, 1, &[1]);
}

#[test]
fn the_width_of_a_model() {
    let ids: Vec<u32> = (0..200).map(|token| token * token % 101).collect();
    check(101, 576, &ids);
}

#[test]
fn gradients_are_added() {
    let mut dtable = [1.0, 2.0, 3.0, 4.0];
    embedding_backward(&mut dtable, &[0.5, 0.25], &[1], 2);
    assert_eq!(dtable, [1.0, 2.0, 3.5, 4.25]);
}

#[test]
fn threads_do_not_change_a_bit() {
    let ids: Vec<u32> = (0..300).map(|token| token % 7).collect();
    let dx = numbers(ids.len() * 16, 3);
    assert_threads_agree(|| {
        let mut dtable = vec![0.0; 7 * 16];
        embedding_backward(&mut dtable, &dx, &ids, 16);
        dtable
    });
}
