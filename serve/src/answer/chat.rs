//! Answers of `POST /v1/chat/completions`, whole and in chunks.

use super::{Call, Collected, Frame, Part, ScoredToken, Usage, Writer, chat_logprobs};
use crate::model::Model;
use crate::{identity, server};
use serde_json::{Value, json};
use std::sync::Arc;

/// What all bodies of one answer share, and how much of it was asked for.
pub(crate) struct ChatAnswer {
    model: Arc<Model>,
    id: String,
    created: u64,
    answers: usize,
    logprobs: bool,
    include_usage: bool,
}

impl ChatAnswer {
    pub(crate) fn new(model: &Arc<Model>, answers: usize, logprobs: bool, include_usage: bool) -> Self {
        let (id, created) = (identity::id("chatcmpl-"), identity::now());
        Self { model: Arc::clone(model), id, created, answers, logprobs, include_usage }
    }

    /// The whole body.
    pub(crate) fn whole(&self, answers: &[Collected], usage: Usage) -> Value {
        let choice = |(index, answer): (usize, &Collected)| {
            json!({
                "index": index,
                "message": message(answer),
                "logprobs": self.logprobs(&answer.tokens),
                "finish_reason": answer.finish,
            })
        };
        let choices: Vec<Value> = answers.iter().enumerate().map(choice).collect();
        let mut body = self.body("chat.completion", &choices);
        body["usage"] = usage.to_json();
        body
    }

    fn logprobs(&self, tokens: &[ScoredToken]) -> Value {
        match self.logprobs {
            true => json!({"content": chat_logprobs(&self.model.tokenizer, tokens), "refusal": null}),
            false => Value::Null,
        }
    }

    fn body(&self, object: &str, choices: &[Value]) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model.name,
            "system_fingerprint": server::FINGERPRINT,
            "choices": choices,
        })
    }

    fn chunk(&self, choices: &[Value], usage: Option<Usage>) -> Frame {
        let mut body = self.body("chat.completion.chunk", choices);
        if self.include_usage {
            body["usage"] = usage.map_or(Value::Null, Usage::to_json);
        }
        Frame::new(&body)
    }

    fn delta(&self, index: usize, delta: &Value, tokens: &[ScoredToken], finish: Option<&str>) -> Frame {
        let logprobs = if tokens.is_empty() { Value::Null } else { self.logprobs(tokens) };
        let choice = json!({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish});
        self.chunk(&[choice], None)
    }
}

fn message(answer: &Collected) -> Value {
    let silent = answer.text.is_empty() && !answer.calls.is_empty();
    let content = if silent { Value::Null } else { answer.text.as_str().into() };
    let mut message = json!({"role": "assistant", "content": content, "refusal": null});
    if !answer.calls.is_empty() {
        let call = |call: &Call| {
            let function = json!({"name": call.name, "arguments": call.arguments});
            json!({"id": call.id, "type": "function", "function": function})
        };
        message["tool_calls"] = answer.calls.iter().map(call).collect();
    }
    message
}

impl Writer for ChatAnswer {
    fn begin(&mut self) -> Vec<Frame> {
        let first = |index| self.delta(index, &json!({"role": "assistant", "content": ""}), &[], None);
        (0..self.answers).map(first).collect()
    }

    fn part(&mut self, index: usize, part: Part) -> Vec<Frame> {
        let frame = match part {
            Part::Text { text, tokens } => self.delta(index, &json!({"content": text}), &tokens, None),
            Part::CallBegins { index: call, id, name } => {
                let function = json!({"name": name, "arguments": ""});
                let call = json!({"index": call, "id": id, "type": "function", "function": function});
                self.delta(index, &json!({"tool_calls": [call]}), &[], None)
            }
            Part::Arguments { index: call, text } => {
                let call = json!({"index": call, "function": {"arguments": text}});
                self.delta(index, &json!({"tool_calls": [call]}), &[], None)
            }
            Part::End(end) => self.delta(index, &json!({}), &[], Some(end.finish)),
            // Chats ask for none.
            Part::Embedding(_) => return Vec::new(),
        };
        vec![frame]
    }

    fn end(&mut self, usage: Usage) -> Vec<Frame> {
        let last = self.include_usage.then(|| self.chunk(&[], Some(usage)));
        last.into_iter().chain([Frame::done()]).collect()
    }
}
