//! Answers of `POST /v1/completions`, whole and in events.

use super::chunks::{Delta, ScoredToken};
use super::collect::WholeAnswer;
use super::logprobs::{completion_logprobs, prompt_logprobs};
use super::returned_ids::ReturnedIds;
use super::running::TokenCounts;
use super::shared::{FINGERPRINT, usage, usage_before_the_end};
use super::stream::{Frame, StreamWriter};
use crate::ids;
use crate::model::Model;
use crate::valid::UsageOptions;
use openai::FinishReason;
use openai::completion::{Completion, CompletionChoice, CompletionObject};
use openai::usage::Usage;
use std::sync::Arc;

/// Writes the answers of one request.
pub(crate) struct CompletionWriter {
    model: Arc<Model>,
    id: String,
    created: u64,
    has_logprobs: bool,
    usage: UsageOptions,
    ids: Option<ReturnedIds>,
    so_far: TokenCounts,
}

impl CompletionWriter {
    /// A writer.
    pub(crate) fn new(
        model: &Arc<Model>,
        has_logprobs: bool,
        usage: UsageOptions,
        returned: Option<ReturnedIds>,
    ) -> Self {
        let (id, created) = (ids::id("cmpl-"), ids::now());
        let so_far = TokenCounts::default();
        Self { model: Arc::clone(model), id, created, has_logprobs, usage, ids: returned, so_far }
    }

    /// The body of whole answers.
    pub(crate) fn whole(&self, answers: Vec<WholeAnswer>, counts: TokenCounts) -> Completion {
        let tokenizer = &self.model.tokenizer;
        let choice = |(index, answer): (usize, WholeAnswer)| CompletionChoice {
            prompt_logprobs: answer.prompt.as_deref().map(|tokens| prompt_logprobs(tokenizer, tokens)),
            token_ids: self.ids.as_ref().map(|_| answer.ids),
            prompt_token_ids: self.ids.as_ref().map(|ids| ids.prompt(index)),
            ..self.choice(index, answer.text, &answer.tokens, answer.finish)
        };
        self.body(answers.into_iter().enumerate().map(choice).collect(), Some(Some(usage(counts))))
    }

    fn choice(
        &self,
        index: usize,
        text: String,
        tokens: &[ScoredToken],
        finish_reason: Option<FinishReason>,
    ) -> CompletionChoice {
        let logprobs = self.has_logprobs.then(|| completion_logprobs(&self.model.tokenizer, tokens));
        CompletionChoice {
            index,
            text,
            logprobs,
            finish_reason,
            token_ids: None,
            prompt_token_ids: None,
            prompt_logprobs: None,
        }
    }

    fn body(&self, choices: Vec<CompletionChoice>, usage: Option<Option<Usage>>) -> Completion {
        Completion {
            id: self.id.clone(),
            object: CompletionObject::default(),
            created: self.created,
            model: self.model.name.clone(),
            system_fingerprint: FINGERPRINT.to_owned(),
            choices,
            usage,
        }
    }

    fn event(&self, choice: Option<CompletionChoice>, usage: Option<Option<Usage>>) -> Frame {
        Frame::new(&self.body(choice.into_iter().collect(), usage))
    }
}

impl StreamWriter for CompletionWriter {
    fn progress(&mut self, counts: TokenCounts) {
        self.so_far = counts;
    }

    fn begin(&mut self) -> Vec<Frame> {
        Vec::new()
    }

    fn delta(&mut self, index: usize, delta: Delta) -> Vec<Frame> {
        let mut choice = match delta {
            Delta::Text { text, tokens } => self.choice(index, text, &tokens, None),
            Delta::End(finish) => self.choice(index, String::new(), &[], Some(finish)),
            Delta::Ids(ids) => {
                if let Some(returned) = &mut self.ids {
                    returned.add(index, ids);
                }
                return Vec::new();
            }
            // Completion requests ask for neither calls nor embeddings, their answers are not split, and streams have no
            // log-probabilities of prompts.
            Delta::Thought { .. }
            | Delta::CallBegins { .. }
            | Delta::Arguments { .. }
            | Delta::Prompt(_)
            | Delta::Embedding(_) => return Vec::new(),
        };
        if let Some(ids) = &mut self.ids {
            choice.token_ids = Some(ids.take(index));
            choice.prompt_token_ids = ids.take_prompt(index);
        }
        vec![self.event(Some(choice), usage_before_the_end(self.usage, self.so_far))]
    }

    fn end(&mut self, counts: TokenCounts) -> Vec<Frame> {
        let last = self.usage.is_included.then(|| self.event(None, Some(Some(usage(counts)))));
        last.into_iter().chain([Frame::done()]).collect()
    }
}
