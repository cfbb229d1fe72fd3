//! The common layouts of rows, recognized from a file's first row and converted to [`Row`].

use crate::options::{ColumnRole, NamedColumn, missing, rename};
use crate::row::{Message, Row, TextRow};
use crate::weight::weight;
use message::{Object, chat, messages, system, text};
use serde_json::Value;

mod message;
mod pair;
mod preference;
mod role;
mod transcript;
mod tree;
mod unused;

pub(crate) use unused::changes_conversations;

/// The layout of a file's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `messages` (or `conversations`, `conversation`) of role and content.
    Messages,
    /// `conversations` of from and value.
    ShareGpt,
    /// `instruction`, `input`, `output`.
    Alpaca,
    /// `instruction` with `instances` of input and output (self-instruct seeds).
    Instances,
    /// A prompt with its reply, strings or messages: `prompt`/`completion`, `question`/`answer`,
    /// `instruction`/`response` and the like, with a `context` or a `system` message where the row has one.
    PromptCompletion,
    /// `chosen` and `rejected`, with a `prompt` or with the same start.
    Preference,
    /// `conversations` and two last messages, `chosen` and `rejected`.
    ShareGptPreference,
    /// `chosen_messages` and `rejected_messages`.
    MessagesPreference,
    /// `messages` with a `rejected_response` or `rejected_messages` (ms-swift).
    RejectedResponse,
    /// `input.messages`, `preferred_output`, `non_preferred_output` (OpenAI).
    OpenAiPreference,
    /// `conversation_a`, `conversation_b`, `winner` (arena).
    Arena,
    /// A prompt with `response_0`, `response_1`, `better_response_id` (SafeRLHF), `response_1`, `response_2`,
    /// `preference_strength` (HelpSteer2), or `response1`, `response2`, `overall_preference` (HelpSteer3).
    NumberedReplies,
    /// A prompt with several replies that have scores or ranks (UltraFeedback, Nectar): the best and the worst are a pair.
    ScoredReplies,
    /// `instruction` with an `output` of two texts, the better one first.
    TwoOutputs,
    /// Open-Assistant trees: `prompt` with `replies`; flat messages with `parent_id` are put together.
    Tree,
    /// `query`, `tools` and the calls in `answers` (xLAM).
    QueryCalls,
    /// `chat`, a text with `USER:` and `ASSISTANT:` (Glaive v2).
    GlaiveChat,
    /// `contents` of role and parts (Gemini).
    Contents,
    /// `data`, the texts of user and assistant in turn (UltraChat).
    Dialog,
    /// `instruction` alone: a prompt without a reply.
    Instruction,
    /// `text` (or `content`, or `code`).
    Text,
}

/// The columns of conversations.
const CONVERSATIONS: [&str; 3] = ["messages", "conversations", "conversation"];

impl Layout {
    /// The layout of an object; the error names its fields. The columns that the user names decide, if there are any.
    pub(crate) fn of(object: &Object, columns: &[NamedColumn]) -> Result<Self, String> {
        if let Some(absent) = missing(object, columns) {
            return Err(format!(
                "has no column `{}`, which `--columns {absent}` names; it has {}",
                absent.column,
                names(object)
            ));
        }
        if columns.is_empty() {
            return Self::found(object);
        }
        if let Some(layout) = Self::named(columns) {
            return Ok(layout);
        }
        let mut object = object.clone();
        rename(&mut object, columns);
        Self::found(&object)
    }

    /// The layout that the roles of columns make up.
    fn named(columns: &[NamedColumn]) -> Option<Self> {
        let has = |role: ColumnRole| columns.iter().any(|named| named.role == role);
        if has(ColumnRole::Chosen) && has(ColumnRole::Rejected) {
            Some(Self::Preference)
        } else if has(ColumnRole::Messages) {
            Some(Self::Messages)
        } else if has(ColumnRole::Prompt) && has(ColumnRole::Reply) {
            Some(Self::PromptCompletion)
        } else if has(ColumnRole::Text) {
            Some(Self::Text)
        } else {
            None
        }
    }

    /// The layout that the names and types of an object's fields make up.
    fn found(object: &Object) -> Result<Self, String> {
        let has = |name: &str| object.get(name).is_some_and(|value| !value.is_null());
        let is_list = |name: &str| object.get(name).is_some_and(Value::is_array);
        if let Some(layout) = Self::of_pair(object, &has) {
            return Ok(layout);
        }
        let conversation = CONVERSATIONS.into_iter().find(|name| has(name));
        let from_value = |name: &str| object.get(name).is_some_and(|turns| turns[0].get("from").is_some());
        let layout = if let Some(name) = conversation {
            if from_value(name) { Self::ShareGpt } else { Self::Messages }
        } else if is_list("contents") {
            Self::Contents
        } else if has("prompt") && object["prompt"].get("replies").is_some() {
            Self::Tree
        } else if has("query") && has("answers") && has("tools") {
            Self::QueryCalls
        } else if object
            .get("chat")
            .and_then(Value::as_str)
            .is_some_and(|chat| transcript::glaive(chat).is_some())
        {
            Self::GlaiveChat
        } else if preference::scored_columns(object).is_some() {
            Self::ScoredReplies
        } else if has("instruction") && is_list("output") {
            Self::TwoOutputs
        } else if let Some(pair) = pair::columns(object) {
            if pair == ("instruction", "output") { Self::Alpaca } else { Self::PromptCompletion }
        } else if has("instruction") && has("instances") {
            Self::Instances
        } else if object
            .get("data")
            .and_then(Value::as_array)
            .is_some_and(|data| data.iter().all(Value::is_string))
        {
            Self::Dialog
        } else if has("text") || has("content") || has("code") {
            Self::Text
        } else if has("instruction") {
            Self::Instruction
        } else {
            return Err(format!(
                "no layout has the fields {}; expected `messages`, `conversations`, `prompt` and `completion`, \
                 `instruction` and `output`, `chosen` and `rejected`, or `text`; or name the columns, as in \
                 `--columns prompt=COLUMN,reply=COLUMN`",
                names(object)
            ));
        };
        Ok(layout)
    }

    /// The layout of a pair of replies, if the object is one.
    fn of_pair(object: &Object, has: &impl Fn(&str) -> bool) -> Option<Self> {
        let is_object = |name: &str| object.get(name).is_some_and(Value::is_object);
        if has("chosen_messages") && has("rejected_messages") {
            Some(Self::MessagesPreference)
        } else if has("preferred_output") && has("non_preferred_output") {
            Some(Self::OpenAiPreference)
        } else if has("chosen") && has("rejected") {
            let has_last_messages = has("conversations") && is_object("chosen");
            Some(if has_last_messages { Self::ShareGptPreference } else { Self::Preference })
        } else if has("conversation_a") && has("conversation_b") {
            Some(Self::Arena)
        } else if preference::numbered_columns(has).is_some() {
            Some(Self::NumberedReplies)
        } else if has("rejected_response") || has("rejected_messages") {
            CONVERSATIONS.iter().any(|name| has(name)).then_some(Self::RejectedResponse)
        } else {
            None
        }
    }

    /// One row; the error states what was expected.
    pub(crate) fn row(self, mut object: Object, columns: &[NamedColumn]) -> Result<Row, String> {
        rename(&mut object, columns);
        let row = self.converted(object)?;
        let is_told = columns.iter().any(|named| {
            !matches!(
                named.role,
                ColumnRole::Ignore | ColumnRole::System | ColumnRole::Tools | ColumnRole::Label
            )
        });
        if !is_told {
            unused::refuse(&row)?;
        }
        weight(row.metadata())
            .map_err(|reason| format!("{reason}; or leave the column with `--columns ignore=COLUMN`"))?;
        Ok(row)
    }

    fn converted(self, mut object: Object) -> Result<Row, String> {
        let conversation = |object: &Object| {
            let found = CONVERSATIONS
                .into_iter()
                .find(|name| object.get(*name).is_some_and(|value| !value.is_null()));
            found.unwrap_or("messages")
        };
        match self {
            Self::Messages | Self::ShareGpt => {
                let name = conversation(&object);
                let turns = object.remove(name).unwrap_or_default();
                let turns = messages(&turns, name)?;
                // A prompt of the system beside messages that have none.
                let has_system = turns.first().is_some_and(|first| first.role == "system");
                let mut list = if has_system { Vec::new() } else { system(&mut object)? };
                list.extend(turns);
                chat(list, object)
            }
            Self::Alpaca | Self::PromptCompletion => pair::row(object),
            Self::Instances => pair::instances(object),
            Self::Preference => preference::row(object),
            Self::ShareGptPreference => preference::sharegpt(object),
            Self::MessagesPreference => {
                preference::conversations(object, ["chosen_messages", "rejected_messages"])
            }
            Self::RejectedResponse => {
                let name = conversation(&object);
                preference::rejected_response(object, name)
            }
            Self::OpenAiPreference => preference::openai(object),
            Self::Arena => preference::arena(object),
            Self::NumberedReplies => preference::numbered(object),
            Self::ScoredReplies => preference::scored(object),
            Self::TwoOutputs => preference::two_outputs(object),
            Self::Tree => tree::row(object),
            Self::QueryCalls => pair::xlam(object),
            Self::GlaiveChat => {
                let turns = transcript::glaive(&text(&mut object, "chat")?)
                    .ok_or("chat does not start with USER:")?;
                let mut list = system(&mut object)?;
                list.iter_mut().for_each(|system| {
                    system.content = system.content.trim().trim_start_matches("SYSTEM:").trim().to_owned();
                });
                list.extend(turns);
                chat(list, object)
            }
            Self::Contents => pair::gemini(object),
            Self::Dialog => {
                let turns = messages(&object.remove("data").unwrap_or_default(), "data")?;
                chat(turns, object)
            }
            Self::Instruction => {
                let instruction = text(&mut object, "instruction")?;
                chat(vec![Message::new("user", instruction)], object)
            }
            Self::Text => {
                let names = ["text", "content", "code"];
                let name = names.into_iter().find(|name| object.contains_key(*name)).unwrap_or("text");
                let text = text(&mut object, name)?;
                Ok(Row::Text(TextRow { text, metadata: object }))
            }
        }
    }
}

/// The first fields of an object, for errors.
fn names(object: &Object) -> String {
    let names: Vec<&str> = object.keys().map(String::as_str).take(8).collect();
    let more = if object.len() > names.len() { ", among others" } else { "" };
    format!("{names:?}{more}")
}
