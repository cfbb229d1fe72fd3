//! Parameters that the generating endpoints share.

use crate::Unsupported;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use serde_with::skip_serializing_none;
use std::collections::BTreeMap;

/// How tokens are chosen and what ends an answer.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Sampling {
    /// Divides the logits; 0 takes the most likely token.
    #[schemars(range(min = 0.0, max = 2.0), extend("default" = 1))]
    pub temperature: Option<f32>,
    /// False: 0 is the default of `temperature`.
    #[schemars(extend("default" = true))]
    pub do_sample: Option<bool>,
    /// Keeps the most likely tokens up to this probability mass, and always the first.
    #[schemars(range(min = 0.0, max = 1.0), extend("default" = 1))]
    pub top_p: Option<f32>,
    /// Keeps this number of the most likely tokens; 0 and -1 keep all.
    #[schemars(range(min = -1), extend("default" = 0))]
    pub top_k: Option<i64>,
    /// Drops tokens less likely than this fraction of the most likely one.
    #[schemars(range(min = 0.0, max = 1.0), extend("default" = 0))]
    pub min_p: Option<f32>,
    /// Subtracted once from the logits of tokens in the answer.
    #[schemars(range(min = -2.0, max = 2.0), extend("default" = 0))]
    pub presence_penalty: Option<f32>,
    /// Subtracted from the logits for each time a token is in the answer.
    #[schemars(range(min = -2.0, max = 2.0), extend("default" = 0))]
    pub frequency_penalty: Option<f32>,
    /// Divides the positive logits of tokens in prompt or answer and multiplies the negative ones.
    #[schemars(range(min = 0.01, max = 100.0), extend("default" = 1))]
    pub repetition_penalty: Option<f32>,
    /// Token ids and what is added to their logits, from -100 to 100.
    pub logit_bias: Option<BTreeMap<String, f32>>,
    /// Random seed, any 64-bit integer; the same seed gives the same answer. Answer k of `n` uses the seed plus k.
    pub seed: Option<i64>,
    /// Strings that end the answer and are left out of it, each of at most 1024 bytes; empty ones are none.
    pub stop: Option<StopStrings>,
    /// Token ids that end the answer.
    pub stop_token_ids: Option<Vec<u32>>,
    /// Minimum number of tokens before a stop ends the answer; a constraint may end it earlier.
    #[schemars(extend("default" = 0))]
    pub min_tokens: Option<u64>,
    /// Continue after the end-of-sequence token.
    #[schemars(extend("default" = false))]
    pub ignore_eos: Option<bool>,
}

/// One stop string or several.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum StopStrings {
    /// One string.
    One(#[schemars(length(max = 1024))] String),
    /// Several strings.
    Several(#[schemars(length(max = 16), inner(length(max = 1024)))] Vec<String>),
}

/// How an answer is streamed.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StreamOptions {
    /// End the stream with a chunk that has the usage and no choices.
    pub include_usage: Option<bool>,
    /// Not supported: chunks have no padding.
    #[schemars(extend("enum" = [false, null]))]
    pub include_obfuscation: Option<bool>,
    /// With `include_usage`: every chunk has the usage so far.
    #[schemars(extend("default" = false))]
    pub continuous_usage_stats: Option<bool>,
}

/// Information about the caller, which the server checks and ignores.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct CallerInfo {
    /// Ignored.
    pub user: Option<String>,
    /// Ignored; responses repeat it.
    pub metadata: Option<Map<String, Value>>,
    /// Ignored.
    pub safety_identifier: Option<String>,
    /// Ignored: prefixes are reused without it.
    pub prompt_cache_key: Option<String>,
}

/// Parameters of the interface that a text-only server without state accepts only in a value that changes nothing.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct NeutralParameters {
    /// Only text.
    #[schemars(extend("enum" = [["text"], null]))]
    pub modalities: Option<Vec<String>>,
    /// Not supported.
    pub audio: Option<Unsupported>,
    /// Whether a response can be continued by `previous_response_id`; ignored by the other endpoints.
    pub store: Option<bool>,
    /// There is one tier.
    #[schemars(extend("enum" = ["auto", "default", null]))]
    pub service_tier: Option<String>,
    /// Not supported.
    pub prediction: Option<Unsupported>,
    /// Not supported.
    pub web_search_options: Option<Unsupported>,
    /// Not supported.
    pub moderation: Option<Unsupported>,
    /// How much the model is to reason. It reaches the template as `reasoning_effort`, `enable_thinking` and `thinking`.
    #[schemars(extend("enum" = ["none", "minimal", "low", "medium", "high", "xhigh", null]))]
    pub reasoning_effort: Option<String>,
    /// Not supported.
    #[schemars(extend("enum" = ["medium", null]))]
    pub verbosity: Option<String>,
    /// Prefixes are kept in memory.
    #[schemars(extend("enum" = ["in_memory", "in-memory", null]))]
    pub prompt_cache_retention: Option<String>,
    /// Prefixes are reused without options.
    #[schemars(extend("enum" = [{}, null]))]
    pub prompt_cache_options: Option<Map<String, Value>>,
    /// Not supported; use `tools`.
    #[schemars(length(max = 0))]
    pub functions: Option<Vec<Value>>,
    /// Not supported; use `tool_choice`.
    #[schemars(extend("enum" = ["none", null]))]
    pub function_call: Option<String>,
    /// Variables for the template, such as `enable_thinking`.
    pub chat_template_kwargs: Option<Map<String, Value>>,
    /// Not supported: the server chooses the template.
    pub chat_template: Option<Unsupported>,
    /// The template takes no documents.
    #[schemars(length(max = 0))]
    pub documents: Option<Vec<Value>>,
}

/// Declares fields that are accepted in a value without an effect.
macro_rules! without_effect {
    ($(#[$attribute:meta])* $name:ident { $($field:ident: $help:literal,)* }) => {
        $(#[$attribute])*
        #[skip_serializing_none]
        #[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
        pub struct $name {
            $(#[doc = $help] pub $field: Option<Value>,)*
        }
    };
}

without_effect! {
    /// Parameters of vLLM and llama.cpp, whose clients send the defaults of those servers. `docs/request-fields.md` has the
    /// values that are accepted.
    EngineDefaults {
        use_beam_search: "Only false.",
        length_penalty: "Only 1: it ranks beams.",
        early_stopping: "Only false: it ends beams.",
        skip_special_tokens: "Only true.",
        spaces_between_special_tokens: "Only true.",
        include_stop_str_in_output: "Only false.",
        detokenize: "Only true.",
        truncate_prompt_tokens: "Not supported.",
        allowed_token_ids: "Only empty.",
        bad_words: "Only empty.",
        logits_processors: "Only empty.",
        return_tokens_as_token_ids: "Only false.",
        priority: "Only 0.",
        mm_processor_kwargs: "Only empty.",
        kv_transfer_params: "Only empty.",
        vllm_xargs: "Only empty.",
        cache_prompt: "Ignored: prefixes are reused, and the answer is the same either way.",
        n_predict: "Only -1; use `max_tokens`.",
        n_discard: "Only 0.",
        n_probs: "Only 0; use `logprobs`.",
        min_keep: "Only 0.",
        repeat_penalty: "Only 1; use `repetition_penalty`.",
        typical_p: "Only 1.",
        tfs_z: "Only 1.",
        top_a: "Only 0.",
        top_n_sigma: "Only -1 or 0.",
        mirostat: "Only 0.",
        dynatemp_range: "Only 0.",
        xtc_probability: "Only 0.",
        dry_multiplier: "Only 0.",
        penalize_nl: "Only false.",
        t_max_predict_ms: "Only 0 or -1; use `--request-timeout`.",
        id_slot: "Only -1.",
        lora: "Only empty.",
        return_tokens: "Only false.",
        return_progress: "Only false.",
        timings_per_token: "Only false.",
        post_sampling_probs: "Only false.",
        response_fields: "Only empty.",
        parse_tool_calls: "Only true.",
        thinking_forced_open: "Only false.",
        tfs: "Only 1.",
        transforms: "Only empty.",
        provider: "Only without an order.",
        usage: "`include` alone: the usage is always reported.",
        request_id: "Ignored; send the header `x-request-id`.",
        guided_decoding_backend: "Ignored: there is one.",
        keep_alive: "Ignored: models stay loaded.",
        client_metadata: "Ignored.",
        repeat_last_n: "Ignored: `repeat_penalty` is 1.",
        n_keep: "Ignored: nothing is shifted out of the context.",
        mirostat_tau: "Ignored: `mirostat` is 0.",
        mirostat_eta: "Ignored: `mirostat` is 0.",
        dynatemp_exponent: "Ignored: `dynatemp_range` is 0.",
        xtc_threshold: "Ignored: `xtc_probability` is 0.",
        dry_base: "Ignored: `dry_multiplier` is 0.",
        dry_allowed_length: "Ignored: `dry_multiplier` is 0.",
        dry_penalty_last_n: "Ignored: `dry_multiplier` is 0.",
        dry_sequence_breakers: "Ignored: `dry_multiplier` is 0.",
    }
}

/// A text, texts, token ids, or arrays of token ids.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Input {
    /// One text.
    Text(String),
    /// Several texts or arrays of token ids.
    Several(#[schemars(length(min = 1, max = 2048))] Vec<InputItem>),
    /// The token ids of one text.
    Ids(#[schemars(length(min = 1))] Vec<u32>),
}

/// One of several inputs.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum InputItem {
    /// A text.
    Text(String),
    /// Token ids.
    Ids(#[schemars(length(min = 1))] Vec<u32>),
}

impl Default for Input {
    fn default() -> Self {
        Self::Text(String::new())
    }
}
