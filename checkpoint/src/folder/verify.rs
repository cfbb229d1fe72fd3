//! Compares a checkpoint's weights with the list that was written beside them, where there is one, whenever all of them
//! are read.

use super::Checkpoint;
use crate::error::Error;
use files::checksum::{Algorithm, Content};
use files::manifest::{FILE_NAME, Manifest};

/// The file that is compared only when it is read whole.
const WEIGHTS: &str = "model.safetensors";

impl Checkpoint {
    /// SHA-256 of the weight files in order, in hexadecimal: the identity of the model. As all bytes are read for it, they
    /// are compared with the checksum of the folder's list; a folder without a list is taken as it is.
    ///
    /// # Errors
    /// When the list is damaged, or the weights differ from it.
    pub fn weights_sha256(&self) -> Result<String, Error> {
        let sha256 = self.weights.sha256();
        // The folder's list is of the checkpoint that the file may lie beside, or of the adapter.
        if self.weights.is_gguf() || self.weights.is_adapted() {
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
