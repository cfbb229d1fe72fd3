//! Compares a checkpoint's files with the list that was written beside them, where there is one: the small ones whenever
//! it is opened, the weights whenever all of them are read.

use super::Checkpoint;
use crate::error::Error;
use files::checksum::{Algorithm, Content};
use files::manifest::{Depth, FILE_NAME, Manifest};
use std::path::Path;

/// The file that is compared only when it is read whole.
const WEIGHTS: &str = "model.safetensors";

/// The small files that a checkpoint is opened from. A changed letter in a vocabulary is another tokenizer, which nothing
/// else notices.
const SMALL: [&str; 5] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
];

/// Compares the small files that the folder's list names with it.
///
/// # Errors
/// When the list is damaged, or names the file that is missing or differs.
pub(super) fn check_small_files(folder: &Path) -> Result<(), Error> {
    let Some(mut manifest) = Manifest::read(&folder.join(FILE_NAME))? else { return Ok(()) };
    manifest.files.retain(|name, _| SMALL.contains(&name.as_str()));
    match manifest.differences(folder, Depth::Checksums).first() {
        None => Ok(()),
        Some(difference) => Err(Error::invalid(
            folder,
            format!(
                "{difference}; copy the checkpoint again, or remove {FILE_NAME} if the file was changed on purpose"
            ),
        )),
    }
}

impl Checkpoint {
    /// SHA-256 of the weight files in order, in hexadecimal: the identity of the model. As all bytes are read for it, they
    /// are compared with the checksum of the folder's list; a folder without a list is taken as it is.
    ///
    /// # Errors
    /// When the list is damaged, or the weights differ from it.
    pub fn weights_sha256(&self) -> Result<String, Error> {
        let sha256 = self.weights.sha256();
        // The folder's list is of the checkpoint that the file may lie beside.
        if self.weights.is_gguf() {
            return Ok(sha256);
        }
        let Some(manifest) = Manifest::read(&self.folder.join(FILE_NAME))? else { return Ok(sha256) };
        let Some(expected) = manifest.files.get(WEIGHTS) else { return Ok(sha256) };
        let path = self.folder.join(WEIGHTS);
        let is_same = match expected.algorithm() {
            Some(Algorithm::Sha256) => expected.checksum.ends_with(&sha256),
            Some(Algorithm::Xxh3) => *expected == Content::of_file(&path, Algorithm::Xxh3)?,
            None => false,
        };
        match is_same {
            true => Ok(sha256),
            false => Err(Error::invalid(
                &path,
                format!(
                    "contains other bytes than {FILE_NAME} lists; copy the checkpoint again, or remove {FILE_NAME} if the weights were replaced on purpose"
                ),
            )),
        }
    }
}
