//! Answers of `POST /v1/chat/completions`, whole and in chunks.

use super::chunks::{Delta, ScoredToken};
use super::collect::WholeAnswer;
use super::logprobs::{chat_logprobs, prompt_logprobs};
use super::returned_ids::ReturnedIds;
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
    ids: Option<ReturnedIds>,
    so_far: TokenCounts,
}

impl ChatWriter {
    /// A writer of this number of answers.
    pub(crate) fn new(
        model: &Arc<Model>,
        answers: usize,
        has_logprobs: bool,
        usage: UsageOptions,
        returned: Option<ReturnedIds>,
    ) -> Self {
        let (id, created) = (ids::id("chatcmpl-"), ids::now());
        let so_far = TokenCounts::default();
        Self { model: Arc::clone(model), id, created, answers, has_logprobs, usage, ids: returned, so_far }
    }

    /// The body of whole answers.
    pub(crate) fn whole(&self, answers: Vec<WholeAnswer>, counts: TokenCounts) -> ChatCompletion {
        let scored = answers.first().and_then(|answer| answer.prompt.as_deref());
        let scored = scored.map(|tokens| prompt_logprobs(&self.model.tokenizer, tokens));
        let choice = |(index, answer): (usize, WholeAnswer)| ChatChoice {
            index,
            logprobs: self.logprobs(&answer.tokens),
            finish_reason: answer.finish,
            token_ids: self.ids.as_ref().map(|_| answer.ids.clone()),
            message: message(answer),
        };
        ChatCompletion {
            id: self.id.clone(),
            object: ChatCompletionObject::default(),
            created: self.created,
            model: self.model.name.clone(),
            system_fingerprint: FINGERPRINT.to_owned(),
            choices: answers.into_iter().enumerate().map(choice).collect(),
            prompt_token_ids: self.ids.as_ref().map(|ids| ids.prompt(0)),
            prompt_logprobs: scored,
            usage: usage(counts),
        }
    }

    fn logprobs(&self, tokens: &[ScoredToken]) -> Option<ChatLogprobs> {
        let content = || chat_logprobs(&self.model.tokenizer, tokens);
        self.has_logprobs.then(|| ChatLogprobs { content: content(), refusal: None })
    }

    fn chunk(&self, choice: Option<ChatChunkChoice>, usage: Option<Option<Usage>>) -> ChatCompletionChunk {
        ChatCompletionChunk {
            id: self.id.clone(),
            object: ChatCompletionChunkObject::default(),
            created: self.created,
            model: self.model.name.clone(),
            system_fingerprint: FINGERPRINT.to_owned(),
            choices: choice.into_iter().collect(),
            prompt_token_ids: None,
            usage,
        }
    }

    /// The chunk of one answer, with the ids that were chosen since its last one.
    fn part(&mut self, index: usize, part: Part) -> Frame {
        let logprobs = if part.tokens.is_empty() { None } else { self.logprobs(&part.tokens) };
        let token_ids = self.ids.as_mut().map(|ids| ids.take(index));
        let choice =
            ChatChunkChoice { index, delta: part.delta, logprobs, finish_reason: part.finish, token_ids };
        Frame::new(&self.chunk(Some(choice), usage_before_the_end(self.usage, self.so_far)))
    }
}

/// What a chunk says.
#[derive(Default)]
struct Part {
    delta: ChatDelta,
    tokens: Vec<ScoredToken>,
    finish: Option<FinishReason>,
}

impl Part {
    fn call(call: ToolCallDelta) -> Self {
        Self { delta: ChatDelta { tool_calls: Some(vec![call]), ..ChatDelta::default() }, ..Self::default() }
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
        let usage = usage_before_the_end(self.usage, self.so_far);
        let chunk = |index: usize| {
            let choice = ChatChunkChoice {
                index,
                delta: delta(),
                logprobs: None,
                finish_reason: None,
                token_ids: None,
            };
            let prompt_token_ids = self.ids.as_ref().filter(|_| index == 0).map(|ids| ids.prompt(0));
            Frame::new(&ChatCompletionChunk { prompt_token_ids, ..self.chunk(Some(choice), usage) })
        };
        (0..self.answers).map(chunk).collect()
    }

    fn delta(&mut self, index: usize, delta: Delta) -> Vec<Frame> {
        let part = match delta {
            Delta::Text { text, tokens } => {
                let delta = ChatDelta { content: Some(text), ..ChatDelta::default() };
                Part { delta, tokens, finish: None }
            }
            Delta::Thought { text, tokens } => {
                let delta = ChatDelta { reasoning_content: Some(text), ..ChatDelta::default() };
                Part { delta, tokens, finish: None }
            }
            Delta::CallBegins { index, id, name } => {
                let function = FunctionCallDelta { name: Some(name), arguments: String::new() };
                let kind = Some(FunctionType::default());
                Part::call(ToolCallDelta { index, id: Some(id), kind, function })
            }
            Delta::Arguments { index, text } => {
                let function = FunctionCallDelta { name: None, arguments: text };
                Part::call(ToolCallDelta { index, id: None, kind: None, function })
            }
            Delta::End(finish) => Part { finish: Some(finish), ..Part::default() },
            Delta::Ids(ids) => {
                if let Some(returned) = &mut self.ids {
                    returned.add(index, ids);
                }
                return Vec::new();
            }
            // Chat requests do not ask for embeddings, and streams have no log-probabilities of prompts.
            Delta::Embedding(_) | Delta::Prompt(_) => return Vec::new(),
        };
        vec![self.part(index, part)]
    }

    fn end(&mut self, counts: TokenCounts) -> Vec<Frame> {
        let last = self.usage.is_included.then(|| Frame::new(&self.chunk(None, Some(Some(usage(counts))))));
        last.into_iter().chain([Frame::done()]).collect()
    }
}
