//! Answers of `POST /v1/chat/completions`, whole and in chunks.

use super::chunks::{Delta, ScoredToken};
use super::collect::WholeAnswer;
use super::logprobs::chat_logprobs;
use super::running::TokenCounts;
use super::shared::{FINGERPRINT, usage, usage_before_the_end};
use super::stream::{Frame, StreamWriter};
use crate::ids;
use crate::model::Model;
use crate::valid::UsageOptions;
use openai::FinishReason;
use openai::chat::{
    AssistantMessage, AssistantRole, ChatChoice, ChatChunkChoice, ChatCompletion, ChatCompletionChunk,
    ChatCompletionChunkObject, ChatCompletionObject, Delta as ChatDelta,
};
use openai::logprobs::ChatLogprobs;
use openai::tool::{FunctionCallDelta, FunctionType, ToolCallDelta};
use openai::usage::Usage;
use std::sync::Arc;

/// Writes the answers of one request.
pub(crate) struct ChatWriter {
    model: Arc<Model>,
    id: String,
    created: u64,
    answers: usize,
    has_logprobs: bool,
    usage: UsageOptions,
    so_far: TokenCounts,
}

impl ChatWriter {
    /// A writer of this number of answers.
    pub(crate) fn new(model: &Arc<Model>, answers: usize, has_logprobs: bool, usage: UsageOptions) -> Self {
        let (id, created) = (ids::id("chatcmpl-"), ids::now());
        let so_far = TokenCounts::default();
        Self { model: Arc::clone(model), id, created, answers, has_logprobs, usage, so_far }
    }

    /// The body of whole answers.
    pub(crate) fn whole(&self, answers: Vec<WholeAnswer>, counts: TokenCounts) -> ChatCompletion {
        let choice = |(index, answer): (usize, WholeAnswer)| ChatChoice {
            index,
            logprobs: self.logprobs(&answer.tokens),
            finish_reason: answer.finish,
            message: message(answer),
        };
        ChatCompletion {
            id: self.id.clone(),
            object: ChatCompletionObject::default(),
            created: self.created,
            model: self.model.name.clone(),
            system_fingerprint: FINGERPRINT.to_owned(),
            choices: answers.into_iter().enumerate().map(choice).collect(),
            usage: usage(counts),
        }
    }

    fn logprobs(&self, tokens: &[ScoredToken]) -> Option<ChatLogprobs> {
        let content = || chat_logprobs(&self.model.tokenizer, tokens);
        self.has_logprobs.then(|| ChatLogprobs { content: content(), refusal: None })
    }

    fn chunk(&self, choice: Option<ChatChunkChoice>, usage: Option<Option<Usage>>) -> Frame {
        Frame::new(&ChatCompletionChunk {
            id: self.id.clone(),
            object: ChatCompletionChunkObject::default(),
            created: self.created,
            model: self.model.name.clone(),
            system_fingerprint: FINGERPRINT.to_owned(),
            choices: choice.into_iter().collect(),
            usage,
        })
    }

    fn choice(&self, index: usize, delta: ChatDelta) -> Frame {
        self.chunk(
            Some(ChatChunkChoice { index, delta, logprobs: None, finish_reason: None }),
            usage_before_the_end(self.usage, self.so_far),
        )
    }

    fn text(&self, index: usize, delta: ChatDelta, tokens: &[ScoredToken]) -> Frame {
        let logprobs = if tokens.is_empty() { None } else { self.logprobs(tokens) };
        self.chunk(
            Some(ChatChunkChoice { index, delta, logprobs, finish_reason: None }),
            usage_before_the_end(self.usage, self.so_far),
        )
    }

    fn call(&self, index: usize, call: ToolCallDelta) -> Frame {
        self.choice(index, ChatDelta { tool_calls: Some(vec![call]), ..ChatDelta::default() })
    }

    fn finish(&self, index: usize, finish: FinishReason) -> Frame {
        let delta = ChatDelta::default();
        let choice = ChatChunkChoice { index, delta, logprobs: None, finish_reason: Some(finish) };
        self.chunk(Some(choice), usage_before_the_end(self.usage, self.so_far))
    }
}

fn message(answer: WholeAnswer) -> AssistantMessage {
    let has_calls = !answer.calls.is_empty();
    AssistantMessage {
        role: AssistantRole::default(),
        content: (!answer.text.is_empty() || !has_calls).then_some(answer.text),
        reasoning_content: (!answer.thoughts.is_empty()).then_some(answer.thoughts),
        refusal: None,
        tool_calls: has_calls.then_some(answer.calls),
    }
}

impl StreamWriter for ChatWriter {
    fn progress(&mut self, counts: TokenCounts) {
        self.so_far = counts;
    }

    fn begin(&mut self) -> Vec<Frame> {
        let delta = || ChatDelta {
            role: Some(AssistantRole::default()),
            content: Some(String::new()),
            ..ChatDelta::default()
        };
        (0..self.answers).map(|index| self.choice(index, delta())).collect()
    }

    fn delta(&mut self, index: usize, delta: Delta) -> Vec<Frame> {
        let frame = match delta {
            Delta::Text { text, tokens } => {
                self.text(index, ChatDelta { content: Some(text), ..ChatDelta::default() }, &tokens)
            }
            Delta::Thought { text, tokens } => {
                self.text(index, ChatDelta { reasoning_content: Some(text), ..ChatDelta::default() }, &tokens)
            }
            Delta::CallBegins { index: call, id, name } => {
                let function = FunctionCallDelta { name: Some(name), arguments: String::new() };
                let kind = Some(FunctionType::default());
                self.call(index, ToolCallDelta { index: call, id: Some(id), kind, function })
            }
            Delta::Arguments { index: call, text } => {
                let function = FunctionCallDelta { name: None, arguments: text };
                self.call(index, ToolCallDelta { index: call, id: None, kind: None, function })
            }
            Delta::End(finish) => self.finish(index, finish),
            // Chat requests do not ask for embeddings.
            Delta::Embedding(_) => return Vec::new(),
        };
        vec![frame]
    }

    fn end(&mut self, counts: TokenCounts) -> Vec<Frame> {
        let last = self.usage.is_included.then(|| self.chunk(None, Some(Some(usage(counts)))));
        last.into_iter().chain([Frame::done()]).collect()
    }
}
