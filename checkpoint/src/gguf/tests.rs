//! The reader against files of the `gguf` package, and against files that lie.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use crate::Error;
use files::hash::sha256;
use std::path::{Path, PathBuf};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/gguf/blocks.gguf")
}

/// A file's bytes, piece by piece.
#[derive(Clone, Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn header(tensors: u64, entries: u64) -> Self {
        let mut bytes = Self(b"GGUF".to_vec());
        bytes.0.extend(3u32.to_le_bytes());
        bytes.size(tensors).size(entries)
    }

    fn word(mut self, word: u32) -> Self {
        self.0.extend(word.to_le_bytes());
        self
    }

    fn size(mut self, size: u64) -> Self {
        self.0.extend(size.to_le_bytes());
        self
    }

    fn text(self, text: &str) -> Self {
        let mut bytes = self.size(text.len() as u64);
        bytes.0.extend(text.as_bytes());
        bytes
    }

    /// An entry of the table of tensors: F32, columns first.
    fn tensor(self, name: &str, shape: &[u64], offset: u64) -> Self {
        let bytes = self.text(name).word(shape.len() as u32);
        let bytes = shape.iter().fold(bytes, |bytes, size| bytes.size(*size));
        bytes.word(0).size(offset)
    }

    fn padded(mut self, data: usize) -> Self {
        self.0.resize(self.0.len().next_multiple_of(32) + data, 0);
        self
    }

    fn open(&self) -> Result<GgufFile, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, &self.0).unwrap();
        GgufFile::open(&path)
    }

    fn refused(&self, expected: &str) {
        let reason = self.open().unwrap_err().to_string();
        assert!(reason.contains("model.gguf: ") && reason.contains(expected), "{reason}");
        assert!(!reason.contains('\n'), "{reason}");
    }
}

#[test]
fn metadata_of_every_kind_are_read() {
    let file = GgufFile::open(&golden()).unwrap();
    let value = |name: &str| file.value(&format!("test.{name}")).unwrap();
    for (name, expected) in [("u8", 200), ("u16", 60_000), ("u32", 4_000_000_000), ("u64", 1 << 40)] {
        assert_eq!(value(name).unsigned(), Some(expected), "{name}");
    }
    for (name, expected) in [("i8", -3), ("i16", -300), ("i32", -70_000), ("i64", -(1 << 40))] {
        assert_eq!(value(name).integers().collect::<Vec<i64>>(), [expected], "{name}");
        assert_eq!(value(name).unsigned(), None);
    }
    assert_eq!((value("f32").f32(), value("f64").f32()), (Some(1e-5), Some(0.25)));
    assert_eq!((value("bool").bool(), value("u8").bool()), (Some(true), None));
    assert_eq!(value("string").text(), Some("héllo\n"));
    assert_eq!(value("strings").texts().map(Result::unwrap).collect::<Vec<_>>(), ["a", "", "▁b"]);
    assert_eq!(value("strings").text(), None);
    assert_eq!(value("integers").integers().collect::<Vec<_>>(), [3, 1, 2]);
    assert!(file.value("test.none").is_none());
}

#[test]
fn every_type_is_dequantized_as_by_the_gguf_package() {
    let file = GgufFile::open(&golden()).unwrap();
    let expected = std::fs::read_to_string(golden().with_extension("json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
    for kind in TensorType::ALL {
        let (tensor, expected) = (file.tensor(kind.name()).unwrap(), &expected[kind.name()]);
        assert_eq!(tensor.kind, kind);
        assert_eq!(serde_json::json!(tensor.shape), expected["shape"], "{}", kind.name());
        let mut values = vec![0.0; tensor.shape.iter().product()];
        kind.dequantize(tensor.bytes, &mut values);
        assert_eq!(
            serde_json::json!(&values[..2].iter().map(|v| f64::from(*v)).collect::<Vec<_>>()),
            expected["first"],
            "{}",
            kind.name()
        );
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(sha256(bytes), expected["sha256"].as_str().unwrap(), "{}", kind.name());
    }
}

#[test]
fn lengths_and_counts_that_lie_are_refused() {
    Bytes(b"PK\x03\x04____".to_vec()).refused("is not a GGUF file: it begins with [50, 4b, 03, 04]");
    Bytes(b"GG".to_vec()).refused("ends at byte 2 within the header");
    Bytes(b"GGUF\x01\0\0\0".to_vec()).refused("version 1");
    Bytes(b"GGUF\0\0\0\x03".to_vec()).refused("big-endian");
    Bytes(b"GGUF\x07\0\0\0".to_vec()).refused("version 7; versions 2 and 3");
    Bytes::header(u64::MAX, 0).refused("the number of tensors is 18446744073709551615; the limit is 65536");
    Bytes::header(0, 1 << 40).refused("the number of metadata entries is 1099511627776");
    Bytes::header(0, 1).size(1 << 50).refused("the key of metadata entry 0 is 1125899906842624 bytes long");
    let key = || Bytes::header(0, 1).text("a.b");
    key().word(8).size(1 << 60).refused("metadata `a.b` is 1152921504606846976 bytes long");
    key().word(8).size(1 << 20).refused("within metadata `a.b`, which takes 1048576 bytes");
    key().word(77).refused("metadata `a.b` has the value type 77");
    key().word(9).word(4).size(1 << 62).refused("has 4611686018427387904 entries; the limit is 16777216");
    key().word(9).word(8).size(1 << 24).size(3).refused("within metadata `a.b`");
    key().word(9).word(9).size(1).word(9).word(9).refused("`a.b` is a list of lists");
    Bytes::header(0, 2)
        .text("a")
        .word(4)
        .word(1)
        .text("a")
        .word(4)
        .word(1)
        .refused("metadata `a` is there twice");
    let aligned = |alignment| Bytes::header(0, 1).text("general.alignment").word(4).word(alignment);
    for alignment in [0, 48, 1 << 30] {
        aligned(alignment).refused(&format!("`general.alignment` is {alignment}; expected a power of two"));
    }
}

#[test]
fn tensors_that_do_not_fit_are_refused() {
    let one = || Bytes::header(1, 0);
    one().tensor("t", &[8], 0).padded(32).open().unwrap();
    one()
        .tensor("t", &[8], 0)
        .padded(31)
        .refused("but tensor t ends 32 bytes after byte 64; download or copy it again");
    one().tensor("t", &[], 0).padded(32).refused("tensor t has 0 dimensions");
    one().tensor("t", &[1; 5], 0).padded(32).refused("tensor t has 5 dimensions; expected 1 to 4");
    one().tensor("t", &[1 << 40, 1 << 40], 0).padded(32).refused("tensor t has shape");
    one().tensor("t", &[0, 4], 0).padded(32).refused("tensor t has shape [4, 0]");
    one().tensor("t", &[8], 8).padded(64).refused("begins at offset 8, not a multiple of 32");
    one().tensor("t", &[8], u64::MAX - 31).padded(64).refused("begins at offset 18446744073709551584");
    let typed = |number: u32| one().text("t").word(1).size(32).word(number).size(0).padded(64);
    typed(2).open().unwrap();
    typed(23).refused("tensor t is IQ4_XS, which cannot be read; use a file with types of F32, F16");
    typed(99).refused("tensor t has the unknown type 99");
    one()
        .text("t")
        .word(1)
        .size(33)
        .word(2)
        .size(0)
        .padded(64)
        .refused("expected rows of whole blocks of 32 numbers");
    let two = |offset| Bytes::header(2, 0).tensor("t", &[9], 0).tensor("u", &[8], offset).padded(128);
    two(64).open().unwrap();
    two(32).refused("tensors t and u share bytes");
    Bytes::header(2, 0)
        .tensor("t", &[1], 0)
        .tensor("t", &[1], 32)
        .padded(64)
        .refused("tensor t is there twice");
    one().tensor(&"n".repeat(300), &[1], 0).padded(64).refused("is 300 bytes long; the limit is 256");
}

/// Every file that is one changed byte, word or length away from a good one either opens or is refused, and what opens
/// can be read whole.
#[test]
fn no_mutation_reads_beyond_the_file() {
    let good = std::fs::read(golden()).unwrap();
    let header = 2600.min(good.len());
    let mut state = 25u64;
    let mut random = move || {
        // SplitMix64, as in the crate `random`, on which this one does not depend.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    };
    let (mut opened, mut refused) = (0, 0);
    for _ in 0..1500 {
        let mut bytes = good.clone();
        let at = random() as usize % header;
        match random() % 4 {
            0 => bytes[at] ^= 1 << (random() % 8),
            1 => bytes[at..][..8].copy_from_slice(&random().to_le_bytes()),
            2 => bytes[at..][..8].copy_from_slice(&(1u64 << (random() % 64)).to_le_bytes()),
            _ => bytes.truncate(at),
        }
        match Bytes(bytes).open() {
            Err(_) => refused += 1,
            Ok(file) => {
                opened += 1;
                read_everything(&file);
            }
        }
    }
    assert!(opened > 100 && refused > 100, "{opened} opened, {refused} were refused");
}

fn read_everything(file: &GgufFile) {
    for name in file.names().collect::<Vec<_>>() {
        let tensor = file.tensor(name).unwrap();
        let mut values = vec![0.0; tensor.shape.iter().product()];
        tensor.kind.dequantize(tensor.bytes, &mut values);
    }
    let _ = (config(file), GgufText::read(file));
    for name in ["u8", "i64", "f64", "bool", "string", "strings", "integers"] {
        if let Some(value) = file.value(&format!("test.{name}")) {
            assert!(
                value.texts().count() + value.integers().count() + value.floats().count() <= 3 * value.len()
            );
        }
    }
}
