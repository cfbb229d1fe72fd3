//! Files of a few megabytes that unpack to gigabytes end in an error, in seconds and without the memory. One test, so that
//! the memory is its own.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, Int32Array, ListArray, RecordBatch, StringArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type};
use datasets::{ReadOptions, RowLimits, read_with};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PIECE: usize = 64 << 20;

/// Writes four GiB as compressed pieces of one kind of byte after a beginning.
fn bomb(path: &Path, beginning: &str, filling: &str) {
    let piece = filling.repeat(PIECE / filling.len());
    let name = path.to_str().unwrap();
    let compressed = |bytes: &[u8]| -> Vec<u8> {
        if name.ends_with(".zst") {
            return zstd::encode_all(bytes, 1).unwrap();
        }
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let piece = compressed(piece.as_bytes());
    let mut file = File::create(path).unwrap();
    file.write_all(&compressed(beginning.as_bytes())).unwrap();
    (0..64).for_each(|_| file.write_all(&piece).unwrap());
}

/// The error of the first row that cannot be read, of at most some rows.
#[track_caller]
fn refused(path: &Path, expected: &str) {
    let start = Instant::now();
    let error = match read_with(path, &ReadOptions::default()) {
        Err(error) => error.to_string(),
        Ok(mut rows) => rows
            .by_ref()
            .take(1000)
            .find_map(Result::err)
            .map_or_else(|| format!("{}: no row is refused", path.display()), |error| error.to_string()),
    };
    assert!(error.contains(expected), "{error}");
    assert!(start.elapsed() < Duration::from_secs(30), "{error}: took {:?}", start.elapsed());
    let memory = peak_memory();
    assert!(memory < 1 << 30, "{error}: {} MiB of memory", memory >> 20);
}

/// The most memory that this process had, in bytes; 0 where the system does not say.
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<usize>().ok()).unwrap_or(0) << 10
}

fn write_parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_dictionary_page_size_limit(1 << 30)
        .set_data_page_size_limit(1 << 30)
        .set_data_page_row_count_limit(usize::MAX)
        .set_compression(Compression::ZSTD(Default::default()))
        .build();
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Writes rows of one text, which stands in the dictionary once.
fn write_repeated(path: &Path, text: &str, rows: usize) {
    let texts = DictionaryArray::<Int32Type>::new(
        Int32Array::from(vec![0; rows]),
        Arc::new(StringArray::from_iter_values([text])),
    );
    write_parquet(path, vec![("text", Arc::new(texts))]);
}

/// Writes a line as many times, compressed once.
fn bomb_of_lines(path: &Path, line: &str, count: usize) {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(line.as_bytes()).unwrap();
    let piece = encoder.finish().unwrap();
    let mut file = File::create(path).unwrap();
    (0..count).for_each(|_| file.write_all(&piece).unwrap());
}

#[test]
fn bombs_are_refused_in_seconds_and_without_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, beginning, filling, expected) in [
        ("line.jsonl.gz", "{\"text\": \"", "a", "line 1: has more than 256 MiB"),
        ("line.jsonl.zst", "{\"text\": \"a\"}\n{\"text\": \"", "a", "line 2: has more than 256 MiB"),
        ("blank.jsonl.gz", "{\"text\": \"a\"}\n", "\n", "more than 32 MiB of blank lines"),
        ("paragraph.txt.gz", "", "a line of a paragraph\n", "has more than 256 MiB"),
        ("field.csv.zst", "text\n\"", "a", "has more than 256 MiB"),
        ("element.json.zst", "[{\"text\": \"", "a", "has more than 256 MiB"),
        ("object.json.gz", "{\"text\": \"", "a", "has more than 256 MiB"),
        ("space.json.gz", "[", " ", "MiB of white space"),
        ("deep.json.gz", "[", "[", "has more than 256 MiB"),
    ] {
        bomb(&path(name), beginning, filling);
        assert!(path(name).metadata().unwrap().len() < 64 << 20);
        refused(&path(name), expected);
        std::fs::remove_file(path(name)).unwrap();
    }
    let values = format!("{{\"text\": \"a\", \"numbers\": [{}0]}}\n", "0,".repeat(12 << 20));
    std::fs::write(path("values.jsonl"), values).unwrap();
    refused(&path("values.jsonl"), "has more than 2000000 values");
    let deep = format!("{{\"text\": \"a\", \"deep\": {}{}}}", "[".repeat(5000), "]".repeat(5000));
    std::fs::write(path("deep.jsonl"), deep).unwrap();
    refused(&path("deep.jsonl"), "more than 127 deep");
    // Decoded together these rows, their JSON and their values would take more than a gigabyte.
    let long = "a".repeat(4 << 20);
    let texts = StringArray::from_iter_values(vec![long.as_str(); 80]);
    write_parquet(&path("dictionary.parquet"), vec![("text", Arc::new(texts))]);
    refused(&path("dictionary.parquet"), "no row is refused");
    // Each of these rows is one that may be, all of them are 100 GiB of a file of two kilobytes.
    let long = "a".repeat(50 << 20);
    write_repeated(&path("rows.parquet"), &long, 2000);
    refused(&path("rows.parquet"), "unpacks to more than 500 times its size");
    let line = format!("{{\"text\": \"{}\"}}\n", "a".repeat(16 << 20));
    bomb_of_lines(&path("lines.jsonl.gz"), &line, 400);
    refused(&path("lines.jsonl.gz"), "unpacks to more than 500 times its size");
    let numbers = Arc::new(BooleanArray::from(vec![true; 40 << 20])) as ArrayRef;
    let item = Arc::new(Field::new_list_field(DataType::Boolean, true));
    let list = ListArray::new(item, OffsetBuffer::from_lengths([40 << 20]), numbers, None);
    let text = Arc::new(StringArray::from(vec!["a"])) as ArrayRef;
    write_parquet(&path("runs.parquet"), vec![("text", text), ("list", Arc::new(list))]);
    refused(&path("runs.parquet"), "unpacks to");
}

#[test]
fn the_limits_are_flags() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let messages = "{\"role\": \"user\", \"content\": \"a\"},".repeat(20);
    let chat = format!("{{\"messages\": [{}]}}\n", messages.trim_end_matches(','));
    let long = format!("{{\"text\": \"{}\"}}\n", "a".repeat(2 << 20));
    std::fs::write(&path, format!("{chat}{}{chat}", long.replace("text", "prompt"))).unwrap();
    let limits = RowLimits { max_row_mib: 1, max_row_messages: 19 };
    let options = ReadOptions { limits, skip_invalid: true, ..ReadOptions::default() };
    let mut rows = read_with(&path, &options).unwrap();
    assert_eq!(rows.by_ref().map(Result::unwrap).count(), 0);
    let reasons: Vec<String> = rows.take_invalid().into_iter().map(|row| row.reason).collect();
    assert!(reasons[0].contains("line 1: has 20 messages, more than 19; give a larger `--max-row-messages`"));
    assert!(reasons[1].contains("line 2: has more than 1 MiB; give a larger `--max-row-mib`"), "{reasons:?}");
    assert!(reasons[2].contains("line 3"), "reading goes on after a row that is too large");
    let limits = RowLimits { max_row_messages: 20, ..RowLimits::default() };
    let options = ReadOptions { limits, skip_invalid: true, ..ReadOptions::default() };
    assert_eq!(read_with(&path, &options).unwrap().count(), 2);
}

/// What breaks a file is not one row: `--skip-invalid` does not leave out rows of unknown number.
#[test]
fn an_array_on_one_line_is_read_element_by_element() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.json");
    // Longer than a row may be.
    let row = format!("{{\"text\": \"{}\"}}", "a".repeat(700_000));
    let rows = format!("[{row}, {{\"text\": NaN}}, {row}, {row}]");
    std::fs::write(&path, &rows).unwrap();
    let limits = RowLimits { max_row_mib: 1, ..RowLimits::default() };
    let options = ReadOptions { limits, skip_invalid: true, ..ReadOptions::default() };
    let mut reading = read_with(&path, &options).unwrap();
    assert_eq!(reading.by_ref().map(Result::unwrap).count(), 3);
    assert_eq!(reading.take_invalid().len(), 1);
    std::fs::write(&path, &rows[..rows.len() - 5]).unwrap();
    let last = read_with(&path, &options).unwrap().last().unwrap().unwrap_err().to_string();
    assert!(last.contains("the rest of the file is lost"), "{last}");
}
