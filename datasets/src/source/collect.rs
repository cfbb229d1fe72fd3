//! The data files below a folder: without leaving it, and of one that Python's datasets saved to disk those that its
//! description lists.

use super::chosen::ChosenFiles;
use super::format::Format;
use crate::Error;
use files::small_file;
use serde_json::Value;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Files that describe a dataset, which `load_dataset` ignores too.
const DESCRIPTIONS: [&str; 3] = ["dataset_dict.json", "dataset_info.json", "dataset_infos.json"];

/// Finds the data files below a folder, without leaving it.
pub(super) struct Collector {
    root: PathBuf,
    /// The files that the links of a snapshot in the cache of the Hugging Face hub lead to.
    blobs: Option<PathBuf>,
    seen: HashSet<PathBuf>,
}

impl Collector {
    pub(super) fn new(folder: &Path) -> Result<Self, Error> {
        let root = folder.canonicalize().map_err(|error| Error::file("read", folder, error))?;
        let snapshots =
            root.ancestors().find(|above| above.file_name().is_some_and(|name| name == "snapshots"));
        let blobs = snapshots.and_then(Path::parent).map(|repository| repository.join("blobs"));
        Ok(Self { root, blobs, seen: HashSet::new() })
    }

    pub(super) fn collect(&mut self, folder: &Path, chosen: &mut ChosenFiles) -> Result<(), Error> {
        let real = folder.canonicalize().map_err(|error| Error::file("read", folder, error))?;
        // A symbolic link may point to a folder above it.
        if !self.seen.insert(real) {
            return Ok(());
        }
        let saved = saved_to_disk(folder)?;
        let entries = std::fs::read_dir(folder).map_err(|error| Error::file("read", folder, error))?;
        for entry in entries {
            let path = entry.map_err(|error| Error::file("read", folder, error))?.path();
            let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            let is_wanted = |path: &Path| path.is_dir() || Format::of(path).is_some();
            if is_hidden || !is_wanted(&path) || is_description(&path) {
                continue;
            }
            // Beside the data are its description and what Python's datasets cached.
            if saved.as_ref().is_some_and(|listed| path.is_file() && !listed.contains(&path)) {
                continue;
            }
            if let Some(target) = self.outside(&path) {
                let reason = format!(
                    "it is a link to {}, outside the dataset; copy what it leads to if it belongs to the dataset",
                    target.display()
                );
                chosen.left_out.push((path, reason));
            } else if path.is_dir() {
                self.collect(&path, chosen)?;
            } else if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
                // Reading a pipe waits for its writer.
                let reason =
                    "it is no regular file but a pipe, a socket or a device; remove it from the folder"
                        .to_owned();
                chosen.left_out.push((path, reason));
            } else {
                chosen.files.push(path);
            }
        }
        Ok(())
    }

    /// Where a link leads that leaves the folder.
    fn outside(&self, path: &Path) -> Option<PathBuf> {
        path.symlink_metadata().ok().filter(|metadata| metadata.file_type().is_symlink())?;
        // A link to nothing is an error when it is read.
        let target = path.canonicalize().ok()?;
        let is_inside = target.starts_with(&self.root)
            || self.blobs.as_ref().is_some_and(|blobs| target.starts_with(blobs));
        (!is_inside).then_some(target)
    }
}

fn is_description(path: &Path) -> bool {
    path.file_name().is_some_and(|name| DESCRIPTIONS.iter().any(|description| name == *description))
}

/// The data files of a folder that `Dataset.save_to_disk` wrote; `None` for any other folder.
fn saved_to_disk(folder: &Path) -> Result<Option<Vec<PathBuf>>, Error> {
    let path = folder.join("state.json");
    let Ok(text) = small_file::read(&path) else { return Ok(None) };
    let state: Value = serde_json::from_slice(&text).unwrap_or_default();
    let Some(files) = state["_data_files"].as_array() else { return Ok(None) };
    let names = files.iter().filter_map(|file| file["filename"].as_str());
    // A name is one of this folder: no path leads out of it.
    let listed: Vec<PathBuf> =
        names.filter_map(|name| Path::new(name).file_name()).map(|name| folder.join(name)).collect();
    match listed.iter().find(|file| !file.is_file()) {
        None => Ok(Some(listed)),
        Some(file) => Err(Error::NotData {
            path: file.clone(),
            reason: "it does not exist, and state.json lists it; save the dataset to disk again".to_owned(),
        }),
    }
}
