//! Metadata values. They are checked when the file is opened and stay in the map: a list of millions of numbers takes
//! no memory until someone asks for it.

use super::cursor::Cursor;

/// Longest string of the metadata, in bytes; chat templates have some ten thousand.
const MAX_STRING: usize = 16 << 20;
/// Longest list of the metadata; the largest vocabularies have some 300,000 entries.
const MAX_LIST: usize = 1 << 24;

/// The type of a value, numbered as in the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the format")]
pub enum ValueKind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl ValueKind {
    fn from_number(number: u32, key: &str) -> Result<Self, String> {
        const ALL: [ValueKind; 13] = [
            ValueKind::U8,
            ValueKind::I8,
            ValueKind::U16,
            ValueKind::I16,
            ValueKind::U32,
            ValueKind::I32,
            ValueKind::F32,
            ValueKind::Bool,
            ValueKind::String,
            ValueKind::Array,
            ValueKind::U64,
            ValueKind::I64,
            ValueKind::F64,
        ];
        let kind = ALL.get(number as usize).copied();
        kind.ok_or_else(|| format!("metadata `{key}` has the value type {number}; the format has 0 to 12"))
    }

    /// The size of a number in bytes; `None` for strings and arrays.
    fn size(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::String | Self::Array => None,
        }
    }
}

/// One metadata value, or a list of them, as bytes of the file.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    pub(super) kind: ValueKind,
    /// Number of entries if it is a list.
    pub(super) count: Option<usize>,
    pub(super) bytes: &'a [u8],
}

impl<'a> Value<'a> {
    /// Takes a value of the metadata `key` and checks it whole.
    pub(super) fn take(cursor: &mut Cursor<'a>, key: &str) -> Result<Self, String> {
        let what = format!("metadata `{key}`");
        let kind = ValueKind::from_number(cursor.u32(&what)?, key)?;
        if kind != ValueKind::Array {
            return Self::take_entries(cursor, kind, None, &what);
        }
        let kind = ValueKind::from_number(cursor.u32(&what)?, key)?;
        if kind == ValueKind::Array {
            return Err(format!("{what} is a list of lists, which no model needs"));
        }
        let count = cursor.size(&what)?;
        if count > MAX_LIST {
            return Err(format!("{what} has {count} entries; the limit is {MAX_LIST}"));
        }
        Self::take_entries(cursor, kind, Some(count), &what)
    }

    fn take_entries(
        cursor: &mut Cursor<'a>,
        kind: ValueKind,
        count: Option<usize>,
        what: &str,
    ) -> Result<Self, String> {
        let entries = count.unwrap_or(1);
        if let Some(size) = kind.size() {
            // A list has at most 2^24 entries, so this cannot overflow.
            return Ok(Self { kind, count, bytes: cursor.take(entries * size, what)? });
        }
        let mut strings = cursor.clone();
        for _ in 0..entries {
            strings.string(MAX_STRING, what)?;
        }
        let length = strings.position() - cursor.position();
        Ok(Self { kind, count, bytes: cursor.take(length, what)? })
    }

    /// The whole number, if it is one that is not negative.
    pub fn unsigned(&self) -> Option<u64> {
        if self.count.is_some() {
            return None;
        }
        self.integer_at(0).and_then(|value| u64::try_from(value).ok())
    }

    /// The number as f32, whatever its type.
    pub fn f32(&self) -> Option<f32> {
        if self.count.is_some() { None } else { self.f32_at(0) }
    }

    /// The truth value, if it is one.
    pub fn bool(&self) -> Option<bool> {
        (self.count.is_none() && self.kind == ValueKind::Bool).then(|| self.bytes[0] != 0)
    }

    /// The string, if it is one and UTF-8.
    pub fn text(&self) -> Option<&'a str> {
        if self.count.is_some() {
            return None;
        }
        self.texts().next()?.ok()
    }

    /// The number of entries; 1 for a value that is no list.
    pub fn len(&self) -> usize {
        self.count.unwrap_or(1)
    }

    /// Whether it is a list without entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The strings of a list, each with its bytes as the error if they are not UTF-8; nothing if it has other entries.
    pub fn texts(&self) -> impl Iterator<Item = Result<&'a str, &'a [u8]>> + use<'a> {
        let entries = if self.kind == ValueKind::String { self.len() } else { 0 };
        let mut cursor = Cursor::new(self.bytes, 0);
        (0..entries).map_while(move |_| {
            let bytes = cursor.string(MAX_STRING, "").ok()?;
            Some(std::str::from_utf8(bytes).map_err(|_| bytes))
        })
    }

    /// The whole numbers of a list; nothing if it has other entries.
    pub fn integers(&self) -> impl Iterator<Item = i64> + '_ {
        (0..self.len()).map_while(|index| self.integer_at(index))
    }

    /// The numbers of a list as f32; nothing if it has other entries.
    pub fn floats(&self) -> impl Iterator<Item = f32> + '_ {
        (0..self.len()).map_while(|index| self.f32_at(index))
    }

    fn entry<const N: usize>(&self, index: usize) -> Option<[u8; N]> {
        self.bytes.get(index * N..(index + 1) * N)?.try_into().ok()
    }

    fn integer_at(&self, index: usize) -> Option<i64> {
        Some(match self.kind {
            ValueKind::U8 => u8::from_le_bytes(self.entry(index)?).into(),
            ValueKind::I8 => i8::from_le_bytes(self.entry(index)?).into(),
            ValueKind::U16 => u16::from_le_bytes(self.entry(index)?).into(),
            ValueKind::I16 => i16::from_le_bytes(self.entry(index)?).into(),
            ValueKind::U32 => u32::from_le_bytes(self.entry(index)?).into(),
            ValueKind::I32 => i32::from_le_bytes(self.entry(index)?).into(),
            ValueKind::U64 => i64::try_from(u64::from_le_bytes(self.entry(index)?)).ok()?,
            ValueKind::I64 => i64::from_le_bytes(self.entry(index)?),
            ValueKind::F32 | ValueKind::F64 | ValueKind::Bool | ValueKind::String | ValueKind::Array => {
                return None;
            }
        })
    }

    fn f32_at(&self, index: usize) -> Option<f32> {
        match self.kind {
            ValueKind::F32 => Some(f32::from_le_bytes(self.entry(index)?)),
            ValueKind::F64 => Some(f64::from_le_bytes(self.entry(index)?) as f32),
            _ => self.integer_at(index).map(|value| value as f32),
        }
    }
}
