//! Training on a card: the model and the optimizer of `model` and `optimizer` over device memory, with the kernels of
//! `posttrain/cuda` and cuBLAS products.
//!
//! `plan`, `lists` and `product` are arithmetic that every build has and tests. The rest needs something to launch
//! on: a card (feature `cuda`), or the kernels' own sources run lane by lane on the CPU (feature `emulated`, for
//! tests: slow, and exact enough to compare the whole model with the CPU's).

pub mod lists;
pub mod plan;
pub mod product;

#[cfg(feature = "_card")]
mod attention;
#[cfg(feature = "_card")]
mod batch;
#[cfg(feature = "_card")]
pub mod buffer;
#[cfg(feature = "_card")]
pub mod card;
#[cfg(feature = "_card")]
pub mod compare;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "emulated")]
mod emulated;
#[cfg(feature = "_card")]
pub mod kernels;
#[cfg(feature = "_card")]
pub mod model;
#[cfg(feature = "_card")]
pub mod speed;
#[cfg(feature = "_card")]
pub mod trainer;

#[cfg(all(test, feature = "_card"))]
mod tests;
