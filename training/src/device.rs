//! Which devices this program can use.

#[cfg(feature = "_gpu")]
use crate::gpu::device::Gpu;
use crate::settings::Device;
use anyhow::Result;
#[cfg(not(feature = "_gpu"))]
use anyhow::{Error, anyhow};

/// A device that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The device.
    pub device: Device,
    /// Its name for people and records, such as `cuda:0 (NVIDIA H200)`.
    pub name: String,
    /// Free bytes of a GPU's memory; none for the CPU.
    pub free_memory: Option<u64>,
}

impl DeviceInfo {
    fn cpu() -> Self {
        Self { device: Device::Cpu, name: Device::Cpu.to_string(), free_memory: None }
    }

    /// Returns the first GPU if there is one, else the CPU; and why, where a GPU is there that cannot be used.
    ///
    /// # Errors
    /// When there is a GPU that cannot be opened.
    #[cfg_attr(not(feature = "_gpu"), allow(clippy::unnecessary_wraps))]
    pub fn best() -> Result<(Self, Option<String>)> {
        #[cfg(feature = "_gpu")]
        match Gpu::count() {
            Ok(0) => {}
            Ok(_) => return Ok((Self::of(Device::Cuda(0))?, None)),
            Err(error) => return Ok((Self::cpu(), Some(format!("training on the CPU, because {error:#}")))),
        }
        Ok((Self::cpu(), None))
    }

    /// Returns what is known of this device.
    ///
    /// # Errors
    /// When the device is not there, or this program was built without support for it.
    pub fn of(device: Device) -> Result<Self> {
        match device {
            Device::Cpu => Ok(Self::cpu()),
            #[cfg(feature = "_gpu")]
            Device::Cuda(ordinal) => {
                let gpu = Gpu::open(ordinal)?;
                Ok(Self {
                    device,
                    name: format!("{device} ({})", gpu.name()),
                    free_memory: Some(gpu.free()?),
                })
            }
            #[cfg(not(feature = "_gpu"))]
            Device::Cuda(_) => Err(without_cuda(device)),
        }
    }
}

/// The error for a GPU in a program that was built without the feature `cuda`.
#[cfg(not(feature = "_gpu"))]
pub(crate) fn without_cuda(device: Device) -> Error {
    anyhow!(
        "the device is {device}, but this program was built without the feature `cuda`; build it with `cargo build --release -p posttrain --features cuda` (needs nvcc, which training/gpu/toolkit installs) or give `--device cpu`"
    )
}

#[cfg(all(test, not(feature = "_gpu")))]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_the_feature_says_how_to_get_it() {
        assert_eq!(DeviceInfo::best().unwrap(), (DeviceInfo::cpu(), None));
        let error = DeviceInfo::of(Device::Cuda(0)).unwrap_err().to_string();
        assert!(error.contains("--features cuda") && error.contains("--device cpu"), "{error}");
    }
}
