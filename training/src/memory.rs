//! How much memory a run takes on a GPU: every buffer by name and size, before anything is allocated. The model
//! allocates by the same sizes, so the estimate is the plan.

use crate::settings::{Kept, Precision};
use anyhow::{Result, ensure};
use checkpoint::ModelConfig;
use serde_json::{Value, json};

/// Rows of logits that exist at once on a GPU: enough for a product of them to fill it.
pub(crate) const HEAD_ROWS: usize = 4096;
/// Rows of a tile of attention.
pub(crate) const ATTENTION_TILE: usize = 128;
/// Blocks of attention's key pass below which each has one query head instead of a group of them: with fewer the longest
/// block takes longer than all blocks on 132 multiprocessors that run two at a time.
const KEY_PASS_BLOCKS: usize = 512;
/// Most rows that a block of a norm's backward pass processes, one after another.
const NORM_ROWS: usize = 16;
/// Blocks of it to have before one of them gets another row: about four for each multiprocessor.
const NORM_BLOCKS: usize = 512;
/// Bytes that cuBLAS, the kernels' code and the allocator's rounding take.
const RUNTIME: u64 = 512 << 20;
/// Share of the free memory that a plan may fill; the rest is for what the plan does not count.
const FILL: f64 = 0.94;
/// Micro-batches are planned in steps of this many tokens.
const TOKEN_STEP: usize = 256;
/// The largest micro-batch that is planned: more tokens make nothing faster.
const MAX_TOKENS: usize = 1 << 17;

/// What decides the sizes of the buffers.
#[derive(Clone, Debug)]
pub struct Plan {
    config: ModelConfig,
    precision: Precision,
    kept: Kept,
    adapter: Option<AdapterSize>,
}

/// What an adapter and the frozen weights under it take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdapterSize {
    /// Number of the adapter's weights.
    pub weights: usize,
    /// Bytes of the frozen weights.
    pub frozen_bytes: u64,
}

/// Number of elements in each buffer of one layer, for a batch of T tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// The residual stream, and whatever has its shape (T, C).
    pub(crate) stream: usize,
    /// (T, (H + 2K) D)
    pub(crate) qkv: usize,
    /// (T, H D)
    pub(crate) attention_out: usize,
    /// (H, T)
    pub(crate) log_sums: usize,
    /// (T, 2F)
    pub(crate) gate_up: usize,
    /// (T, F)
    pub(crate) gated: usize,
    /// Partial sums of the norms' weight gradients: (C) for each block of up to T rows.
    pub(crate) partial: usize,
    /// A chunk of logits (HEAD_ROWS, V), rows `logits_row` apart.
    pub(crate) logits: usize,
    /// Partial sums of attention's key pass (2, H, T, D), for as many tokens as `splits_groups`; 0 without tensor cores.
    pub(crate) key_partial: usize,
}

/// Returns whether attention's key pass on tensor cores has a block for each query head, and so partial sums.
pub(crate) fn splits_groups(tiles: usize, heads: usize, kv_heads: usize) -> bool {
    heads > kv_heads && tiles * kv_heads < KEY_PASS_BLOCKS
}

impl Sizes {
    /// Returns the sizes for this many tokens.
    pub(crate) fn new(config: &ModelConfig, tokens: usize) -> Self {
        let attention_out = config.heads * config.head_dim;
        Self {
            stream: tokens * config.hidden_size,
            qkv: tokens * (attention_out + 2 * config.kv_heads * config.head_dim),
            attention_out: tokens * attention_out,
            log_sums: tokens * config.heads,
            gate_up: tokens * 2 * config.intermediate_size,
            gated: tokens * config.intermediate_size,
            partial: tokens.min(NORM_BLOCKS).max(tokens.div_ceil(norm_block_rows(tokens)))
                * config.hidden_size,
            logits: tokens.min(HEAD_ROWS) * logits_row(config.vocab_size),
            key_partial: key_partial(config, tokens),
        }
    }
}

/// Returns the elements from one row of logits to the next: the vocabulary rounded up, so that kernels and cuBLAS read rows in
/// wide pieces whatever tokens were added.
pub(crate) fn logits_row(vocabulary: usize) -> usize {
    vocabulary.next_multiple_of(64)
}

/// Returns how many of `count` rows a block of a norm's backward pass processes; there is a partial sum for each block.
pub(crate) fn norm_block_rows(count: usize) -> usize {
    count.div_ceil(NORM_BLOCKS).clamp(1, NORM_ROWS)
}

/// Returns the elements of the partial sums of attention's key pass. Tokens in more tiles than this many split no groups.
fn key_partial(config: &ModelConfig, tokens: usize) -> usize {
    let ModelConfig { heads, kv_heads, head_dim, .. } = *config;
    let most = ATTENTION_TILE * (KEY_PASS_BLOCKS / kv_heads);
    let has_any = splits_groups(1, heads, kv_heads) && head_dim == 64;
    if has_any { 2 * heads * head_dim * tokens.min(most) } else { 0 }
}

/// Bytes by purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Name and bytes of every part.
    pub parts: Vec<(&'static str, u64)>,
}

impl Estimate {
    /// Returns the sum of all parts, in bytes.
    pub fn total(&self) -> u64 {
        self.parts.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Returns the total and its parts in GiB, as text.
    pub fn line(&self) -> String {
        let parts: Vec<String> =
            self.parts.iter().map(|(name, bytes)| format!("{name} {}", gib(*bytes))).collect();
        format!("{} GiB ({})", gib(self.total()), parts.join(", "))
    }

    /// Returns the bytes of every part by name, for run.json.
    pub fn to_json(&self) -> Value {
        self.parts.iter().map(|(name, bytes)| ((*name).to_owned(), json!(bytes))).collect()
    }
}

/// The sizes of a run's micro-batches.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    /// Tokens of the longest unit that is never split: a row, a pair, a sequence.
    pub longest: usize,
    /// Tokens of an optimizer step: a larger micro-batch is of no use.
    pub step: usize,
}

/// A GPU's name, and the bytes that are free in its memory.
#[derive(Clone, Copy, Debug)]
pub struct FreeMemory<'a> {
    /// As errors name it.
    pub gpu: &'a str,
    /// Free bytes.
    pub bytes: u64,
}

impl Plan {
    /// Returns the plan of a training run.
    pub fn new(config: &ModelConfig, precision: Precision, checkpoint_layers: bool) -> Self {
        let kept = if checkpoint_layers { Kept::Inputs } else { Kept::Layers };
        Self { config: config.clone(), precision, kept, adapter: None }
    }

    /// The plan of a run on a GPU that keeps the outputs of norms, too, if they fit beside micro-batches of this many tokens
    /// and the share that is kept free.
    #[must_use]
    pub fn with_norms_that_fit(self, tokens: usize, free_bytes: u64) -> Self {
        let with_norms = Self { kept: Kept::LayersAndNorms, ..self.clone() };
        let fits = self.kept == Kept::Layers && !Self::is_tight(&with_norms.estimate(tokens), free_bytes);
        if fits { with_norms } else { self }
    }

    /// Returns what the forward pass keeps.
    pub fn kept(&self) -> Kept {
        self.kept
    }

    /// The plan of a run that trains an adapter instead of the weights.
    #[must_use]
    pub fn with_adapter(self, adapter: Option<AdapterSize>) -> Self {
        Self { adapter, ..self }
    }

    /// Returns what weights, gradients and moments take, whatever the micro-batch. An adapter's weights exist in f32 and once
    /// more with its scale; the frozen ones have neither gradients nor moments.
    pub fn state(&self) -> Estimate {
        let weights = self.config.parameters() as u64;
        let copy = if self.precision == Precision::Bf16 { 2 } else { 0 };
        let (bytes, trained) = match self.adapter {
            None => ((4 + copy) * weights, weights),
            Some(AdapterSize { weights, frozen_bytes }) => {
                (frozen_bytes + 8 * weights as u64, weights as u64)
            }
        };
        Estimate { parts: vec![("weights", bytes), ("gradients", 4 * trained), ("moments", 8 * trained)] }
    }

    /// Returns the bytes of the host's own copy of weights and moments, which a run on a GPU has besides.
    pub fn host_bytes(&self) -> u64 {
        12 * self.config.parameters() as u64
    }

    /// Returns whether an estimate leaves less free than is kept for what a plan does not count.
    pub fn is_tight(estimate: &Estimate, free_bytes: u64) -> bool {
        estimate.total() as f64 > free_bytes as f64 * FILL
    }

    /// Returns what a run takes whose largest micro-batch has this many tokens, every one of them trained.
    pub fn estimate(&self, tokens: usize) -> Estimate {
        let (element, copy) = match self.precision {
            Precision::F32 => (4, 0),
            Precision::Bf16 => (2, 2),
        };
        let sizes = Sizes::new(&self.config, tokens);
        let Sizes { stream, qkv, attention_out, log_sums, gate_up, gated, partial, logits, key_partial } =
            sizes;
        let [stream, qkv, attention_out, log_sums, gate_up, gated, partial, logits, key_partial] =
            [stream, qkv, attention_out, log_sums, gate_up, gated, partial, logits, key_partial]
                .map(|size| size as u64);
        let layers = self.config.layers as u64;
        let kept = if self.kept == Kept::Inputs { 1 } else { layers };
        let norms = 2 * element * stream;
        let kept_norms = if self.kept == Kept::LayersAndNorms { (layers - 1) * norms } else { 0 };
        let layer = element * (qkv + attention_out + gate_up) + 4 * (log_sums + stream);
        // branch, and in bf16 a rounded dx; dx itself and attention's delta are f32.
        let streams = if copy > 0 { 2 } else { 1 };
        let key_partial = if copy > 0 { key_partial } else { 0 };
        let working = norms
            + element * (streams * stream + gated + attention_out + qkv)
            + 4 * (stream + log_sums + partial + key_partial);
        // Final norm and its gradient; results and weights of the trained tokens.
        let head = 2 * element * stream + 16 * tokens as u64;
        // Ids, positions, order, segments, rows, targets, and two lists of tiles.
        let lists = 4 * (6 * tokens as u64 + 1) + 2 * 16 * tokens as u64;
        let mut parts = self.state().parts;
        parts.extend([
            ("activations", 4 * (layers + 1) * stream + kept * layer + kept_norms),
            ("working buffers", working + head + lists),
            ("logits", 4 * logits),
            ("runtime", RUNTIME),
        ]);
        Estimate { parts }
    }

    /// Returns the largest micro-batch, in tokens, that fits into the memory: no more than a step has, no less than the
    /// longest unit.
    ///
    /// # Errors
    /// When the longest unit does not fit; names the parts and what to change.
    pub fn largest_micro_batch(&self, lengths: Lengths, free: FreeMemory<'_>) -> Result<usize> {
        match self.most_tokens(free.bytes) {
            Some(tokens) if tokens >= lengths.longest => Ok(tokens.min(lengths.step.max(lengths.longest))),
            _ => {
                // It may still fit without the share that is kept free.
                self.check(lengths.longest, lengths, free)?;
                Ok(lengths.longest)
            }
        }
    }

    /// Returns the most tokens whose plan leaves a share of these bytes free, up to 2^17 in steps of 256; none if not
    /// even 256 fit.
    pub fn most_tokens(&self, free_bytes: u64) -> Option<usize> {
        self.most_tokens_within((free_bytes as f64 * FILL) as u64)
    }

    fn most_tokens_within(&self, bytes: u64) -> Option<usize> {
        let fits = |steps: usize| self.estimate(steps * TOKEN_STEP).total() <= bytes;
        let (mut low, mut high) = (0, MAX_TOKENS / TOKEN_STEP);
        while low < high {
            let middle = (low + high).div_ceil(2);
            if fits(middle) { low = middle } else { high = middle - 1 }
        }
        (low > 0).then_some(low * TOKEN_STEP)
    }

    /// Returns the estimate for micro-batches of this many tokens.
    ///
    /// # Errors
    /// When they do not fit into the memory; names the parts and what to change.
    pub fn check(&self, tokens: usize, lengths: Lengths, free: FreeMemory<'_>) -> Result<Estimate> {
        let estimate = self.estimate(tokens);
        let smaller = if tokens > lengths.longest {
            format!("`--micro-batch-tokens {}` or `auto`", lengths.longest)
        } else {
            "shorter sequences".to_owned()
        };
        ensure!(
            estimate.total() <= free.bytes,
            "{} has {} GiB free, but micro-batches of {tokens} tokens take {}; give {smaller}, `--layer-checkpointing` or another GPU",
            free.gpu,
            gib(free.bytes),
            estimate.line()
        );
        Ok(estimate)
    }
}

/// Returns bytes as GiB with one decimal.
pub fn gib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / (1u64 << 30) as f64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// 18 bytes a weight in mixed precision: f32 weight, two moments and gradient, bf16 copy.
    #[test]
    fn a_weight_takes_eighteen_bytes_in_bf16_and_sixteen_in_f32() {
        let config = ModelConfig::smollm2_1_7b();
        for (precision, bytes) in [(Precision::Bf16, 18), (Precision::F32, 16)] {
            let estimate = Plan::new(&config, precision, false).estimate(256);
            let fixed: u64 = estimate.parts[..3].iter().map(|(_, bytes)| bytes).sum();
            assert_eq!(fixed, bytes * config.parameters() as u64);
        }
    }

    /// Of SmolLM2-135M in bf16 at rank 16: 2 bytes a frozen weight, and 20 a weight of the adapter.
    #[test]
    fn an_adapter_leaves_frozen_weights_without_gradients_and_moments() {
        let config = ModelConfig::smollm2_135m();
        let adapter = AdapterSize { weights: 4_884_480, frozen_bytes: 2 * 134_515_008 };
        let plan = Plan::new(&config, Precision::Bf16, false);
        let state = plan.clone().with_adapter(Some(adapter)).state();
        assert_eq!(state.total(), 2 * 134_515_008 + 20 * 4_884_480);
        assert_eq!(plan.state().total(), 18 * 134_515_008);
        let rest = |plan: &Plan| plan.estimate(512).total() - plan.state().total();
        assert_eq!(rest(&plan.clone().with_adapter(Some(adapter))), rest(&plan));
    }

    /// 20.5 GB of host memory for SmolLM2-1.7B (1,711,376,384 weights).
    #[test]
    fn the_host_keeps_weights_and_moments_too() {
        let plan = Plan::new(&ModelConfig::smollm2_1_7b(), Precision::Bf16, false);
        assert_eq!(plan.host_bytes(), 12 * 1_711_376_384);
        let estimate = plan.estimate(2048);
        assert!(!Plan::is_tight(&estimate, 2 * estimate.total()));
        assert!(Plan::is_tight(&estimate, estimate.total() + (1 << 20)));
    }

    #[test]
    fn blocks_of_a_norm_fill_a_gpu_before_they_get_more_rows() {
        assert_eq!([1, 512, 513, 2048, 8192, 8193, 65_536].map(norm_block_rows), [1, 1, 2, 4, 16, 16, 16]);
        let config = ModelConfig::smollm2_135m();
        let partial = |tokens| Sizes::new(&config, tokens).partial / config.hidden_size;
        let planned = partial(9000);
        assert!(
            (0..=9000usize)
                .all(|count| count.div_ceil(norm_block_rows(count)) <= planned.min(partial(count)))
        );
    }

    /// The layers of SmolLM2-1.7B, by hand: C 2048, H = K = 32, D 64, F 8192, 24 layers, in bf16. A token keeps
    /// 2 (6144 + 2048 + 16384) + 4 (32 + 2048) bytes a layer and 4 · 2048 of the stream before each and after the last.
    #[test]
    fn activations_are_counted_to_the_byte() {
        let config = ModelConfig::smollm2_1_7b();
        let tokens = 1000;
        let activations = |checkpoint_layers: bool| {
            Plan::new(&config, Precision::Bf16, checkpoint_layers).estimate(tokens as usize).parts[3].1
        };
        let layer = 2 * (6144 + 2048 + 16_384) + 4 * (32 + 2048);
        assert_eq!(activations(false), tokens * (24 * layer + 25 * 8192));
        assert_eq!(activations(true), tokens * (layer + 25 * 8192));
    }

    /// They take 8 KB a token and layer of SmolLM2-1.7B: an eighth of what is kept without them.
    #[test]
    fn norms_are_kept_where_there_is_room() {
        let plan = Plan::new(&ModelConfig::smollm2_1_7b(), Precision::Bf16, false);
        let needed = plan.estimate(32_768).total();
        let roomy = plan.clone().with_norms_that_fit(32_768, 139 * GIB);
        assert_eq!(roomy.kept(), Kept::LayersAndNorms);
        assert_eq!(roomy.estimate(32_768).total() - needed, 23 * 8192 * 32_768);
        assert_eq!(plan.with_norms_that_fit(32_768, needed + (1 << 30)).kept(), Kept::Layers);
        let checkpointed = Plan::new(&ModelConfig::smollm2_1_7b(), Precision::Bf16, true);
        assert_eq!(checkpointed.with_norms_that_fit(256, 139 * GIB).kept(), Kept::Inputs);
    }

    #[test]
    fn thirty_two_thousand_tokens_of_the_largest_model_fit_one_gpu_without_checkpointing() {
        let plan = Plan::new(&ModelConfig::smollm2_1_7b(), Precision::Bf16, false);
        let estimate = plan.estimate(32_768);
        assert!(estimate.total() < 96 * GIB, "{}", estimate.line());
        assert!(plan.most_tokens_within(130 * GIB).unwrap() >= 32_768);
        // A GPU of 80 GB takes half of it, or all with checkpointing.
        assert!(plan.most_tokens_within(78 * GIB).unwrap() >= 16_384);
        let checkpointed = Plan::new(&ModelConfig::smollm2_1_7b(), Precision::Bf16, true);
        assert!(checkpointed.most_tokens_within(78 * GIB).unwrap() >= 32_768);
    }

    #[test]
    fn the_most_tokens_are_the_most_that_fit() {
        for precision in [Precision::F32, Precision::Bf16] {
            let plan = Plan::new(&ModelConfig::smollm2_135m(), precision, false);
            let budget = 20 * GIB;
            let tokens = plan.most_tokens_within(budget).unwrap();
            assert!(plan.estimate(tokens).total() <= budget);
            assert!(plan.estimate(tokens + 256).total() > budget);
        }
        let plan = Plan::new(&ModelConfig::smollm2_1_7b(), Precision::Bf16, false);
        assert_eq!(plan.most_tokens_within(16 * GIB), None);
    }

    #[test]
    fn a_micro_batch_has_no_more_tokens_than_a_step_and_no_fewer_than_the_longest_unit() {
        let plan = Plan::new(&ModelConfig::smollm2_1_7b(), Precision::Bf16, false);
        let largest = |longest, step, gib: u64| {
            let free = FreeMemory { gpu: "cuda:0 (a GPU)", bytes: gib << 30 };
            plan.largest_micro_batch(Lengths { longest, step }, free)
        };
        assert_eq!(largest(2048, 8192, 139).unwrap(), 8192);
        let most = largest(8192, 1 << 21, 139).unwrap();
        assert!((32_768..80_000).contains(&most), "{most}");
        // It would fill more than its share of the GPU, and fits still.
        let tight = plan.estimate(8192).total().div_ceil(1 << 30);
        assert_eq!(largest(8192, 1 << 21, tight).unwrap(), 8192);
        let error = largest(8192, 1 << 21, 24).unwrap_err().to_string();
        for part in ["24.0 GiB free", "moments", "activations", "--layer-checkpointing", "shorter sequences"]
        {
            assert!(error.contains(part), "{part}: {error}");
        }
        let lengths = Lengths { longest: 2048, step: 1 << 21 };
        let free = FreeMemory { gpu: "a GPU", bytes: 80 << 30 };
        let error = plan.check(65_536, lengths, free).unwrap_err().to_string();
        assert!(error.contains("`--micro-batch-tokens 2048` or `auto`"), "{error}");
    }
}
