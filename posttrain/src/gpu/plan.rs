//! How much memory a run takes on a card: every buffer by name and size, before anything is allocated. The model
//! allocates by the same numbers, so the estimate is the plan.

use crate::device::gib;
use crate::recipe::Precision;
use serde_json::{Value, json};
use smollm::ModelConfig;

/// Rows of logits that exist at once: large enough that a product of them fills the card.
pub const HEAD_ROWS: usize = 4096;
/// Rows that one partial sum of a norm's gradient takes.
pub const NORM_ROWS: usize = 16;
/// What cuBLAS, the kernels' code and the allocator's rounding take.
const RUNTIME: u64 = 512 << 20;

/// What decides the buffers.
#[derive(Clone, Debug)]
pub struct Plan {
    config: ModelConfig,
    precision: Precision,
    checkpoint_layers: bool,
}

/// Numbers in each buffer of one layer or one batch of T tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// (T, C): the residual stream, and whatever is as wide.
    pub stream: usize,
    /// (T, (H + 2K) D)
    pub qkv: usize,
    /// (T, H D)
    pub mixed: usize,
    /// (H, T)
    pub log_sums: usize,
    /// (T, 2F)
    pub gate_up: usize,
    /// (T, F)
    pub gated: usize,
    /// (⌈T / 16⌉, C): partial sums of the norms' gradients.
    pub partial: usize,
    /// A chunk of logits.
    pub logits: usize,
}

impl Sizes {
    /// The sizes for so many tokens.
    pub fn new(config: &ModelConfig, tokens: usize) -> Self {
        let mixed = config.heads * config.head_dim;
        Self {
            stream: tokens * config.hidden_size,
            qkv: tokens * (mixed + 2 * config.kv_heads * config.head_dim),
            mixed: tokens * mixed,
            log_sums: tokens * config.heads,
            gate_up: tokens * 2 * config.intermediate_size,
            gated: tokens * config.intermediate_size,
            partial: tokens.div_ceil(NORM_ROWS) * config.hidden_size,
            logits: tokens.min(HEAD_ROWS) * config.vocab_size,
        }
    }
}

/// Bytes by what they are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Name and bytes of every part.
    pub parts: Vec<(&'static str, u64)>,
}

impl Estimate {
    /// All bytes.
    pub fn total(&self) -> u64 {
        self.parts.iter().map(|(_, bytes)| bytes).sum()
    }

    /// For people: the total, then the parts, in GiB.
    pub fn line(&self) -> String {
        let parts: Vec<String> =
            self.parts.iter().map(|(name, bytes)| format!("{name} {}", gib(*bytes))).collect();
        format!("{} GiB ({})", gib(self.total()), parts.join(", "))
    }

    /// For run.json: bytes by name.
    pub fn to_json(&self) -> Value {
        self.parts.iter().map(|(name, bytes)| ((*name).to_owned(), json!(bytes))).collect()
    }
}

impl Plan {
    /// The plan of a training run.
    pub fn new(config: &ModelConfig, precision: Precision, checkpoint_layers: bool) -> Self {
        Self { config: config.clone(), precision, checkpoint_layers }
    }

    /// What a run takes whose largest micro-batch has so many tokens, every one of them trained.
    pub fn estimate(&self, tokens: usize) -> Estimate {
        let weights = self.config.parameters() as u64;
        let (element, copy) = match self.precision {
            Precision::F32 => (4, 0),
            Precision::Bf16 => (2, 2),
        };
        let sizes = Sizes::new(&self.config, tokens);
        let Sizes { stream, qkv, mixed, log_sums, gate_up, gated, partial, logits } = sizes;
        let [stream, qkv, mixed, log_sums, gate_up, gated, partial, logits] =
            [stream, qkv, mixed, log_sums, gate_up, gated, partial, logits].map(|size| size as u64);
        let layers = self.config.layers as u64;
        let kept = if self.checkpoint_layers { 1 } else { layers };
        let layer = element * (qkv + mixed + gate_up) + 4 * (log_sums + stream);
        // normed, branch, and in bf16 a rounded dx; dx itself and attention's delta are f32.
        let streams = if copy > 0 { 3 } else { 2 };
        let working = element * (streams * stream + gated + mixed + qkv) + 4 * (stream + log_sums + partial);
        // Final norm and its gradient, results and weights of the trained tokens.
        let head = 2 * element * stream + 16 * tokens as u64;
        // Ids, positions, order, segments, rows, targets, and two lists of tiles.
        let lists = 4 * (6 * tokens as u64 + 1) + 2 * 16 * tokens as u64;
        Estimate {
            parts: vec![
                ("weights", (4 + copy) * weights),
                ("gradients", 4 * weights),
                ("moments", 8 * weights),
                ("activations", 4 * (layers + 1) * stream + kept * layer),
                ("working buffers", working + head + lists),
                ("logits", 4 * logits),
                ("runtime", RUNTIME),
            ],
        }
    }
}

/// The most tokens at once whose plan takes at most so many bytes, in steps of 256, up to 2^17: more make nothing
/// faster. None if not even 256 fit.
pub fn fits(plan: &Plan, budget: u64) -> Option<usize> {
    const STEP: usize = 256;
    let within = |steps: &usize| plan.estimate(steps * STEP).total() <= budget;
    let (mut low, mut high) = (0usize, (1 << 17) / STEP);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if within(&middle) { low = middle } else { high = middle - 1 }
    }
    (low > 0).then_some(low * STEP)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// 18 bytes a weight (training.md of every mixed-precision trainer): f32 master, two moments and gradient, bf16 copy.
    #[test]
    fn a_weight_takes_eighteen_bytes_in_bf16_and_sixteen_in_f32() {
        let config = ModelConfig::smollm2_1_7b();
        for (precision, bytes) in [(Precision::Bf16, 18), (Precision::F32, 16)] {
            let estimate = Plan::new(&config, precision, false).estimate(256);
            let fixed: u64 = estimate.parts[..3].iter().map(|(_, bytes)| bytes).sum();
            assert_eq!(fixed, bytes * config.parameters() as u64);
        }
    }

    /// The layers of SmolLM2-1.7B, by hand: C 2048, H = K = 32, D 64, F 8192, 24 layers, in bf16. A token keeps
    /// 2 (6144 + 2048 + 16384) + 4 (32 + 2048) bytes a layer and 4 · 2048 of the stream before each and after the last.
    #[test]
    fn activations_are_counted_to_the_byte() {
        let config = ModelConfig::smollm2_1_7b();
        let tokens = 1000;
        let of = |checkpointed: bool| {
            Plan::new(&config, Precision::Bf16, checkpointed).estimate(tokens as usize).parts[3].1
        };
        let layer = 2 * (6144 + 2048 + 16_384) + 4 * (32 + 2048);
        assert_eq!(of(false), tokens * (24 * layer + 25 * 8192));
        assert_eq!(of(true), tokens * (layer + 25 * 8192));
    }

    #[test]
    fn thirty_two_thousand_tokens_of_the_largest_model_fit_one_card_without_checkpointing() {
        let plan = Plan::new(&ModelConfig::smollm2_1_7b(), Precision::Bf16, false);
        let estimate = plan.estimate(32_768);
        assert!(estimate.total() < 96 * GIB, "{}", estimate.line());
        assert!(fits(&plan, 130 * GIB).unwrap() >= 32_768);
        // An 80 GB card takes half of it, or all with checkpointing.
        assert!(fits(&plan, 78 * GIB).unwrap() >= 16_384);
        let checkpointed = Plan::new(&ModelConfig::smollm2_1_7b(), Precision::Bf16, true);
        assert!(fits(&checkpointed, 78 * GIB).unwrap() >= 32_768);
    }

    #[test]
    fn what_fits_is_the_most_that_fits() {
        for precision in [Precision::F32, Precision::Bf16] {
            let plan = Plan::new(&ModelConfig::smollm2_135m(), precision, false);
            let budget = 20 * GIB;
            let tokens = fits(&plan, budget).unwrap();
            assert!(plan.estimate(tokens).total() <= budget);
            assert!(plan.estimate(tokens + 256).total() > budget);
        }
        let plan = Plan::new(&ModelConfig::smollm2_1_7b(), Precision::Bf16, false);
        assert_eq!(fits(&plan, 16 * GIB), None);
    }
}
