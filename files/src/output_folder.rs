//! A folder of results that one program fills. The earlier result stays until the new one is whole; an installation that
//! was interrupted is completed by the next run; what the program did not write is neither replaced nor removed.
//!
//! A new result is filled beside the earlier one and synced, then renamed to `.new-result`. From then on it counts: its
//! files are moved into place one by one, its manifest last, and doing that again completes it. Only files that the
//! earlier result's manifest lists are replaced or removed; those that were changed since are set aside instead.

use crate::atomic::{self, NewFolder};
use crate::checksum::{Algorithm, Content};
use crate::manifest::{FILE_NAME as MANIFEST, Manifest};
use crate::run_folder::{self, Lock};
use crate::{Error, owned};
use earlier::Earlier;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod earlier;
mod kind;
mod look;

pub use earlier::{DESCRIPTIONS, described_shards, is_ours, is_shard, listed_shards};
pub use kind::{FolderKind, NEW_RESULT};

/// A folder that this process has locked and may fill.
#[derive(Debug)]
pub struct OutputFolder {
    path: PathBuf,
    kind: &'static FolderKind,
    lock: Lock,
}

impl OutputFolder {
    /// Refuses a folder that contains what the program did not write. Nothing is written.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::NotAFile`] and [`Error::NotAFolder`] name the entry; [`Error::Damaged`] names a
    /// manifest that cannot be read.
    pub fn look(path: &Path, kind: &FolderKind) -> Result<(), Error> {
        look::look(path, kind)
    }

    /// Opens a folder, which is created if it does not exist: locks it unless the user asked not to, completes an
    /// installation that was interrupted, and removes what a killed process left unfinished.
    ///
    /// # Errors
    /// Those of [`OutputFolder::look`], [`Error::InUse`] and [`Error::NoLocks`].
    pub fn open(path: &Path, kind: &'static FolderKind, no_lock: bool) -> Result<Self, Error> {
        look::look(path, kind)?;
        atomic::create_folder(path)?;
        let lock = Lock::acquire_unless(no_lock, path, kind.program)?;
        let folder = Self { path: path.to_owned(), kind, lock };
        folder.settle()?;
        look::look(path, kind)?;
        // Under the lock nobody else writes here, so that every temporary name is abandoned.
        if folder.lock.is_held() {
            atomic::remove_abandoned(path, Duration::ZERO)?;
        }
        Ok(folder)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An empty folder for a new result. Dropped before it is installed, it is removed.
    ///
    /// # Errors
    /// Names the folder that cannot be created.
    pub fn new_result(&self) -> Result<NewFolder, Error> {
        NewFolder::create(&self.path.join(NEW_RESULT))
    }

    /// Makes a new result the folder's. `known` contains files whose content the caller has computed already; the others
    /// are read. Returns the changed files of the earlier result that were set aside.
    ///
    /// # Errors
    /// Names the file; the earlier result is whole, or the next [`OutputFolder::open`] completes the new one.
    pub fn install(
        &self,
        new: NewFolder,
        mut about: Map<String, Value>,
        known: BTreeMap<String, Content>,
    ) -> Result<Vec<PathBuf>, Error> {
        about.insert("program".to_owned(), self.kind.program.into());
        let mut manifest = Manifest { about, files: known };
        for name in files_below(new.path())? {
            if !manifest.files.contains_key(&name) {
                let content = Content::of_file(&new.path().join(&name), Algorithm::Sha256)?;
                manifest.insert(&name, content);
            }
        }
        let earlier = Earlier::read(&self.path, self.kind)?.unwrap_or_default();
        for name in manifest.files.keys() {
            self.refuse_foreign(name, &earlier)?;
        }
        manifest.write(&new.path().join(MANIFEST))?;
        new.commit()?;
        self.settle()
    }

    /// Moves the files of a new result into place, as far as that has not been done.
    fn settle(&self) -> Result<Vec<PathBuf>, Error> {
        let new = self.path.join(NEW_RESULT);
        if owned::type_of(&new)?.is_none() {
            return Ok(Vec::new());
        }
        let mut set_aside = Vec::new();
        if let Some(manifest) = look::new_manifest(&self.path, self.kind)? {
            earlier::keep_list(&self.path, &new, self.kind)?;
            let earlier = Earlier::kept(&new, self.kind)?.unwrap_or_default();
            for (name, content) in
                earlier.files.iter().filter(|(name, _)| !manifest.files.contains_key(*name))
            {
                self.retire(name, content.as_ref(), &mut set_aside)?;
            }
            let is_last = |name: &&String| *name == self.kind.description;
            let files = manifest.files.keys();
            for name in files.clone().filter(|name| !is_last(name)).chain(files.filter(is_last)) {
                self.move_into_place(&new, name, &earlier, &mut set_aside)?;
            }
            atomic::rename(&new.join(MANIFEST), &self.path.join(MANIFEST))?;
        }
        std::fs::remove_dir_all(&new).map_err(|reason| Error::file("remove", &new, reason))?;
        Ok(set_aside)
    }

    fn move_into_place(
        &self,
        new: &Path,
        name: &str,
        earlier: &Earlier,
        set_aside: &mut Vec<PathBuf>,
    ) -> Result<(), Error> {
        let (source, destination) = (new.join(name), self.path.join(name));
        if owned::type_of(&source)?.is_none() {
            // An interrupted installation has moved it.
            return match owned::type_of(&destination)? {
                Some(_) => Ok(()),
                None => Err(Error::Damaged { path: destination, reason: "it is missing".to_owned() }),
            };
        }
        self.refuse_foreign(name, earlier)?;
        if let Some(content) = earlier.files.get(name) {
            self.set_aside_if_changed(name, content.as_ref(), set_aside)?;
        }
        if let Some(parent) = destination.parent() {
            atomic::create_folder(parent)?;
        }
        atomic::rename(&source, &destination)
    }

    /// Refuses a destination that is behind a link, or that exists and is not the earlier result's.
    fn refuse_foreign(&self, name: &str, earlier: &Earlier) -> Result<(), Error> {
        let parent = Path::new(name).parent().unwrap_or(Path::new(""));
        owned::refuse_linked_folders(&self.path, parent)?;
        if owned::type_of(&self.path.join(name))?.is_some() && !earlier.files.contains_key(name) {
            return Err(self.kind.foreign(&self.path, name));
        }
        Ok(())
    }

    /// Removes a file of the earlier result that the new one does not have, and its folder if nothing is left in it.
    fn retire(
        &self,
        name: &str,
        content: Option<&Content>,
        set_aside: &mut Vec<PathBuf>,
    ) -> Result<(), Error> {
        let parent = Path::new(name).parent().unwrap_or(Path::new(""));
        owned::refuse_linked_folders(&self.path, parent)?;
        self.set_aside_if_changed(name, content, set_aside)?;
        atomic::remove(&self.path.join(name))?;
        if !parent.as_os_str().is_empty() {
            // It fails where something is left in the folder, which is then not ours to remove.
            let _ = std::fs::remove_dir(self.path.join(parent));
        }
        Ok(())
    }

    /// Moves a file that somebody changed after it was written into a folder `set-aside-N`.
    fn set_aside_if_changed(
        &self,
        name: &str,
        content: Option<&Content>,
        set_aside: &mut Vec<PathBuf>,
    ) -> Result<(), Error> {
        let path = self.path.join(name);
        if owned::type_of(&path)?.is_none() || !content.is_some_and(|content| is_changed(&path, content)) {
            return Ok(());
        }
        let aside = run_folder::new_aside_folder(&self.path)?;
        let kept = aside.join(path.file_name().unwrap_or_default());
        atomic::rename(&path, &kept)?;
        set_aside.push(kept);
        Ok(())
    }
}

/// Whether a file is not what was written. Only small files are read: people edit cards, not shards.
fn is_changed(path: &Path, content: &Content) -> bool {
    const READ: u64 = 16 << 20;
    let Ok(metadata) = path.symlink_metadata() else { return false };
    if !metadata.is_file() || metadata.len() != content.bytes {
        return true;
    }
    let Some(algorithm) = content.algorithm().filter(|_| content.bytes <= READ) else { return false };
    Content::of_file(path, algorithm).is_ok_and(|now| now != *content)
}

/// The files below a folder, by their path relative to it with slashes.
fn files_below(folder: &Path) -> Result<Vec<String>, Error> {
    fn collect(folder: &Path, prefix: &str, names: &mut Vec<String>) -> std::io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            match entry.file_type()?.is_dir() {
                true => collect(&entry.path(), &format!("{name}/"), names)?,
                false => names.push(name),
            }
        }
        Ok(())
    }
    let mut names = Vec::new();
    collect(folder, "", &mut names).map_err(|reason| Error::file("read", folder, reason))?;
    names.sort();
    Ok(names)
}

#[cfg(all(test, unix))]
mod tests;
