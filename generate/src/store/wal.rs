//! Damage to the write-ahead log. SQLite ends a log at the first frame that differs from its checksum, as after a power
//! loss, so that one flipped bit would drop every later commit without a word. The format is that of
//! <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// Returns the number of commits that the log contains behind a damaged place. A single one may be a commit that a power
/// loss interrupted: each is synced before the next begins.
pub(super) fn lost_commits(log: &Path) -> Result<Option<usize>> {
    let bytes = match std::fs::read(log) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.with_context(|| format!("cannot read {}", log.display()))?,
    };
    Ok(commits_after_damage(&bytes).filter(|commits| *commits > 1))
}

/// The path of what SQLite keeps beside a store.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// The commits from the first frame of this log that cannot be read; `None` if all can.
fn commits_after_damage(bytes: &[u8]) -> Option<usize> {
    if bytes.len() < HEADER {
        return None;
    }
    let (header, frames) = bytes.split_at(HEADER);
    let is_big_endian = word(header, 0) & 1 == 1;
    let stored = [word(header, 24), word(header, 28)];
    let page = word(header, 8) as usize;
    let mut sum = checksum([0, 0], &header[..24], is_big_endian);
    if sum != stored || !page.is_power_of_two() || page < 512 {
        return commits_of_unreadable_log(frames);
    }
    let frames: Vec<&[u8]> =
        frames.chunks_exact(FRAME_HEADER + page).take_while(|frame| frame[8..16] == header[16..24]).collect();
    for (index, frame) in frames.iter().enumerate() {
        sum = checksum(sum, &frame[..8], is_big_endian);
        sum = checksum(sum, &frame[FRAME_HEADER..], is_big_endian);
        if sum != [word(frame, 16), word(frame, 20)] {
            return Some(frames[index..].iter().filter(|frame| is_commit(frame)).count());
        }
    }
    // A damaged salt ends the frames early.
    let behind = bytes[HEADER..].chunks_exact(FRAME_HEADER + page).skip(frames.len() + 1);
    let commits = behind.filter(|frame| frame[8..16] == header[16..24] && is_commit(frame)).count();
    (commits > 0).then_some(commits)
}

/// The commits of a log whose header is damaged, in pages of SQLite's usual size: frames that agree on their salts.
fn commits_of_unreadable_log(frames: &[u8]) -> Option<usize> {
    let frames: Vec<&[u8]> = frames.chunks_exact(FRAME_HEADER + 4096).collect();
    let salts = frames.first()?[8..16].to_vec();
    let ours = frames.iter().take_while(|frame| frame[8..16] == salts && salts.iter().any(|byte| *byte != 0));
    Some(ours.filter(|frame| is_commit(frame)).count())
}

/// Whether a frame ends a commit: it states the database's size.
fn is_commit(frame: &[u8]) -> bool {
    word(frame, 4) != 0
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The running checksum over words of eight bytes.
fn checksum([mut first, mut second]: [u32; 2], bytes: &[u8], is_big_endian: bool) -> [u32; 2] {
    for pair in bytes.chunks_exact(8) {
        let word = |at: usize| {
            let four = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
            if is_big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
        };
        first = first.wrapping_add(word(0)).wrapping_add(second);
        second = second.wrapping_add(word(4)).wrapping_add(first);
    }
    [first, second]
}
