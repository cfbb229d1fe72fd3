//! From a body to a request that can run, or to an error that names the wrong parameter.
//!
//! One constructor per endpoint. Each takes the fields it knows; the others are refused. After this nothing checks again
//! whether a value has its type or is within its range; what depends on the model (its vocabulary, its context) is
//! checked by the engine when the request is submitted. The fields are those of the types in `openai` (see `tests`).

mod chat;
mod completion;
mod constraint;
mod conversation;
mod embeddings;
mod generation;
mod messages;
mod prompts;
mod responses;
mod tokenize;
mod unsupported;

#[cfg(test)]
mod tests;

pub(crate) use chat::ChatRequest;
pub(crate) use completion::CompletionRequest;
pub(crate) use constraint::NamedConstraint;
pub(crate) use conversation::{Conversation, PromptEnd};
pub(crate) use embeddings::EmbeddingRequest;
pub(crate) use generation::{Generation, UsageOptions};
pub(crate) use prompts::Prompt;
pub(crate) use responses::{ResponseRequest, add_call};
pub(crate) use tokenize::{DetokenizeRequest, TemplateRequest, TokenSource, TokenizeRequest};
