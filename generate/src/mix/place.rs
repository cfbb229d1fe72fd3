//! Where a source lies: on this machine, or on the hub, of which only the files that its card assigns are fetched.

use super::recipe::Source;
use anyhow::{Result, anyhow, bail};
use datasets::Choice;
use smollm::HubDataset;
use std::path::{Path, PathBuf};

/// A source that was found.
pub(super) enum Place {
    /// A file or a folder.
    Folder(PathBuf),
    /// On the hub, and how many files of data.
    Hub { dataset: Box<HubDataset>, files: usize },
}

/// What a source asks for of its dataset.
pub(super) fn choice(source: &Source) -> Choice<'_> {
    Choice { config: source.config.as_deref(), split: source.split.as_deref() }
}

impl Place {
    /// Looks for a source; fetches no data.
    pub(super) fn of(source: &Source) -> Result<Self> {
        let path = Path::new(&source.data);
        if path.exists() {
            return Ok(Self::Folder(path.to_owned()));
        }
        if !smollm::is_hub_id(&source.data) {
            bail!("no data at {}: it is neither a file, a folder nor a hub id (owner/name)", source.data);
        }
        let dataset = HubDataset::find(&source.data)?;
        let files = chosen(&dataset, source)?.len();
        Ok(Self::Hub { dataset: Box::new(dataset), files })
    }

    /// Its folder on this machine, its files fetched where they were not.
    pub(super) fn folder(self, source: &Source) -> Result<PathBuf> {
        match self {
            Self::Folder(folder) => Ok(folder),
            Self::Hub { dataset, .. } => Ok(dataset.fetch(&chosen(&dataset, source)?)?),
        }
    }
}

/// The names of a source's data files, as the dataset's card chooses them.
fn chosen(dataset: &HubDataset, source: &Source) -> Result<Vec<String>> {
    const CARD: &str = "README.md";
    let card = match dataset.names().iter().any(|name| name == CARD) {
        true => Some(std::fs::read_to_string(dataset.fetch(&[CARD.to_owned()])?.join(CARD))?),
        false => None,
    };
    let data: Vec<String> = dataset.names().iter().filter(|name| datasets::is_data(name)).cloned().collect();
    let chosen = datasets::choose(card.as_deref(), &data, choice(source))
        .map_err(|reason| anyhow!("{} on the hub: {reason}", source.data))?;
    if chosen.is_empty() {
        bail!("{} on the hub has no file of data that this program reads", source.data);
    }
    Ok(chosen)
}
