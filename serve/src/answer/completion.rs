//! Answers of `POST /v1/completions`, whole and in chunks.

use super::tokens::completion_logprobs;
use super::{Collected, Frame, Part, ScoredToken, Usage, Writer};
use crate::model::Model;
use crate::{identity, server};
use serde_json::{Value, json};
use std::sync::Arc;

/// What all bodies of one answer share, and how much of it was asked for.
pub(crate) struct CompletionAnswer {
    model: Arc<Model>,
    id: String,
    created: u64,
    logprobs: bool,
    include_usage: bool,
}

impl CompletionAnswer {
    pub(crate) fn new(model: &Arc<Model>, logprobs: bool, include_usage: bool) -> Self {
        let (id, created) = (identity::id("cmpl-"), identity::now());
        Self { model: Arc::clone(model), id, created, logprobs, include_usage }
    }

    /// The whole body.
    pub(crate) fn whole(&self, answers: &[Collected], usage: Usage) -> Value {
        let choice = |(index, answer): (usize, &Collected)| {
            self.choice(index, &answer.text, &answer.tokens, Some(answer.finish))
        };
        let choices: Vec<Value> = answers.iter().enumerate().map(choice).collect();
        let mut body = self.body(&choices);
        body["usage"] = usage.to_json();
        body
    }

    fn choice(&self, index: usize, text: &str, tokens: &[ScoredToken], finish: Option<&str>) -> Value {
        let logprobs = match self.logprobs {
            true => completion_logprobs(&self.model.tokenizer, tokens),
            false => Value::Null,
        };
        json!({"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish})
    }

    fn body(&self, choices: &[Value]) -> Value {
        json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model.name,
            "system_fingerprint": server::FINGERPRINT,
            "choices": choices,
        })
    }

    fn chunk(&self, choices: &[Value], usage: Option<Usage>) -> Frame {
        let mut body = self.body(choices);
        if self.include_usage {
            body["usage"] = usage.map_or(Value::Null, Usage::to_json);
        }
        Frame::new(&body)
    }
}

impl Writer for CompletionAnswer {
    fn begin(&mut self) -> Vec<Frame> {
        Vec::new()
    }

    fn part(&mut self, index: usize, part: Part) -> Vec<Frame> {
        let choice = match part {
            Part::Text { text, tokens } => self.choice(index, &text, &tokens, None),
            Part::End(end) => self.choice(index, "", &[], Some(end.finish)),
            // Raw completions have neither.
            Part::CallBegins { .. } | Part::Arguments { .. } | Part::Embedding(_) => return Vec::new(),
        };
        vec![self.chunk(&[choice], None)]
    }

    fn end(&mut self, usage: Usage) -> Vec<Frame> {
        let last = self.include_usage.then(|| self.chunk(&[], Some(usage)));
        last.into_iter().chain([Frame::done()]).collect()
    }
}
