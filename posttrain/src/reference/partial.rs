//! What a run has computed of the reference so far: a record for each micro-batch, its numbers and their checksum. It is
//! appended without being synced; what a power loss leaves of it is used up to the first record that is not whole.

use files::hash::sha256;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Bytes of a record's checksum: hexadecimal digits of SHA-256.
const CHECKSUM: usize = 64;

/// An open partial file.
#[derive(Debug)]
pub(super) struct Partial {
    file: File,
    path: PathBuf,
    /// Records that are whole.
    groups: usize,
}

impl Partial {
    /// Opens the file for micro-batches of these sizes, and returns the numbers of its whole records. Waits while another
    /// run computes the same, where the file system has locks; without them both write the same records.
    pub(super) fn open(path: &Path, sizes: &[usize]) -> io::Result<(Self, Vec<f64>)> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let _ = file.lock();
        // From the file that is locked: the run that held the lock has removed its name.
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (mut sums, mut groups, mut end) = (Vec::new(), 0, 0);
        for size in sizes {
            let Some(record) = bytes.get(end..end + 8 * size + CHECKSUM) else { break };
            let (numbers, checksum) = record.split_at(8 * size);
            if checksum != checksum_of(groups, numbers).as_bytes() {
                break;
            }
            sums.extend(floats(numbers));
            groups += 1;
            end += record.len();
        }
        file.set_len(end as u64)?;
        Ok((Self { file, path: path.to_owned(), groups }, sums))
    }

    /// The number of micro-batches that are recorded.
    pub(super) fn groups(&self) -> usize {
        self.groups
    }

    /// Adds a record.
    pub(super) fn push(&mut self, sums: &[f64]) -> io::Result<()> {
        let mut record = bytes_of(sums);
        record.extend_from_slice(checksum_of(self.groups, &record).as_bytes());
        self.groups += 1;
        self.file.write_all(&record)
    }

    /// Removes the file. What cannot be removed only takes space.
    pub(super) fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Returns the numbers of a file.
pub(super) fn floats(bytes: &[u8]) -> Vec<f64> {
    bytes.as_chunks::<8>().0.iter().map(|number| f64::from_le_bytes(*number)).collect()
}

/// Returns numbers as they are stored.
pub(super) fn bytes_of(sums: &[f64]) -> Vec<u8> {
    sums.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The checksum of a record, which its place is part of.
fn checksum_of(group: usize, numbers: &[u8]) -> String {
    sha256([&(group as u64).to_le_bytes(), numbers].concat())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn records_are_used_up_to_the_first_that_is_not_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.part");
        let sizes = [2, 1, 3];
        let (mut partial, sums) = Partial::open(&path, &sizes).unwrap();
        assert!(sums.is_empty() && partial.groups() == 0);
        partial.push(&[-1.0, -2.0]).unwrap();
        partial.push(&[-3.0]).unwrap();
        drop(partial);
        let whole = std::fs::read(&path).unwrap();
        let known = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Partial::open(&path, &sizes).unwrap().1
        };
        assert_eq!(known(&whole), [-1.0, -2.0, -3.0]);
        assert_eq!(known(&[whole.as_slice(), &[0; 88]].concat()), [-1.0, -2.0, -3.0]);
        assert_eq!(known(&whole[..whole.len() - 1]), [-1.0, -2.0]);
        for bit in 0..8 * whole.len() {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let expected: &[f64] = if bit < 8 * (16 + CHECKSUM) { &[] } else { &[-1.0, -2.0] };
            assert_eq!(known(&bytes), expected, "bit {bit}");
        }
        assert!(known(&[0; 512]).is_empty());
        // The file ends with what is whole.
        let (mut partial, _) = Partial::open(&path, &sizes).unwrap();
        partial.push(&[-1.0, -2.0]).unwrap();
        assert_eq!(Partial::open(&folder.path().join("b"), &sizes).unwrap().1, [0.0; 0]);
        partial.remove();
        assert!(!path.exists());
    }

    /// It waits while the first one computes, and then reads the file that it locked, which has no name any more.
    #[test]
    fn a_second_run_gets_the_records_of_the_one_it_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.part");
        let (mut first, _) = Partial::open(&path, &[1]).unwrap();
        let second = std::thread::scope(|scope| {
            let second = scope.spawn(|| Partial::open(&path, &[1]).unwrap().1);
            std::thread::sleep(std::time::Duration::from_millis(200));
            first.push(&[-4.0]).unwrap();
            first.remove();
            second.join().unwrap()
        });
        assert_eq!(second, [-4.0]);
    }
}
