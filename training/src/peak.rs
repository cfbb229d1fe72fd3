//! The peak of a device in FLOP/s: what 100% utilization (MFU) is relative to.

#[cfg(not(feature = "_gpu"))]
use crate::device::without_cuda;
#[cfg(feature = "_gpu")]
use crate::gpu::{device::Gpu, speed};
use crate::settings::{ComputeSettings, Device, Precision};
use anyhow::Result;
use half::bf16;
use kernels::{Accumulate, Element, Matrix, gemm};
use std::time::Instant;

/// Side of the square matrices whose product is measured on the CPU.
const SIDE: usize = 1024;
/// Products that are timed; the fastest counts.
const RUNS: usize = 12;

/// A peak, and where it comes from.
#[derive(Clone, Debug)]
pub struct Peak {
    /// FLOP/s.
    pub flops: f64,
    /// The data sheet or the measurement, for people.
    pub source: String,
}

impl Peak {
    /// Returns the peak in this precision: the data sheet's where the GPU is known, else that of a measured product.
    ///
    /// # Errors
    /// When the device fails.
    pub fn of(compute: &ComputeSettings) -> Result<Self> {
        match compute.device {
            Device::Cpu => {
                let flops = match compute.precision {
                    Precision::F32 => measure::<f32>(),
                    Precision::Bf16 => measure::<bf16>(),
                };
                let source = format!("a product of {SIDE} x {SIDE} matrices measured at the start");
                Ok(Self { flops, source })
            }
            #[cfg(feature = "_gpu")]
            Device::Cuda(ordinal) => {
                let gpu = Gpu::open(ordinal)?;
                Self::of_gpu(&gpu, compute.precision)
            }
            #[cfg(not(feature = "_gpu"))]
            device @ Device::Cuda(_) => Err(without_cuda(device)),
        }
    }

    #[cfg(feature = "_gpu")]
    fn of_gpu(gpu: &Gpu, precision: Precision) -> Result<Self> {
        if let (Precision::Bf16, Some(flops)) = (precision, speed::datasheet(gpu.name())) {
            return Ok(Self { flops, source: format!("the data sheet's dense bf16 of {}", gpu.name()) });
        }
        let flops = match precision {
            Precision::F32 => speed::product::<f32>(gpu, SIDE)?,
            Precision::Bf16 => speed::product::<bf16>(gpu, 4 * SIDE)?,
        };
        Ok(Self { flops, source: "a matrix product measured on the GPU at the start".to_owned() })
    }
}

/// Returns the FLOP/s of the fastest of several products on the CPU.
fn measure<E: Element>() -> f64 {
    let numbers: Vec<E> = (0..SIDE * SIDE).map(|i| E::from_f32((i % 13) as f32 / 13.0)).collect();
    let mut out = vec![0.0f32; SIDE * SIDE];
    let matrix = Matrix::new(&numbers, SIDE, SIDE);
    let seconds = (0..RUNS).map(|_| {
        let start = Instant::now();
        gemm::<E, _, _, _>(&mut out, matrix, matrix, Accumulate::Replace);
        start.elapsed().as_secs_f64()
    });
    2.0 * (SIDE as f64).powi(3) / seconds.fold(f64::INFINITY, f64::min)
}
