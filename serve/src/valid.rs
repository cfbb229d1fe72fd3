//! From a body's bytes to a request that can run, or to an error that names what is wrong.
//!
//! One constructor an endpoint. Each takes the fields it knows; what is left is refused. Behind this edge nothing
//! asks again whether a value is of its type or within its range; what depends on the model (its vocabulary, its
//! context) is checked by the engine when the request is submitted.

mod chat;
mod completion;
mod constraint;
mod fields;
mod generation;
mod messages;

#[cfg(test)]
mod tests;

pub(crate) use chat::{ChatRequest, Ending, ending, hold_to_tools, settle, tools};
pub(crate) use completion::{CompletionRequest, Prompt, prompts};
pub(crate) use constraint::response_format;
pub(crate) use fields::{Fields, wrong};
pub(crate) use generation::{Generation, Held};
pub(crate) use messages::{messages, text_of};
