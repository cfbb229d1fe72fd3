//! GGUF files, llama.cpp's format: one file with the weights, often quantized, the model's shape, tokenizer and chat
//! template. [`GgufFile`] reads it, within bounds that hold for any file; [`export()`] writes it; the other modules translate
//! its parts.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod config;
mod cursor;
mod export;
mod file;
mod k_quants;
mod names;
mod quantize;
mod quants;
mod tensor_type;
#[cfg(test)]
mod tests;
mod tokenizer;
mod value;
mod write;

pub(crate) use config::{architecture, config};
pub use export::{ExportType, export};
pub use file::{GgufFile, GgufTensor};
pub(crate) use names::{TensorSource, source_of, stored_row};
pub use quantize::quantize;
pub use tensor_type::TensorType;
pub(crate) use tokenizer::GgufText;
pub use value::{Value, ValueKind};
