//! A shuffle in bounded memory: each row has a random number, and rows are returned in the order of their numbers.
//!
//! It is a radix sort: rows are distributed over buckets by the first byte of their number, and a bucket that is too
//! large to be sorted at once is distributed again by the next byte. Buckets are in memory as long as they fit; then they are
//! appended to files. The order is the same wherever the rows are.

use anyhow::{Context, Result, ensure};
use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a number: how often rows can be distributed.
const LEVELS: u32 = 8;
/// Bytes of a piece of a bucket's memory.
const PIECE: usize = 32 << 10;
/// Bytes before a row: its number and its length.
const HEADER: usize = 16;
/// Part of the memory for the bucket that is sorted; the rest is for rows that wait.
const SORTED_PART: usize = 4;

/// A shuffle to which rows are added.
pub(super) struct Shuffle {
    buckets: Buckets,
    rows: usize,
    /// Maximum size in bytes of a bucket that is sorted at once.
    sorted_bytes: usize,
}

/// One bucket for each value of one byte of the numbers.
struct Buckets {
    folder: PathBuf,
    level: u32,
    buckets: Vec<Bucket>,
    /// Bytes in memory, and how many there may be.
    held: usize,
    held_bytes: usize,
    /// Pieces without rows.
    free: Vec<Vec<u8>>,
}

/// Rows with their numbers: those in its file, if it has one, and those in memory after them. The file is open only while
/// rows are appended: some systems permit a process fewer open files than there are buckets.
struct Bucket {
    path: PathBuf,
    /// Bytes in the file.
    spilled: usize,
    pieces: Vec<Vec<u8>>,
}

/// A row of the shuffle: its bytes among those of its bucket.
pub(super) struct ShuffledRow {
    bucket: Arc<Vec<u8>>,
    range: Range<usize>,
}

impl AsRef<[u8]> for ShuffledRow {
    fn as_ref(&self) -> &[u8] {
        &self.bucket[self.range.clone()]
    }
}

impl Shuffle {
    /// A shuffle that holds so many bytes of rows and keeps the others in a folder, which exists and is empty.
    pub(super) fn create(folder: &Path, memory: usize) -> Self {
        let sorted_bytes = memory / SORTED_PART;
        let buckets = Buckets::new(folder.to_owned(), 0, memory - sorted_bytes);
        Self { buckets, rows: 0, sorted_bytes }
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
    pub(super) fn in_order(self) -> Ordered {
        let waiting = self.buckets.finish();
        Ordered {
            waiting,
            bucket: Arc::default(),
            sorted: Vec::new().into_iter(),
            sorted_bytes: self.sorted_bytes,
        }
    }
}

impl Buckets {
    fn new(folder: PathBuf, level: u32, held_bytes: usize) -> Self {
        let bucket =
            |bucket| Bucket { path: folder.join(format!("{bucket:02x}")), spilled: 0, pieces: Vec::new() };
        let buckets = (0..=255u8).map(bucket).collect();
        Self { folder, level, buckets, held: 0, held_bytes, free: Vec::new() }
    }

    fn push(&mut self, number: u64, row: &[u8]) -> Result<()> {
        let bucket = &mut self.buckets[usize::from((number >> (56 - 8 * self.level)) as u8)];
        let needed = HEADER + row.len();
        if bucket.pieces.last().is_none_or(|piece| piece.capacity() - piece.len() < needed) {
            let free = if needed <= PIECE { self.free.pop() } else { None };
            let piece = free.unwrap_or_else(|| Vec::with_capacity(needed.max(PIECE)));
            self.held += piece.capacity();
            bucket.pieces.push(piece);
        }
        if let Some(piece) = bucket.pieces.last_mut() {
            piece.extend(number.to_le_bytes());
            piece.extend((row.len() as u64).to_le_bytes());
            piece.extend_from_slice(row);
        }
        if self.held > self.held_bytes { self.spill() } else { Ok(()) }
    }

    /// Appends the rows in memory to their files.
    fn spill(&mut self) -> Result<()> {
        let folder = &self.folder;
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        for bucket in &mut self.buckets {
            bucket.spill(&mut self.free)?;
        }
        self.held = 0;
        Ok(())
    }

    /// The buckets that have rows and how often these were distributed, the last bucket first.
    fn finish(self) -> Vec<(Bucket, u32)> {
        let used = self.buckets.into_iter().rev().filter(|bucket| bucket.bytes() > 0);
        used.map(|bucket| (bucket, self.level + 1)).collect()
    }
}

impl Bucket {
    fn bytes(&self) -> usize {
        self.spilled + self.pieces.iter().map(Vec::len).sum::<usize>()
    }

    fn spill(&mut self, free: &mut Vec<Vec<u8>>) -> Result<()> {
        if self.pieces.is_empty() {
            return Ok(());
        }
        let append = |file: &mut File| self.pieces.iter().try_for_each(|piece| file.write_all(piece));
        let file = OpenOptions::new().create(true).append(true).open(&self.path);
        file.and_then(|mut file| append(&mut file))
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        for mut piece in self.pieces.drain(..) {
            self.spilled += piece.len();
            if piece.capacity() == PIECE {
                piece.clear();
                free.push(piece);
            }
        }
        Ok(())
    }

    /// Refuses a file of which less was read than was written: rows would be missing without a word.
    fn check_read(&self, bytes: usize) -> Result<()> {
        ensure!(
            bytes == self.spilled,
            "{} has {bytes} bytes, but {} were written; run the same command again",
            self.path.display(),
            self.spilled
        );
        Ok(())
    }

    /// All its rows, and removes its file.
    fn take(self) -> Result<Vec<u8>> {
        let mut rows = Vec::with_capacity(self.bytes());
        if self.spilled > 0 {
            let read = File::open(&self.path).and_then(|mut file| file.read_to_end(&mut rows));
            read.with_context(|| format!("cannot read {}", self.path.display()))?;
            self.check_read(rows.len())?;
            remove(&self.path)?;
        }
        self.pieces.iter().for_each(|piece| rows.extend_from_slice(piece));
        Ok(rows)
    }

    /// Distributes its rows by the next byte of their numbers, and removes its file.
    fn distribute(self, level: u32, held_bytes: usize) -> Result<Vec<(Self, u32)>> {
        let mut buckets = Buckets::new(self.path.with_extension("more"), level, held_bytes);
        if self.spilled > 0 {
            let cannot = || format!("cannot read {}", self.path.display());
            let mut reader = BufReader::with_capacity(PIECE, File::open(&self.path).with_context(cannot)?);
            let mut row = Vec::new();
            let mut found = 0;
            while let Some(number) = read(&mut reader, &mut row).with_context(cannot)? {
                found += HEADER + row.len();
                buckets.push(number, &row)?;
            }
            self.check_read(found)?;
            remove(&self.path)?;
        }
        for piece in self.pieces {
            let mut at = 0;
            while let Some((number, range)) = entry(&piece, at) {
                at = range.end;
                buckets.push(number, &piece[range])?;
            }
        }
        Ok(buckets.finish())
    }
}

fn remove(path: &Path) -> Result<()> {
    std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
}

/// The rows in order.
pub(super) struct Ordered {
    waiting: Vec<(Bucket, u32)>,
    bucket: Arc<Vec<u8>>,
    /// The rows of the bucket.
    sorted: std::vec::IntoIter<(u64, Range<usize>)>,
    sorted_bytes: usize,
}

impl Ordered {
    /// Sorts the next bucket, or distributes it again; returns whether there was one.
    fn advance(&mut self) -> Result<bool> {
        let Some((bucket, level)) = self.waiting.pop() else { return Ok(false) };
        if bucket.bytes() > self.sorted_bytes && level < LEVELS {
            self.waiting.extend(bucket.distribute(level, self.sorted_bytes)?);
            return Ok(true);
        }
        let (bucket, mut rows, mut at) = (bucket.take()?, Vec::new(), 0);
        while let Some((number, range)) = entry(&bucket, at) {
            at = range.end;
            rows.push((number, range));
        }
        rows.sort_by_key(|(number, _)| *number);
        (self.bucket, self.sorted) = (Arc::new(bucket), rows.into_iter());
        Ok(true)
    }
}

impl Iterator for Ordered {
    type Item = Result<ShuffledRow>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((_, range)) = self.sorted.next() {
                return Some(Ok(ShuffledRow { bucket: self.bucket.clone(), range }));
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The number of the row that begins at a place, and its bytes; `None` at the end.
fn entry(rows: &[u8], at: usize) -> Option<(u64, Range<usize>)> {
    let (number, rest) = rows.get(at..)?.split_first_chunk()?;
    let (length, _) = rest.split_first_chunk()?;
    let start = at + HEADER;
    Some((u64::from_le_bytes(*number), start..start + u64::from_le_bytes(*length) as usize))
}

/// Reads the next row; returns its number, or `None` at the end of the file.
fn read(reader: &mut impl Read, row: &mut Vec<u8>) -> std::io::Result<Option<u64>> {
    let mut word = [0; 8];
    match reader.read_exact(&mut word) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let number = u64::from_le_bytes(word);
    reader.read_exact(&mut word)?;
    row.resize(u64::from_le_bytes(word) as usize, 0);
    reader.read_exact(row)?;
    Ok(Some(number))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::draw::draw;

    fn shuffled(numbers: &[u64], memory: usize) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let mut shuffle = Shuffle::create(folder.path(), memory);
        for (index, number) in numbers.iter().enumerate() {
            shuffle.push(*number, format!("{index}").as_bytes()).unwrap();
            assert!(shuffle.buckets.held <= memory.max(PIECE), "{} held", shuffle.buckets.held);
        }
        assert_eq!(shuffle.rows(), numbers.len());
        let rows: Vec<String> = shuffle
            .in_order()
            .map(|row| String::from_utf8(row.unwrap().as_ref().to_vec()).unwrap())
            .collect();
        let files = std::fs::read_dir(folder.path()).unwrap();
        assert!(files.flatten().all(|entry| entry.path().is_dir()), "every file was read and removed");
        rows
    }

    #[test]
    fn rows_are_in_the_order_of_their_numbers_whatever_memory_there_is() {
        // Numbers with the same first bytes, and one number four times.
        let mut numbers: Vec<u64> = (0..2000).map(|index| draw(&format!("{index}"))).collect();
        numbers.extend((0..500).map(|index| 0x0102_0300_0000_0000 | draw(&format!("{index}")) >> 32));
        numbers.extend([u64::MAX, 0, u64::MAX, 7, u64::MAX, u64::MAX]);
        let mut expected: Vec<usize> = (0..numbers.len()).collect();
        expected.sort_by_key(|index| numbers[*index]);
        let expected: Vec<String> = expected.into_iter().map(|index| index.to_string()).collect();
        for memory in [usize::MAX, 64 * PIECE, 2 * PIECE, 4096, 1] {
            assert_eq!(shuffled(&numbers, memory), expected, "{memory}");
        }
        assert!(shuffled(&[], 1).is_empty());
    }

    /// Rows larger than a piece, and than all memory.
    #[test]
    fn large_rows_are_returned_whole() {
        for memory in [usize::MAX, 8 * PIECE, 1] {
            let folder = tempfile::tempdir().unwrap();
            let mut shuffle = Shuffle::create(folder.path(), memory);
            let row = |index: u8| vec![index; usize::from(index) * PIECE / 2];
            (0..5u8).for_each(|index| shuffle.push(u64::from(index) << 60, &row(index)).unwrap());
            let rows: Vec<Vec<u8>> = shuffle.in_order().map(|row| row.unwrap().as_ref().to_vec()).collect();
            assert_eq!(rows, [row(0), row(1), row(2), row(3), row(4)]);
        }
    }

    #[test]
    fn numbers_are_uniform() {
        let mut counts = [0; 16];
        (0..16_000).for_each(|index| counts[(draw(&format!("0/name/{index}/take")) >> 60) as usize] += 1);
        // Five standard deviations of 16,000 draws into 16.
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
