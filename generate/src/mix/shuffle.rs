//! A shuffle on disk: each row has a random number, and rows are returned in the order of their numbers.
//!
//! It is a radix sort: rows are distributed over files by the first byte of their number, and a file that is too
//! large to be sorted in memory is distributed again by the next byte. So memory holds one file, however many rows
//! there are.

use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Bytes of a number: how often rows can be distributed.
const LEVELS: u32 = 8;
/// Bytes of rows that wait in memory for being appended to their files.
const BUFFERED_BYTES: usize = 16 << 20;

/// A shuffle to which rows are added.
pub(super) struct Shuffle {
    buckets: Buckets,
    rows: usize,
    /// Maximum size in bytes of a file that is sorted in memory.
    sorted_bytes: u64,
}

/// One file for each value of one byte of the numbers. A file is open only while its buffer is appended: some systems
/// permit a process fewer open files than there are buckets.
struct Buckets {
    folder: PathBuf,
    level: u32,
    buffers: Vec<Vec<u8>>,
    buffered: usize,
    /// Whether each file exists.
    exists: Vec<bool>,
}

impl Shuffle {
    /// A shuffle that keeps its files in a folder, which exists and is empty.
    pub(super) fn create(folder: &Path, sorted_bytes: u64) -> Self {
        Self { buckets: Buckets::new(folder.to_owned(), 0), rows: 0, sorted_bytes }
    }

    /// Adds a row with its number.
    pub(super) fn push(&mut self, number: u64, row: &[u8]) -> Result<()> {
        self.rows += 1;
        self.buckets.push(number, row)
    }

    /// The number of rows that were added.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Iterates over the rows in the order of their numbers; rows with equal numbers in the order in which they
    /// were added.
    pub(super) fn in_order(self) -> Result<Ordered> {
        let waiting = self.buckets.finish()?;
        Ok(Ordered { waiting, sorted: Vec::new().into_iter(), sorted_bytes: self.sorted_bytes })
    }
}

impl Buckets {
    fn new(folder: PathBuf, level: u32) -> Self {
        Self { folder, level, buffers: vec![Vec::new(); 256], buffered: 0, exists: vec![false; 256] }
    }

    fn push(&mut self, number: u64, row: &[u8]) -> Result<()> {
        let bucket = (number >> (56 - 8 * self.level)) as u8;
        let buffer = &mut self.buffers[usize::from(bucket)];
        buffer.extend(number.to_le_bytes());
        buffer.extend((row.len() as u64).to_le_bytes());
        buffer.extend(row);
        self.buffered += 16 + row.len();
        if self.buffered > BUFFERED_BYTES { self.append() } else { Ok(()) }
    }

    /// Appends every buffer to its file.
    fn append(&mut self) -> Result<()> {
        for bucket in 0..=255 {
            let buffer = std::mem::take(&mut self.buffers[usize::from(bucket)]);
            if buffer.is_empty() {
                continue;
            }
            let path = self.path(bucket);
            let file = OpenOptions::new().create(true).append(true).open(&path);
            let written = file.and_then(|mut file| file.write_all(&buffer));
            written.with_context(|| format!("cannot write {}", path.display()))?;
            self.exists[usize::from(bucket)] = true;
        }
        self.buffered = 0;
        Ok(())
    }

    fn path(&self, bucket: u8) -> PathBuf {
        self.folder.join(format!("{bucket:02x}"))
    }

    /// The files and how often their rows were distributed, the last file first.
    fn finish(mut self) -> Result<Vec<(PathBuf, u32)>> {
        self.append()?;
        let existing = (0..=255).rev().filter(|bucket| self.exists[usize::from(*bucket)]);
        Ok(existing.map(|bucket| (self.path(bucket), self.level + 1)).collect())
    }
}

/// The rows in order.
pub(super) struct Ordered {
    waiting: Vec<(PathBuf, u32)>,
    sorted: std::vec::IntoIter<(u64, Vec<u8>)>,
    sorted_bytes: u64,
}

impl Ordered {
    /// Sorts the next file, or distributes it again; returns whether there was one.
    fn advance(&mut self) -> Result<bool> {
        let Some((path, level)) = self.waiting.pop() else { return Ok(false) };
        let cannot = || format!("cannot read {}", path.display());
        let file = File::open(&path).with_context(cannot)?;
        let is_large = file.metadata().with_context(cannot)?.len() > self.sorted_bytes;
        let mut reader = BufReader::new(file);
        if is_large && level < LEVELS {
            let folder = path.with_extension("more");
            std::fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
            let mut buckets = Buckets::new(folder, level);
            while let Some((number, row)) = read(&mut reader).with_context(cannot)? {
                buckets.push(number, &row)?;
            }
            self.waiting.extend(buckets.finish()?);
        } else {
            let mut rows = Vec::new();
            while let Some(row) = read(&mut reader).with_context(cannot)? {
                rows.push(row);
            }
            rows.sort_by_key(|(number, _)| *number);
            self.sorted = rows.into_iter();
        }
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        Ok(true)
    }
}

impl Iterator for Ordered {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((_, row)) = self.sorted.next() {
                return Some(Ok(row));
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Reads the next number and its row; `None` at the end of the file.
fn read(reader: &mut impl Read) -> std::io::Result<Option<(u64, Vec<u8>)>> {
    let mut word = [0; 8];
    match reader.read_exact(&mut word) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let number = u64::from_le_bytes(word);
    reader.read_exact(&mut word)?;
    let mut row = vec![0; u64::from_le_bytes(word) as usize];
    reader.read_exact(&mut row)?;
    Ok(Some((number, row)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::draw::draw;

    fn shuffled(numbers: &[u64], sorted_bytes: u64) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let mut shuffle = Shuffle::create(folder.path(), sorted_bytes);
        for (index, number) in numbers.iter().enumerate() {
            shuffle.push(*number, format!("{index}").as_bytes()).unwrap();
        }
        assert_eq!(shuffle.rows(), numbers.len());
        let rows: Vec<String> =
            shuffle.in_order().unwrap().map(|row| String::from_utf8(row.unwrap()).unwrap()).collect();
        let files = std::fs::read_dir(folder.path()).unwrap();
        assert!(files.flatten().all(|entry| entry.path().is_dir()), "every file was read and removed");
        rows
    }

    #[test]
    fn rows_are_in_the_order_of_their_numbers_however_often_they_are_distributed() {
        // Numbers with the same first bytes, and one number four times.
        let mut numbers: Vec<u64> = (0..2000).map(|index| draw(&format!("{index}"))).collect();
        numbers.extend((0..500).map(|index| 0x0102_0300_0000_0000 | draw(&format!("{index}")) >> 32));
        numbers.extend([u64::MAX, 0, u64::MAX, 7, u64::MAX, u64::MAX]);
        let mut expected: Vec<usize> = (0..numbers.len()).collect();
        expected.sort_by_key(|index| numbers[*index]);
        let expected: Vec<String> = expected.into_iter().map(|index| index.to_string()).collect();
        for sorted_bytes in [u64::MAX, 4096, 1] {
            assert_eq!(shuffled(&numbers, sorted_bytes), expected, "{sorted_bytes}");
        }
        assert!(shuffled(&[], 1).is_empty());
    }

    #[test]
    fn numbers_are_uniform() {
        let mut counts = [0; 16];
        (0..16_000).for_each(|index| counts[(draw(&format!("0/name/{index}/take")) >> 60) as usize] += 1);
        // Five standard deviations of 16,000 draws into 16.
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
