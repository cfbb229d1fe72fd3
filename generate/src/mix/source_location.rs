//! The location of a source: on this machine, or on the Hugging Face hub, from which only the files are downloaded
//! that the dataset card assigns to it.

use super::recipe::MixSource;
use anyhow::{Context, Result, anyhow, bail};
use checkpoint::{HubDataset, is_hub_id};
use std::path::{Path, PathBuf};

/// The location of a source.
pub(super) enum SourceLocation {
    /// A file or a folder.
    Local(PathBuf),
    /// A dataset on the hub, and the number of its data files.
    Hub { dataset: Box<HubDataset>, files: usize },
}

impl SourceLocation {
    /// Finds a source; downloads no data.
    pub(super) fn find(source: &MixSource) -> Result<Self> {
        let path = Path::new(&source.data);
        if path.exists() {
            return Ok(Self::Local(path.to_owned()));
        }
        if !is_hub_id(&source.data) {
            bail!(
                "{} is neither a file, a folder nor a Hugging Face id (owner/name); correct `data`",
                source.data
            );
        }
        let dataset = HubDataset::find(&source.data)?;
        let files = chosen(&dataset, source)?.len();
        Ok(Self::Hub { dataset: Box::new(dataset), files })
    }

    /// Returns its path on this machine; files that are not in the cache are downloaded.
    pub(super) fn fetch(self, source: &MixSource) -> Result<PathBuf> {
        match self {
            Self::Local(path) => Ok(path),
            Self::Hub { dataset, .. } => Ok(dataset.fetch(&chosen(&dataset, source)?)?),
        }
    }
}

/// The names of a source's data files, as the dataset card selects them.
fn chosen(dataset: &HubDataset, source: &MixSource) -> Result<Vec<String>> {
    const CARD: &str = "README.md";
    let card = match dataset.names().iter().any(|name| name == CARD) {
        true => {
            let path = dataset.fetch(&[CARD.to_owned()])?.join(CARD);
            let text = std::fs::read_to_string(&path);
            Some(text.with_context(|| format!("cannot read {}", path.display()))?)
        }
        false => None,
    };
    let data: Vec<String> = dataset.names().iter().filter(|name| datasets::is_data(name)).cloned().collect();
    let chosen = datasets::choose(card.as_deref(), &data, source.reading().choice())
        .map_err(|reason| anyhow!("{} on the hub: {reason}", source.data))?;
    if chosen.is_empty() {
        bail!("{} on the hub has no data file in a supported format; choose another dataset", source.data);
    }
    Ok(chosen)
}
