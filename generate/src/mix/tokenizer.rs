//! The tokenizer that counts tokens for the filters of a mix.

use anyhow::Result;
use checkpoint::Tokenizer;
use checkpoint::folder::tokenizer_folder;

/// Opens the tokenizer of a folder, a file or a Hugging Face id.
pub(super) fn open_tokenizer(name: &str) -> Result<Tokenizer> {
    Ok(Tokenizer::open(&tokenizer_folder(name)?.join("tokenizer.json"))?)
}
