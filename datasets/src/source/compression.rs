//! Compressed files, known by their first bytes as `load_dataset` knows them; a name that promises a compression which the
//! bytes are not is an error. Files that are something else altogether are named for what they are.

use crate::Error;
use crate::limits::refused_unpacking;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// The extensions of compressed files.
pub(super) const EXTENSIONS: [&str; 5] = [".gz", ".zst", ".zstd", ".xz", ".bz2"];

/// A compression: its name, its extensions, its first bytes.
const KINDS: [(&str, &[&str], &[u8]); 4] = [
    ("gzip", &["gz"], b"\x1f\x8b"),
    ("zstd", &["zst", "zstd"], b"\x28\xb5\x2f\xfd"),
    ("xz", &["xz"], b"\xfd7zXZ\0"),
    ("bzip2", &["bz2"], b"BZh"),
];

/// Bytes that are looked at.
const LOOKED_AT: usize = 512;

/// Opens a text file, whatever it is compressed with.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, Error> {
    let start = first_bytes(path)?;
    let file = File::open(path).map_err(|error| Error::file("read", path, error))?;
    let kind = KINDS.iter().find(|(_, _, magic)| start.starts_with(magic)).map(|(name, ..)| *name);
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let packed = file.metadata().map_err(|error| Error::file("read", path, error))?.len();
    let promised = KINDS.iter().find(|(_, extensions, _)| extensions.contains(&extension.as_str()));
    match (kind, promised) {
        (None, Some((name, ..))) => {
            Err(not_data(path, &format!("its name promises {name}, but it {}", found(&start))))
        }
        (Some("gzip"), _) => Ok(Unpacked::boxed(flate2::read::MultiGzDecoder::new(file), packed)),
        (Some("zstd"), _) => {
            let decoder = zstd::Decoder::new(file).map_err(|error| Error::file("read", path, error))?;
            Ok(Unpacked::boxed(decoder, packed))
        }
        (Some("xz"), _) => Ok(Unpacked::boxed(lzma_rust2::XzReader::new(BufReader::new(file), true), packed)),
        (Some(_), _) => Ok(Unpacked::boxed(bzip2::read::MultiBzDecoder::new(file), packed)),
        (None, None) => Ok(Box::new(BufReader::new(file))),
    }
}

/// What a compressed file unpacks to, as far as it may.
struct Unpacked<R> {
    reader: R,
    /// Bytes that were unpacked.
    unpacked: u64,
    /// Bytes of the file.
    packed: u64,
}

impl<R: Read + Send + 'static> Unpacked<R> {
    fn boxed(reader: R, packed: u64) -> Box<dyn BufRead + Send> {
        Box::new(BufReader::new(Self { reader, unpacked: 0, packed }))
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.unpacked += read as u64;
        match refused_unpacking(self.unpacked, self.packed) {
            Some(reason) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("it {reason}"))),
            None => Ok(read),
        }
    }
}

/// What the first bytes of a file say that it is.
fn found(start: &[u8]) -> String {
    match start {
        [] => "is empty; download or write it again".to_owned(),
        start => format!(
            "starts with {:?}; download it again, or remove the extension if it is not compressed",
            String::from_utf8_lossy(&start[..start.len().min(16)])
        ),
    }
}

/// Refuses files that are no data, whatever their names promise: pointers of Git LFS, web pages, archives, UTF-16.
///
/// # Errors
/// Says what the file is and what to do.
pub(super) fn refuse_foreign(path: &Path) -> Result<(), Error> {
    let start = first_bytes(path)?;
    let text =
        String::from_utf8_lossy(&start).trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    let reason = if text.starts_with("version https://git-lfs.github.com/spec/") {
        "it is a pointer of Git LFS, not the data; run `git lfs pull` in its repository, or download the file"
    } else if text.starts_with("<!doctype html") || text.starts_with("<html") {
        "it is a web page (HTML), as servers send in place of a file; download it again"
    } else if start.starts_with(b"PK\x03\x04") {
        "it is a ZIP archive; unpack it"
    } else if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") {
        "it is UTF-16; convert it with `iconv -f UTF-16 -t UTF-8`"
    } else {
        return Ok(());
    };
    Err(not_data(path, reason))
}

fn first_bytes(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LOOKED_AT as u64).read_to_end(&mut bytes));
    read.map_err(|error| Error::file("read", path, error))?;
    Ok(bytes)
}

fn not_data(path: &Path, reason: &str) -> Error {
    Error::NotData { path: path.to_owned(), reason: reason.to_owned() }
}
