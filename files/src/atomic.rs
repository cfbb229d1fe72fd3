//! The one durable write. Files and folders are whole or absent: written under a temporary name beside their destination,
//! synced, and renamed, and the folder that contains the name is synced. A reader never sees half of one; a crash or a
//! power loss leaves the previous one, and after success the new one. Temporary names are random and never opened when
//! they exist; permissions follow the process's umask.

use crate::Error;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::{Builder, NamedTempFile, TempDir};

/// Temporary names begin with this; the dot hides them from readers of whole folders.
const PREFIX: &str = ".writing-";

/// Writes a file whole.
///
/// # Errors
/// Names the file; what was there before is unchanged.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), Error> {
    let mut file = NewFile::create(path)?;
    file.write_all(bytes.as_ref()).map_err(|reason| Error::file("write", path, reason))?;
    file.commit()
}

/// Removes a file if it exists.
///
/// # Errors
/// Names the file.
pub fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(reason) if reason.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", path, reason)),
        _ => Ok(()),
    }
}

/// Creates a folder and those above it, where they do not exist. Each new name is durable.
///
/// # Errors
/// Names the folder.
pub fn create_folder(path: &Path) -> Result<(), Error> {
    let mut missing: Vec<&Path> = Vec::new();
    for folder in path.ancestors().filter(|folder| !folder.as_os_str().is_empty()) {
        if folder.is_dir() {
            break;
        }
        missing.push(folder);
    }
    let create = || {
        for folder in missing.iter().rev() {
            match std::fs::create_dir(folder) {
                // Another process created it meanwhile.
                Err(reason) if reason.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
                created => created?,
            }
            sync_folder(folder_of(folder))?;
        }
        Ok(())
    };
    create().map_err(|reason| Error::file("create", path, reason))
}

/// Renames a file or a folder durably: both folders are synced.
///
/// # Errors
/// Names the file or folder that is to be renamed.
pub fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    let rename = || {
        std::fs::rename(from, to)?;
        // First the new name: after a power loss in between there may be two names, but never none.
        sync_folder(folder_of(to))?;
        if folder_of(from) == folder_of(to) { Ok(()) } else { sync_folder(folder_of(from)) }
    };
    rename().map_err(|reason| Error::file("rename", from, reason))
}

/// A file that is being written. It appears at its destination when [`NewFile::commit`] succeeds; dropped before that,
/// it leaves nothing. Writes are buffered.
#[derive(Debug)]
pub struct NewFile {
    writer: BufWriter<NamedTempFile>,
    destination: PathBuf,
}

impl NewFile {
    /// Creates the temporary file, with the permissions of any new file, in the destination's folder.
    ///
    /// # Errors
    /// Names the destination.
    pub fn create(destination: &Path) -> Result<Self, Error> {
        let file = builder(0o666).tempfile_in(folder_of(destination));
        let file = file.map_err(|reason| Error::file("write", destination, reason))?;
        Ok(Self { writer: BufWriter::new(file), destination: destination.to_owned() })
    }

    /// The path of the temporary file, for a library that opens the file itself. What it writes there is committed.
    pub fn temporary_path(&self) -> &Path {
        self.writer.get_ref().path()
    }

    /// Syncs what was written so far: the file is on the disk, and only its name is missing.
    ///
    /// # Errors
    /// Names the destination.
    pub fn sync(&mut self) -> Result<(), Error> {
        let synced = self.writer.flush().and_then(|()| self.writer.get_ref().as_file().sync_all());
        synced.map_err(|reason| Error::file("write", &self.destination, reason))
    }

    /// Syncs the file and moves it to its destination.
    ///
    /// # Errors
    /// Names the destination; what was there before is unchanged.
    pub fn commit(self) -> Result<(), Error> {
        let Self { writer, destination } = self;
        let commit = || {
            let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.as_file().sync_all()?;
            file.persist(&destination).map_err(|error| error.error)?;
            sync_folder(folder_of(&destination))
        };
        commit().map_err(|reason| Error::file("write", &destination, reason))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// A folder that is being filled. It appears at its destination when [`NewFolder::commit`] succeeds; dropped before
/// that, it is removed.
#[derive(Debug)]
pub struct NewFolder {
    folder: TempDir,
    destination: PathBuf,
}

impl NewFolder {
    /// Creates the temporary folder beside the destination, and durably the folders above it if needed.
    ///
    /// # Errors
    /// Names the destination.
    pub fn create(destination: &Path) -> Result<Self, Error> {
        let parent = folder_of(destination);
        create_folder(parent)?;
        let folder = builder(0o777).tempdir_in(parent);
        let folder = folder.map_err(|reason| Error::file("create", destination, reason))?;
        Ok(Self { folder, destination: destination.to_owned() })
    }

    /// The temporary folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Syncs the folder with everything in it, and moves it to its destination.
    ///
    /// # Errors
    /// Names the destination, which exists and is not empty, or whose disk is full.
    pub fn commit(self) -> Result<(), Error> {
        let Self { folder, destination } = self;
        let commit = || {
            sync_tree(folder.path())?;
            std::fs::rename(folder.path(), &destination)?;
            // The temporary name no longer exists, so there is nothing to remove.
            drop(folder.keep());
            sync_folder(folder_of(&destination))
        };
        commit().map_err(|reason| Error::file("write", &destination, reason))
    }
}

/// Removes the temporary files and folders in `folder` that are older than `age`: a killed process left them. A younger
/// one may belong to a process that is still writing.
///
/// # Errors
/// Names the first one that cannot be removed; the others are removed.
pub fn remove_abandoned(folder: &Path, age: Duration) -> Result<(), Error> {
    remove_abandoned_if(folder, |path| is_older(path, age))
}

/// Whether a file or folder was changed at least `age` ago. A clock that was set back makes files of the future; they are
/// young.
pub fn is_older(path: &Path, age: Duration) -> bool {
    let changed = path.symlink_metadata().and_then(|metadata| metadata.modified());
    changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|passed| passed >= age))
}

/// As [`remove_abandoned`], but `is_abandoned` decides.
///
/// # Errors
/// As [`remove_abandoned`].
pub fn remove_abandoned_if(folder: &Path, is_abandoned: impl Fn(&Path) -> bool) -> Result<(), Error> {
    let mut result = Ok(());
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if !is_temporary(&entry.file_name()) || !is_abandoned(&path) {
            continue;
        }
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        if let Err(reason) = removed
            && result.is_ok()
        {
            result = Err(Error::file("remove", &path, reason));
        }
    }
    result
}

fn is_temporary(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(PREFIX))
}

/// Temporary files are private by default; these get `mode`, less the process's umask, as any new file does.
#[cfg_attr(not(unix), allow(unused_variables, reason = "other systems have no modes"))]
fn builder(mode: u32) -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(PREFIX);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    builder
}

/// The folder of a file; the current one for a bare name.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Syncs the files of a folder and of those in it, each folder after its content.
fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync_tree(&entry.path())?;
        } else if kind.is_file() {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_folder(folder)
}

/// Makes the names in a folder durable.
///
/// # Errors
/// The operating system's.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    // Elsewhere folders cannot be opened as files.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_whole_or_absent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert!(names(folder.path()).is_empty());
        write(&path, "first").unwrap();
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        file.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(names(folder.path()), ["a.txt"]);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_library_may_write_the_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let file = NewFile::create(&path).unwrap();
        std::fs::write(file.temporary_path(), "written by path").unwrap();
        file.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"written by path");
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_those_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| folder.path().join(name).metadata().unwrap().permissions().mode();
        std::fs::write(folder.path().join("plain"), "").unwrap();
        write(&folder.path().join("atomic"), "").unwrap();
        assert_eq!(mode("atomic"), mode("plain"));
        std::fs::create_dir(folder.path().join("plain-folder")).unwrap();
        NewFolder::create(&folder.path().join("atomic-folder")).unwrap().commit().unwrap();
        assert_eq!(mode("atomic-folder"), mode("plain-folder"));
    }

    /// Whoever may write into a folder cannot put a link in a temporary file's place: nobody knows its name, and what exists is
    /// never opened.
    #[test]
    fn temporary_names_cannot_be_laid_ahead() {
        let folder = tempfile::tempdir().unwrap();
        let destination = folder.path().join("result");
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let file = NewFile::create(&destination).unwrap();
            let made = NewFolder::create(&destination).unwrap();
            for path in [file.temporary_path(), made.path()] {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                assert!(name.strip_prefix(PREFIX).is_some_and(|random| random.len() >= 6), "{name}");
                assert!(seen.insert(name.clone()), "{name} is repeated");
                assert!(!name.contains("result"), "{name}");
            }
        }
    }

    #[test]
    fn an_error_names_the_destination() {
        let path = Path::new("/nowhere/at/all.txt");
        let error = write(path, "").unwrap_err();
        assert!(error.to_string().starts_with("cannot write /nowhere/at/all.txt: "), "{error}");
    }

    #[test]
    fn a_folder_is_whole_or_absent() {
        let parent = tempfile::tempdir().unwrap();
        let destination = parent.path().join("deep/store");
        drop(NewFolder::create(&destination).unwrap());
        assert!(names(&parent.path().join("deep")).is_empty());
        let folder = NewFolder::create(&destination).unwrap();
        std::fs::write(folder.path().join("a"), "1").unwrap();
        assert!(!destination.exists());
        folder.commit().unwrap();
        assert_eq!(names(&destination), ["a"]);
        // A folder that exists is never replaced.
        let folder = NewFolder::create(&destination).unwrap();
        assert!(folder.commit().is_err());
        assert_eq!(names(&parent.path().join("deep")), ["store"]);
    }

    #[test]
    fn folders_and_names_are_created_and_moved() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        create_folder(&path("a/b/c")).unwrap();
        create_folder(&path("a/b/c")).unwrap();
        write(&path("a/file"), "1").unwrap();
        rename(&path("a/file"), &path("a/b/moved")).unwrap();
        assert_eq!(std::fs::read(path("a/b/moved")).unwrap(), b"1");
        let error = create_folder(&path("a/b/moved/d")).unwrap_err().to_string();
        assert!(error.starts_with("cannot create ") && error.contains("a/b/moved/d: "), "{error}");
        let error = rename(&path("absent"), &path("b")).unwrap_err().to_string();
        assert!(error.starts_with("cannot rename ") && error.contains("absent: "), "{error}");
    }

    #[test]
    fn a_folder_with_folders_in_it_is_committed() {
        let folder = tempfile::tempdir().unwrap();
        let new = NewFolder::create(&folder.path().join("a")).unwrap();
        std::fs::create_dir_all(new.path().join("b/c")).unwrap();
        std::fs::write(new.path().join("b/c/d"), "1").unwrap();
        new.commit().unwrap();
        assert_eq!(std::fs::read(folder.path().join("a/b/c/d")).unwrap(), b"1");
    }

    #[test]
    fn only_old_temporary_names_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(".writing-folder")).unwrap();
        for name in [".writing-file", "kept"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        remove_abandoned(folder.path(), Duration::from_secs(3600)).unwrap();
        assert_eq!(names(folder.path()).len(), 3);
        remove_abandoned(folder.path(), Duration::ZERO).unwrap();
        assert_eq!(names(folder.path()), ["kept"]);
        remove_abandoned(&folder.path().join("absent"), Duration::ZERO).unwrap();
    }
}
