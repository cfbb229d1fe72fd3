//! Which entries of a user's folder a program may touch. A path that the program did not make itself may be a link to
//! something of the user's, so nothing is opened for writing through a link, and no name of a manifest leaves the folder.

use crate::Error;
use std::fs::{File, FileType, OpenOptions};
use std::io;
use std::path::{Component, Path, PathBuf};

/// Opens a file for reading and writing, and creates it if it does not exist. Its content is not truncated.
///
/// # Errors
/// [`Error::NotAFile`] when the path is a link, a folder or a device: what it leads to stays as it is.
pub fn open(path: &Path) -> Result<File, Error> {
    open_with(path, OpenOptions::new().create(true).truncate(false).read(true).write(true))
}

/// Opens a file for adding at its end, and creates it if it does not exist.
///
/// # Errors
/// As [`open`].
pub fn append(path: &Path) -> Result<File, Error> {
    open_with(path, OpenOptions::new().create(true).append(true))
}

/// Opens a file that exists for reading and writing.
///
/// # Errors
/// As [`open`], and when there is none.
pub fn open_existing(path: &Path) -> Result<File, Error> {
    open_with(path, OpenOptions::new().read(true).write(true))
}

fn open_with(path: &Path, options: &mut OpenOptions) -> Result<File, Error> {
    refuse_links(path)?;
    // Between the look above and this call somebody may have put a link there.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, libc::O_NOFOLLOW);
    options.open(path).map_err(|reason| Error::file("write", path, reason))
}

/// Refuses a path that is anything but a file or absent.
///
/// # Errors
/// [`Error::NotAFile`] with what it is.
pub fn refuse_links(path: &Path) -> Result<(), Error> {
    match type_of(path)? {
        Some(found) if !found.is_file() => {
            Err(Error::NotAFile { path: path.to_owned(), found: type_name(found) })
        }
        _ => Ok(()),
    }
}

/// Refuses a path below `folder` one of whose folders is a link or a file. Parts that do not exist are fine.
///
/// # Errors
/// [`Error::NotAFolder`] with what was found.
pub fn refuse_linked_folders(folder: &Path, below: &Path) -> Result<(), Error> {
    let mut path = folder.to_owned();
    for part in below.components() {
        path.push(part);
        if let Some(found) = type_of(&path)?.filter(|found| !found.is_dir()) {
            return Err(Error::NotAFolder { path, found: type_name(found) });
        }
    }
    Ok(())
}

/// A path of a manifest; `None` if it is absolute or leads out of the folder.
pub fn inner_path(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let is_inner = path.components().all(|part| matches!(part, Component::Normal(_)));
    (is_inner && !text.is_empty()).then(|| path.to_owned())
}

/// The type of an entry, of the link itself where it is one; `None` if there is none.
pub(crate) fn type_of(path: &Path) -> Result<Option<FileType>, Error> {
    match path.symlink_metadata() {
        Ok(metadata) => Ok(Some(metadata.file_type())),
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(reason) => Err(Error::file("read", path, reason)),
    }
}

/// What an entry is, for messages.
fn type_name(found: FileType) -> &'static str {
    match () {
        () if found.is_symlink() => "a link",
        () if found.is_dir() => "a folder",
        () if found.is_file() => "a file",
        () => "neither a file nor a folder",
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_is_opened_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (stranger, link) = (folder.path().join("stranger"), folder.path().join("link"));
        std::fs::write(&stranger, "ten letters").unwrap();
        symlink(&stranger, &link).unwrap();
        let error = open(&link).unwrap_err().to_string();
        assert!(error.contains("link is a link") && error.contains("remove it"), "{error}");
        assert_eq!(std::fs::read_to_string(&stranger).unwrap(), "ten letters");
        symlink(folder.path().join("absent"), folder.path().join("dangling")).unwrap();
        assert!(open(&folder.path().join("dangling")).is_err());
        assert!(!folder.path().join("absent").exists());
        open(&stranger).unwrap();
        assert_eq!(std::fs::read_to_string(&stranger).unwrap(), "ten letters");
        assert!(open_existing(&link).is_err() && open_existing(&folder.path().join("absent")).is_err());
        assert!(!folder.path().join("absent").exists());
        open_existing(&stranger).unwrap();
        open(&folder.path().join("new")).unwrap();
        assert!(append(&link).is_err() && append(&folder.path().join("dangling")).is_err());
        append(&stranger).unwrap();
        assert_eq!(std::fs::read_to_string(&stranger).unwrap(), "ten letters");
    }

    #[test]
    fn folders_that_are_links_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), folder.path().join("data")).unwrap();
        let error = refuse_linked_folders(folder.path(), Path::new("data/default")).unwrap_err().to_string();
        assert!(error.contains("data is a link"), "{error}");
        refuse_linked_folders(folder.path(), Path::new("other/default")).unwrap();
    }

    #[test]
    fn a_manifest_names_only_what_is_inside() {
        for text in ["", "/etc/passwd", "../a", "data/../../a", "./a"] {
            assert_eq!(inner_path(text), None, "{text}");
        }
        assert_eq!(inner_path("data/a.parquet"), Some(PathBuf::from("data/a.parquet")));
    }
}
