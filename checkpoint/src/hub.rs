//! Downloads from the Hugging Face hub: the files of a checkpoint, so that a hub id works wherever a folder does, and
//! selected files of a dataset.
//!
//! hf-hub uses the usual cache (`HF_HOME`), reads `HF_ENDPOINT` and the user's token, and shows a progress bar for each
//! file that it downloads.

use crate::error::Error;
use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use std::path::{Path, PathBuf};

/// Downloads (or finds in the cache) `config.json`, the tokenizer, the template and the weights.
/// Returns the snapshot folder, which is a checkpoint folder.
pub(crate) fn fetch(id: &str) -> Result<PathBuf, Error> {
    let failed = |error: ApiError| Error::Hub { id: id.to_owned(), reason: one_line(&error.to_string()) };
    let api = ApiBuilder::from_env().build().map_err(failed)?;
    let repository = api.model(id.to_owned());
    let config = repository.get("config.json").map_err(failed)?;
    repository.get("tokenizer.json").map_err(failed)?;
    for optional in ["tokenizer_config.json", "chat_template.jinja", "generation_config.json"] {
        // These are optional. Without a network, `get` has failed above.
        let _ = repository.get(optional);
    }
    let folder = config.parent().map(PathBuf::from).unwrap_or_default();
    match fetch_weights(&repository) {
        // Without a network the list of files is not available; a complete checkpoint in the cache does not need it.
        Err(error) if !has_weights(&folder) => Err(failed(error)),
        _ => Ok(folder),
    }
}

/// Downloads (or finds in the cache) a tokenizer and its settings; returns the snapshot folder.
pub(crate) fn fetch_tokenizer(id: &str) -> Result<PathBuf, Error> {
    let failed = |error: ApiError| Error::Hub { id: id.to_owned(), reason: one_line(&error.to_string()) };
    let repository = ApiBuilder::from_env().build().map_err(failed)?.model(id.to_owned());
    let tokenizer = repository.get("tokenizer.json").map_err(failed)?;
    for optional in ["tokenizer_config.json", "chat_template.jinja"] {
        // These are optional. Without a network, `get` has failed above.
        let _ = repository.get(optional);
    }
    Ok(tokenizer.parent().map(PathBuf::from).unwrap_or_default())
}

/// A dataset on the hub, with the names of its files.
#[allow(missing_debug_implementations, reason = "hf-hub's client has none")]
pub struct HubDataset {
    id: String,
    repository: ApiRepo,
    names: Vec<String>,
}

impl HubDataset {
    /// Requests the list of a dataset's files.
    ///
    /// # Errors
    /// When there is no such dataset, or no network.
    pub fn find(id: &str) -> Result<Self, Error> {
        let failed = |error: ApiError| Error::Hub { id: id.to_owned(), reason: one_line(&error.to_string()) };
        let repository = ApiBuilder::from_env().build().map_err(failed)?.dataset(id.to_owned());
        let files = repository.info().map_err(failed)?.siblings;
        let names = files.into_iter().map(|file| file.rfilename).collect();
        Ok(Self { id: id.to_owned(), repository, names })
    }

    /// The names of its files, with `/` between folders.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Downloads files (or finds them in the cache), at least one; returns the folder that contains them under their names.
    ///
    /// # Errors
    /// When one cannot be downloaded, or `names` is empty.
    pub fn fetch(&self, names: &[String]) -> Result<PathBuf, Error> {
        let failed = |reason: String| Error::Hub { id: self.id.clone(), reason };
        let mut folder = None;
        for name in names {
            let path = self.repository.get(name).map_err(|error| failed(one_line(&error.to_string())))?;
            folder = path.ancestors().nth(name.split('/').count()).map(PathBuf::from);
        }
        folder.ok_or_else(|| failed("the dataset has no such file".to_owned()))
    }
}

/// Whether every file of the weights is in the cache.
fn has_weights(folder: &Path) -> bool {
    let Ok(index) = std::fs::read_to_string(folder.join("model.safetensors.index.json")) else {
        return folder.join("model.safetensors").is_file();
    };
    let index: serde_json::Value = serde_json::from_str(&index).unwrap_or_default();
    let files = index["weight_map"].as_object();
    files.is_some_and(|files| {
        files.values().all(|file| file.as_str().is_some_and(|file| folder.join(file).is_file()))
    })
}

/// Whether a name can be a hub id: `owner/name`, of letters, digits, `-`, `_` and `.`.
pub fn is_id(name: &str) -> bool {
    let is_plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    matches!(name.split('/').collect::<Vec<_>>().as_slice(), [owner, model] if is_plain(owner) && is_plain(model))
}

fn fetch_weights(repository: &ApiRepo) -> Result<(), ApiError> {
    let names: Vec<String> = repository.info()?.siblings.into_iter().map(|file| file.rfilename).collect();
    let wanted = |name: &&String| {
        !name.contains('/') && (name.ends_with(".safetensors") || *name == "model.safetensors.index.json")
    };
    for name in names.iter().filter(wanted) {
        repository.get(name)?;
    }
    Ok(())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
