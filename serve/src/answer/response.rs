//! Answers of `POST /v1/responses`, whole and as typed events. The whole answer is the last state of the streamed one.

use super::chunks::{Delta, ScoredToken};
use super::logprobs::chat_logprobs;
use super::running::TokenCounts;
use super::stream::{Frame, StreamWriter};
use crate::error::ApiError;
use crate::ids;
use crate::model::Model;
use crate::stored_responses::StoredResponses;
use crate::valid::add_call;
use checkpoint::Message;
use openai::FinishReason;
use openai::chat::AssistantRole;
use openai::response::{
    DefaultTier, DisabledTruncation, FunctionCallType, IncompleteDetails, InputTokensDetails, MessageType,
    OutputCall, OutputItem, OutputMessage, OutputReasoning, OutputText, OutputTokensDetails, Reasoning,
    ReasoningText, ReasoningType, RequestEcho, Response, ResponseError, ResponseObject, ResponseUsage,
    Status,
};
use openai::response_event::{ContentPlace, EventDetail, EventKind, ItemPlace, ResponseEvent};
use serde_json::json;
use std::sync::Arc;

/// Writes the answer of one request.
pub(crate) struct ResponseWriter {
    model: Arc<Model>,
    id: String,
    created: u64,
    echo: RequestEcho,
    has_logprobs: bool,
    /// Items that are complete.
    output: Vec<OutputItem>,
    open: Option<OpenItem>,
    sequence: u64,
    finish: Option<FinishReason>,
    /// Where the conversation is stored when the answer has ended.
    storage: Option<ResponseStorage>,
}

/// A place for the conversation that an answer continues.
pub(crate) struct ResponseStorage {
    pub(crate) responses: Arc<StoredResponses>,
    /// The API key that may continue it.
    pub(crate) owner: u64,
    /// The messages before the answer.
    pub(crate) messages: Vec<Message>,
}

/// The item that is being written.
enum OpenItem {
    Message { id: String, text: OutputText },
    Call { id: String, call_id: String, name: String, arguments: String },
    Reasoning { id: String, text: String },
}

impl OpenItem {
    fn message() -> Self {
        Self::Message { id: ids::id("msg_"), text: OutputText::default() }
    }

    fn id(&self) -> &str {
        match self {
            Self::Message { id, .. } | Self::Call { id, .. } | Self::Reasoning { id, .. } => id,
        }
    }

    fn to_output(&self, status: Status) -> OutputItem {
        match self {
            Self::Message { id, text } => OutputItem::Message(OutputMessage {
                id: id.clone(),
                kind: MessageType::default(),
                role: AssistantRole::default(),
                status,
                content: if status == Status::InProgress { Vec::new() } else { vec![text.clone()] },
            }),
            Self::Call { id, call_id, name, arguments } => OutputItem::Call(OutputCall {
                id: id.clone(),
                kind: FunctionCallType::default(),
                status,
                call_id: call_id.clone(),
                name: name.clone(),
                arguments: arguments.clone(),
            }),
            Self::Reasoning { id, text } => {
                let whole = ReasoningText { text: text.clone(), ..ReasoningText::default() };
                OutputItem::Reasoning(OutputReasoning {
                    id: id.clone(),
                    kind: ReasoningType::default(),
                    status,
                    summary: Vec::new(),
                    content: if status == Status::InProgress { Vec::new() } else { vec![whole] },
                })
            }
        }
    }
}

impl ResponseWriter {
    /// A writer of an answer that has not begun.
    pub(crate) fn new(
        model: &Arc<Model>,
        echo: RequestEcho,
        has_logprobs: bool,
        storage: Option<ResponseStorage>,
    ) -> Self {
        Self {
            model: Arc::clone(model),
            id: ids::id("resp_"),
            created: ids::now(),
            echo,
            has_logprobs,
            output: Vec::new(),
            open: None,
            sequence: 0,
            finish: None,
            storage,
        }
    }

    /// The body of the whole answer, after its last delta. The conversation is stored then.
    pub(crate) fn whole(&mut self, counts: TokenCounts) -> Response {
        self.store();
        self.body(self.status(), Some(counts))
    }

    /// Stores the conversation with the answer; thoughts are left out, as in a request.
    fn store(&mut self) {
        let Some(ResponseStorage { responses, owner, mut messages }) = self.storage.take() else { return };
        for item in &self.output {
            match item {
                OutputItem::Message(message) => {
                    let text = message.content.iter().map(|part| part.text.as_str()).collect::<String>();
                    messages.push(Message::new("assistant", text));
                }
                OutputItem::Call(call) => {
                    let function = json!({"name": call.name, "arguments": call.arguments});
                    add_call(
                        &mut messages,
                        json!({"id": call.call_id, "type": "function", "function": function}),
                    );
                }
                OutputItem::Reasoning(_) => {}
            }
        }
        responses.add(self.id.clone(), owner, messages);
    }

    fn status(&self) -> Status {
        if self.finish == Some(FinishReason::Length) { Status::Incomplete } else { Status::Completed }
    }

    fn body(&self, status: Status, counts: Option<TokenCounts>) -> Response {
        let is_complete = counts.is_some() && status == Status::Completed;
        Response {
            id: self.id.clone(),
            object: ResponseObject::default(),
            created_at: self.created,
            completed_at: is_complete.then(ids::now),
            status,
            background: false,
            error: None,
            incomplete_details: (status == Status::Incomplete).then(IncompleteDetails::default),
            max_tool_calls: None,
            model: self.model.name.clone(),
            output: self.output.clone(),
            reasoning: Reasoning::default(),
            service_tier: DefaultTier::default(),
            truncation: DisabledTruncation::default(),
            usage: counts.map(usage),
            echo: self.echo.clone(),
        }
    }

    fn event(&mut self, kind: EventKind, detail: EventDetail) -> Frame {
        let event = ResponseEvent { detail, kind, sequence_number: self.sequence };
        self.sequence += 1;
        Frame::named(kind.name(), &event)
    }

    fn item_place(&self, item: &OpenItem) -> ItemPlace {
        ItemPlace { item_id: item.id().to_owned(), output_index: self.output.len() }
    }

    fn content_place(&self, item: &OpenItem) -> ContentPlace {
        ContentPlace { item: self.item_place(item), content_index: 0 }
    }

    /// Begins an item, after ending the one before.
    fn begin_item(&mut self, item: OpenItem, frames: &mut Vec<Frame>) {
        self.end_item(Status::Completed, frames);
        let (output_index, output) = (self.output.len(), item.to_output(Status::InProgress));
        frames.push(self.event(EventKind::ItemAdded, EventDetail::Item { output_index, item: output }));
        if let OpenItem::Message { .. } = item {
            let (place, part) = (self.content_place(&item), OutputText::default());
            frames.push(self.event(EventKind::PartAdded, EventDetail::Part { place, part }));
        }
        self.open = Some(item);
    }

    fn end_item(&mut self, status: Status, frames: &mut Vec<Frame>) {
        let Some(item) = self.open.take() else { return };
        match &item {
            OpenItem::Message { text: part, .. } => {
                let (place, part) = (self.content_place(&item), part.clone());
                let (text, logprobs) = (part.text.clone(), part.logprobs.clone());
                let done = EventDetail::TextDone { place: place.clone(), text, logprobs };
                frames.push(self.event(EventKind::TextDone, done));
                frames.push(self.event(EventKind::PartDone, EventDetail::Part { place, part }));
            }
            OpenItem::Call { name, arguments, .. } => {
                let (place, name, arguments) = (self.item_place(&item), name.clone(), arguments.clone());
                let done = EventDetail::ArgumentsDone { place, name, arguments };
                frames.push(self.event(EventKind::ArgumentsDone, done));
            }
            OpenItem::Reasoning { text, .. } => {
                let (place, text) = (self.content_place(&item), text.clone());
                frames.push(self.event(EventKind::ReasoningDone, EventDetail::ReasoningDone { place, text }));
            }
        }
        let (output_index, item) = (self.output.len(), item.to_output(status));
        frames.push(self.event(EventKind::ItemDone, EventDetail::Item { output_index, item: item.clone() }));
        self.output.push(item);
    }

    fn text(&mut self, more: String, tokens: &[ScoredToken], frames: &mut Vec<Frame>) {
        if !matches!(self.open, Some(OpenItem::Message { .. })) {
            if more.is_empty() {
                // Tokens of a call: items of calls have no log-probabilities.
                return;
            }
            self.begin_item(OpenItem::message(), frames);
        }
        let logprobs =
            if self.has_logprobs { chat_logprobs(&self.model.tokenizer, tokens) } else { Vec::new() };
        let Some(mut item) = self.open.take() else { return };
        if let OpenItem::Message { text, .. } = &mut item {
            text.text.push_str(&more);
            text.logprobs.extend(logprobs.iter().cloned());
        }
        let place = self.content_place(&item);
        frames
            .push(self.event(EventKind::TextDelta, EventDetail::TextDelta { place, delta: more, logprobs }));
        self.open = Some(item);
    }

    fn thought(&mut self, more: String, frames: &mut Vec<Frame>) {
        if !matches!(self.open, Some(OpenItem::Reasoning { .. })) {
            self.begin_item(OpenItem::Reasoning { id: ids::id("rs_"), text: String::new() }, frames);
        }
        let Some(mut item) = self.open.take() else { return };
        if let OpenItem::Reasoning { text, .. } = &mut item {
            text.push_str(&more);
        }
        let place = self.content_place(&item);
        frames
            .push(self.event(EventKind::ReasoningDelta, EventDetail::ReasoningDelta { place, delta: more }));
        self.open = Some(item);
    }

    fn arguments(&mut self, more: String, frames: &mut Vec<Frame>) {
        let Some(mut item) = self.open.take() else { return };
        if let OpenItem::Call { arguments, .. } = &mut item {
            arguments.push_str(&more);
            let place = self.item_place(&item);
            frames.push(
                self.event(EventKind::ArgumentsDelta, EventDetail::ArgumentsDelta { place, delta: more }),
            );
        }
        self.open = Some(item);
    }

    fn finish(&mut self, finish: FinishReason, frames: &mut Vec<Frame>) {
        let only_thought = matches!(self.open, None | Some(OpenItem::Reasoning { .. }))
            && !self.output.iter().any(|item| !matches!(item, OutputItem::Reasoning(_)));
        if only_thought {
            // An answer without text still has a message.
            self.begin_item(OpenItem::message(), frames);
        }
        self.finish = Some(finish);
        let status = self.status();
        self.end_item(status, frames);
    }
}

/// Token counts as this endpoint spells them.
fn usage(counts: TokenCounts) -> ResponseUsage {
    ResponseUsage {
        input_tokens: counts.prompt,
        input_tokens_details: InputTokensDetails { cached_tokens: counts.cached, cache_write_tokens: 0 },
        output_tokens: counts.completion,
        output_tokens_details: OutputTokensDetails::default(),
        total_tokens: counts.prompt + counts.completion,
    }
}

impl StreamWriter for ResponseWriter {
    fn begin(&mut self) -> Vec<Frame> {
        let response = Box::new(self.body(Status::InProgress, None));
        let created = EventDetail::Response { response };
        vec![self.event(EventKind::Created, created.clone()), self.event(EventKind::InProgress, created)]
    }

    fn delta(&mut self, _: usize, delta: Delta) -> Vec<Frame> {
        let mut frames = Vec::new();
        match delta {
            Delta::Text { text, tokens } => self.text(text, &tokens, &mut frames),
            Delta::Thought { text, .. } => self.thought(text, &mut frames),
            Delta::CallBegins { id: call_id, name, .. } => {
                let (id, arguments) = (ids::id("fc_"), String::new());
                self.begin_item(OpenItem::Call { id, call_id, name, arguments }, &mut frames);
            }
            Delta::Arguments { text, .. } => self.arguments(text, &mut frames),
            Delta::End(finish) => self.finish(finish, &mut frames),
            // Response requests do not ask for embeddings.
            Delta::Embedding(_) | Delta::Ids(_) | Delta::Prompt(_) => {}
        }
        frames
    }

    fn end(&mut self, counts: TokenCounts) -> Vec<Frame> {
        let response = Box::new(self.whole(counts));
        let kind = match self.status() {
            Status::Incomplete => EventKind::Incomplete,
            _ => EventKind::Completed,
        };
        vec![self.event(kind, EventDetail::Response { response })]
    }

    fn failed(&mut self, error: &ApiError) -> Vec<Frame> {
        // The interface has no code for a constraint that cannot be met; `invalid_prompt` is the closest.
        let code = if error.status.is_client_error() { "invalid_prompt" } else { "server_error" };
        let error = ResponseError { code: code.to_owned(), message: error.message.clone() };
        let response = Response { error: Some(error), ..self.body(Status::Failed, None) };
        vec![self.event(EventKind::Failed, EventDetail::Response { response: Box::new(response) })]
    }
}
