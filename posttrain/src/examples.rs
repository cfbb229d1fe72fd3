//! Rows -> token sequences with the trained tokens marked.
//!
//! The mask comes from `checkpoint::chat::render`, which serving uses, too. A row that gives no sequence is dropped with
//! a reason, which is counted and stored beside the tokens.

use checkpoint::{ChatTemplate, Tokenizer, chat};
use datasets::{Message, Row};
use serde_json::Value;
use training::Sequence;

/// Which tokens of a conversation add to the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum LossOn {
    /// The assistant's messages, and the stop token after each
    Assistant,
    /// All tokens, as in SmolLM2's own SFT
    All,
}

/// What happens to a sequence that is longer than `max_length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum TooLong {
    /// Cut off its end, and count it
    Cut,
    /// Drop it as `too_long`
    Drop,
}

/// How rows become sequences.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The template of conversations.
    pub template: &'a ChatTemplate,
    /// The model's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The token that ends a document.
    pub document_end: Option<u32>,
    /// Maximum tokens of a sequence.
    pub max_length: usize,
    /// What happens to longer sequences.
    pub too_long: TooLong,
    /// Which tokens add to the loss.
    pub loss_on: LossOn,
}

/// Why a row gives no sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The reason by which it is counted.
    pub reason: &'static str,
    /// Details, such as the error of the template.
    pub detail: String,
}

impl Dropped {
    fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// The sequences of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// One sequence; for a pair two, the chosen one first.
    pub sequences: Vec<Sequence<'static>>,
    /// How many of them were cut.
    pub cut: usize,
}

/// What a run trains on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Conversations, prompts with completions, documents.
    Sft,
    /// Preference pairs.
    Preference,
}

/// Returns the sequences of a row.
///
/// # Errors
/// Why it gives none.
pub fn example(row: &Row, kind: Kind, rules: &Rules<'_>) -> Result<Example, Dropped> {
    let mut cut = 0;
    let mut sequences = complete_sequences(row, kind, rules)?;
    for sequence in &mut sequences {
        if sequence.ids.len() > rules.max_length {
            if rules.too_long == TooLong::Drop {
                return Err(Dropped::new("too_long", format!("{} tokens", sequence.ids.len())));
            }
            sequence.ids.to_mut().truncate(rules.max_length);
            sequence.trained.to_mut().truncate(rules.max_length);
            cut += 1;
        }
        if sequence.trained_tokens() == 0 {
            let detail = if cut > 0 { "cut before the first trained token" } else { "no assistant message" };
            return Err(Dropped::new("no_trained_token", detail));
        }
    }
    Ok(Example { sequences, cut })
}

/// Returns the sequences of a row, however long they are.
fn complete_sequences(row: &Row, kind: Kind, rules: &Rules<'_>) -> Result<Vec<Sequence<'static>>, Dropped> {
    Ok(match (kind, row) {
        (Kind::Sft, Row::Chat(row)) => {
            vec![conversation(&row.messages, row.metadata.get("tools"), 0, rules)?]
        }
        (Kind::Sft, Row::Text(row)) => vec![document(&row.text, rules)?],
        (Kind::Preference, Row::Preference(row)) => {
            let tools = row.metadata.get("tools");
            let side = |reply: &[Message]| {
                let messages = [&row.prompt, reply].concat();
                conversation(&messages, tools, row.prompt.len(), rules)
            };
            vec![side(&row.chosen)?, side(&row.rejected)?]
        }
        (Kind::Sft, _) => {
            return Err(Dropped::new("preference_row", "a preference pair; `posttrain dpo` trains on it"));
        }
        (Kind::Preference, _) => return Err(Dropped::new("not_a_pair", "expected chosen and rejected")),
    })
}

/// Returns a conversation, of which messages before `from` are never trained.
fn conversation(
    messages: &[Message],
    tools: Option<&Value>,
    from: usize,
    rules: &Rules<'_>,
) -> Result<Sequence<'static>, Dropped> {
    let chat_messages: Vec<chat::Message> = messages.iter().map(chat_message).collect();
    let tools = tools.filter(|tools| !tools.is_null());
    let rendered = chat::render(rules.template, rules.tokenizer, &chat_messages, tools)
        .map_err(|error| Dropped::new("template_refused", error.to_string()))?;
    let is_trained = |role: &chat::TokenRole| match (rules.loss_on, role.message) {
        (LossOn::All, message) => from == 0 || message.is_some_and(|message| message as usize >= from),
        (LossOn::Assistant, Some(message)) => {
            role.content && message as usize >= from && is_trained_message(&messages[message as usize])
        }
        (LossOn::Assistant, None) => false,
    };
    let trained: Vec<bool> = rendered.roles.iter().map(is_trained).collect();
    Ok(Sequence { ids: rendered.ids.into(), trained: trained.into() })
}

/// Returns whether a message adds to the loss: the assistant's, except with a `weight` (OpenAI's key) of 0; and any other
/// with a weight above 0, so that a model can be trained to write users' turns.
fn is_trained_message(message: &Message) -> bool {
    match message.extra.get("weight").and_then(Value::as_f64) {
        Some(weight) => weight > 0.0,
        None => message.role == "assistant",
    }
}

/// Returns a row's message as templates read it.
fn chat_message(message: &Message) -> chat::Message {
    let text = |name: &str| message.extra.get(name).and_then(Value::as_str).map(str::to_owned);
    chat::Message {
        role: message.role.clone(),
        content: message.content.clone(),
        tool_calls: message.tool_calls.clone(),
        tool_call_id: text("tool_call_id"),
        name: text("name"),
        ..chat::Message::default()
    }
}

/// Returns a document and the token that ends it, all of it trained.
fn document(text: &str, rules: &Rules<'_>) -> Result<Sequence<'static>, Dropped> {
    if text.trim().is_empty() {
        return Err(Dropped::new("empty_text", ""));
    }
    let end = rules.document_end.ok_or_else(|| {
        Dropped::new("no_end_token", "the checkpoint names no end-of-sequence token to end a document with")
    })?;
    let ids = rules.tokenizer.encode_document(text);
    let mut ids = ids.map_err(|error| Dropped::new("tokenizer_failed", error.to_string()))?;
    // Some tokenizers add it themselves.
    if ids.last() != Some(&end) {
        ids.push(end);
    }
    let trained = vec![true; ids.len()];
    Ok(Sequence { ids: ids.into(), trained: trained.into() })
}
