//! Rows that are written in other forms than Parquet are read back as they were, here and by Python's datasets.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use datasets::export::{FileFormat, write_json_files};
use datasets::{Error, Row, read};
use serde_json::{Map, Value, json};
use std::num::NonZeroUsize;
use std::path::Path;

fn rows() -> Vec<Value> {
    let message = |role: &str, content: &str| json!({"role": role, "content": content});
    vec![
        json!({"messages": [message("user", "Hi"), message("assistant", "Hello \u{1f600}\n")], "source": "a"}),
        json!({"messages": [message("system", "Be brief."), message("user", "1"), message("assistant", "2"),
            message("user", "3"), message("assistant", "4")], "source": "b"}),
    ]
}

fn pair() -> Value {
    let message = |role: &str, content: &str| json!([{"role": role, "content": content}]);
    json!({"prompt": message("user", "Hi"), "chosen": message("assistant", "Hello"),
        "rejected": message("assistant", "No"), "source": "a"})
}

fn written(folder: &Path, format: FileFormat, rows: &[Value]) -> Result<Vec<Row>, Error> {
    let objects: Vec<Map<String, Value>> = rows.iter().map(|row| row.as_object().unwrap().clone()).collect();
    let one = NonZeroUsize::new(1).unwrap();
    let rows = objects.into_iter().map(Ok::<_, Error>);
    write_json_files(folder, "train", format, rows.len(), one, rows)?;
    read(folder)?.map(|located| located.map(|located| located.row)).collect()
}

fn read_row(row: &Value) -> Row {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, row.to_string()).unwrap();
    read(&path).unwrap().next().unwrap().unwrap().row
}

#[test]
fn what_is_written_is_read_back() {
    let all = [rows(), vec![pair()]];
    for format in [FileFormat::Jsonl, FileFormat::Sharegpt, FileFormat::Alpaca] {
        for rows in &all {
            let folder = tempfile::tempdir().unwrap();
            let expected: Vec<Row> = rows.iter().map(read_row).collect();
            assert_eq!(written(folder.path(), format, rows).unwrap(), expected, "{format:?}");
            let first = format!("train-00000-of-0000{}.{}", rows.len(), format.extension());
            assert!(folder.path().join(first).is_file());
        }
    }
}

#[test]
fn calls_of_tools_keep_their_place_in_sharegpt_and_are_refused_where_there_is_none() {
    let function = json!({"name": "f", "arguments": {"x": 1}});
    let row = json!({"messages": [
        {"role": "user", "content": "x?"},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]},
        {"role": "tool", "content": "1"},
        {"role": "assistant", "content": "One.", "weight": 0.5},
    ], "tools": "[]"});
    let folder = tempfile::tempdir().unwrap();
    let rows = written(folder.path(), FileFormat::Sharegpt, std::slice::from_ref(&row)).unwrap();
    assert_eq!(rows, [read_row(&row)]);
    for (format, row, expected) in [
        (FileFormat::Alpaca, row, "a message has calls of tools"),
        (
            FileFormat::Alpaca,
            json!({"messages": [{"role": "user", "content": "a"}]}),
            "no message of the user",
        ),
        (FileFormat::Sharegpt, json!({"text": "a"}), "a document is no conversation"),
        (
            FileFormat::Alpaca,
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]}),
            "a message has `weight`",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let error = written(folder.path(), format, &[row]).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("row 1"), "{error}");
        assert!(read(folder.path()).is_err(), "no file remains");
    }
}
