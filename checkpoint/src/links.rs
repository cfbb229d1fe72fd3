//! Links out of a model's folder. What a model carries on to those that are made from it is written out in full and may be
//! published, so a link in a folder from a stranger must not bring in a private file.

use std::path::{Path, PathBuf};

/// Where a link leads that leaves the folder; `None` for anything else. The links of a snapshot in the hub's cache lead to
/// the cache's own files.
pub(crate) fn outside(folder: &Path, path: &Path) -> Option<PathBuf> {
    let (root, target) = (folder.canonicalize().ok()?, path.canonicalize().ok()?);
    let snapshots = root.ancestors().find(|above| above.file_name().is_some_and(|name| name == "snapshots"));
    let blobs = snapshots.and_then(Path::parent).map(|repository| repository.join("blobs"));
    let is_inside = target.starts_with(&root) || blobs.is_some_and(|blobs| target.starts_with(blobs));
    (!is_inside).then_some(target)
}

/// Whether a path of a model's folder may be carried on; says so where it may not.
pub(crate) fn is_inside(folder: &Path, path: &Path) -> bool {
    let target = outside(folder, path);
    if let Some(target) = &target {
        terminal::message!(
            "warning: {} leads to {}, outside the model's folder, and is not carried on; copy the file if it belongs to the model",
            path.display(),
            target.display()
        );
    }
    target.is_none()
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_links_of_the_hub_cache_are_its_own() {
        let cache = tempfile::tempdir().unwrap();
        let (snapshot, blobs) = (cache.path().join("m/snapshots/abc"), cache.path().join("m/blobs"));
        std::fs::create_dir_all(&snapshot).unwrap();
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::write(blobs.join("1"), "text").unwrap();
        std::fs::write(cache.path().join("private"), "text").unwrap();
        symlink("../../blobs/1", snapshot.join("LICENSE")).unwrap();
        symlink("../../../private", snapshot.join("NOTICE")).unwrap();
        assert!(is_inside(&snapshot, &snapshot.join("LICENSE")));
        assert_eq!(outside(&snapshot, &snapshot.join("absent")), None);
        let target = cache.path().join("private").canonicalize().unwrap();
        assert_eq!(outside(&snapshot, &snapshot.join("NOTICE")), Some(target));
    }
}
