//! A model's buffers on a GPU, allocated once for the largest batch, with the sizes that `memory` plans.

use super::head::Head;
use crate::gpu::buffer::Buffer;
use crate::gpu::device::Gpu;
use crate::memory::Sizes;
use crate::settings::Kept;
use anyhow::Result;
use checkpoint::ModelConfig;
use kernels::Element;

/// What the model computes besides log-probabilities, which decides its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Passes {
    /// Whether `backward` will be called.
    pub(in super::super) backward: bool,
    /// What is kept for it.
    pub(in super::super) kept: Kept,
}

impl Passes {
    /// Returns which of the layers' activations are those of this layer.
    pub(super) fn slot(self, layer: usize) -> usize {
        if self.kept == Kept::Inputs { 0 } else { layer }
    }

    /// Returns which of the norms' outputs are those of this layer.
    pub(super) fn norm_slot(self, layer: usize) -> usize {
        if self.kept == Kept::LayersAndNorms { layer } else { 0 }
    }
}

/// Buffers for batches of up to `capacity` tokens.
pub(super) struct Activations<E> {
    pub(super) capacity: usize,
    /// The residual stream before every layer and after the last: (layers + 1) x (T, C).
    pub(super) inputs: Vec<Buffer<f32>>,
    /// Activations of each layer; of one for all where layers are checkpointed.
    pub(super) layers: Vec<LayerActivations<E>>,
    /// Outputs of each layer's norms; of one for all where they are not kept.
    pub(super) norms: Vec<Norms<E>>,
    pub(super) scratch: Scratch<E>,
    pub(super) head: Head<E>,
}

/// The activations of a layer that its backward pass needs.
pub(super) struct LayerActivations<E> {
    /// Queries, keys and values after the rotary embedding (T, (H + 2K) D).
    pub(super) qkv: Buffer<E>,
    /// The attention output before its projection (T, H D).
    pub(super) attention_out: Buffer<E>,
    /// Logarithms of the softmax denominators (H, T).
    pub(super) log_sums: Buffer<f32>,
    /// The residual stream between attention and feed-forward (T, C).
    pub(super) middle: Buffer<f32>,
    /// Gate and up projections; in the backward pass their gradient takes this place (T, 2F).
    pub(super) gate_up: Buffer<E>,
}

/// The outputs of a layer's norms, which products read.
pub(super) struct Norms<E> {
    /// (T, C)
    pub(super) attention: Buffer<E>,
    /// (T, C)
    pub(super) feed_forward: Buffer<E>,
}

/// Buffers that all layers share.
pub(super) struct Scratch<E> {
    /// What a block adds to the residual stream; in the backward pass the gradient of a norm's output (T, C).
    pub(super) branch: Buffer<E>,
    /// SwiGLU's output; in the backward pass first its gradient (T, F).
    pub(super) gated: Buffer<E>,
    /// (T, H D)
    pub(super) dattention_out: Buffer<E>,
    /// (T, (H + 2K) D)
    pub(super) dqkv: Buffer<E>,
    /// Gradient of the residual stream (T, C).
    pub(super) dx: Buffer<f32>,
    /// The same, rounded (T, C); none in f32.
    pub(super) dx_copy: Option<Buffer<E>>,
    /// Attention's delta (H, T).
    pub(super) delta: Buffer<f32>,
    /// Partial sums of attention's key pass (2, H, T, D); none in f32.
    pub(super) key_partial: Buffer<f32>,
    /// Partial sums of the norms' weight gradients (C) for each block.
    pub(super) partial: Buffer<f32>,
}

impl<E: Element> Activations<E> {
    pub(super) fn new(gpu: &Gpu, config: &ModelConfig, passes: Passes, tokens: usize) -> Result<Self> {
        let backward = passes.backward;
        let sizes = Sizes::new(config, tokens);
        let last = config.layers - 1;
        let (count, norms) = (passes.slot(last) + 1, passes.norm_slot(last) + 1);
        let input = |_| gpu.allocate("the activations", sizes.stream);
        Ok(Self {
            capacity: tokens,
            inputs: (0..=config.layers).map(input).collect::<Result<_>>()?,
            layers: (0..count).map(|_| LayerActivations::new(gpu, &sizes)).collect::<Result<_>>()?,
            norms: (0..norms).map(|_| Norms::new(gpu, &sizes)).collect::<Result<_>>()?,
            scratch: Scratch::new(gpu, &sizes, backward)?,
            head: Head::new(gpu, &sizes, tokens, backward)?,
        })
    }
}

impl<E> LayerActivations<E> {
    fn new(gpu: &Gpu, sizes: &Sizes) -> Result<Self> {
        let purpose = "the activations";
        Ok(Self {
            qkv: gpu.allocate(purpose, sizes.qkv)?,
            attention_out: gpu.allocate(purpose, sizes.attention_out)?,
            log_sums: gpu.allocate(purpose, sizes.log_sums)?,
            middle: gpu.allocate(purpose, sizes.stream)?,
            gate_up: gpu.allocate(purpose, sizes.gate_up)?,
        })
    }
}

impl<E> Norms<E> {
    fn new(gpu: &Gpu, sizes: &Sizes) -> Result<Self> {
        let output = || gpu.allocate("the activations", sizes.stream);
        Ok(Self { attention: output()?, feed_forward: output()? })
    }
}

impl<E: Element> Scratch<E> {
    fn new(gpu: &Gpu, sizes: &Sizes, backward: bool) -> Result<Self> {
        let for_backward = |size: usize| if backward { size } else { 0 };
        let purpose = "the working buffers";
        let dx_copy = match E::BF16 {
            true => Some(gpu.allocate(purpose, for_backward(sizes.stream))?),
            false => None,
        };
        Ok(Self {
            branch: gpu.allocate(purpose, sizes.stream)?,
            gated: gpu.allocate(purpose, sizes.gated)?,
            dattention_out: gpu.allocate(purpose, for_backward(sizes.attention_out))?,
            dqkv: gpu.allocate(purpose, for_backward(sizes.qkv))?,
            dx: gpu.allocate(purpose, for_backward(sizes.stream))?,
            dx_copy,
            delta: gpu.allocate(purpose, for_backward(sizes.log_sums))?,
            key_partial: gpu.allocate(purpose, for_backward(if E::BF16 { sizes.key_partial } else { 0 }))?,
            partial: gpu.allocate(purpose, for_backward(sizes.partial))?,
        })
    }
}
