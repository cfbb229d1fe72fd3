//! The one decision between processes: a file that is created unless it exists.

use anyhow::{Context, Result};
use files::atomic::sync_folder;
use std::io::{self, Write};
use std::path::Path;

/// Writes a file whole unless it exists, which no other process can come between; returns whether the file is this call's. It
/// is renamed without replacing, or linked where the file system cannot do that, and is on the disk when this returns.
///
/// On a network file system the first attempt may have succeeded although its answer was lost: a file with exactly these
/// bytes is this call's, so that processes that compete have to write different ones.
///
/// # Errors
/// Names the file.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> Result<bool> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let create = || -> io::Result<bool> {
        // The dot hides it from whoever lists the folder.
        let mut file = tempfile::Builder::new().prefix(".writing-").tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(path) {
            Ok(_) => sync_folder(folder).map(|()| true),
            Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => {
                // It may have been removed meanwhile, together with all of a run that is done.
                Ok(std::fs::read(path).is_ok_and(|found| found == bytes))
            }
            Err(refused) => Err(refused.error),
        }
    };
    create().with_context(|| format!("cannot create {}", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn of_all_that_create_a_file_exactly_one_did() {
        let folder = tempfile::tempdir().unwrap();
        let path = &folder.path().join("claim");
        let won = std::thread::scope(|scope| {
            let create = |number: u8| {
                scope.spawn(move || create(path, &vec![number; 1 << 16]).unwrap().then_some(number))
            };
            let threads: Vec<_> = (0..16).map(create).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(won.len(), 1);
        assert_eq!(std::fs::read(path).unwrap(), vec![won[0]; 1 << 16]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
        // The answer to the first attempt was lost.
        assert!(create(path, &vec![won[0]; 1 << 16]).unwrap());
        assert!(!create(path, b"other").unwrap());
    }
}
