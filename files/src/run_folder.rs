//! A folder belongs to one run: it is locked while a process works in it, what a new run replaces is set aside and never
//! deleted, and a run with other settings is refused with what differs.
//!
//! Every program has the same vocabulary. The same command again resumes. `--restart` starts over. `--accept-changes`
//! resumes although settings differ, where a program supports that.

use crate::{Error, owned};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Help text of the flag `--restart`.
pub const RESTART_HELP: &str =
    "Start over; what the folder contains is set aside in set-aside-N, not deleted";
/// Help text of the flag `--accept-changes`.
pub const ACCEPT_CHANGES_HELP: &str =
    "Resume although settings or data changed; run.json records what changed and when";

/// The file that is locked. It stays when the process ends; the lock does not.
pub(crate) const LOCK_FILE: &str = ".lock";

/// Help text of the flag `--no-lock`.
pub const NO_LOCK_HELP: &str =
    "Do not lock the run's folder, for file systems without locks; then nothing keeps a second run out";

/// The exclusive lock of a run's folder, held until it is dropped or the process ends, however that happens.
#[derive(Debug)]
pub struct Lock {
    /// `None` for a folder that the user asked not to lock.
    file: Option<File>,
}

impl Lock {
    /// Locks a folder that exists. `program` names the holder to others, such as `posttrain sft`.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process holds the lock, with its name and process id; [`Error::NoLocks`] when the
    /// file system has no locks; [`Error::File`] when the lock file cannot be written.
    pub fn acquire(folder: &Path, program: &str) -> Result<Self, Error> {
        let path = folder.join(LOCK_FILE);
        let cannot_write = |reason| Error::file("write", &path, reason);
        // Not truncated before it is locked: it names the holder.
        let mut file = owned::open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = std::fs::read_to_string(&path).unwrap_or_default();
                let holder = holder.lines().next().map(|line| format!(" ({line})")).unwrap_or_default();
                return Err(Error::InUse { folder: folder.to_owned(), holder });
            }
            Err(TryLockError::Error(reason)) if has_no_locks(&reason) => {
                return Err(Error::NoLocks { folder: folder.to_owned(), reason });
            }
            Err(TryLockError::Error(reason)) => return Err(Error::file("lock", &path, reason)),
        }
        refuse_others_content(&mut file, &path)?;
        let holder = format!("`{program}`, process {}\n", std::process::id());
        let mut write = || {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(holder.as_bytes())
        };
        write().map_err(cannot_write)?;
        Ok(Self { file: Some(file) })
    }

    /// As [`Lock::acquire`], or no lock at all where `--no-lock` was given.
    ///
    /// # Errors
    /// As [`Lock::acquire`].
    pub fn acquire_unless(no_lock: bool, folder: &Path, program: &str) -> Result<Self, Error> {
        if no_lock { Ok(Self { file: None }) } else { Self::acquire(folder, program) }
    }

    /// Whether other runs are kept out of the folder.
    pub fn is_held(&self) -> bool {
        self.file.is_some()
    }
}

/// Refuses a file of that name that is not a lock: its content would be replaced.
fn refuse_others_content(file: &mut File, path: &Path) -> Result<(), Error> {
    let mut first = [0];
    match file.read(&mut first).map_err(|reason| Error::file("read", path, reason))? {
        // A power loss can leave zeros of what was written.
        1 if !matches!(first, [b'`' | 0]) => {
            Err(Error::NotAFile { path: path.to_owned(), found: "a file that is no lock of this project" })
        }
        _ => Ok(()),
    }
}

/// Whether locking failed because the file system, or the server behind it, has no locks.
fn has_no_locks(reason: &std::io::Error) -> bool {
    #[cfg(unix)]
    let codes = [libc::ENOLCK, libc::EOPNOTSUPP, libc::ENOSYS];
    #[cfg(not(unix))]
    let codes: [i32; 0] = [];
    reason.kind() == std::io::ErrorKind::Unsupported
        || reason.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// Moves the entries with these names, those that exist, into a new folder `set-aside-N` beside them, in the order given:
/// name first what makes the folder a run, so that a kill in between leaves no run that is half there. Each move is
/// durable before the next. Returns the new folder, or `None` where none of the entries exists.
///
/// # Errors
/// Names what cannot be moved.
pub fn set_aside(folder: &Path, names: &[&str]) -> Result<Option<PathBuf>, Error> {
    let existing: Vec<&&str> =
        names.iter().filter(|name| folder.join(name).symlink_metadata().is_ok()).collect();
    if existing.is_empty() {
        return Ok(None);
    }
    let aside = new_aside_folder(folder)?;
    for name in existing {
        let path = folder.join(name);
        crate::atomic::rename(&path, &aside.join(name))?;
    }
    Ok(Some(aside))
}

/// Creates the first folder of `set-aside-1`, `set-aside-2`, ... that does not exist, and returns its path.
///
/// # Errors
/// Names the folder.
pub fn new_aside_folder(folder: &Path) -> Result<PathBuf, Error> {
    let mut number = 1;
    loop {
        let aside = folder.join(format!("set-aside-{number}"));
        match std::fs::create_dir(&aside) {
            Ok(()) => {
                crate::atomic::sync_folder(folder).map_err(|reason| Error::file("sync", folder, reason))?;
                return Ok(aside);
            }
            Err(reason) if reason.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(reason) => return Err(Error::file("create", &aside, reason)),
        }
    }
}

/// A setting that differs between two configurations. Printed as "seed was 1, is 2".
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// Its value before; `None` if it was not set.
    pub before: Option<Value>,
    /// Its value now; `None` if it is not set.
    pub now: Option<Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<Value>| value.as_ref().map_or("not set".to_owned(), Value::to_string);
        write!(formatter, "{} was {}, is {}", self.name, text(&self.before), text(&self.now))
    }
}

/// The entries that differ between two objects, by name; none where one of the values is no object.
pub fn changes(before: &Value, now: &Value) -> Vec<Change> {
    let (Some(before), Some(now)) = (before.as_object(), now.as_object()) else { return Vec::new() };
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    names
        .into_iter()
        .filter(|name| before.get(*name) != now.get(*name))
        .map(|name| Change {
            name: name.clone(),
            before: before.get(name).cloned(),
            now: now.get(name).cloned(),
        })
        .collect()
}

/// Refuses a folder whose run has other settings. `can_accept` says whether the program has `--accept-changes`.
///
/// # Errors
/// [`Error::Changed`] when there is any change: lists all of them and the flags that help.
pub fn refuse_changes(folder: &Path, changes: &[Change], can_accept: bool) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = changes.iter().map(Change::to_string).collect();
    let remedy = match can_accept {
        true => {
            "give `--accept-changes` to resume with the new settings, `--restart` to start over, or another folder"
        }
        false => "repeat the earlier settings, or give `--restart` to start over, or another folder",
    };
    Err(Error::Changed { folder: folder.to_owned(), changes: list.join("; "), remedy })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_second_run_is_told_who_holds_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::acquire(folder.path(), "posttrain sft").unwrap();
        let error = Lock::acquire(folder.path(), "posttrain dpo").unwrap_err().to_string();
        let holder = format!("is in use by another run (`posttrain sft`, process {}); ", std::process::id());
        assert!(error.contains(&holder), "{error}");
        drop(lock);
        drop(Lock::acquire(folder.path(), "a").unwrap());
        // The shorter name leaves nothing of the longer one.
        let text = std::fs::read_to_string(folder.path().join(LOCK_FILE)).unwrap();
        assert!(text.starts_with("`a`, process ") && text.lines().count() == 1, "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_system_without_locks_is_not_a_folder_in_use() {
        for code in [libc::ENOLCK, libc::EOPNOTSUPP, libc::ENOSYS] {
            assert!(has_no_locks(&std::io::Error::from_raw_os_error(code)));
        }
        assert!(!has_no_locks(&std::io::Error::from_raw_os_error(libc::EIO)));
        let reason = std::io::Error::from_raw_os_error(libc::ENOLCK);
        let text = Error::NoLocks { folder: "out".into(), reason }.to_string();
        assert!(
            text.contains("out is on a file system without locks") && text.contains("`--no-lock`"),
            "{text}"
        );
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::acquire(folder.path(), "a").unwrap();
        assert!(lock.is_held() && Lock::acquire_unless(false, folder.path(), "b").is_err());
        assert!(!Lock::acquire_unless(true, folder.path(), "b").unwrap().is_held());
    }

    #[test]
    fn a_lock_replaces_nothing_of_the_users() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(LOCK_FILE), "yarn lockfile v1").unwrap();
        let error = Lock::acquire(folder.path(), "a").unwrap_err().to_string();
        assert!(error.contains("is a file that is no lock of this project"), "{error}");
        assert_eq!(std::fs::read_to_string(folder.path().join(LOCK_FILE)).unwrap(), "yarn lockfile v1");
        for left in [&b""[..], &[0; 30]] {
            std::fs::write(folder.path().join(LOCK_FILE), left).unwrap();
            assert!(Lock::acquire(folder.path(), "a").unwrap().is_held());
        }
    }

    #[test]
    fn what_is_set_aside_is_kept_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert_eq!(set_aside(folder.path(), &["run.json"]).unwrap(), None);
        for number in 1..3 {
            std::fs::create_dir(path("checkpoints")).unwrap();
            std::fs::write(path("checkpoints/a"), number.to_string()).unwrap();
            std::fs::write(path("run.json"), "{}").unwrap();
            std::fs::write(path("other"), "stays").unwrap();
            let names = ["run.json", "checkpoints", "absent"];
            let aside = set_aside(folder.path(), &names).unwrap().unwrap();
            assert_eq!(aside, path(&format!("set-aside-{number}")));
            assert_eq!(std::fs::read_to_string(aside.join("checkpoints/a")).unwrap(), number.to_string());
            assert!(!path("run.json").exists() && path("other").exists());
        }
    }

    #[test]
    fn every_difference_is_listed() {
        let before = json!({"seed": 1, "same": [1], "gone": "x"});
        let now = json!({"seed": 2, "same": [1], "new": null});
        let differences = changes(&before, &now);
        let listed: Vec<String> = differences.iter().map(Change::to_string).collect();
        assert_eq!(listed, ["gone was \"x\", is not set", "new was not set, is null", "seed was 1, is 2"]);
        assert!(changes(&before, &before).is_empty() && changes(&Value::Null, &now).is_empty());
        let folder = Path::new("out");
        let error = refuse_changes(folder, &differences[2..], true).unwrap_err().to_string();
        assert!(
            error.starts_with("out contains a run with other settings (seed was 1, is 2); give `--accept"),
            "{error}"
        );
        let error = refuse_changes(folder, &differences, false).unwrap_err().to_string();
        assert!(!error.contains("--accept-changes") && error.contains("`--restart`"), "{error}");
        assert!(refuse_changes(folder, &[], true).is_ok());
    }
}
