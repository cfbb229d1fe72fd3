//! What Python's `datasets` says of its columns in a schema's metadata: JSON texts are opened where rows are read, and rows
//! that are copied keep it.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use arrow::array::{ArrayRef, BinaryArray, ListArray, RecordBatch, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use datasets::{ReadOptions, Row, UnchangedFiles, read, read_raw};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::json;
use std::collections::HashMap;
use std::fs::File;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// A row whose two messages have other fields, and an image, as `datasets` writes them.
fn batch() -> RecordBatch {
    let call = json!([{"type": "function", "function": {"name": "find", "arguments": {"x": 1}}}]);
    let messages = [
        json!({"role": "user", "content": "Find."}),
        json!({"role": "assistant", "content": "", "tool_calls": call}),
    ];
    let texts = Arc::new(StringArray::from_iter_values(messages.iter().map(|message| message.to_string())));
    let item = Arc::new(Field::new_list_field(DataType::Utf8, true));
    let list = ListArray::new(item, OffsetBuffer::from_lengths([2]), texts, None);
    let fields: Fields = vec![Field::new("bytes", DataType::Binary, true)].into();
    let image =
        StructArray::new(fields, vec![Arc::new(BinaryArray::from(vec![b"\x89PNG".as_slice()]))], None);
    let columns: Vec<(&str, ArrayRef)> = vec![("messages", Arc::new(list)), ("picture", Arc::new(image))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let features =
        json!({"messages": {"feature": {"_type": "Json"}, "_type": "List"}, "picture": {"_type": "Image"}});
    let metadata =
        HashMap::from([("huggingface".to_owned(), json!({"info": {"features": features}}).to_string())]);
    let schema = Schema::new_with_metadata(batch.schema().fields().clone(), metadata);
    RecordBatch::try_new(Arc::new(schema), batch.columns().to_vec()).unwrap()
}

#[test]
fn json_texts_are_opened_and_features_stay_with_copied_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let batch = batch();
    let parquet = File::create(path("rows.parquet")).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(parquet, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let arrow = File::create(path("rows.arrow")).unwrap();
    let mut writer = arrow_ipc::writer::StreamWriter::try_new(arrow, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    for name in ["rows.parquet", "rows.arrow"] {
        let raw = read_raw(&path(name)).unwrap().next().unwrap().unwrap().object;
        assert_eq!(raw["messages"][0], json!({"role": "user", "content": "Find."}), "{name}");
        let options =
            ReadOptions { columns: vec!["ignore=picture".parse().unwrap()], ..ReadOptions::default() };
        let row = datasets::read_with(&path(name), &options).unwrap().next().unwrap().unwrap().row;
        let Row::Chat(row) = row else { panic!("{row:?}") };
        assert_eq!(row.messages[1].tool_calls.as_ref().unwrap()[0]["function"]["arguments"]["x"], 1);
    }
    assert_eq!(read(&path("rows.parquet")).unwrap().count(), 1);
    let one = NonZeroUsize::new(1).unwrap();
    let files = UnchangedFiles::find(&path("rows.parquet"), &ReadOptions::default()).unwrap().unwrap();
    let shards = files.write(&path("out"), "train", 1, one, |_, _| true).unwrap();
    let copied = ParquetRecordBatchReaderBuilder::try_new(File::open(&shards[0].path).unwrap()).unwrap();
    assert_eq!(copied.schema().metadata().get("huggingface"), batch.schema().metadata().get("huggingface"));
    assert_eq!(copied.schema().fields(), batch.schema().fields());
}
