//! A response as it grows: items of output, and the typed events that tell of them.

use crate::answer::{End, Frame, Part, ScoredToken, Usage, Writer, chat_logprobs};
use crate::error::ApiError;
use crate::identity;
use crate::model::Model;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A response in the making.
pub(crate) struct ResponseAnswer {
    model: Arc<Model>,
    id: String,
    created: u64,
    echoed: Map<String, Value>,
    logprobs: bool,
    /// Items that are complete.
    output: Vec<Value>,
    open: Option<Item>,
    sequence: u64,
    finish: Option<&'static str>,
}

/// The item that is being written.
enum Item {
    Message { id: String, text: String, logprobs: Vec<Value> },
    Call { id: String, call_id: String, name: String, arguments: String },
}

impl Item {
    fn id(&self) -> &str {
        match self {
            Self::Message { id, .. } | Self::Call { id, .. } => id,
        }
    }

    fn to_json(&self, status: &str) -> Value {
        match self {
            Self::Message { id, text, logprobs } => {
                let content = if status == "in_progress" { vec![] } else { vec![part(text, logprobs)] };
                json!({
                    "id": id, "type": "message", "role": "assistant", "status": status, "content": content,
                })
            }
            Self::Call { id, call_id, name, arguments } => json!({
                "id": id, "type": "function_call", "status": status,
                "call_id": call_id, "name": name, "arguments": arguments,
            }),
        }
    }
}

fn part(text: &str, logprobs: &[Value]) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs})
}

impl ResponseAnswer {
    /// A response of which nothing is known yet but what the request said.
    pub(crate) fn new(model: &Arc<Model>, echoed: Map<String, Value>, logprobs: bool) -> Self {
        Self {
            model: Arc::clone(model),
            id: identity::id("resp_"),
            created: identity::now(),
            echoed,
            logprobs,
            output: Vec::new(),
            open: None,
            sequence: 0,
            finish: None,
        }
    }

    /// The whole body, once every part was taken.
    pub(crate) fn whole(&self, usage: Usage) -> Value {
        self.body(self.status(), Some(usage))
    }

    fn status(&self) -> &'static str {
        if self.finish == Some("length") { "incomplete" } else { "completed" }
    }

    fn body(&self, status: &str, usage: Option<Usage>) -> Value {
        let reason = (status == "incomplete").then(|| json!({"reason": "max_output_tokens"}));
        let done = usage.is_some() && status == "completed";
        let mut body = json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "completed_at": done.then(identity::now),
            "status": status,
            "background": false,
            "error": null,
            "incomplete_details": reason,
            "max_tool_calls": null,
            "model": self.model.name,
            "output": self.output,
            "previous_response_id": null,
            "reasoning": {"effort": null, "summary": null},
            "service_tier": "default",
            "store": false,
            "truncation": "disabled",
        });
        if let Some(usage) = usage {
            body["usage"] = spelled(usage);
        }
        for (field, value) in &self.echoed {
            body[field] = value.clone();
        }
        body
    }

    fn event(&mut self, name: &'static str, mut body: Value) -> Frame {
        body["type"] = name.into();
        body["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        Frame { event: Some(name), data: body.to_string() }
    }

    fn place(&self, item: &Item) -> Value {
        json!({"item_id": item.id(), "output_index": self.output.len()})
    }

    /// Begins an item, after ending the one before.
    fn begin_item(&mut self, item: Item, frames: &mut Vec<Frame>) {
        self.end_item("completed", frames);
        let body = json!({"output_index": self.output.len(), "item": item.to_json("in_progress")});
        frames.push(self.event("response.output_item.added", body));
        if let Item::Message { .. } = item {
            let mut body = self.place(&item);
            body["content_index"] = 0.into();
            body["part"] = part("", &[]);
            frames.push(self.event("response.content_part.added", body));
        }
        self.open = Some(item);
    }

    fn end_item(&mut self, status: &str, frames: &mut Vec<Frame>) {
        let Some(item) = self.open.take() else { return };
        let mut body = self.place(&item);
        match &item {
            Item::Message { text, logprobs, .. } => {
                body["content_index"] = 0.into();
                let mut whole = body.clone();
                whole["text"] = text.as_str().into();
                whole["logprobs"] = logprobs.clone().into();
                frames.push(self.event("response.output_text.done", whole));
                body["part"] = part(text, logprobs);
                frames.push(self.event("response.content_part.done", body));
            }
            Item::Call { name, arguments, .. } => {
                body["name"] = name.as_str().into();
                body["arguments"] = arguments.as_str().into();
                frames.push(self.event("response.function_call_arguments.done", body));
            }
        }
        let item = item.to_json(status);
        let body = json!({"output_index": self.output.len(), "item": item});
        frames.push(self.event("response.output_item.done", body));
        self.output.push(item);
    }

    fn text(&mut self, more: &str, tokens: &[ScoredToken], frames: &mut Vec<Frame>) {
        if !matches!(self.open, Some(Item::Message { .. })) {
            if more.is_empty() {
                // Tokens of a call: an item of output has no place for them.
                return;
            }
            let id = identity::id("msg_");
            self.begin_item(Item::Message { id, text: String::new(), logprobs: Vec::new() }, frames);
        }
        let scored = if self.logprobs { chat_logprobs(&self.model.tokenizer, tokens) } else { Vec::new() };
        let Some(mut item) = self.open.take() else { return };
        if let Item::Message { text, logprobs, .. } = &mut item {
            text.push_str(more);
            logprobs.extend(scored.iter().cloned());
        }
        let mut body = self.place(&item);
        body["content_index"] = 0.into();
        body["delta"] = more.into();
        body["logprobs"] = scored.into();
        frames.push(self.event("response.output_text.delta", body));
        self.open = Some(item);
    }

    fn arguments(&mut self, more: &str, frames: &mut Vec<Frame>) {
        let Some(mut item) = self.open.take() else { return };
        if let Item::Call { arguments, .. } = &mut item {
            arguments.push_str(more);
            let mut body = self.place(&item);
            body["delta"] = more.into();
            frames.push(self.event("response.function_call_arguments.delta", body));
        }
        self.open = Some(item);
    }

    fn finish(&mut self, end: End, frames: &mut Vec<Frame>) {
        if self.open.is_none() && self.output.is_empty() {
            // An answer of no words is still an answer.
            let id = identity::id("msg_");
            self.begin_item(Item::Message { id, text: String::new(), logprobs: Vec::new() }, frames);
        }
        self.finish = Some(end.finish);
        let status = self.status();
        self.end_item(status, frames);
    }
}

/// Token counts as this endpoint spells them.
fn spelled(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    })
}

impl Writer for ResponseAnswer {
    fn begin(&mut self) -> Vec<Frame> {
        let created = json!({"response": self.body("in_progress", None)});
        vec![self.event("response.created", created.clone()), self.event("response.in_progress", created)]
    }

    fn part(&mut self, _: usize, part: Part) -> Vec<Frame> {
        let mut frames = Vec::new();
        match part {
            Part::Text { text, tokens } => self.text(&text, &tokens, &mut frames),
            Part::CallBegins { id: call_id, name, .. } => {
                let (id, arguments) = (identity::id("fc_"), String::new());
                self.begin_item(Item::Call { id, call_id, name, arguments }, &mut frames);
            }
            Part::Arguments { text, .. } => self.arguments(&text, &mut frames),
            Part::End(end) => self.finish(end, &mut frames),
            // Responses ask for none.
            Part::Embedding(_) => {}
        }
        frames
    }

    fn end(&mut self, usage: Usage) -> Vec<Frame> {
        let body = json!({"response": self.whole(usage)});
        let incomplete = self.status() == "incomplete";
        let name = if incomplete { "response.incomplete" } else { "response.completed" };
        vec![self.event(name, body)]
    }

    fn failed(&mut self, error: &ApiError) -> Vec<Frame> {
        let mut response = self.body("failed", None);
        // The interface has no better word for a constraint that cannot be met.
        let code = if error.status.is_client_error() { "invalid_prompt" } else { "server_error" };
        response["error"] = json!({"code": code, "message": error.message});
        vec![self.event("response.failed", json!({"response": response}))]
    }
}
