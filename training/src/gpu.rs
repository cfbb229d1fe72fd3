//! Training on a GPU: the model and the optimizer of `cpu` and `optimizer` over device memory, with the kernels in
//! `training/cuda` and cuBLAS products.
//!
//! `lists` and `product` are arithmetic that every build tests. The rest needs a driver: CUDA (feature `cuda`), or the
//! kernels' sources compiled for the CPU (feature `emulated`, for tests: slow, and exact enough to compare whole models
//! with the CPU's).

#[cfg(any(test, feature = "_gpu"))]
mod lists;
#[cfg(any(test, feature = "_gpu"))]
mod product;

#[cfg(feature = "_gpu")]
mod attention;
#[cfg(feature = "_gpu")]
mod batch;
#[cfg(feature = "_gpu")]
mod buffer;
#[cfg(feature = "_gpu")]
pub mod compare;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "_gpu")]
pub mod device;
#[cfg(feature = "_gpu")]
pub mod driver;
#[cfg(feature = "emulated")]
mod emulated;
#[cfg(feature = "_gpu")]
mod kernels;
#[cfg(feature = "_gpu")]
mod matrix;
#[cfg(feature = "_gpu")]
mod model;
#[cfg(feature = "_gpu")]
pub mod profile;
#[cfg(feature = "_gpu")]
pub mod speed;
#[cfg(feature = "_gpu")]
pub mod trainer;

#[cfg(all(test, feature = "_gpu"))]
mod tests;
