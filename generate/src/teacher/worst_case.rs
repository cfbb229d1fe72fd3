//! The worst-case size of a call, which the budget reserves and the ledger charges where the real size is unknown.

use super::call::Call;
use super::reply::BYTES_PER_TOKEN;
use crate::run::Run;
use crate::store::{LedgerEntry, Outcome, Reply};
use serde_json::Value;

/// Maximum number of tokens that a call can count.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WorstCase {
    /// The bytes of the request: a token has at least one byte.
    pub(super) prompt: u64,
    pub(super) completion: u64,
}

impl WorstCase {
    /// Of a call with this body, which may ask for more than the recipe does (`--request`). A body without a limit is
    /// taken to have the call's.
    pub(super) fn of(call: &Call, body: &Value) -> Self {
        let limits =
            ["max_tokens", "max_completion_tokens"].into_iter().filter_map(|name| body[name].as_u64());
        let answer = limits.max().unwrap_or(call.max_tokens as u64);
        let answers = body["n"].as_u64().unwrap_or(1).max(1);
        Self { prompt: body.to_string().len() as u64, completion: answer.saturating_mul(answers) }
    }

    /// The most tokens that a provider counts for it.
    pub(super) fn most_tokens(self) -> u64 {
        self.prompt.div_ceil(BYTES_PER_TOKEN) + self.completion
    }

    /// The ledger's entry of a call without an answer that may have been billed.
    pub(super) fn unanswered(self, run: &Run, model: &str, endpoint: &str, batch: bool) -> LedgerEntry {
        LedgerEntry {
            model: model.to_owned(),
            endpoint: endpoint.to_owned(),
            outcome: Outcome::Failed.name().to_owned(),
            calls: 1,
            prompt_tokens: self.prompt,
            completion_tokens: self.completion,
            microdollars: run.cost(model, self.prompt, self.completion, batch).microdollars,
        }
    }

    /// Sets an estimate where the server did not count the prompt's tokens.
    pub(super) fn estimate_prompt(self, reply: &mut Reply) {
        if reply.prompt_tokens == 0 {
            reply.prompt_tokens = self.prompt.div_ceil(BYTES_PER_TOKEN);
        }
    }
}
