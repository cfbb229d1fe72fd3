//! How rows become sequences: what is trained, and what happens to long rows and tools.

use super::stored::TokenIds;
use checkpoint::{ChatTemplate, Tokenizer};
use serde_json::{Map, Value};

/// Which tokens of a conversation add to the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum TrainOn {
    /// The assistant's messages, and the stop token after each
    Assistant,
    /// The assistant's messages after the last one of the user
    Last,
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
    /// Split a document into several rows; cut a conversation
    Split,
}

/// What happens to tools and their calls where the chat template prints no tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum Tools {
    /// Write them in words into the messages, as smolserve does
    Words,
    /// Drop the row as `tools_not_printed`
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
    pub train_on: TrainOn,
    /// What happens to tools that the template does not print.
    pub tools: Tools,
    /// Variables of the template; a row's `chat_template_kwargs` come before them.
    pub template_args: Option<&'a Map<String, Value>>,
    /// Whether special tokens that a message or a document spells are text.
    pub split_special_tokens: bool,
    /// Whether the loss can weight tokens by fractions.
    pub fractions: bool,
    /// Whether pairs of equal replies or equal scores are dropped.
    pub drop_ties: bool,
    /// Whether replies are learned from the log-probabilities that they are stored with: the model's ids then.
    pub stored_logprobs: Option<&'a TokenIds>,
}

impl<'a> Rules<'a> {
    /// Returns the rules of a template and a tokenizer that cut at `max_length` and train the assistant's messages.
    pub fn new(template: &'a ChatTemplate, tokenizer: &'a Tokenizer, max_length: usize) -> Self {
        Self {
            template,
            tokenizer,
            document_end: None,
            max_length,
            too_long: TooLong::Cut,
            train_on: TrainOn::Assistant,
            tools: Tools::Words,
            template_args: None,
            split_special_tokens: false,
            fractions: true,
            drop_ties: true,
            stored_logprobs: None,
        }
    }
}
