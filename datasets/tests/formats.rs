//! Files as people have them: every format and compression is read, what is none is named, and no row is lost silently.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use arrow::array::{
    ArrayRef, BinaryArray, Float32Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use datasets::{ReadOptions, Row, UnchangedFiles, read, read_raw, read_with};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

const LINES: &str =
    "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"c\", \"completion\": \"d\"}\n";

fn count(path: &Path) -> usize {
    read(path).unwrap().map(Result::unwrap).count()
}

#[track_caller]
fn refused(path: &Path, expected: &str) {
    let error = match read(path) {
        Err(error) => error.to_string(),
        Ok(rows) => rows.filter_map(Result::err).next().expect("some row is refused").to_string(),
    };
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(error.contains(expected) && error.contains(name), "{error}");
}

#[test]
fn compressed_files_are_known_by_their_bytes_and_false_names_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(LINES.as_bytes()).unwrap();
    let gz = gz.finish().unwrap();
    let mut bz2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bz2.write_all(LINES.as_bytes()).unwrap();
    let zst = zstd::encode_all(LINES.as_bytes(), 3).unwrap();
    // Made by Python's lzma.compress.
    let xz = include_bytes!("rows.jsonl.xz").to_vec();
    let bz2 = bz2.finish().unwrap();
    for (name, bytes) in [
        ("a.jsonl.gz", &gz),
        ("plain.jsonl", &gz),
        ("a.jsonl.zstd", &zst),
        ("a.jsonl.bz2", &bz2),
        ("a.jsonl.xz", &xz),
        ("a.csv.gz", &gz),
    ] {
        std::fs::write(path(name), bytes).unwrap();
        if name != "a.csv.gz" {
            assert_eq!(count(&path(name)), 2, "{name}");
        }
    }
    for (name, bytes, expected) in [
        ("text.jsonl.gz", LINES.as_bytes(), "its name promises gzip, but it starts with"),
        ("empty.jsonl.gz", b"".as_slice(), "its name promises gzip, but it is empty"),
        ("cut.jsonl.gz", &gz[..9], "cut.jsonl.gz"),
        ("text.jsonl.zst", LINES.as_bytes(), "promises zstd"),
        ("page.jsonl", b"<!DOCTYPE html><html><body>404</body></html>", "it is a web page (HTML)"),
        ("wide.jsonl", b"\xff\xfe{\0", "it is UTF-16"),
        ("zip.jsonl", b"PK\x03\x04", "it is a ZIP archive"),
        (
            "pointer.parquet",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "it is a pointer of Git LFS",
        ),
    ] {
        std::fs::write(path(name), bytes).unwrap();
        refused(&path(name), expected);
    }
}

#[test]
fn a_bad_line_is_one_row_and_reading_goes_on_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let good = |index: usize| format!("{{\"prompt\": \"{index}\", \"completion\": \"x\"}}\n").into_bytes();
    let mut bytes: Vec<u8> = (0..9).flat_map(good).collect();
    bytes.extend(b"{\"prompt\": \"a\", \"completion\": NaN}\n{\"prompt\": \"caf\xe9\"}\n{\"prompt\": 1, \"completion\": \"x\"}\n");
    bytes.extend((12..1000).flat_map(good));
    std::fs::write(&path, bytes).unwrap();
    let found: Vec<_> = read(&path).unwrap().collect();
    assert_eq!((found.len(), found.iter().filter(|row| row.is_err()).count()), (1000, 3));
    let options = ReadOptions { skip_invalid: true, ..ReadOptions::default() };
    let mut rows = read_with(&path, &options).unwrap();
    assert_eq!(rows.by_ref().map(Result::unwrap).count(), 997);
    let invalid = rows.take_invalid();
    let lines: Vec<usize> = invalid.iter().map(|row| row.number).collect();
    assert_eq!(lines, [10, 11, 12]);
    assert!(invalid[0].reason.contains("rows.jsonl, line 10: not JSON") && invalid[0].file == path);
    // A first line that is no row is one row, too, and no array with a line after its end.
    std::fs::write(&path, ["[1]\n".as_bytes(), &good(1), &good(2)].concat()).unwrap();
    let mut rows = read_with(&path, &options).unwrap();
    assert_eq!(rows.by_ref().map(Result::unwrap).count(), 2);
    assert!(rows.take_invalid()[0].reason.contains("line 1: expected a JSON object, found an array"));
    // What breaks a file as a whole is no row to leave out: nobody knows how many are lost.
    let gz = folder.path().join("cut.jsonl.gz");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    (0..5000).for_each(|index| encoder.write_all(&good(index * 7919)).unwrap());
    let whole = encoder.finish().unwrap();
    std::fs::write(&gz, &whole[..whole.len() / 2]).unwrap();
    let mut rows = read_with(&gz, &options).unwrap();
    let found: Vec<_> = rows.by_ref().collect();
    let (last, kept) = found.split_last().unwrap();
    let error = last.as_ref().unwrap_err().to_string();
    assert!(kept.len() > 10 && kept.iter().all(Result::is_ok));
    assert!(error.contains("the rest of the file is lost"), "{error}");
    assert!(rows.take_invalid().is_empty());
}

#[test]
fn half_surrogates_are_replaced_and_counted_and_large_integers_keep_their_digits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(
        &path,
        "{\"prompt\": \"a \\ud83d\", \"completion\": \"b\", \"n\": 123456789012345678901234567890}\n",
    )
    .unwrap();
    let mut rows = read_raw(&path).unwrap();
    let object = rows.next().unwrap().unwrap().object;
    assert_eq!(
        (&object["prompt"], &object["n"]),
        (&json!("a \u{fffd}"), &json!("123456789012345678901234567890"))
    );
    assert_eq!(rows.surrogates(), 1);
}

#[test]
fn csv_and_tsv_have_text_in_their_fields() {
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("rows.csv");
    std::fs::write(&csv, "\u{feff}prompt,completion,n\n\"one, \"\"two\"\"\nlines\",7,\nb,c,3\n").unwrap();
    let found: Vec<Value> = read_raw(&csv).unwrap().map(|raw| Value::Object(raw.unwrap().object)).collect();
    let first = json!({"prompt": "one, \"two\"\nlines", "completion": "7", "n": null});
    assert_eq!(found, [first, json!({"prompt": "b", "completion": "c", "n": "3"})]);
    let tsv = folder.path().join("rows.tsv");
    std::fs::write(&tsv, "prompt\tcompletion\na\tb, c\n").unwrap();
    assert_eq!(count(&tsv), 1);
    std::fs::write(&csv, "prompt,completion\na,b,c\nd,e\n").unwrap();
    refused(&csv, "line 2: has 3 fields, but the header has 2");
    let skipping = ReadOptions { skip_invalid: true, ..ReadOptions::default() };
    assert_eq!(read_with(&csv, &skipping).unwrap().map(Result::unwrap).count(), 1);
    std::fs::write(&csv, "a,a\n1,2\n").unwrap();
    refused(&csv, "its header has two columns `a`");
}

/// A batch with what JSON has no word for.
fn batch() -> RecordBatch {
    let columns: [(&str, ArrayRef); 5] = [
        ("prompt", Arc::new(StringArray::from(vec!["a", "c", "e"]))),
        ("completion", Arc::new(StringArray::from(vec!["b", "d", "f"]))),
        (
            "when",
            Arc::new(TimestampMillisecondArray::from(vec![0, 1000, 2000]).with_timezone("Europe/Berlin")),
        ),
        ("loss_of_model", Arc::new(Float32Array::from(vec![f32::NAN, 0.5, f32::INFINITY]))),
        ("bytes", Arc::new(BinaryArray::from(vec![b"\x89PNG".as_slice(), b"", b"\0\xff"]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn write_parquet(path: &Path, batch: &RecordBatch) {
    let file = File::create(path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn arrow_files_and_streams_and_saved_datasets_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let batch = batch();
    let mut writer =
        arrow_ipc::writer::FileWriter::try_new(File::create(path("file.arrow")).unwrap(), &batch.schema())
            .unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    assert_eq!(count(&path("file.arrow")), 3);
    let saved = path("saved/train");
    std::fs::create_dir_all(&saved).unwrap();
    for name in ["data-00000-of-00001.arrow", "cache-0123.arrow"] {
        let mut writer = arrow_ipc::writer::StreamWriter::try_new(
            File::create(saved.join(name)).unwrap(),
            &batch.schema(),
        )
        .unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
    }
    std::fs::write(
        saved.join("state.json"),
        "{\"_data_files\": [{\"filename\": \"data-00000-of-00001.arrow\"}]}",
    )
    .unwrap();
    std::fs::write(saved.join("dataset_info.json"), "{\"features\": {}}").unwrap();
    std::fs::write(path("saved/dataset_dict.json"), "{\"splits\": [\"train\"]}").unwrap();
    assert_eq!(count(&saved), 3, "a cache is no data");
    assert_eq!(count(&path("saved")), 3);
    std::fs::write(path("bad.arrow"), "no Arrow").unwrap();
    refused(&path("bad.arrow"), "not a whole Arrow file");
}

#[test]
fn times_with_the_name_of_a_zone_are_the_same_instants_in_utc() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    write_parquet(&path, &batch());
    let rows: Vec<_> = read_raw(&path).unwrap().map(|raw| raw.unwrap().object).collect();
    assert_eq!(rows[1]["when"], "1970-01-01T00:00:01Z");
    assert_eq!(count(&path), 3);
}

#[test]
fn rows_of_parquet_files_keep_every_column_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().join("rows.parquet"), folder.path().join("out"));
    write_parquet(&path, &batch());
    let files = UnchangedFiles::find(&path, &ReadOptions::default()).unwrap().unwrap();
    let one = NonZeroUsize::new(1).unwrap();
    let shards = files.write(&out, "train", 2, one, |_, number| number != 2).unwrap();
    assert_eq!(shards.iter().map(|shard| shard.rows).collect::<Vec<_>>(), [1, 1]);
    let read = |path: &Path| {
        let reader =
            parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(File::open(path).unwrap(), 9)
                .unwrap();
        reader.map(Result::unwrap).collect::<Vec<_>>()
    };
    let (first, last) = (read(&shards[0].path).remove(0), read(&shards[1].path).remove(0));
    assert_eq!(first.schema().fields(), batch().schema().fields());
    assert_eq!(
        (first.column(2), last.column(4)),
        (&batch().column(2).slice(0, 1), &batch().column(4).slice(2, 1))
    );
    let losses = first.column(3).as_any().downcast_ref::<Float32Array>().unwrap();
    assert!(losses.value(0).is_nan() && losses.null_count_is_zero());
    assert!(files.write(&out, "train", 5, one, |_, _| true).is_err(), "another number of rows is an error");
    let mixed = tempfile::tempdir().unwrap();
    std::fs::copy(&path, mixed.path().join("rows.parquet")).unwrap();
    std::fs::write(mixed.path().join("more.jsonl"), LINES).unwrap();
    assert!(UnchangedFiles::find(mixed.path(), &ReadOptions::default()).unwrap().is_none());
}

trait NoNulls {
    fn null_count_is_zero(&self) -> bool;
}

impl NoNulls for Float32Array {
    fn null_count_is_zero(&self) -> bool {
        arrow::array::Array::null_count(self) == 0
    }
}

#[test]
fn train_is_train_and_files_of_no_split_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{{\"text\": \"{name}\"}}\n")).unwrap();
    };
    for name in ["data/train-00000-of-00001.jsonl", "data/test-00000-of-00001.jsonl", "notes.jsonl"] {
        write(name);
    }
    let texts = |split: Option<&str>| -> Vec<String> {
        let options = ReadOptions { split: split.map(str::to_owned), ..ReadOptions::default() };
        let rows = read_with(folder.path(), &options).unwrap().map(|located| located.unwrap().row);
        rows.map(|row| match row {
            Row::Text(row) => row.text,
            _ => String::new(),
        })
        .collect()
    };
    assert_eq!(texts(None), ["data/train-00000-of-00001.jsonl"]);
    assert_eq!(texts(Some("test")), ["data/test-00000-of-00001.jsonl"]);
    assert_eq!(texts(Some("train+test")).len(), 2);
    let rows = read(folder.path()).unwrap();
    let skipped: Vec<_> = rows.skipped().iter().map(|(path, _)| path.file_name().unwrap()).collect();
    assert_eq!(skipped, ["notes.jsonl"]);
    let options = ReadOptions { split: Some("dev".to_owned()), ..ReadOptions::default() };
    let error = read_with(folder.path(), &options).err().unwrap().to_string();
    assert!(error.contains("has no split `dev`; it has train, test"), "{error}");
}

#[test]
fn json_that_wraps_its_rows_is_unwrapped() {
    let folder = tempfile::tempdir().unwrap();
    let read_as = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        count(&path)
    };
    assert_eq!(
        read_as(
            "data.json",
            "{\"version\": 1, \"data\": [{\"prompt\": \"a\", \"completion\": \"b\"}, {\"prompt\": \"c\", \"completion\": \"d\"}]}"
        ),
        2
    );
    assert_eq!(
        read_as("columns.json", "{\"prompt\": [\"a\", \"c\", \"e\"], \"completion\": [\"b\", \"d\", \"f\"]}"),
        3
    );
    let chat = "[{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"}]";
    assert_eq!(read_as("lists.jsonl", &format!("{chat}\n{chat}\n")), 2);
    assert_eq!(read_as("lists.json", &format!("[{chat}, {chat}, {chat}]")), 3);
    assert_eq!(read_as("one.jsonl", &format!("[{}]", LINES.trim().replace('\n', ","))), 2);
}
