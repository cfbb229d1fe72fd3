//! Training on a card: the model and the optimizer of `model` and `optimizer` over device memory, with the kernels of
//! `posttrain/cuda` and cuBLAS products.
//!
//! `plan`, `lists` and `product` are arithmetic that every build has and tests. The rest needs something to launch
//! on: a card (feature `cuda`), or the kernels' own sources run lane by lane on the CPU (feature `emulated`, for
//! tests: slow, and exact enough to compare the whole model with the CPU's).

pub mod lists;
pub mod plan;
pub mod product;

#[cfg(any(feature = "cuda", feature = "emulated"))]
mod attention;
#[cfg(any(feature = "cuda", feature = "emulated"))]
mod batch;
#[cfg(any(feature = "cuda", feature = "emulated"))]
pub mod buffer;
#[cfg(any(feature = "cuda", feature = "emulated"))]
pub mod card;
#[cfg(any(feature = "cuda", feature = "emulated"))]
pub mod compare;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "emulated")]
mod emulated;
#[cfg(any(feature = "cuda", feature = "emulated"))]
pub mod kernels;
#[cfg(any(feature = "cuda", feature = "emulated"))]
pub mod model;
#[cfg(any(feature = "cuda", feature = "emulated"))]
pub mod speed;
#[cfg(any(feature = "cuda", feature = "emulated"))]
pub mod trainer;

#[cfg(all(test, any(feature = "cuda", feature = "emulated")))]
mod tests;
