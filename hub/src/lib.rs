//! The Hugging Face hub, or a mirror of it: files of models and datasets are downloaded into the cache that
//! `huggingface_hub` uses, and folders are uploaded.
//!
//! The user's variables are honored: `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HOME`, `HF_HUB_CACHE`,
//! `HF_HUB_OFFLINE` ([`Settings`]). What the server sends is not trusted: commits, hashes and names are checked before
//! they become paths, sizes and hashes after a download, and the token is sent to the hub's own host only. Every
//! function blocks; inside an asynchronous runtime, call it where blocking is allowed.

mod cache;
mod client;
mod download;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod id;
mod listing;
mod settings;
mod upload;

pub use download::Repository;
pub use error::Error;
pub use id::{Id, Kind};
pub use settings::Settings;
pub use upload::{Upload, upload};
