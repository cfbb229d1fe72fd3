//! The files of a dataset in other forms than Parquet: JSON lines, and the JSON arrays of ShareGPT and Alpaca, which other
//! trainers read. What a form has no place for is an error that names it: no field is lost on the way.

use crate::Error;
use crate::columns::Columns;
use crate::layout::Layout;
use crate::row::{Message, PreferenceRow, Row};
use crate::write::{Shard, finish_shards, shard_name};
use files::atomic::NewFile;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;

type Object = Map<String, Value>;

/// The form of a dataset's files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum FileFormat {
    /// Parquet shards, as the Hugging Face hub has them
    #[default]
    Parquet,
    /// A JSON object per line, with the same columns
    Jsonl,
    /// JSON arrays of `conversations` with `from` and `value`; pairs with `chosen` and `rejected`
    Sharegpt,
    /// JSON arrays of `instruction`, `input` and `output`, with `system` and `history`; pairs with `chosen` and `rejected`
    Alpaca,
}

impl FileFormat {
    /// The extension of its files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Jsonl => "jsonl",
            Self::Sharegpt | Self::Alpaca => "json",
        }
    }

    /// The pattern of the files of a split in a dataset card.
    pub fn pattern(self, folder: &str) -> String {
        format!("{folder}/train-*.{}", self.extension())
    }

    /// A row in this form; its other columns stay what they are.
    ///
    /// # Errors
    /// When the form has no place for something in the row.
    pub fn object(self, object: Object) -> Result<Object, String> {
        match self {
            Self::Parquet | Self::Jsonl => Ok(object),
            Self::Sharegpt => sharegpt(row(object)?),
            Self::Alpaca => alpaca(row(object)?),
        }
    }
}

/// Writes `<folder>/<split>-00000-of-0000N.json` (or `.jsonl`) with at most `rows_per_file` rows each, as
/// [`crate::write::write_shards`] writes Parquet; also returns their columns, which a dataset card states.
///
/// # Errors
/// Names the file and the row; the files appear once all of them are whole.
pub fn write_json_files<E: From<Error>>(
    folder: &Path,
    split: &str,
    format: FileFormat,
    total_rows: usize,
    rows_per_file: NonZeroUsize,
    rows: impl IntoIterator<Item = Result<Object, E>>,
) -> Result<(Vec<Shard>, Columns), E> {
    std::fs::create_dir_all(folder).map_err(|error| Error::file("create", folder, error))?;
    let count = total_rows.div_ceil(rows_per_file.get()).max(1);
    let mut rows = rows.into_iter();
    let (mut written, mut received, mut columns) = (Vec::new(), 0, Columns::default());
    for index in 0..count {
        let path = folder.join(shard_name(split, index, count, format.extension()));
        let mut file = NewFile::create(&path).map_err(Error::from)?;
        let mut in_file = 0;
        for row in rows.by_ref().take(rows_per_file.get()) {
            received += 1;
            let object = format.object(row?).map_err(|reason| Error::NotData {
                path: folder.to_owned(),
                reason: format!("row {received} cannot be written in this form: {reason}"),
            })?;
            columns.add(&object);
            write_row(&mut file, &object, format, in_file == 0)
                .map_err(|error| Error::file("write", &path, error))?;
            in_file += 1;
        }
        let end: &[u8] = match (format, in_file) {
            (FileFormat::Jsonl | FileFormat::Parquet, _) => b"",
            (_, 0) => b"[]\n",
            _ => b"\n]\n",
        };
        file.write_all(end).map_err(|error| Error::file("write", &path, error))?;
        written.push((file, path, in_file));
    }
    received += rows.count();
    if received != total_rows {
        let reason = format!("{received} rows came where {total_rows} were announced");
        return Err(Error::NotData { path: folder.to_owned(), reason }.into());
    }
    Ok((finish_shards(written)?, columns))
}

fn write_row(file: &mut NewFile, object: &Object, format: FileFormat, is_first: bool) -> std::io::Result<()> {
    let is_array = !matches!(format, FileFormat::Jsonl | FileFormat::Parquet);
    if is_array {
        file.write_all(if is_first { b"[\n" } else { b",\n" })?;
    }
    serde_json::to_writer(&mut *file, object)?;
    if is_array { Ok(()) } else { file.write_all(b"\n") }
}

fn row(object: Object) -> Result<Row, String> {
    Layout::of(&object, &[])?.row(object, &[])
}

/// The form of ShareGPT; LLaMA-Factory's for pairs.
fn sharegpt(row: Row) -> Result<Object, String> {
    let (messages, replies, metadata) = match row {
        Row::Chat(row) => (row.messages, None, row.metadata),
        Row::Preference(row) => {
            let last = |mut reply: Vec<Message>| match reply.len() {
                1 => turn(&reply.remove(0)),
                length => Err(format!("a reply has {length} messages; expected one")),
            };
            (row.prompt, Some([last(row.chosen)?, last(row.rejected)?]), row.metadata)
        }
        Row::Text(_) => {
            return Err("a document is no conversation; write it as `parquet` or `jsonl`".to_owned());
        }
    };
    let turns = messages.iter().map(turn).collect::<Result<Vec<Value>, String>>()?;
    let mut object = Object::from_iter([("conversations".to_owned(), turns.into())]);
    if let Some([chosen, rejected]) = replies {
        object.insert("chosen".to_owned(), chosen);
        object.insert("rejected".to_owned(), rejected);
    }
    add_columns(&mut object, metadata);
    Ok(object)
}

fn turn(message: &Message) -> Result<Value, String> {
    let calls = message.tool_calls.as_ref().and_then(Value::as_array).filter(|calls| !calls.is_empty());
    let (from, value) = match (message.role.as_str(), calls) {
        ("assistant", Some(_)) if !message.content.trim().is_empty() => {
            return Err(
                "a message has a text and calls of tools; ShareGPT has one of them in a message".to_owned()
            );
        }
        ("assistant", Some(calls)) => {
            let plain: Vec<Value> =
                calls.iter().map(|call| call.get("function").unwrap_or(call).clone()).collect();
            ("function_call", json!(plain).to_string())
        }
        ("assistant", None) => ("gpt", message.content.clone()),
        ("user", _) => ("human", message.content.clone()),
        ("tool", _) => ("observation", message.content.clone()),
        (role, _) => (role, message.content.clone()),
    };
    let mut turn = Object::from_iter([("from".to_owned(), from.into()), ("value".to_owned(), value.into())]);
    add_columns(&mut turn, message.extra.clone());
    Ok(turn.into())
}

/// The form of Alpaca; LLaMA-Factory's for earlier turns and pairs.
fn alpaca(row: Row) -> Result<Object, String> {
    let (messages, replies, metadata) = match row {
        Row::Chat(mut row) => {
            let reply = row.messages.pop().map(|reply| vec![reply]).unwrap_or_default();
            (row.messages, vec![("output", reply)], row.metadata)
        }
        Row::Preference(PreferenceRow { prompt, chosen, rejected, metadata }) => {
            (prompt, vec![("chosen", chosen), ("rejected", rejected)], metadata)
        }
        Row::Text(_) => {
            return Err("a document has no instruction; write it as `parquet` or `jsonl`".to_owned());
        }
    };
    let mut messages = messages.as_slice();
    let mut object = Object::new();
    if let Some((system, rest)) = messages.split_first().filter(|(first, _)| first.role == "system") {
        object.insert("system".to_owned(), plain(system, "system")?.into());
        messages = rest;
    }
    let Some((prompt, earlier)) = messages.split_last() else {
        return Err("it has no message of the user before the reply".to_owned());
    };
    if !earlier.len().is_multiple_of(2) {
        return Err("its turns are not the user's and the assistant's by turns".to_owned());
    }
    let pairs =
        earlier.chunks(2).map(|pair| Ok(json!([plain(&pair[0], "user")?, plain(&pair[1], "assistant")?])));
    let history = pairs.collect::<Result<Vec<Value>, String>>()?;
    object.insert("instruction".to_owned(), plain(prompt, "user")?.into());
    object.insert("input".to_owned(), "".into());
    for (name, reply) in replies {
        let [reply] = reply.as_slice() else {
            return Err(format!("{name} has {} messages; expected one", reply.len()));
        };
        object.insert(name.to_owned(), plain(reply, "assistant")?.into());
    }
    if !history.is_empty() {
        object.insert("history".to_owned(), history.into());
    }
    add_columns(&mut object, metadata);
    Ok(object)
}

/// The text of a message that has nothing else.
fn plain<'a>(message: &'a Message, role: &str) -> Result<&'a str, String> {
    if message.role != role {
        return Err(format!(
            "a message is of `{}` where Alpaca has one of `{role}`; give `sharegpt`",
            message.role
        ));
    }
    if message.tool_calls.is_some() {
        return Err("a message has calls of tools, for which Alpaca has no place; give `sharegpt`".to_owned());
    }
    match message.extra.keys().next() {
        Some(name) => Err(format!("a message has `{name}`, for which Alpaca has no place; give `sharegpt`")),
        None => Ok(&message.content),
    }
}

/// Adds further columns; those of the form stay.
fn add_columns(object: &mut Object, columns: Object) {
    for (name, value) in columns {
        object.entry(name).or_insert(value);
    }
}
