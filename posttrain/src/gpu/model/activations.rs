//! A model's buffers on a card, made once for the largest batch: what `plan` counts.

use crate::gpu::buffer::Buffer;
use crate::gpu::card::Card;
use crate::gpu::plan::Sizes;
use anyhow::Result;
use kernels::Element;
use smollm::ModelConfig;

/// Buffers for batches of up to `capacity` tokens.
#[derive(Debug)]
pub(super) struct Activations<E> {
    pub(super) capacity: usize,
    /// The residual stream before every layer and after the last: (layers + 1) x (T, C).
    pub(super) inputs: Vec<Buffer<f32>>,
    /// What each layer leaves for its backward pass; one for all where layers are checkpointed.
    pub(super) layers: Vec<LayerActivations<E>>,
    pub(super) scratch: Scratch<E>,
    pub(super) head: Head<E>,
}

#[derive(Debug)]
pub(super) struct LayerActivations<E> {
    /// After the rotation (T, (H + 2K) D).
    pub(super) qkv: Buffer<E>,
    /// Attention's answer (T, H D).
    pub(super) mixed: Buffer<E>,
    /// Log sums of the scores (H, T).
    pub(super) log_sums: Buffer<f32>,
    /// The residual stream between attention and feed-forward (T, C).
    pub(super) middle: Buffer<f32>,
    /// Before the gate; its own gradient in the backward pass (T, 2F).
    pub(super) gate_up: Buffer<E>,
}

/// Buffers that no layer needs to keep.
#[derive(Debug)]
pub(super) struct Scratch<E> {
    /// (T, C)
    pub(super) normed: Buffer<E>,
    /// What a block adds to the residual stream; in the backward pass the gradient of `normed` (T, C).
    pub(super) branch: Buffer<E>,
    /// (T, F); its gradient first, in the backward pass.
    pub(super) gated: Buffer<E>,
    /// (T, H D)
    pub(super) dmixed: Buffer<E>,
    /// (T, (H + 2K) D)
    pub(super) dqkv: Buffer<E>,
    /// Gradient of the residual stream (T, C).
    pub(super) dx: Buffer<f32>,
    /// The same, rounded; none in f32.
    pub(super) dx_copy: Option<Buffer<E>>,
    /// Of attention (H, T).
    pub(super) delta: Buffer<f32>,
    /// Parts of the norms' gradients (⌈T / 16⌉, C).
    pub(super) partial: Buffer<f32>,
}

/// The head's buffers.
#[derive(Debug)]
pub(super) struct Head<E> {
    /// Final norm of the rows that predict trained tokens (N, C).
    pub(super) hidden: Buffer<E>,
    /// Gradient of those rows (N, C).
    pub(super) dhidden: Buffer<E>,
    /// A chunk of logits, then of their gradient (HEAD_ROWS, V).
    pub(super) logits: Buffer<f32>,
    /// Log-probabilities (N), whether each is the likeliest (N, whole numbers), entropies (N).
    pub(super) results: Buffer<f32>,
    /// (N)
    pub(super) weights: Buffer<f32>,
}

impl<E: Element> Activations<E> {
    pub(super) fn new(
        card: &Card,
        config: &ModelConfig,
        checkpoint_layers: bool,
        trains: bool,
        tokens: usize,
    ) -> Result<Self> {
        let sizes = Sizes::new(config, tokens);
        let count = if checkpoint_layers { 1 } else { config.layers };
        // What only a backward pass needs.
        let back = |size: usize| if trains { size } else { 0 };
        let (kept, working) = ("the activations", "the working buffers");
        let layer = |_| {
            Ok(LayerActivations {
                qkv: card.allocate(kept, sizes.qkv)?,
                mixed: card.allocate(kept, sizes.mixed)?,
                log_sums: card.allocate(kept, sizes.log_sums)?,
                middle: card.allocate(kept, sizes.stream)?,
                gate_up: card.allocate(kept, sizes.gate_up)?,
            })
        };
        let dx_copy = if E::BF16 { Some(card.allocate(working, back(sizes.stream))?) } else { None };
        Ok(Self {
            capacity: tokens,
            inputs: (0..=config.layers).map(|_| card.allocate(kept, sizes.stream)).collect::<Result<_>>()?,
            layers: (0..count).map(layer).collect::<Result<_>>()?,
            scratch: Scratch {
                normed: card.allocate(working, sizes.stream)?,
                branch: card.allocate(working, sizes.stream)?,
                gated: card.allocate(working, sizes.gated)?,
                dmixed: card.allocate(working, back(sizes.mixed))?,
                dqkv: card.allocate(working, back(sizes.qkv))?,
                dx: card.allocate(working, back(sizes.stream))?,
                dx_copy,
                delta: card.allocate(working, back(sizes.log_sums))?,
                partial: card.allocate(working, back(sizes.partial))?,
            },
            head: Head {
                hidden: card.allocate(working, sizes.stream)?,
                dhidden: card.allocate(working, back(sizes.stream))?,
                logits: card.allocate("the logits", sizes.logits)?,
                results: card.allocate(working, 3 * tokens)?,
                weights: card.allocate(working, back(tokens))?,
            },
        })
    }
}
