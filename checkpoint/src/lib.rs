//! The checkpoint of a Llama-family model: its folder in Hugging Face layout ([`folder`]) with configuration, weights,
//! tokenizer and chat template, and how a conversation becomes tokens ([`chat`]). Training, generation, evaluation and
//! serving all use this code, so that a model is served with the tokens it was trained on.

pub mod adapter;
pub mod architecture;
pub mod config;
pub mod folder;
pub mod gguf;
pub mod weights;

pub mod chat;
pub mod template;
pub mod tokenizer;
pub mod tools;

mod error;
mod hint;
mod hub;
mod inherited;
mod links;
pub mod mapped;
mod python_json;
mod python_text;
mod tensors;

pub use architecture::{Activation, Architecture, RopeScaling, Rotation, Yarn};
pub use chat::{Message, RenderedChat};
pub use config::ModelConfig;
pub use error::Error;
pub use folder::Checkpoint;
pub use hub::{HubDataset, is_id as is_hub_id, located_data, refuse_path as refuse_mistyped_path};
pub use inherited::{Inherited, TEMPLATES as TEMPLATES_FOLDER, is_license};
pub use python_json::python_json;
pub use template::ChatTemplate;
pub use tokenizer::Tokenizer;
