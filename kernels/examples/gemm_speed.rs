//! Measures the GFLOP/s of the matrix products of a SmolLM2-135M training step with 2,048 tokens, in f32 and bf16.
//!
//! Run `cargo run --release -p kernels --example gemm_speed`. Each line reports the fastest of four runs.

use half::bf16;
use kernels::{Accumulate, Element, Matrix, gemm};
use std::time::Instant;

fn main() {
    println!("instruction set {:?}, threads {}", kernels::isa(), rayon::current_num_threads());
    for (m, k, n) in [(2048, 576, 960), (2048, 576, 3072), (2048, 1536, 576), (512, 576, 49152)] {
        report::<f32>(m, k, n);
        report::<bf16>(m, k, n);
    }
}

/// Reports the forward product (x wᵀ), the gradient of x (y w) and the gradient of w (yᵀ x), which is added.
fn report<E: Element>(m: usize, k: usize, n: usize) {
    let x = numbers::<E>(m * k);
    let y = numbers::<E>(m * n);
    let w = numbers::<f32>(n * k);
    let (mut out, mut dx, mut dw) = (vec![E::default(); m * n], vec![0f32; m * k], vec![0f32; n * k]);
    let forward = shortest(|| {
        gemm::<E, _, _, _>(
            &mut out,
            Matrix::new(&x, m, k),
            Matrix::new(&w, n, k).transposed(),
            Accumulate::Replace,
        );
    });
    let back_x = shortest(|| {
        gemm::<E, _, _, _>(&mut dx, Matrix::new(&y, m, n), Matrix::new(&w, n, k), Accumulate::Replace);
    });
    let back_w = shortest(|| {
        gemm::<E, _, _, _>(
            &mut dw,
            Matrix::new(&y, m, n).transposed(),
            Matrix::new(&x, m, k),
            Accumulate::Add,
        );
    });
    let rate = |seconds: f64| 2.0 * (m * k * n) as f64 / seconds / 1e9;
    println!(
        "{} M={m} K={k} N={n}: forward {:.0}, gradient of x {:.0}, of w {:.0} GFLOP/s",
        if E::BF16 { "bf16" } else { "f32 " },
        rate(forward),
        rate(back_x),
        rate(back_w)
    );
}

fn shortest(mut work: impl FnMut()) -> f64 {
    (0..4)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

fn numbers<E: Element>(length: usize) -> Vec<E> {
    (0..length).map(|index| E::from_f32((index * 7919 % 1021) as f32 / 1021.0 - 0.5)).collect()
}
