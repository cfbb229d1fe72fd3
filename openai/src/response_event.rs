//! The events of a streamed response.

use crate::logprobs::TokenLogprob;
use crate::response::{OutputItem, OutputText, Response};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

/// An event of a streamed response.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ResponseEvent {
    /// What happened.
    #[serde(flatten)]
    pub detail: EventDetail,
    /// The event's name.
    #[serde(rename = "type")]
    #[schemars(with = "String")]
    pub kind: EventKind,
    /// The event's number in its stream, from 0.
    pub sequence_number: u64,
}

/// The names of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// `response.created`.
    Created,
    /// `response.in_progress`.
    InProgress,
    /// `response.completed`.
    Completed,
    /// `response.incomplete`.
    Incomplete,
    /// `response.failed`.
    Failed,
    /// `response.output_item.added`.
    ItemAdded,
    /// `response.output_item.done`.
    ItemDone,
    /// `response.content_part.added`.
    PartAdded,
    /// `response.content_part.done`.
    PartDone,
    /// `response.output_text.delta`.
    TextDelta,
    /// `response.output_text.done`.
    TextDone,
    /// `response.reasoning_text.delta`.
    ReasoningDelta,
    /// `response.reasoning_text.done`.
    ReasoningDone,
    /// `response.function_call_arguments.delta`.
    ArgumentsDelta,
    /// `response.function_call_arguments.done`.
    ArgumentsDone,
}

impl EventKind {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "response.created",
            Self::InProgress => "response.in_progress",
            Self::Completed => "response.completed",
            Self::Incomplete => "response.incomplete",
            Self::Failed => "response.failed",
            Self::ItemAdded => "response.output_item.added",
            Self::ItemDone => "response.output_item.done",
            Self::PartAdded => "response.content_part.added",
            Self::PartDone => "response.content_part.done",
            Self::TextDelta => "response.output_text.delta",
            Self::TextDone => "response.output_text.done",
            Self::ReasoningDelta => "response.reasoning_text.delta",
            Self::ReasoningDone => "response.reasoning_text.done",
            Self::ArgumentsDelta => "response.function_call_arguments.delta",
            Self::ArgumentsDone => "response.function_call_arguments.done",
        }
    }
}

impl Serialize for EventKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum EventDetail {
    /// The response has another status.
    Response {
        /// The response as it is now.
        response: Box<Response>,
    },
    /// An item begins or ends.
    Item {
        /// Which item of the output, from 0.
        output_index: usize,
        /// The item as it is now.
        item: OutputItem,
    },
    /// The text of a message grows.
    TextDelta {
        /// Where.
        #[serde(flatten)]
        place: ContentPlace,
        /// The next part of the text.
        delta: String,
        /// Log-probabilities of the new tokens, if the request asked for them.
        logprobs: Vec<TokenLogprob>,
    },
    /// The text of a message is whole.
    TextDone {
        /// Where.
        #[serde(flatten)]
        place: ContentPlace,
        /// The text.
        text: String,
        /// Log-probabilities, if the request asked for them.
        logprobs: Vec<TokenLogprob>,
    },
    /// The text of reasoning grows.
    ReasoningDelta {
        /// Where.
        #[serde(flatten)]
        place: ContentPlace,
        /// The next part of the text.
        delta: String,
    },
    /// The text of reasoning is whole.
    ReasoningDone {
        /// Where.
        #[serde(flatten)]
        place: ContentPlace,
        /// The text.
        text: String,
    },
    /// The content of a message begins or ends.
    Part {
        /// Where.
        #[serde(flatten)]
        place: ContentPlace,
        /// The content as it is now.
        part: OutputText,
    },
    /// The arguments of a call grow.
    ArgumentsDelta {
        /// Where.
        #[serde(flatten)]
        place: ItemPlace,
        /// The next part of the arguments.
        delta: String,
    },
    /// The arguments of a call are whole.
    ArgumentsDone {
        /// Where.
        #[serde(flatten)]
        place: ItemPlace,
        /// The function's name.
        name: String,
        /// The arguments.
        arguments: String,
    },
}

/// An item of the output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ItemPlace {
    /// The item's id.
    pub item_id: String,
    /// Which item of the output, from 0.
    pub output_index: usize,
}

/// The content of an item of the output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ContentPlace {
    /// The item.
    #[serde(flatten)]
    pub item: ItemPlace,
    /// Always 0: a message has one text.
    pub content_index: usize,
}
