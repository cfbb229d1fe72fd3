//! Measures the speed of the exact nearest-neighbor search:
//! `cargo run --release -p datasets --example nearest_speed -- [VECTORS] [WIDTH]`.

use datasets::nearest::{VectorError, nearest_earlier};
use std::time::Instant;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| {
        argument
            .parse::<usize>()
            .unwrap_or_else(|_| panic!("`{argument}` is not a number; expected [VECTORS] [WIDTH]"))
    });
    let vectors = arguments.next().unwrap_or(20_000);
    let width = arguments.next().unwrap_or(1024);
    let mut state = 1u64;
    let mut number = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let rows: Vec<Vec<f32>> = (0..vectors).map(|_| (0..width).map(|_| number()).collect()).collect();
    let start = Instant::now();
    let found = nearest_earlier(rows.into_iter().map(Ok::<_, VectorError>)).map(|found| found.len());
    let seconds = start.elapsed().as_secs_f64();
    // A multiplication and an addition for each number of each pair.
    let operations = (vectors as f64).powi(2) * width as f64;
    println!("{found:?} vectors of width {width}: {seconds:.2} s, {:.1} GFLOP/s", operations / seconds / 1e9);
}
