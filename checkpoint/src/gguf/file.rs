//! A GGUF file in memory: header, metadata and table of tensors, all checked when it is opened. After that nothing that
//! the file says can lead a reader outside of it.
//!
//! Bounds: nothing is allocated by a length or count of the file before as many bytes were found there; lists are
//! walked once and stay in the map; tensors may not overlap. So a file costs time and memory in proportion to its size,
//! at worst.

use super::cursor::Cursor;
use super::tensor_type::TensorType;
use super::value::Value;
use crate::error::Error;
use crate::mapped::Watch;
use memmap2::Mmap;
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 4] = b"GGUF";
/// Offsets of tensors are multiples of this, unless `general.alignment` says otherwise.
const ALIGNMENT: usize = 32;
const MAX_ALIGNMENT: usize = 1 << 16;
/// Most metadata entries and tensors; the largest models have some thousand.
const MAX_ENTRIES: usize = 1 << 16;
/// Longest key, in bytes, as the format says.
const MAX_KEY: usize = (1 << 16) - 1;
/// Longest name of a tensor, in bytes; ggml's limit is 64.
const MAX_NAME: usize = 256;
const MAX_DIMENSIONS: usize = 4;

/// A GGUF file, memory-mapped and checked.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    _watch: Watch,
    map: Mmap,
    /// Position of each value, by key.
    metadata: BTreeMap<String, usize>,
    tensors: BTreeMap<String, Entry>,
}

/// A tensor's type, shape and place in the file.
#[derive(Debug, Clone)]
struct Entry {
    kind: TensorType,
    /// Rows first, as in a checkpoint's folder; GGUF stores the columns first.
    shape: Vec<usize>,
    bytes: Range<usize>,
}

/// One tensor of a file.
#[derive(Debug, Clone, Copy)]
pub struct GgufTensor<'a> {
    /// How its numbers are stored.
    pub kind: TensorType,
    /// Its shape, rows first.
    pub shape: &'a [usize],
    /// Its blocks, row after row.
    pub bytes: &'a [u8],
}

impl GgufFile {
    /// Whether a path is a file that begins as GGUF files do, or is named `.gguf`.
    pub fn is_at(path: &Path) -> bool {
        use std::io::Read;
        let mut magic = [0; 4];
        path.is_file()
            && (path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
                || File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok()
                    && magic == *MAGIC)
    }

    /// Maps a file and checks its header, metadata and table of tensors.
    ///
    /// # Errors
    /// Names the file and what is wrong with it, with the value.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|error| Error::file("read", path, error))?;
        // SAFETY: the map is read-only. Truncating a model while it is in use would fault, which `Watch` reports.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| Error::file("map", path, error))?;
        let (metadata, tensors) = parse(&map).map_err(|reason| Error::invalid(path, reason))?;
        let _watch = Watch::new(&map, path);
        Ok(Self { path: path.to_owned(), _watch, map, metadata, tensors })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All of its bytes.
    pub(crate) fn map(&self) -> &Mmap {
        &self.map
    }

    /// The metadata of a key.
    pub fn value(&self, key: &str) -> Option<Value<'_>> {
        let position = *self.metadata.get(key)?;
        Value::take(&mut Cursor::new(&self.map, position), key).ok()
    }

    /// A tensor by its name in the file.
    pub fn tensor(&self, name: &str) -> Option<GgufTensor<'_>> {
        let entry = self.tensors.get(name)?;
        let bytes = &self.map[entry.bytes.clone()];
        Some(GgufTensor { kind: entry.kind, shape: &entry.shape, bytes })
    }

    /// The names of the tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }
}

type Parsed = (BTreeMap<String, usize>, BTreeMap<String, Entry>);

fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let mut cursor = Cursor::new(bytes, 0);
    let magic: [u8; 4] = cursor.array("the header")?;
    if magic != *MAGIC {
        return Err(format!("is not a GGUF file: it begins with {magic:02x?} instead of \"GGUF\""));
    }
    match cursor.u32("the header")? {
        2 | 3 => {}
        1 => return Err("is GGUF version 1, which is no longer used; convert the model again".to_owned()),
        version if version.swap_bytes() <= 3 => {
            return Err("is a big-endian GGUF file; convert the model again for little-endian".to_owned());
        }
        version => return Err(format!("is GGUF version {version}; versions 2 and 3 can be read")),
    }
    let tensors = count(&mut cursor, "the number of tensors")?;
    let entries = count(&mut cursor, "the number of metadata entries")?;
    let metadata = parse_metadata(&mut cursor, entries)?;
    let alignment = alignment(bytes, &metadata)?;
    let tensors = parse_tensors(&mut cursor, tensors, alignment, bytes.len())?;
    Ok((metadata, tensors))
}

fn count(cursor: &mut Cursor<'_>, what: &str) -> Result<usize, String> {
    let count = cursor.size(what)?;
    if count > MAX_ENTRIES {
        return Err(format!("{what} is {count}; the limit is {MAX_ENTRIES}"));
    }
    Ok(count)
}

fn parse_metadata(cursor: &mut Cursor<'_>, entries: usize) -> Result<BTreeMap<String, usize>, String> {
    let mut metadata = BTreeMap::new();
    for index in 0..entries {
        let key = cursor.string(MAX_KEY, &format!("the key of metadata entry {index}"))?;
        let key = std::str::from_utf8(key)
            .map_err(|_| format!("the key of metadata entry {index} is not UTF-8"))?
            .to_owned();
        let position = cursor.position();
        Value::take(cursor, &key)?;
        if metadata.insert(key.clone(), position).is_some() {
            return Err(format!("metadata `{key}` is there twice"));
        }
    }
    Ok(metadata)
}

fn alignment(bytes: &[u8], metadata: &BTreeMap<String, usize>) -> Result<usize, String> {
    const KEY: &str = "general.alignment";
    let Some(position) = metadata.get(KEY) else { return Ok(ALIGNMENT) };
    let value = Value::take(&mut Cursor::new(bytes, *position), KEY)?;
    let alignment = value.unsigned().ok_or_else(|| format!("`{KEY}` is not a whole number"))?;
    match usize::try_from(alignment) {
        Ok(size) if size.is_power_of_two() && size <= MAX_ALIGNMENT => Ok(size),
        _ => Err(format!("`{KEY}` is {alignment}; expected a power of two up to {MAX_ALIGNMENT}")),
    }
}

/// The table of tensors. Their data begin after it, at the next multiple of the alignment.
fn parse_tensors(
    cursor: &mut Cursor<'_>,
    count: usize,
    alignment: usize,
    file_bytes: usize,
) -> Result<BTreeMap<String, Entry>, String> {
    let mut tensors = BTreeMap::new();
    for index in 0..count {
        let (name, entry) = parse_tensor(cursor, index, alignment)?;
        if tensors.insert(name.clone(), entry).is_some() {
            return Err(format!("tensor {name} is there twice"));
        }
    }
    let data = cursor.position().next_multiple_of(alignment);
    for (name, entry) in &mut tensors {
        let end = data.checked_add(entry.bytes.end).filter(|end| *end <= file_bytes);
        let Some(end) = end else {
            return Err(format!(
                "has {file_bytes} bytes, but tensor {name} ends {} bytes after byte {data}; download or copy it again",
                entry.bytes.end
            ));
        };
        entry.bytes = data + entry.bytes.start..end;
    }
    refuse_overlaps(&tensors)?;
    Ok(tensors)
}

/// One line of the table; its bytes are counted from the begin of the data.
fn parse_tensor(cursor: &mut Cursor<'_>, index: usize, alignment: usize) -> Result<(String, Entry), String> {
    let what = format!("the table's entry of tensor {index}");
    let name = cursor.string(MAX_NAME, &what)?;
    let name = std::str::from_utf8(name).map_err(|_| format!("the name of tensor {index} is not UTF-8"))?;
    let dimensions = cursor.u32(&what)? as usize;
    if dimensions == 0 || dimensions > MAX_DIMENSIONS {
        return Err(format!("tensor {name} has {dimensions} dimensions; expected 1 to {MAX_DIMENSIONS}"));
    }
    let mut shape = (0..dimensions).map(|_| cursor.size(&what)).collect::<Result<Vec<usize>, _>>()?;
    let number = cursor.u32(&what)?;
    let kind = TensorType::from_number(number).map_err(|reason| format!("tensor {name} {reason}"))?;
    let offset = cursor.size(&what)?;
    let columns = shape[0];
    shape.reverse();
    let values = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let bytes = values
        .filter(|values| *values > 0 && columns.is_multiple_of(kind.block()))
        .and_then(|values| (values / kind.block()).checked_mul(kind.block_bytes()))
        .ok_or_else(|| {
            format!(
                "tensor {name} has shape {shape:?} in {}; expected rows of whole blocks of {} numbers",
                kind.name(),
                kind.block()
            )
        })?;
    if !offset.is_multiple_of(alignment) {
        return Err(format!("tensor {name} begins at offset {offset}, not a multiple of {alignment}"));
    }
    let end = offset.checked_add(bytes).ok_or_else(|| format!("tensor {name} begins at offset {offset}"))?;
    Ok((name.to_owned(), Entry { kind, shape, bytes: offset..end }))
}

fn refuse_overlaps(tensors: &BTreeMap<String, Entry>) -> Result<(), String> {
    let mut in_order: Vec<(&String, &Range<usize>)> =
        tensors.iter().map(|(name, entry)| (name, &entry.bytes)).collect();
    in_order.sort_by_key(|(_, bytes)| bytes.start);
    for pair in in_order.windows(2) {
        let [(first, before), (second, after)] = pair else { continue };
        if after.start < before.end {
            return Err(format!("tensors {first} and {second} share bytes from {} on", after.start));
        }
    }
    Ok(())
}
