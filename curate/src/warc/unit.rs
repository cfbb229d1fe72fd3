//! The parts that an archive is compressed in: one gzip member or zstd frame per record as a rule, all of a plain file.
//! They are found by their first bytes again after damage.

use flate2::bufread::GzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

const GZIP: [u8; 3] = [0x1f, 0x8b, 8];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// A frame of zstd that holds the archive's dictionary.
const DICTIONARY: [u8; 4] = [0x5d, 0x2a, 0x4d, 0x18];
const LARGEST_DICTIONARY: u32 = 16 << 20;
/// Memory that a frame may ask for, as a power of two.
const LARGEST_WINDOW: u32 = 27;

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub(super) fn of(file: &mut Tracked) -> io::Result<Self> {
        let start = file.fill_buf()?;
        if start.starts_with(&GZIP[..2]) {
            Ok(Self::Gzip)
        } else if start.starts_with(&ZSTD) || start.starts_with(&DICTIONARY) {
            Ok(Self::Zstd)
        } else if start.trim_ascii_start().starts_with(b"WARC/") {
            Ok(Self::None)
        } else {
            let found = String::from_utf8_lossy(&start[..start.len().min(16)]).into_owned();
            Err(io::Error::other(format!("it is no WARC archive: it starts with {found:?}")))
        }
    }

    /// The first bytes of a member.
    fn magic(self) -> &'static [u8] {
        match self {
            Self::None => b"WARC/",
            Self::Gzip => &GZIP,
            Self::Zstd => &ZSTD,
        }
    }
}

/// A file that knows how far it was read.
pub(super) struct Tracked {
    file: BufReader<File>,
    position: u64,
}

impl Tracked {
    pub(super) fn new(file: File) -> Self {
        Self { file: BufReader::with_capacity(256 << 10, file), position: 0 }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn seek(&mut self, position: u64) -> io::Result<()> {
        self.position = self.file.seek(SeekFrom::Start(position))?;
        Ok(())
    }
}

impl Read for Tracked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl BufRead for Tracked {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.file.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.position += amount as u64;
        self.file.consume(amount);
    }
}

/// One member, decompressed; all of a plain file.
pub(super) enum Unit {
    Plain(Tracked),
    Gzip(Box<GzDecoder<Tracked>>),
    Zstd(zstd::Decoder<'static, Tracked>),
}

impl Unit {
    pub(super) fn new(file: Tracked, compression: Compression, dictionary: &[u8]) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(file),
            Compression::Gzip => Self::Gzip(Box::new(GzDecoder::new(file))),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_dictionary(file, dictionary)?.single_frame();
                decoder.window_log_max(LARGEST_WINDOW)?;
                Self::Zstd(decoder)
            }
        })
    }

    pub(super) fn position(&self) -> u64 {
        match self {
            Self::Plain(file) => file.position(),
            Self::Gzip(decoder) => decoder.get_ref().position(),
            Self::Zstd(decoder) => decoder.get_ref().position(),
        }
    }

    pub(super) fn into_file(self) -> Tracked {
        match self {
            Self::Plain(file) => file,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
        }
    }
}

impl Read for Unit {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// Reads the dictionary at the beginning of a zstd archive; empty without one.
pub(super) fn dictionary(file: &mut Tracked) -> io::Result<Vec<u8>> {
    if !file.fill_buf()?.starts_with(&DICTIONARY) {
        return Ok(Vec::new());
    }
    let mut header = [0; 8];
    file.read_exact(&mut header)?;
    let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    if length > LARGEST_DICTIONARY {
        return Err(io::Error::other(format!(
            "its dictionary has {length} bytes; at most {LARGEST_DICTIONARY} are read"
        )));
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact(&mut bytes)?;
    if bytes.starts_with(&ZSTD) {
        let decoder = zstd::Decoder::new(&bytes[..])?;
        let mut plain = Vec::new();
        decoder.take(u64::from(LARGEST_DICTIONARY)).read_to_end(&mut plain)?;
        return Ok(plain);
    }
    Ok(bytes)
}

/// Passes over what pads members; `false` at the end of the file.
pub(super) fn skip_to_member(file: &mut Tracked, compression: Compression) -> io::Result<bool> {
    loop {
        let buffer = file.fill_buf()?;
        if buffer.is_empty() {
            return Ok(false);
        }
        let is_padding = |byte: &u8| compression != Compression::None && matches!(byte, 0 | b'\r' | b'\n');
        let padding = buffer.iter().take_while(|byte| is_padding(byte)).count();
        let is_member = padding < buffer.len();
        file.consume(padding);
        if is_member {
            return Ok(true);
        }
    }
}

/// Goes to the next place from here at which a member can begin; `false` where none follows.
pub(super) fn find_member(file: &mut Tracked, compression: Compression) -> io::Result<bool> {
    let magic = compression.magic();
    // The last bytes of the block before: a mark may be split.
    let mut tail: Vec<u8> = Vec::new();
    loop {
        let start = file.position() - tail.len() as u64;
        let block = file.fill_buf()?;
        if block.is_empty() {
            return Ok(false);
        }
        let length = block.len();
        tail.extend_from_slice(block);
        let found = tail.windows(magic.len()).enumerate().find(|(at, window)| {
            // The reserved flags of a gzip member are zero.
            *window == magic
                && (compression != Compression::Gzip
                    || tail.get(at + 3).is_none_or(|flags| flags & 0xe0 == 0))
        });
        if let Some((at, _)) = found {
            file.seek(start + at as u64)?;
            return Ok(true);
        }
        file.consume(length);
        tail.drain(..tail.len().saturating_sub(magic.len() - 1));
    }
}
