//! Tokenizer, special tokens and chat template from a GGUF file's metadata.
//!
//! The metadata become the content of a `tokenizer.json`, so that tokens, streams and constraints are computed by the code
//! of every other checkpoint, and what training writes is complete.

use super::file::GgufFile;
use serde_json::{Map, Value};
use vocabulary::Vocabulary;

mod byte_level;
mod sentencepiece;
pub(super) mod vocabulary;

pub(super) use byte_level::rule_name;

/// The text side of a GGUF file.
#[derive(Debug, Default)]
pub(crate) struct GgufText {
    /// Its own chat template.
    pub(crate) template: Option<String>,
    /// The text of its beginning of sequence; empty if it has none.
    pub(crate) bos_token: String,
    /// The text of its end of sequence; empty if it has none.
    pub(crate) eos_token: String,
    /// Ids that end a generation, as far as the file names them.
    pub(crate) stop_ids: Vec<u32>,
    /// What a `tokenizer_config.json` beside it would say.
    pub(crate) tokenizer_config: Map<String, Value>,
    /// The content of a `tokenizer.json`.
    pub(crate) tokenizer: Value,
}

impl GgufText {
    /// Reads the metadata; the error does not name the file.
    ///
    /// # Errors
    /// Names the key that is missing, or the kind of tokenizer that is not supported.
    pub(crate) fn read(file: &GgufFile) -> Result<Self, String> {
        let vocabulary = Vocabulary::read(file)?;
        let tokenizer = match vocabulary.text("ggml.model") {
            Some("gpt2") => byte_level::tokenizer(&vocabulary)?,
            Some("llama") => sentencepiece::tokenizer(&vocabulary)?,
            model => {
                return Err(format!(
                    "has a tokenizer of the kind {:?}, which is not supported; expected \"gpt2\" or \"llama\"",
                    model.unwrap_or("(none)")
                ));
            }
        };
        let special = |name: &str| vocabulary.special(name).unwrap_or_default().to_owned();
        let ends = ["ggml.eos_token_id", "ggml.eot_token_id", "ggml.eom_token_id"];
        let stop_ids = ends.into_iter().filter_map(|name| vocabulary.id(name)).collect();
        Ok(Self {
            template: vocabulary.text("chat_template").map(str::to_owned),
            bos_token: special("ggml.bos_token_id"),
            eos_token: special("ggml.eos_token_id"),
            stop_ids,
            tokenizer_config: vocabulary.tokenizer_config(),
            tokenizer,
        })
    }
}
