//! Which devices this program can use.

#[cfg(feature = "_gpu")]
use crate::gpu::device::Gpu;
use crate::settings::{Device, Precision};
#[cfg(not(feature = "_gpu"))]
use anyhow::{Error, anyhow};
use anyhow::{Result, ensure};
use checkpoint::{Activation, Architecture, ModelConfig, RopeScaling};
use serde_json::Value;

/// A device that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The device.
    pub device: Device,
    /// Its name for people and records, such as `cuda:0 (NVIDIA H200)`.
    pub name: String,
    /// Free bytes of a GPU's memory; none for the CPU.
    pub free_memory: Option<u64>,
    /// What decides the last bits of a GPU's results, by name: the GPU, its driver, what computes products, the kernels.
    /// Null for the CPU.
    pub decisive: Value,
}

impl DeviceInfo {
    fn cpu() -> Self {
        Self { device: Device::Cpu, name: Device::Cpu.to_string(), free_memory: None, decisive: Value::Null }
    }

    /// Returns the first GPU if it can be used, else the CPU and the reason.
    pub fn best() -> (Self, Option<String>) {
        #[cfg(feature = "_gpu")]
        match Gpu::count().and_then(|count| (count > 0).then(|| Self::of(Device::Cuda(0))).transpose()) {
            Ok(Some(gpu)) => return (gpu, None),
            Ok(None) => {}
            Err(error) => return (Self::cpu(), Some(format!("training on the CPU, because {error:#}"))),
        }
        (Self::cpu(), None)
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
                    decisive: gpu.facts()?.decisive,
                })
            }
            #[cfg(not(feature = "_gpu"))]
            Device::Cuda(_) => Err(without_cuda(device)),
        }
    }
}

/// Refuses a device that has no kernels for a model's arithmetic: a GPU has those of a plain Llama.
///
/// # Errors
/// Names the family, and what its models have beyond a plain Llama.
pub fn check_architecture(device: Device, config: &ModelConfig) -> Result<()> {
    ensure!(
        device == Device::Cpu || config.architecture.is_plain(),
        "the device is {device}, whose kernels train plain Llama models, but this model of the family {:?} has {}; give `--device cpu`",
        config.architecture.family.model_type(),
        beyond_llama(&config.architecture).join(", ")
    );
    Ok(())
}

/// Returns what makes a model slow on a GPU in this precision, in words.
pub fn slow_paths(config: &ModelConfig, precision: Precision) -> Vec<String> {
    let mut slow = Vec::new();
    if precision == Precision::Bf16 && config.head_dim != 64 {
        slow.push(format!(
            "attention with a head dimension of {} does not run on tensor cores, only one of 64 does: it takes most of a step's time",
            config.head_dim
        ));
    }
    slow
}

/// Returns the bytes of a GPU's memory that were taken since it was opened; none for the CPU, or if it cannot say.
pub fn memory_taken(device: Device) -> Option<u64> {
    match device {
        Device::Cpu => None,
        #[cfg(feature = "_gpu")]
        Device::Cuda(ordinal) => Gpu::open(ordinal).and_then(|gpu| gpu.taken()).ok(),
        #[cfg(not(feature = "_gpu"))]
        Device::Cuda(_) => None,
    }
}

/// Returns what a model has that a plain Llama has not, in words.
fn beyond_llama(architecture: &Architecture) -> Vec<&'static str> {
    let Architecture { has_biases, has_query_key_norms, has_post_norms, .. } = *architecture;
    let has_other_rope = architecture.rope_scaling != RopeScaling::None;
    [
        (has_biases, "biases of queries, keys and values"),
        (has_query_key_norms, "norms of queries and keys"),
        (has_post_norms, "norms after branches"),
        (architecture.activation != Activation::Silu, "a GELU gate"),
        (architecture.embedding_scale != 1.0, "a scaled embedding"),
        (architecture.windowed_layers.contains(&true), "sliding windows"),
        (architecture.rope_free_layers.contains(&true), "layers without rotary positions"),
        (has_other_rope, "scaled rotary positions"),
    ]
    .into_iter()
    .filter_map(|(has_it, name)| has_it.then_some(name))
    .collect()
}

/// The error for a GPU in a program that was built without the feature `cuda`.
#[cfg(not(feature = "_gpu"))]
pub(crate) fn without_cuda(device: Device) -> Error {
    anyhow!(
        "the device is {device}, but this program was built without the feature `cuda`; build it with `cargo build --release -p posttrain --features cuda` (needs nvcc, which training/gpu/toolkit installs) or give `--device cpu`"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[cfg(not(feature = "_gpu"))]
    #[test]
    fn a_build_without_the_feature_says_how_to_get_it() {
        assert_eq!(DeviceInfo::best(), (DeviceInfo::cpu(), None));
        let error = DeviceInfo::of(Device::Cuda(0)).unwrap_err().to_string();
        assert!(error.contains("--features cuda") && error.contains("--device cpu"), "{error}");
    }

    #[test]
    fn what_is_slow_on_a_gpu_is_said() {
        let mut config = ModelConfig::smollm2_135m();
        assert_eq!(slow_paths(&config, Precision::Bf16), Vec::<String>::new());
        config.head_dim = 128;
        let slow = slow_paths(&config, Precision::Bf16);
        assert!(slow[0].contains("a head dimension of 128") && slow.len() == 1, "{slow:?}");
        assert_eq!(slow_paths(&config, Precision::F32), Vec::<String>::new());
    }

    #[test]
    fn a_gpu_refuses_other_families_by_name() {
        let mut config = ModelConfig::smollm2_135m();
        for device in [Device::Cpu, Device::Cuda(1)] {
            check_architecture(device, &config).unwrap();
        }
        config.architecture.has_biases = true;
        config.architecture.windowed_layers = vec![true; config.layers];
        check_architecture(Device::Cpu, &config).unwrap();
        let error = check_architecture(Device::Cuda(1), &config).unwrap_err().to_string();
        assert!(error.contains("biases of queries, keys and values, sliding windows"), "{error}");
        assert!(error.contains("cuda:1") && error.contains("`--device cpu`"), "{error}");
    }
}
