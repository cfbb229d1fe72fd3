//! The CUDA kernels against the CPU's, without a card: their sources are compiled by the C++ compiler and run lane by
//! lane (`cuda/harness`), with the launch geometry that the program uses.
//!
//! Every launch runs three times, its threads in other orders and its copies to shared memory arriving at other times,
//! and must leave the same bits. Buffers are full of NaN before they are written and end where touching memory is a
//! fault. What this cannot see: how fast a kernel is, and what nvcc makes of it.
//! `cargo test --release -p posttrain --test cuda_lanes -- --nocapture` prints the largest error of every kernel.
#![cfg(unix)]

mod attention;
mod harness;
mod head;
mod optimizer;
mod rows;
mod whole;
