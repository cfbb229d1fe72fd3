//! The CUDA kernels compared with the CPU's, without a GPU: the C++ compiler compiles their sources, which run lane by
//! lane (`cuda/harness`) with the launch geometry that the program uses.
//!
//! Every launch runs three times, with its threads in other orders and its copies to shared memory arriving at other
//! times, and must leave the same bits. Buffers are full of NaN before they are written and end at a page without access.
//! This does not test how fast a kernel is and how nvcc compiles it.
//! `cargo test --release -p training --test cuda_lanes -- --nocapture` prints the largest error of every kernel.
#![cfg(unix)]

mod attention;
mod attention_results;
mod harness;
mod head;
mod optimizer;
mod planted;
mod product;
mod rows;
mod whole;
