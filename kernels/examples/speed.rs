//! How fast matmul is here: GFLOP/s of a prefill-shaped product, GB/s of weights read by one-row products.
//!
//! `cargo run --release -p kernels --example speed`; each line is the best of its runs. RAYON_NUM_THREADS
//! and SMOL_KERNELS choose threads and instruction set.

use std::time::Instant;

use kernels::{AttentionShape, attend, matmul};

/// 256 MB of weights: more than the last cache of a desktop or a slice of a server.
const MEMORY_ELEMENTS: usize = 64 << 20;

fn main() {
    println!("path {:?}, threads {}", kernels::path(), rayon::current_num_threads());
    for (batch, inputs, outputs) in
        [(512, 576, 1536), (512, 1536, 576), (32, 576, 1536), (8, 576, 1536), (4, 576, 1536)]
    {
        let seconds = time_matmul(batch, inputs, outputs);
        let flops = 2.0 * (batch * inputs * outputs) as f64;
        println!(
            "matmul B={batch} I={inputs} O={outputs}: {:.3} ms, {:.1} GFLOP/s",
            seconds * 1e3,
            flops / seconds / 1e9
        );
    }
    for (inputs, outputs) in [(576, 49152), (1536, 576), (576, 576), (576, 192), (192, 192)] {
        let seconds = time_row(inputs, outputs);
        let bytes = (4 * inputs * outputs) as f64;
        println!(
            "matmul B=1 I={inputs} O={outputs}: {:.4} ms, {:.1} GB/s",
            seconds * 1e3,
            bytes / seconds / 1e9
        );
    }
    for (tokens, first_position) in [(512, 0), (1, 2000), (1, 200)] {
        let seconds = time_attend(tokens, first_position);
        println!("attend T={tokens} after {first_position}: {:.4} ms", seconds * 1e3);
    }
}

fn time_matmul(batch: usize, inputs: usize, outputs: usize) -> f64 {
    let x = numbers(batch * inputs);
    let w = numbers(outputs * inputs);
    let mut out = vec![0.0; batch * outputs];
    best(|| matmul(&mut out, &x, &w, inputs, outputs))
}

/// One row against many weight matrices in turn, as decoding meets them: from memory, not from a cache.
fn time_row(inputs: usize, outputs: usize) -> f64 {
    let x = numbers(inputs);
    let count = MEMORY_ELEMENTS / (inputs * outputs) + 1;
    let w = numbers(count * inputs * outputs);
    let mut out = vec![0.0; outputs];
    best(|| {
        for w in w.chunks_exact(inputs * outputs) {
            matmul(&mut out, &x, w, inputs, outputs);
        }
    }) / count as f64
}

fn time_attend(tokens: usize, first_position: usize) -> f64 {
    let shape = AttentionShape { heads: 9, kv_heads: 3, head_dim: 64 };
    let q = numbers(tokens * 9 * 64);
    let keys = numbers((first_position + tokens) * 3 * 64);
    let values = numbers((first_position + tokens) * 3 * 64);
    let mut out = vec![0.0; q.len()];
    best(|| attend(&mut out, &q, &keys, &values, shape, first_position))
}

/// Seconds of the fastest run in about half a second.
fn best(mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    while start.elapsed().as_secs_f64() < 0.5 {
        let run = Instant::now();
        work();
        best = best.min(run.elapsed().as_secs_f64());
    }
    best
}

fn numbers(length: usize) -> Vec<f32> {
    (0..length).map(|i| (i * 7919 % 1009) as f32 / 1009.0 - 0.5).collect()
}
