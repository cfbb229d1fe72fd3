//! The look at a folder before anything in it is opened for writing.

use super::earlier::{Earlier, is_shard};
use super::kind::{FolderKind, NEW_RESULT};
use crate::manifest::{FILE_NAME as MANIFEST, Manifest};
use crate::run_folder::LOCK_FILE;
use crate::{Error, owned};
use serde_json::Value;
use std::ffi::OsString;
use std::path::Path;

/// The folder of the shards.
const DATA: &str = "data";

/// Refuses a folder that contains what the program did not write.
pub(super) fn look(path: &Path, kind: &FolderKind) -> Result<(), Error> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(Error::NotAFolder { path: path.to_owned(), found: "a file" }),
        Err(_) if owned::type_of(path)?.is_some() => {
            return Err(Error::NotAFolder { path: path.to_owned(), found: "a link to nothing" });
        }
        Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(reason) => return Err(Error::file("read", path, reason)),
    }
    for name in kind.working.iter().chain(&[LOCK_FILE]) {
        owned::refuse_links(&path.join(name))?;
    }
    owned::refuse_linked_folders(path, Path::new(DATA))?;
    // The files of an interrupted installation are partly in place; it looks at each destination by itself.
    if owned::type_of(&path.join(NEW_RESULT))?.is_some() {
        return new_manifest(path, kind).map(|_| ());
    }
    let earlier = Earlier::read(path, kind)?;
    let is_run = kind.working.iter().any(|name| path.join(name).exists());
    for name in names(path)? {
        let text = name.to_string_lossy();
        let would_be_replaced = kind.files.contains(&&*text) || text == kind.description || text == DATA;
        match &earlier {
            _ if is_neutral(&text) || kind.working.contains(&&*text) => {}
            None if is_run && !would_be_replaced => {}
            None => return Err(kind.foreign(path, &text)),
            Some(earlier) if would_be_replaced && text != DATA && !earlier.files.contains_key(&*text) => {
                return Err(kind.foreign(path, &text));
            }
            Some(_) => {}
        }
    }
    refuse_foreign_shards(path, &earlier.unwrap_or_default(), kind)
}

/// The manifest of a new result that is not installed yet; `None` if all of it is in place.
pub(super) fn new_manifest(path: &Path, kind: &FolderKind) -> Result<Option<Manifest>, Error> {
    owned::refuse_linked_folders(path, Path::new(NEW_RESULT))?;
    let manifest = path.join(NEW_RESULT).join(MANIFEST);
    owned::refuse_links(&manifest)?;
    let Some(manifest) = Manifest::read(&manifest)? else { return Ok(None) };
    let is_ours = manifest.about.get("program").and_then(Value::as_str) == Some(kind.program);
    match is_ours && manifest.files.keys().all(|name| owned::inner_path(name).is_some()) {
        true => Ok(Some(manifest)),
        false => Err(kind.foreign(path, NEW_RESULT)),
    }
}

/// Refuses links in the folder of the shards, and shards that the manifest does not list: a reader of the new dataset
/// would read them, too.
fn refuse_foreign_shards(path: &Path, earlier: &Earlier, kind: &FolderKind) -> Result<(), Error> {
    let data = path.join(DATA);
    if owned::type_of(&data)?.is_none() {
        return Ok(());
    }
    let check = |name: String| match is_shard(&name) && !earlier.files.contains_key(&name) {
        true => Err(kind.foreign(path, &name)),
        false => Ok(()),
    };
    for entry in names(&data)? {
        let name = format!("{DATA}/{}", entry.to_string_lossy());
        let inner = path.join(&name);
        match owned::type_of(&inner)? {
            Some(found) if found.is_symlink() => {
                owned::refuse_linked_folders(path, Path::new(&name))?;
            }
            Some(found) if found.is_dir() => {
                names(&inner)?
                    .into_iter()
                    .try_for_each(|shard| check(format!("{name}/{}", shard.to_string_lossy())))?;
            }
            _ => check(name)?,
        }
    }
    Ok(())
}

/// What no result ever replaces: hidden entries, runs that were set aside, and what a file system brings along.
fn is_neutral(name: &str) -> bool {
    name.starts_with('.') || name.starts_with("set-aside-") || matches!(name, "lost+found" | MANIFEST)
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Result<Vec<OsString>, Error> {
    let read = || -> std::io::Result<Vec<OsString>> {
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
    };
    let mut names = read().map_err(|reason| Error::file("read", folder, reason))?;
    names.sort();
    Ok(names)
}
