//! The cache that `huggingface_hub` uses, so that programs share downloads: below one folder a repository, `blobs` holds
//! contents under their hashes, `snapshots/COMMIT` links to them under their names, and `refs` holds the commit of each
//! branch and tag (<https://huggingface.co/docs/huggingface_hub/guides/manage-cache>). `listings` is this project's own.

use crate::error::Error;
use crate::id::{Id, Kind, is_plain_word};
use crate::listing::{self, Listing};
use std::fs::File;
use std::path::{Path, PathBuf};

/// One repository's folder in the cache.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    folder: PathBuf,
    locks: PathBuf,
}

impl Cache {
    pub(crate) fn new(cache: &Path, kind: Kind, id: &Id) -> Self {
        let name = format!("{}--{}--{}", kind.plural(), id.owner(), id.name());
        Self { folder: cache.join(&name), locks: cache.join(".locks").join(name) }
    }

    /// The folder in which a commit's files have their names.
    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    pub(crate) fn blob(&self, hash: &str) -> PathBuf {
        self.folder.join("blobs").join(hash)
    }

    /// The commit of a revision when it was last requested; a commit names itself.
    pub(crate) fn commit(&self, revision: &str) -> Option<String> {
        let stored = std::fs::read_to_string(self.folder.join("refs").join(revision)).ok();
        let commit = stored.map_or_else(|| revision.to_owned(), |text| text.trim().to_owned());
        (is_plain_word(&commit) && self.snapshot(&commit).is_dir()).then_some(commit)
    }

    /// Keeps the commit of a revision.
    pub(crate) fn keep_commit(&self, revision: &str, commit: &str) -> Result<(), Error> {
        if revision == commit {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        if std::fs::read_to_string(&path).is_ok_and(|text| text == commit) {
            return Ok(());
        }
        create_folder_of(&path)?;
        Ok(files::atomic::write(&path, commit)?)
    }

    /// Keeps the hub's answer with the list of a commit's files, so that a part of them is never taken for all offline.
    pub(crate) fn keep_listing(&self, commit: &str, answer: &[u8]) -> Result<(), Error> {
        let path = self.listing_path(commit);
        if path.is_file() {
            return Ok(());
        }
        create_folder_of(&path)?;
        Ok(files::atomic::write(&path, answer)?)
    }

    /// The list of a commit's files, if it was kept.
    pub(crate) fn listing(&self, commit: &str) -> Option<Listing> {
        listing::parse(&std::fs::read(self.listing_path(commit)).ok()?).ok()
    }

    fn listing_path(&self, commit: &str) -> PathBuf {
        self.folder.join("listings").join(format!("{commit}.json"))
    }

    /// The names of a commit's files that are in the cache, with `/` between folders.
    pub(crate) fn names(&self, commit: &str) -> Vec<String> {
        let mut names = Vec::new();
        collect(&self.snapshot(commit), "", &mut names);
        names.sort();
        names
    }

    /// Waits for other processes that download the same content.
    pub(crate) fn lock(&self, hash: &str) -> Result<File, Error> {
        let path = self.locks.join(format!("{hash}.lock"));
        create_folder_of(&path)?;
        let file = File::create(&path).and_then(|file| {
            // A file system without locks has one user, or none that can be told from others.
            match file.lock() {
                Err(error) if error.kind() != std::io::ErrorKind::Unsupported => Err(error),
                _ => Ok(file),
            }
        });
        file.map_err(|reason| files::Error::file("lock", &path, reason).into())
    }

    /// Gives a content its name in a commit: a link as `huggingface_hub` makes it, or a copy where links are refused.
    pub(crate) fn link(&self, commit: &str, name: &str, hash: &str) -> Result<PathBuf, Error> {
        let path = self.snapshot(commit).join(name);
        create_folder_of(&path)?;
        let upward = "../".repeat(name.split('/').count() + 1);
        let temporary = path.with_file_name(format!(".linking-{}", std::process::id()));
        let failed = |reason| Error::from(files::Error::file("write", &path, reason));
        files::atomic::remove(&temporary)?;
        let linked = symlink(&format!("{upward}blobs/{hash}"), &temporary);
        linked.or_else(|_| std::fs::copy(self.blob(hash), &temporary).map(drop)).map_err(failed)?;
        std::fs::rename(&temporary, &path).map_err(failed)?;
        Ok(path)
    }
}

fn collect(folder: &Path, prefix: &str, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}")) else { continue };
        match std::fs::metadata(entry.path()) {
            Ok(metadata) if metadata.is_dir() => collect(&entry.path(), &format!("{name}/"), names),
            Ok(_) => names.push(name),
            // A link whose content is gone.
            Err(_) => {}
        }
    }
}

/// The folder of a path that has one.
pub(crate) fn create_folder_of(path: &Path) -> Result<(), Error> {
    Ok(files::atomic::create_folder(path.parent().unwrap_or(Path::new(".")))?)
}

#[cfg(unix)]
fn symlink(target: &str, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn symlink(_: &str, _: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
