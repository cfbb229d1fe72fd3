//! WARC archives, record by record: plain, gzip and zstd. A damaged record is counted and skipped, and reading goes on at
//! the next one that can be found; nothing a record declares decides how much memory is used.
//!
//! Not the crate fastwarc: it ends at the first damaged member, and its features would change those of zstd everywhere.

mod http;
mod unit;

#[cfg(test)]
mod tests;

pub use http::{Body, response};

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;
use unit::{Compression, Tracked, Unit};

/// Bytes of a record's block that are read at most; larger records are skipped and counted.
pub const LARGEST_BLOCK: u64 = 16 << 20;
/// Bytes of a record that are passed over at most; an archive member that expands to more is refused.
const LARGEST_SKIP: u64 = 1 << 30;
/// Bytes of a record's header at most.
const LARGEST_HEADER: u64 = 64 << 10;
/// Losses that are named; the others are counted.
const NAMED: usize = 20;

/// A record of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it begins in the file: of its compressed member, if it has one.
    pub offset: u64,
    /// The number of records before it in the same member.
    pub index: u32,
    /// `WARC-Type`, in lower case: response, conversion, request and others.
    pub kind: String,
    /// `WARC-Target-URI`.
    pub url: Option<String>,
    /// `WARC-Date`.
    pub date: Option<String>,
    /// `Content-Type` of the block.
    pub content_type: Option<String>,
    /// The block of a response, a resource or a conversion; empty for other kinds.
    pub block: Vec<u8>,
}

/// What of an archive could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses {
    /// Places where records were damaged.
    pub damaged: u64,
    /// Records whose block is larger than [`LARGEST_BLOCK`].
    pub too_large: u64,
    /// The first of them, with offset and reason.
    pub named: Vec<String>,
}

impl Losses {
    fn name(&mut self, offset: u64, reason: &str) {
        if self.named.len() < NAMED {
            self.named.push(format!("offset {offset}: {reason}"));
        }
    }
}

/// Why a record cannot be read.
enum Damage {
    /// What is wrong; another record may follow.
    Record(String),
    /// Its block is too large; the next record follows.
    TooLarge(u64),
}

impl From<io::Error> for Damage {
    fn from(error: io::Error) -> Self {
        Self::Record(error.to_string())
    }
}

/// The records of an archive, in order.
#[allow(missing_debug_implementations, reason = "holds an open reader")]
pub struct Records {
    compression: Compression,
    state: State,
    losses: Losses,
    /// Dictionary of a zstd archive.
    dictionary: Vec<u8>,
}

enum State {
    /// Between members.
    Between(Tracked),
    /// In a member that begins at `start`; `records` were read of it.
    Inside {
        unit: Box<io::BufReader<Unit>>,
        start: u64,
        records: u32,
    },
    Done,
}

impl Records {
    /// Opens an archive; the first bytes say how it is compressed.
    ///
    /// # Errors
    /// When the file cannot be read, or is no archive at all.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_at(path, 0)
    }

    /// Opens an archive at a record's offset.
    ///
    /// # Errors
    /// Those of [`Records::open`].
    pub fn open_at(path: &Path, offset: u64) -> io::Result<Self> {
        let mut file = Tracked::new(File::open(path)?);
        let compression = Compression::of(&mut file)?;
        let dictionary =
            if compression == Compression::Zstd { unit::dictionary(&mut file)? } else { Vec::new() };
        if offset > 0 {
            file.seek(offset)?;
        }
        Ok(Self { compression, state: State::Between(file), losses: Losses::default(), dictionary })
    }

    /// What could not be read so far.
    pub fn losses(&self) -> &Losses {
        &self.losses
    }

    /// Bytes of the file that were read so far.
    pub fn position(&self) -> u64 {
        match &self.state {
            State::Between(file) => file.position(),
            State::Inside { unit, .. } => unit.get_ref().position(),
            State::Done => 0,
        }
    }

    /// Enters the next member; `false` at the end of the file.
    fn enter(&mut self, mut file: Tracked) -> io::Result<bool> {
        if !unit::skip_to_member(&mut file, self.compression)? {
            return Ok(false);
        }
        let start = file.position();
        let unit = Unit::new(file, self.compression, &self.dictionary)?;
        self.state =
            State::Inside { unit: Box::new(io::BufReader::with_capacity(64 << 10, unit)), start, records: 0 };
        Ok(true)
    }

    /// Goes on after damage: at the next member, or in a plain file at the next version line.
    fn recover(&mut self, unit: io::BufReader<Unit>, start: u64, from: u64) -> io::Result<()> {
        let mut file = unit.into_inner().into_file();
        file.seek(if self.compression == Compression::None { from } else { start } + 1)?;
        self.state =
            if unit::find_member(&mut file, self.compression)? { State::Between(file) } else { State::Done };
        Ok(())
    }
}

impl Iterator for Records {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::Done => return None,
                State::Between(file) => match self.enter(file) {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(error) => return Some(Err(error)),
                },
                State::Inside { mut unit, start, records } => {
                    let at = match self.compression {
                        Compression::None => unit.get_ref().position() - unit.buffer().len() as u64,
                        _ => start,
                    };
                    match read_record(&mut *unit) {
                        Ok(Some(record)) => {
                            self.state = State::Inside { unit, start, records: records + 1 };
                            let index = if self.compression == Compression::None { 0 } else { records };
                            return Some(Ok(Record { offset: at, index, ..record }));
                        }
                        Ok(None) => self.state = State::Between(unit.into_inner().into_file()),
                        Err(Damage::TooLarge(bytes)) => {
                            self.losses.too_large += 1;
                            self.losses.name(
                                at,
                                &format!("a record of {bytes} bytes; at most {LARGEST_BLOCK} are read"),
                            );
                            self.state = State::Inside { unit, start, records: records + 1 };
                        }
                        Err(Damage::Record(reason)) => {
                            self.losses.damaged += 1;
                            self.losses.name(at, &reason);
                            if let Err(error) = self.recover(*unit, start, at) {
                                return Some(Err(error));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Reads the next record; `None` at the end.
fn read_record(reader: &mut impl BufRead) -> Result<Option<Record>, Damage> {
    let mut line = Vec::new();
    let mut budget = LARGEST_HEADER;
    loop {
        read_line(reader, &mut line, &mut budget)?;
        if line.is_empty() {
            return Ok(None);
        }
        if !line.iter().all(u8::is_ascii_whitespace) {
            break;
        }
    }
    if !line.starts_with(b"WARC/") {
        let start = String::from_utf8_lossy(&line[..line.len().min(24)]).into_owned();
        return Err(Damage::Record(format!("expected a record that begins with `WARC/`, found {start:?}")));
    }
    let headers = read_headers(reader, &mut line, &mut budget)?;
    let find = |name: &str| {
        headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    };
    let length = find("Content-Length").and_then(|length| length.parse::<u64>().ok());
    let length = length.ok_or_else(|| Damage::Record("a record without a `Content-Length`".to_owned()))?;
    let kind = find("WARC-Type").unwrap_or_default().to_ascii_lowercase();
    let is_wanted = matches!(kind.as_str(), "response" | "resource" | "conversion");
    let mut block = Vec::new();
    if is_wanted && length <= LARGEST_BLOCK {
        let read = reader.take(length).read_to_end(&mut block)? as u64;
        check_length(read, length)?;
    } else if length <= LARGEST_SKIP {
        check_length(io::copy(&mut reader.take(length), &mut io::sink())?, length)?;
        if is_wanted {
            return Err(Damage::TooLarge(length));
        }
    } else {
        return Err(Damage::Record(format!(
            "a record of {length} bytes; at most {LARGEST_SKIP} are passed over"
        )));
    }
    let url = find("WARC-Target-URI").map(|url| url.trim_matches(['<', '>']).to_owned());
    Ok(Some(Record {
        offset: 0,
        index: 0,
        kind,
        url,
        date: find("WARC-Date"),
        content_type: find("Content-Type"),
        block,
    }))
}

fn check_length(read: u64, length: u64) -> Result<(), Damage> {
    if read == length {
        return Ok(());
    }
    Err(Damage::Record(format!("a record ends after {read} of {length} bytes")))
}

/// The headers up to the empty line; lines that begin with a space continue the line before.
fn read_headers(
    reader: &mut impl BufRead,
    line: &mut Vec<u8>,
    budget: &mut u64,
) -> Result<VecDeque<(String, String)>, Damage> {
    let mut headers: VecDeque<(String, String)> = VecDeque::new();
    loop {
        read_line(reader, line, budget)?;
        if !line.ends_with(b"\n") {
            return Err(Damage::Record("a record's header ends early, or is too long".to_owned()));
        }
        let text = String::from_utf8_lossy(line);
        if text.trim().is_empty() {
            return Ok(headers);
        }
        if text.starts_with([' ', '\t'])
            && let Some((_, value)) = headers.back_mut()
        {
            value.push(' ');
            value.push_str(text.trim());
        } else if let Some((name, value)) = text.split_once(':') {
            headers.push_back((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
}

/// Reads a line with its end, within the budget of the header.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>, budget: &mut u64) -> io::Result<()> {
    line.clear();
    *budget -= reader.take(*budget).read_until(b'\n', line)? as u64;
    Ok(())
}
