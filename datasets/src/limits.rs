//! How large a row may be. A file of a few kilobytes can unpack to rows of gigabytes; such a row is refused by name before
//! it takes the memory.

use crate::row::Row;
use serde::{Deserialize, Serialize};

/// Values (numbers, texts, lists, objects) of a row: a value takes up to a hundred times the memory of its text.
pub(crate) const MAX_VALUES: usize = 2_000_000;
/// Depth of lists and objects in one another.
pub(crate) const MAX_DEPTH: usize = 127;
/// Rows with fewer bytes are parsed without counting their values.
const COUNTED_FROM: usize = 16 << 20;

/// A file that unpacks to more than this, and to more than as many times its own bytes, is no data: text shrinks to a tenth,
/// rows that repeat one another to a hundredth.
const MAX_UNPACKED: u64 = 4 << 30;
const MAX_RATIO: u64 = 500;

/// Why a file of so many bytes is refused that unpacks to `unpacked` bytes or more; `None` if it may.
pub(crate) fn refused_unpacking(unpacked: u64, packed: u64) -> Option<String> {
    (unpacked > MAX_UNPACKED && unpacked / MAX_RATIO > packed).then(|| {
        format!(
            "unpacks to more than {MAX_RATIO} times its size, {} GiB or more; unpack it yourself if you trust it",
            unpacked >> 30
        )
    })
}

/// The largest row that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub struct RowLimits {
    /// Maximum size of a row, in MiB
    #[arg(long, value_name = "MIB", default_value_t = RowLimits::default().max_row_mib)]
    pub max_row_mib: usize,
    /// Maximum number of messages of a row
    #[arg(long, value_name = "N", default_value_t = RowLimits::default().max_row_messages)]
    pub max_row_messages: usize,
}

impl Default for RowLimits {
    fn default() -> Self {
        Self { max_row_mib: 256, max_row_messages: 10_000 }
    }
}

impl RowLimits {
    /// Maximum bytes of a row.
    pub(crate) fn bytes(&self) -> usize {
        self.max_row_mib.clamp(1, 1 << 20) << 20
    }

    /// Why a row is refused that has more bytes.
    pub(crate) fn too_large(&self) -> String {
        format!("has more than {} MiB; give a larger `--max-row-mib`", self.bytes() >> 20)
    }

    /// Checks the number of values of a JSON text.
    ///
    /// # Errors
    /// When it has too many.
    pub(crate) fn check_text(text: &[u8]) -> Result<(), String> {
        if text.len() < COUNTED_FROM {
            return Ok(());
        }
        let (mut values, mut at) = (0, 0);
        while let Some(found) = text[at..].iter().position(|byte| matches!(byte, b'"' | b',' | b'[' | b'{')) {
            at += found;
            match text[at] {
                b'"' => at = end_of_string(text, at),
                _ => (values, at) = (values + 1, at + 1),
            }
        }
        match values > MAX_VALUES {
            true => Err(format!("has more than {MAX_VALUES} values; divide it")),
            false => Ok(()),
        }
    }

    /// Checks the number of messages.
    ///
    /// # Errors
    /// When a list has too many.
    pub(crate) fn check(&self, row: &Row) -> Result<(), String> {
        let messages = match row {
            Row::Chat(row) => row.messages.len(),
            Row::Preference(row) => row.prompt.len() + row.chosen.len().max(row.rejected.len()),
            Row::Text(_) => 0,
        };
        match messages > self.max_row_messages {
            true => Err(format!(
                "has {messages} messages, more than {}; give a larger `--max-row-messages`",
                self.max_row_messages
            )),
            false => Ok(()),
        }
    }
}

/// The byte after the string that begins at `start`.
pub(crate) fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        match bytes[at + found] {
            b'"' => return at + found + 1,
            _ => at += found + 2,
        }
    }
    bytes.len()
}
