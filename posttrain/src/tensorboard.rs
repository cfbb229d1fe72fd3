//! TensorBoard event files with scalars. The few protobuf fields of a scalar are written by hand, so that no protobuf
//! dependency is needed.
//!
//! A file is a sequence of records (length, checksum, data, checksum), each one `Event`. A record is written at once, so
//! a crash truncates at most the last one, which readers skip.

use anyhow::Context;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

// Field numbers of `Event` (wall_time, step, file_version, summary), `Summary` and `Summary.Value`.
const WALL_TIME: u64 = 1;
const STEP: u64 = 2;
const FILE_VERSION: u64 = 3;
const SUMMARY: u64 = 5;
const SESSION_LOG: u64 = 7;
const STATUS: u64 = 1;
/// The status of a session log that starts.
const START: u64 = 1;
const VALUE: u64 = 1;
const TAG: u64 = 1;
const SIMPLE_VALUE: u64 = 2;

// Protobuf's wire types: the low three bits of a field's key.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// CRC-32C of every byte: Castagnoli's polynomial, lowest bit first.
const CRC_TABLE: [u32; 256] = crc_table();

/// An open event file.
#[derive(Debug)]
pub(crate) struct Events {
    file: File,
}

impl Events {
    /// Opens a new file in the folder, which is created if it does not exist. TensorBoard reads all event files of a
    /// folder as one run, in the order of their names. A run that resumes after `step` starts a session, for which
    /// TensorBoard drops the later steps of earlier files.
    pub(crate) fn create(folder: &Path, step: u64) -> anyhow::Result<Events> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let seconds = now().as_secs();
        let name = format!("events.out.tfevents.{seconds}.{}.{}", host(), std::process::id());
        let mut events = Events { file: create_new(folder, &name)? };
        let mut event = wall_time();
        put_bytes(&mut event, FILE_VERSION, b"brain.Event:2");
        events.record(&event)?;
        if step > 0 {
            let mut started = Vec::new();
            put_varint(&mut started, STATUS << 3 | VARINT);
            put_varint(&mut started, START);
            let mut event = wall_time();
            put_varint(&mut event, STEP << 3 | VARINT);
            put_varint(&mut event, step + 1);
            put_bytes(&mut event, SESSION_LOG, &started);
            events.record(&event)?;
        }
        Ok(events)
    }

    /// Writes an event with a scalar for each (tag, value). TensorBoard stores scalars in 32 bits.
    pub(crate) fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> anyhow::Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in values {
            let mut entry = Vec::new();
            put_bytes(&mut entry, TAG, tag.as_bytes());
            put_varint(&mut entry, SIMPLE_VALUE << 3 | FIXED32);
            entry.extend_from_slice(&(*value as f32).to_le_bytes());
            put_bytes(&mut summary, VALUE, &entry);
        }
        let mut event = wall_time();
        put_varint(&mut event, STEP << 3 | VARINT);
        put_varint(&mut event, step);
        put_bytes(&mut event, SUMMARY, &summary);
        self.record(&event)
    }

    fn record(&mut self, data: &[u8]) -> anyhow::Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        let mut record = length.to_vec();
        record.extend_from_slice(&masked(crc32c(&length)).to_le_bytes());
        record.extend_from_slice(data);
        record.extend_from_slice(&masked(crc32c(data)).to_le_bytes());
        self.file
            .write_all(&record)
            .and_then(|()| self.file.flush())
            .context("cannot write TensorBoard events")
    }
}

/// Creates a new file: two runs of a process in the same second get different ones.
fn create_new(folder: &Path, name: &str) -> anyhow::Result<File> {
    let mut path = folder.join(name);
    let mut suffix = 0;
    loop {
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => suffix += 1,
            file => return file.with_context(|| format!("cannot create {}", path.display())),
        }
        path = folder.join(format!("{name}.{suffix}"));
    }
}

/// Returns the machine's name, reduced to letters that are safe in a file name.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
    let is_safe = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    let name: String = name.unwrap_or_default().chars().filter(is_safe).collect();
    if name.is_empty() { "posttrain".into() } else { name }
}

fn now() -> std::time::Duration {
    // It only fails for a clock before 1970, which is no reason to end a training run.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Returns the first field of an event: the current time.
fn wall_time() -> Vec<u8> {
    let mut event = Vec::new();
    put_varint(&mut event, WALL_TIME << 3 | FIXED64);
    event.extend_from_slice(&now().as_secs_f64().to_le_bytes());
    event
}

fn put_bytes(message: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(message, field << 3 | BYTES);
    put_varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

/// Writes seven bits a byte, lowest first; the top bit is set where more bytes follow.
fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            let subtract = if remainder & 1 == 1 { 0x82F6_3B78 } else { 0 };
            remainder = remainder >> 1 ^ subtract;
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| crc >> 8 ^ CRC_TABLE[usize::from(crc as u8 ^ byte)])
}

/// Rotates and shifts a checksum, as the format requires: a checksum over data that contains plain checksums is weak.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xA282_EAD8)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(b""), 0);
    }

    /// Returns the file's records, after checking both checksums.
    fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            assert_eq!(bytes[8..12], masked(crc32c(&bytes[..8])).to_le_bytes());
            let (data, rest) = bytes[12..].split_at(length);
            assert_eq!(rest[..4], masked(crc32c(data)).to_le_bytes());
            records.push(data.to_vec());
            bytes = &rest[4..];
        }
        records
    }

    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for index in 0.. {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    /// Returns a message's fields: the number, and the bytes of the value (little-endian where it is a number).
    fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let length = match key & 7 {
                VARINT => {
                    fields.push((key >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                    continue;
                }
                FIXED64 => 8,
                FIXED32 => 4,
                BYTES => varint(&mut bytes) as usize,
                other => panic!("wire type {other}"),
            };
            fields.push((key >> 3, bytes[..length].to_vec()));
            bytes = &bytes[length..];
        }
        fields
    }

    #[test]
    fn events_are_read_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("not/there/yet");
        let mut events = Events::create(&runs, 0).unwrap();
        events.scalars(300, &[("loss", 2.5), ("rewards/chosen", -0.125)]).unwrap();
        events.scalars(u64::MAX >> 1, &[("loss", f64::NAN)]).unwrap();
        let path = std::fs::read_dir(&runs).unwrap().next().unwrap().unwrap().path();
        assert!(path.file_name().unwrap().to_str().unwrap().starts_with("events.out.tfevents."));

        let events: Vec<_> = records(&std::fs::read(path).unwrap()).iter().map(|data| fields(data)).collect();
        assert_eq!(events.len(), 3);
        assert_eq!(events[0][1], (FILE_VERSION, b"brain.Event:2".to_vec()));
        let time = f64::from_le_bytes(events[1][0].1.clone().try_into().unwrap());
        assert!((time - now().as_secs_f64()).abs() < 60.0, "{time}");
        assert_eq!(events[1][1], (STEP, 300_u64.to_le_bytes().to_vec()));
        assert_eq!(events[2][1], (STEP, (u64::MAX >> 1).to_le_bytes().to_vec()));
        let values: Vec<_> = fields(&events[1][2].1).iter().map(|(_, value)| fields(value)).collect();
        let value = |tag: &str, value: f32| {
            vec![(TAG, tag.as_bytes().to_vec()), (SIMPLE_VALUE, value.to_le_bytes().to_vec())]
        };
        assert_eq!(values, [value("loss", 2.5), value("rewards/chosen", -0.125)]);
    }

    #[test]
    fn two_files_in_one_second_are_two_files() {
        let folder = tempfile::tempdir().unwrap();
        let both = [Events::create(folder.path(), 0).unwrap(), Events::create(folder.path(), 7).unwrap()];
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), both.len());
    }
}
