//! Files of a store: written with their checksum, and read back against it.

use files::Error;
use files::checksum::{Algorithm, Checksummer, Content};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

/// Bytes that are read at once, a multiple of a token's.
pub(super) const PIECE: usize = 1 << 20;

/// A file that is being written, and the checksum of what was written.
#[derive(Debug)]
pub(super) struct NewFile {
    pub(super) file: BufWriter<File>,
    pub(super) content: Checksummer,
}

impl NewFile {
    pub(super) fn create(path: &Path) -> std::io::Result<Self> {
        Ok(Self { file: BufWriter::new(File::create(path)?), content: Checksummer::new(Algorithm::Xxh3) })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.content.update(bytes);
        self.file.write_all(bytes)
    }
}

/// Opens a file, all of which is read once and compared with its checksum. Returns its length as well.
pub(super) fn read_checked(path: &Path, content: &Content) -> Result<(File, u64), Error> {
    let failed = |reason| Error::file("read", path, reason);
    let mut file = File::open(path).map_err(failed)?;
    let (mut piece, mut summer) = (Vec::with_capacity(PIECE), Checksummer::new(Algorithm::Xxh3));
    let mut length = 0;
    loop {
        piece.clear();
        let count = Read::by_ref(&mut file).take(PIECE as u64).read_to_end(&mut piece).map_err(failed)?;
        summer.update(&piece);
        length += count as u64;
        if count < PIECE {
            break;
        }
    }
    match summer.finish() == *content {
        true => Ok((file, length)),
        false => Err(damaged(path, "contains other bytes than were written")),
    }
}

/// Reads where the sequences begin in another file, whose end is `end`: numbers that never decrease, from 0 to the end.
pub(super) fn read_starts(
    path: &Path,
    content: Option<&Content>,
    sequences: usize,
    end: u64,
) -> Result<Vec<u64>, Error> {
    let bytes = std::fs::read(path).map_err(|reason| Error::file("read", path, reason))?;
    if content != Some(&Content::of_bytes(&bytes, Algorithm::Xxh3)) {
        return Err(damaged(path, "contains other bytes than were written"));
    }
    let starts: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|start| u64::from_le_bytes(*start)).collect();
    let is_whole = starts.len() == sequences + 1
        && starts.first() == Some(&0)
        && starts.last() == Some(&end)
        && starts.is_sorted();
    if is_whole { Ok(starts) } else { Err(damaged(path, "its sequences are not within the tokens")) }
}

/// Names what an unexpected end means here.
pub(super) fn shorter(reason: io::Error) -> io::Error {
    match reason.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::other("it is shorter than when the run started"),
        _ => reason,
    }
}

pub(super) fn damaged(path: &Path, reason: &str) -> Error {
    Error::Damaged { path: path.to_owned(), reason: reason.to_owned() }
}
