//! The files of the result that a folder contains, as its manifest lists them.

use super::kind::FolderKind;
use crate::checksum::Content;
use crate::manifest::{FILE_NAME as MANIFEST, Manifest};
use crate::{Error, atomic, owned, small_file};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Where the list of the earlier result is kept while the new one is installed.
const KEPT_MANIFEST: &str = ".earlier-manifest.json";
/// The same for a result of an earlier version, which has a description and no manifest.
const KEPT_DESCRIPTION: &str = ".earlier-description.json";

/// The files of an earlier result; without a content for results of earlier versions, which did not record it.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    pub(super) files: BTreeMap<String, Option<Content>>,
}

impl Earlier {
    /// The result in a folder; `None` if it has none.
    pub(super) fn read(folder: &Path, kind: &FolderKind) -> Result<Option<Self>, Error> {
        Self::from_lists(folder, &folder.join(MANIFEST), &folder.join(kind.description), kind)
    }

    /// The list that [`keep_list`] kept.
    pub(super) fn kept(new: &Path, kind: &FolderKind) -> Result<Option<Self>, Error> {
        Self::from_lists(new, &new.join(KEPT_MANIFEST), &new.join(KEPT_DESCRIPTION), kind)
    }

    fn from_lists(
        folder: &Path,
        manifest: &Path,
        description: &Path,
        kind: &FolderKind,
    ) -> Result<Option<Self>, Error> {
        owned::refuse_links(manifest)?;
        owned::refuse_links(description)?;
        if let Some(manifest) = Manifest::read(manifest)? {
            if manifest.about.get("program").and_then(Value::as_str) != Some(kind.program) {
                return Err(kind.foreign(folder, MANIFEST));
            }
            let files = manifest.files.into_iter().map(|(name, content)| (name, Some(content)));
            return Ok(Some(Self {
                files: files.filter(|(name, _)| owned::inner_path(name).is_some()).collect(),
            }));
        }
        if owned::type_of(description)?.is_none() {
            return Ok(None);
        }
        let bytes =
            small_file::read(description).map_err(|reason| Error::file("read", description, reason))?;
        let damaged = |reason: String| Error::Damaged { path: description.to_owned(), reason };
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if !is_ours(&value["program"]) {
            return Err(kind.foreign(folder, kind.description));
        }
        let files = kind.files.iter().copied().chain([kind.description]).map(str::to_owned);
        let shards = listed_shards(&value).into_iter().map(|(name, _)| name);
        Ok(Some(Self { files: files.chain(shards).map(|name| (name, None)).collect() }))
    }
}

/// Moves the list of the earlier result into the folder of the new one, once: without it the earlier result does not
/// count as whole from here on.
pub(super) fn keep_list(folder: &Path, new: &Path, kind: &FolderKind) -> Result<(), Error> {
    let [manifest, description] = [KEPT_MANIFEST, KEPT_DESCRIPTION].map(|name| new.join(name));
    if owned::type_of(&manifest)?.is_some() || owned::type_of(&description)?.is_some() {
        return Ok(());
    }
    let lists = [(MANIFEST, manifest), (kind.description, description)];
    // The description is the last file that is moved into place: once it is, the folder's own is the new one.
    let is_installed = owned::type_of(&new.join(kind.description))?.is_none();
    for (name, kept) in lists {
        let path = folder.join(name);
        if owned::type_of(&path)?.is_some() && !(is_installed && name == kind.description) {
            return atomic::rename(&path, &kept);
        }
    }
    Ok(())
}

/// The descriptions of datasets, and the commands that write them.
pub const DESCRIPTIONS: [(&str, &str); 3] =
    [("run.json", "smoltalk gen"), ("mix.json", "smoltalk mix"), ("clean.json", "smoltalk clean")];

/// What the description of a dataset lists: the file, the command that wrote it and the shards. `None` for a folder without
/// a description of this project's.
pub fn described_shards(folder: &Path) -> Option<(&'static str, &'static str, BTreeMap<String, Content>)> {
    DESCRIPTIONS.into_iter().find_map(|(name, program)| {
        let value: Value = serde_json::from_slice(&small_file::read(&folder.join(name)).ok()?).ok()?;
        is_ours(&value["program"]).then(|| (name, program, listed_shards(&value).into_iter().collect()))
    })
}

/// Whether a list names one of this project's commands as its writer.
pub fn is_ours(program: &Value) -> bool {
    program.as_str().is_some_and(|name| name.starts_with("smoltalk "))
}

/// The shards that a description lists: their paths, and their lengths and SHA-256. Paths that lead out of the folder are
/// left out.
pub fn listed_shards(description: &Value) -> Vec<(String, Content)> {
    let of_configs =
        description["configs"].as_object().into_iter().flatten().map(|(_, config)| &config["shards"]);
    let shards = std::iter::once(&description["shards"]).chain(of_configs);
    let entries = shards.filter_map(Value::as_array).flatten();
    let shard = |entry: &Value| {
        let path =
            entry["path"].as_str().filter(|path| owned::inner_path(path).is_some() && is_shard(path))?;
        let checksum = format!("sha256:{}", entry["sha256"].as_str()?);
        Some((path.to_owned(), Content { bytes: entry["bytes"].as_u64()?, checksum }))
    };
    entries.filter_map(shard).collect()
}

/// Whether a name is one that shards get: `SPLIT-00000-of-00001.parquet`, or `.jsonl`, or `.json`.
pub fn is_shard(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    let is_number = |text: &str| text.len() >= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let stem = [".parquet", ".jsonl", ".json"].iter().find_map(|extension| name.strip_suffix(extension));
    let Some((rest, count)) = stem.and_then(|stem| stem.rsplit_once("-of-")) else { return false };
    rest.rsplit_once('-')
        .is_some_and(|(split, index)| !split.is_empty() && is_number(index) && is_number(count))
}
