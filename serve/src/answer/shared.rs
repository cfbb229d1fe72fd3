//! What the bodies of chat completions and completions share.

use super::running::TokenCounts;
use crate::valid::UsageOptions;
use openai::usage::{PromptTokensDetails, Usage};

/// What answers name as their maker.
pub(super) const FINGERPRINT: &str = concat!("smolserve-", env!("CARGO_PKG_VERSION"));

/// Token counts as chat completions and completions spell them.
pub(super) fn usage(counts: TokenCounts) -> Usage {
    Usage {
        prompt_tokens: counts.prompt,
        completion_tokens: counts.completion,
        total_tokens: counts.prompt + counts.completion,
        prompt_tokens_details: PromptTokensDetails { cached_tokens: counts.cached },
    }
}

/// The usage of an event before the last one: absent, null or so far.
pub(super) fn usage_before_the_end(options: UsageOptions, so_far: TokenCounts) -> Option<Option<Usage>> {
    options.is_included.then(|| options.is_continuous.then(|| usage(so_far)))
}
