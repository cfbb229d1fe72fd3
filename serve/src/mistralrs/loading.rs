//! Source -> a pipeline of mistral.rs, its weights read and quantized, and what belongs to it.
//!
//! The loader is chosen by the source, the arithmetic by what mistral.rs can do where it runs.

use super::source::{Source, stage};
use super::words::Words;
use super::{MistralOptions, Place};
use ::mistralrs::Device;
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

/// Positions by which mistral.rs grows the keys and values of a sequence.
const CACHE_BLOCK: usize = 512;

pub(super) type SharedPipeline = Arc<Mutex<dyn Pipeline>>;

/// A model in memory, not yet running.
pub(super) struct Loaded {
    pub(super) pipeline: SharedPipeline,
    pub(super) words: Words,
    /// The most positions prompt and answer may take.
    pub(super) context: usize,
    /// Bytes of keys and values one position takes.
    pub(super) position_bytes: usize,
}

/// Reads the weights and finds the words that go with them. Blocks for as long as that takes.
pub(super) fn load(name: &str, source: &Source, options: &MistralOptions) -> anyhow::Result<Loaded> {
    let pipeline = load_pipeline(source, options)?;
    let guard = pipeline.try_lock().context("mistral.rs holds on to its own pipeline")?;
    if !matches!(guard.category(), ModelCategory::Text | ModelCategory::Multimodal { .. }) {
        bail!("{name} is no model that continues text, but {:?}", guard.category());
    }
    let words = Words::find(name, &*guard, source, options.chat_template.as_deref())?;
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
    // Keys and values grow by whole blocks, and the last one must fit the model's positions.
    let blocks = metadata.max_seq_len / CACHE_BLOCK;
    let context = if blocks == 0 { metadata.max_seq_len } else { blocks * CACHE_BLOCK };
    Ok(Loaded { pipeline, words, context, position_bytes })
}

fn load_pipeline(source: &Source, options: &MistralOptions) -> anyhow::Result<SharedPipeline> {
    let (dtype, in_place) = formats(source, options)?;
    let device = device(options.place)?;
    let staged = stage(source)?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let staged_folder = staged.as_ref().map(|folder| text(folder.path()));
    let loader = match source {
        Source::Folder(folder) => AutoLoaderBuilder::new(
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
        Source::Gguf(file) => {
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
    let mapping = match options.place {
        Place::Cpu => DeviceMapSetting::dummy(),
        Place::Cuda => DeviceMapSetting::Auto(AutoDeviceMapParams::default_text()),
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

/// How weights and activations are held, and what the weights are quantized to while they are read.
fn formats(source: &Source, options: &MistralOptions) -> anyhow::Result<(ModelDType, Option<IsqType>)> {
    if matches!(source, Source::Gguf(_)) && options.weights.is_some() {
        bail!("a GGUF file is served as it is quantized; leave out --quantize");
    }
    // candle's CPU products know no bf16, and mistral.rs would fall back to f16.
    let plain = match options.place {
        Place::Cpu => ModelDType::F32,
        Place::Cuda => ModelDType::Auto,
    };
    match options.weights {
        None => Ok((plain, None)),
        Some(WeightFormat::F32) => Ok((ModelDType::F32, None)),
        Some(WeightFormat::Bf16) if options.place == Place::Cpu => {
            bail!("mistral.rs has no bf16 arithmetic on the CPU; use f32, q8_0 or q4_0, or the native engine")
        }
        Some(WeightFormat::Bf16) => Ok((ModelDType::BF16, None)),
        Some(WeightFormat::Q8_0) => Ok((plain, Some(IsqType::Q8_0))),
        Some(WeightFormat::Q4_0) => Ok((plain, Some(IsqType::Q4_0))),
    }
}

fn device(place: Place) -> anyhow::Result<Device> {
    match place {
        Place::Cpu => Ok(Device::Cpu),
        Place::Cuda if cfg!(feature = "cuda") => Device::new_cuda(0).context("cannot use the first GPU"),
        Place::Cuda => bail!("this smolserve was built without CUDA (cargo feature `cuda`)"),
    }
}
