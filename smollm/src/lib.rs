//! What a SmolLM2 checkpoint is, and how a conversation becomes tokens.
//!
//! This room owns two of the project's three wires: the checkpoint folder in Hugging Face layout
//! ([`checkpoint`]) and HTTP in OpenAI's shape ([`wire`]). It is also the one owner of
//! conversation -> tokens ([`chat`]): training, generation, evaluation and serving all call it,
//! so that what trains is what serves.

pub mod checkpoint;
pub mod config;
pub mod weights;

pub mod chat;
pub mod template;
pub mod tokenizer;
pub mod tools;

pub mod wire;

mod error;
mod hub;

pub use chat::{Message, Rendered};
pub use checkpoint::Checkpoint;
pub use config::ModelConfig;
pub use error::Error;
pub use hub::{HubDataset, is_id as is_hub_id};
pub use template::{ChatTemplate, python_json};
pub use tokenizer::Tokenizer;
