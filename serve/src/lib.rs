//! Weights -> HTTP: an OpenAI-compatible server in front of `trait Engine`.
//!
//! A request takes one path: `valid` turns the body into a typed request or refuses it by parameter name, `prompt` turns
//! the conversation into tokens with the code that training used, the model's engine runs it, and `answer` turns the
//! engine's events into one stream of deltas, from which both streamed and whole answers are made.

pub mod command;

mod answer;
mod background;
mod body;
mod byte_budget;
mod caller;
mod connections;
mod endpoints;
mod error;
mod failed_keys;
mod families;
mod fields;
mod gbnf;
mod ids;
mod left_out;
mod listed_model;
mod metrics;
mod model;
mod model_folder;
mod model_source;
mod model_table;
mod origins;
mod prompt;
mod served_encoder;
mod server;
mod state;
mod stored_responses;
mod tools;
mod traits;
mod valid;

#[cfg(feature = "fuzzing")]
pub mod fuzzing;

#[cfg(feature = "mistralrs")]
mod mistralrs;

#[cfg(test)]
mod tests;
