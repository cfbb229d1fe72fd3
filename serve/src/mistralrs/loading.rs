//! Loads a model: a pipeline of mistral.rs with its weights, and the model's tokenizer and template.
//!
//! The source decides the loader, and the device decides which data types mistral.rs can compute in.

use super::options::{Device, MistralOptions};
use super::source::{WeightsSource, stage};
use super::text::TextFiles;
use ::mistralrs::Device as CandleDevice;
use ::mistralrs_core::{
    AutoDeviceMapParams, AutoLoaderBuilder, DeviceMapSetting, EmbeddingSpecificConfig, GGUFLoaderBuilder,
    GGUFSpecificConfig, IsqType, ModelCategory, ModelDType, MultimodalSpecificConfig, NormalSpecificConfig,
    Pipeline, TokenSource,
};
use anyhow::{Context, bail};
use engine::WeightFormat;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Number of positions by which mistral.rs grows the keys and values of a sequence.
const CACHE_BLOCK: usize = 512;

pub(super) type SharedPipeline = Arc<Mutex<dyn Pipeline>>;

/// A loaded model that does not run yet.
pub(super) struct Loaded {
    pub(super) pipeline: SharedPipeline,
    pub(super) text: TextFiles,
    /// Maximum number of positions of prompt and answer together.
    pub(super) context: usize,
    /// Bytes of one position's keys and values.
    pub(super) position_bytes: usize,
}

/// Reads the weights, the tokenizer and the template. Blocks until they are read.
pub(super) fn load(name: &str, source: &WeightsSource, options: &MistralOptions) -> anyhow::Result<Loaded> {
    let pipeline = load_pipeline(source, options)?;
    let guard = pipeline.try_lock().context("mistral.rs has locked its own pipeline")?;
    if !matches!(guard.category(), ModelCategory::Text | ModelCategory::Multimodal { .. }) {
        bail!("{name} is a model of category {:?}, which does not generate text", guard.category());
    }
    let text = TextFiles::find(name, &*guard, source, options.chat_template.as_deref())?;
    let metadata = guard.get_metadata();
    let position_bytes = metadata.model_metadata.as_ref().map_or(0, |shape| {
        let elements = |layer| {
            shape.num_kv_heads_for_layer(layer)
                * (shape.k_head_dim_for_layer(layer) + shape.v_head_dim_for_layer(layer))
        };
        let layers = (0..shape.num_layers()).filter(|layer| shape.uses_own_kv_cache_for_layer(*layer));
        layers.map(elements).sum::<usize>() * metadata.activation_dtype.size_in_bytes()
    });
    drop(guard);
    // Keys and values grow by whole blocks, and the last block must fit the model's positions.
    let blocks = metadata.max_seq_len / CACHE_BLOCK;
    let context = if blocks == 0 { metadata.max_seq_len } else { blocks * CACHE_BLOCK };
    Ok(Loaded { pipeline, text, context, position_bytes })
}

fn load_pipeline(source: &WeightsSource, options: &MistralOptions) -> anyhow::Result<SharedPipeline> {
    let (dtype, in_place) = formats(source, options)?;
    let device = device(options.device)?;
    let staged = stage(source)?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let staged_folder = staged.as_ref().map(|folder| text(folder.path()));
    let loader = match source {
        WeightsSource::Folder(folder) => AutoLoaderBuilder::new(
            NormalSpecificConfig::default(),
            MultimodalSpecificConfig::default(),
            EmbeddingSpecificConfig::default(),
            None,
            None,
            staged_folder.unwrap_or_else(|| text(folder)),
            false,
            None,
        )
        .build(),
        WeightsSource::Gguf(file) => {
            let file_name = file.file_name().map(|name| name.to_string_lossy().into_owned());
            let files = file_name.into_iter().collect();
            let folder = text(source.folder());
            GGUFLoaderBuilder::new(
                None,
                staged_folder,
                folder,
                files,
                GGUFSpecificConfig::default(),
                false,
                None,
            )
            .build()
        }
    };
    let mapping = match options.device {
        Device::Cpu => DeviceMapSetting::dummy(),
        Device::Cuda => DeviceMapSetting::Auto(AutoDeviceMapParams::default_text()),
    };
    let silent = true;
    let pipeline = loader.load_model_from_hf(
        None,
        TokenSource::None,
        &dtype,
        &device,
        silent,
        mapping,
        in_place,
        None,
    )?;
    Ok(pipeline)
}

/// The data type of weights and activations, and the quantization of the weights while they are read.
fn formats(
    source: &WeightsSource,
    options: &MistralOptions,
) -> anyhow::Result<(ModelDType, Option<IsqType>)> {
    if matches!(source, WeightsSource::Gguf(_)) && options.weights.is_some() {
        bail!("a GGUF file keeps its own data type; remove `--quantize` and `--dtype`");
    }
    // candle cannot multiply bf16 on the CPU, and mistral.rs would fall back to f16.
    let plain = match options.device {
        Device::Cpu => ModelDType::F32,
        Device::Cuda => ModelDType::Auto,
    };
    match options.weights {
        None => Ok((plain, None)),
        Some(WeightFormat::F32) => Ok((ModelDType::F32, None)),
        Some(WeightFormat::Bf16) if options.device == Device::Cpu => {
            bail!("mistral.rs has no bf16 arithmetic on the CPU; use f32, q8_0 or q4_0, or `--engine native`")
        }
        Some(WeightFormat::Bf16) => Ok((ModelDType::BF16, None)),
        Some(WeightFormat::Q8_0 | WeightFormat::Q8_0Wide) => Ok((plain, Some(IsqType::Q8_0))),
        Some(WeightFormat::Q4_0 | WeightFormat::Q4_0Wide) => Ok((plain, Some(IsqType::Q4_0))),
        Some(WeightFormat::Q4_1) => Ok((plain, Some(IsqType::Q4_1))),
        Some(WeightFormat::Q5_0) => Ok((plain, Some(IsqType::Q5_0))),
        Some(WeightFormat::Q5_1) => Ok((plain, Some(IsqType::Q5_1))),
        Some(WeightFormat::Q2K) => Ok((plain, Some(IsqType::Q2K))),
        Some(WeightFormat::Q3K) => Ok((plain, Some(IsqType::Q3K))),
        Some(WeightFormat::Q4K) => Ok((plain, Some(IsqType::Q4K))),
        Some(WeightFormat::Q5K) => Ok((plain, Some(IsqType::Q5K))),
        Some(WeightFormat::Q6K) => Ok((plain, Some(IsqType::Q6K))),
        Some(WeightFormat::Iq4Nl) => bail!("mistral.rs cannot quantize to iq4_nl; use `--engine native`"),
    }
}

fn device(device: Device) -> anyhow::Result<CandleDevice> {
    match device {
        Device::Cpu => Ok(CandleDevice::Cpu),
        Device::Cuda if cfg!(feature = "cuda") => {
            CandleDevice::new_cuda(0).context("cannot use the first GPU")
        }
        Device::Cuda => {
            bail!("this smolserve was built without CUDA; build it with the cargo feature `cuda`")
        }
    }
}
