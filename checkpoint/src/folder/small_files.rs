//! Compares the small files of a checkpoint with the list that was written beside them, where there is one, whenever it is
//! opened.

use crate::error::Error;
use files::manifest::{Depth, FILE_NAME, Manifest};
use std::path::Path;

/// The small files that a checkpoint is opened from. A changed letter in a vocabulary is another tokenizer, which nothing
/// else notices.
const SMALL: [&str; 6] = [
    "adapter_config.json",
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
pub(super) fn check(folder: &Path) -> Result<(), Error> {
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
