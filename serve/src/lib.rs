//! Weights -> HTTP: an OpenAI-compatible server in front of `trait Engine`.
//!
//! A request walks one way: `valid` makes a typed request of the body or refuses it by name, `prompt` turns the
//! conversation into tokens with the code that training used, the model's engine runs it, and `answer` folds the
//! events into one stream of parts, from which streamed and whole answers are both made.

pub mod command;

mod answer;
mod embeddings;
mod error;
mod handlers;
mod health;
mod identity;
mod memory;
mod metrics;
mod model;
mod page;
mod prompt;
mod responses;
mod server;
mod tokens;
mod tools;
mod valid;

#[cfg(feature = "mistralrs")]
mod mistralrs;

#[cfg(test)]
mod tests;
