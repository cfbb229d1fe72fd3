//! Whether a file may be opened as the store. Everything is settled before the first byte is written: the file may be a
//! link, another program's database, or damaged.

use super::schema::OLD_VERSION;
use super::wal::{self, beside};
use anyhow::{Context, Result, bail};
use files::owned;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};

/// SQLite's maximum length of a path, in bytes, of which it needs some for the names beside the store.
const MAX_PATH: usize = 500;
/// Up to this size a store is checked whole when it is opened.
const CHECKED_BYTES: u64 = 128 << 20;

/// The absolute path of the store, created empty if it does not exist. SQLite reads a relative path that begins with
/// `file:` as an address, and creates files without regard to the umask's group.
pub(super) fn location(path: &Path) -> Result<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder =
        folder.canonicalize().with_context(|| format!("cannot open the run's store {}", path.display()))?;
    let location = folder.join(path.file_name().unwrap_or_default());
    let length = location.as_os_str().len();
    if length > MAX_PATH {
        bail!(
            "{} has a path of {length} bytes, SQLite opens files of up to {MAX_PATH}; give a folder with a shorter path",
            location.display()
        );
    }
    owned::open(&location)?;
    Ok(location)
}

/// Opens the file, never as an address and never through a link.
pub(super) fn connection(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW,
    )
}

/// Refuses a store whose log is damaged: opening it would drop what is behind the damage.
pub(super) fn check_log(path: &Path) -> Result<()> {
    let log = beside(path, "-wal");
    let Some(commits) = wal::lost_commits(&log)? else { return Ok(()) };
    bail!(
        "{} is damaged: {commits} commits in it cannot be read; put a backup of it in its place, or give `--repair` to \
         continue without them and ask for their answers again",
        log.display()
    )
}

/// Refuses a database that is no store of this version or the one before, and one that is damaged.
pub(super) fn check(connection: &Connection, path: &Path, version: i64) -> Result<()> {
    let size = path.metadata().map_or(0, |metadata| metadata.len());
    let name = || {
        format!(
            "the run's store {} cannot be read; put a backup of it in its place, or give another `--out`",
            path.display()
        )
    };
    let number = |query: &str| connection.query_row(query, [], |row| row.get::<_, i64>(0));
    let tables = number("SELECT count(*) FROM sqlite_master").with_context(name)?;
    let found = number("PRAGMA user_version").with_context(name)?;
    if tables > 0 && found != version && found != OLD_VERSION {
        bail!(
            "{} was written by another version of smoltalk; give `--restart` to start over, or another `--out`",
            path.display()
        );
    }
    if tables > 0
        && size <= CHECKED_BYTES
        && let Some(problem) = problems(connection, 1).with_context(name)?.first()
    {
        bail!(
            "the run's store {} is damaged ({problem}); give `--repair` to keep what can be read and ask for the rest \
             again, or put a backup of it in its place",
            path.display()
        );
    }
    Ok(())
}

/// What SQLite finds damaged in a store of any size, at most so many lines of it.
pub(super) fn problems(connection: &Connection, most: u32) -> rusqlite::Result<Vec<String>> {
    let mut check = connection.prepare(&format!("PRAGMA integrity_check({most})"))?;
    let lines: rusqlite::Result<Vec<String>> = check.query_map([], |row| row.get(0))?.collect();
    Ok(lines?.into_iter().filter(|line| line != "ok").map(|line| line.replace('\n', " ")).collect())
}
