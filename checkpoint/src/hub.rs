//! Hub ids: a checkpoint, a tokenizer or a dataset on the Hugging Face hub is downloaded into the user's cache, so that
//! an id works wherever a folder does.

use crate::error::Error;
use crate::inherited::{CARD, TEMPLATES, is_license};
use hub::{Id, Kind, Repository, Settings};
use std::path::{Path, PathBuf};

/// Beside the weights; those the repository has are downloaded.
const SETTINGS: [&str; 3] = ["tokenizer_config.json", "chat_template.jinja", "generation_config.json"];

/// Downloads (or finds in the cache) `config.json`, the tokenizer, the template and the weights.
/// Returns the snapshot folder, which is a checkpoint folder.
pub(crate) fn fetch(id: &str) -> Result<PathBuf, Error> {
    let repository = open(Kind::Model, id)?;
    // A cache that an earlier version filled has none of them, and then offline they cannot be had.
    let carried_on = repository.names().iter().filter(|name| is_carried_on(name));
    let _ = carried_on.map(|name| repository.fetch(&[name])).collect::<Result<Vec<_>, _>>();
    fetch_chosen(id, &repository, |name| {
        let is_weights = name.ends_with(".safetensors") || name == "model.safetensors.index.json";
        !name.contains('/') && (is_weights || name == "config.json" || is_of_tokenizer(name))
    })
}

/// Whether a file is one that a model made from this one carries on: a license, the card that names it, a named template.
fn is_carried_on(name: &str) -> bool {
    let is_template = name.strip_prefix(TEMPLATES).is_some_and(|rest| rest.ends_with(".jinja"));
    is_template || name == CARD || is_license(name)
}

/// Downloads (or finds in the cache) a tokenizer and its settings; returns the snapshot folder.
pub(crate) fn fetch_tokenizer(id: &str) -> Result<PathBuf, Error> {
    fetch_chosen(id, &open(Kind::Model, id)?, is_of_tokenizer)
}

fn is_of_tokenizer(name: &str) -> bool {
    name == "tokenizer.json" || SETTINGS.contains(&name)
}

/// A file that a checkpoint lacks is reported by whoever reads the folder, which names it.
fn fetch_chosen(
    id: &str,
    repository: &Repository,
    is_chosen: impl Fn(&str) -> bool,
) -> Result<PathBuf, Error> {
    let names: Vec<&String> = repository.names().iter().filter(|name| is_chosen(name)).collect();
    repository.fetch(&names).map_err(|reason| Error::Hub { id: id.to_owned(), reason })
}

fn open(kind: Kind, id: &str) -> Result<Repository, Error> {
    let parsed = Id::parse(id).ok_or_else(|| Error::NoCheckpoint(id.to_owned()))?;
    let repository =
        Settings::from_environment().and_then(|settings| Repository::open(settings, kind, &parsed));
    repository.map_err(|reason| Error::Hub { id: id.to_owned(), reason })
}

/// A dataset on the hub, with the names of its files.
#[derive(Debug)]
pub struct HubDataset {
    id: String,
    repository: Repository,
}

impl HubDataset {
    /// Requests the list of a dataset's files.
    ///
    /// # Errors
    /// When there is no such dataset, no access to it, or no network.
    pub fn find(id: &str) -> Result<Self, Error> {
        Ok(Self { id: id.to_owned(), repository: open(Kind::Dataset, id)? })
    }

    /// The names of its files, with `/` between folders.
    pub fn names(&self) -> &[String] {
        self.repository.names()
    }

    /// Downloads files (or finds them in the cache); returns the folder that contains them under their names.
    ///
    /// # Errors
    /// When one cannot be downloaded.
    pub fn fetch(&self, names: &[String]) -> Result<PathBuf, Error> {
        self.repository.fetch(names).map_err(|reason| Error::Hub { id: self.id.clone(), reason })
    }
}

impl HubDataset {
    /// Downloads the dataset card and the data files that `choose` selects of it and of the names that `is_data` accepts;
    /// returns the folder that contains them.
    ///
    /// # Errors
    /// Those of `choose`, and when a file cannot be downloaded.
    pub fn fetch_data(
        &self,
        choose: impl FnOnce(Option<&str>, &[String]) -> Result<Vec<String>, String>,
        is_data: impl Fn(&str) -> bool,
    ) -> Result<PathBuf, Error> {
        const CARD: &str = "README.md";
        let card = match self.names().iter().any(|name| name == CARD) {
            true => {
                let path = self.fetch(&[CARD.to_owned()])?.join(CARD);
                Some(crate::error::read_to_string(&path)?)
            }
            false => None,
        };
        let data: Vec<String> = self.names().iter().filter(|name| is_data(name)).cloned().collect();
        let unusable = |reason: String| Error::Dataset { id: self.id.clone(), reason };
        let chosen = choose(card.as_deref(), &data).map_err(unusable)?;
        if chosen.is_empty() {
            return Err(unusable(
                "has no data file in a supported format; choose another dataset".to_owned(),
            ));
        }
        self.fetch(&chosen)
    }
}

/// Where data is on this machine: a path as it is, a hub id as the folder into which the files were downloaded that `choose`
/// selects, as [`HubDataset::fetch_data`] does.
///
/// # Errors
/// When it is neither, or cannot be downloaded.
pub fn located_data(
    path: &Path,
    choose: impl FnOnce(Option<&str>, &[String]) -> Result<Vec<String>, String>,
    is_data: impl Fn(&str) -> bool,
) -> Result<PathBuf, Error> {
    match path.to_str().filter(|name| is_id(name)) {
        _ if path.exists() => Ok(path.to_owned()),
        Some(id) => {
            refuse_path(id)?;
            HubDataset::find(id)?.fetch_data(choose, is_data)
        }
        None => Err(Error::NoData(path.to_owned())),
    }
}

/// Refuses to ask the hub for what looks like a path with a mistyped end: `runs/typo` beside a folder `runs`.
///
/// # Errors
/// When the name begins with a folder of this machine, and names no revision.
pub fn refuse_path(name: &str) -> Result<(), Error> {
    match name.split_once('/') {
        Some((folder, _)) if !name.contains('@') && Path::new(folder).is_dir() => {
            Err(Error::NoFolder { name: name.to_owned(), folder: folder.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Whether a name can be a hub id: `owner/name`, of letters, digits, `-`, `_` and `.`, maybe with `@revision`.
pub fn is_id(name: &str) -> bool {
    Id::parse(name).is_some()
}
