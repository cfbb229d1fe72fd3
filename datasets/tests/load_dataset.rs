//! The same rows as `datasets.load_dataset` of Python reads, file by file and split by split. Needs `SMOL_PYTHON`.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use datasets::{ReadOptions, read_raw_with};
use serde_json::{Map, Value};
use std::path::Path;
use std::process::Command;

/// Writes files of every format, and prints a JSON line for each: its path, its split, and the rows that load_dataset reads.
const PYTHON: &str = r#"
import bz2, gzip, json, lzma, os, sys
import datasets, pyarrow as pa, pyarrow.parquet as pq
datasets.disable_progress_bars()
root = sys.argv[1]
os.chdir(root)
rows = [{"prompt": f"Name tree {i}, \"quoted\"\nplease.", "completion": f"Oak {i} 🌳 é", "note": None if i % 3 else "x"} for i in range(7)]
lines = "".join(json.dumps(row, ensure_ascii=i % 2 == 0) + "\n" for i, row in enumerate(rows))
open("a.jsonl", "w").write(lines)
open("a.json", "w").write(json.dumps(rows, indent=1))
open("bom.jsonl", "w", encoding="utf-8-sig").write(lines)
open("crlf.jsonl", "w", newline="").write(lines.replace("\n", "\r\n"))
open("a.jsonl.gz", "wb").write(gzip.compress(lines.encode()))
open("a.jsonl.xz", "wb").write(lzma.compress(lines.encode()))
open("a.jsonl.bz2", "wb").write(bz2.compress(lines.encode()))
import csv
for name, mark in [("a.csv", ","), ("a.tsv", "\t")]:
    with open(name, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=mark)
        writer.writeheader()
        writer.writerows(rows)
chats = [{"messages": [{"role": "user", "content": str(i)}, {"role": "assistant", "content": None if i == 2 else "b"}], "score": i / 4, "flag": i % 2 == 0, "tags": ["a"] * i} for i in range(5)]
table = pa.Table.from_pylist(chats)
for codec in ["none", "snappy", "gzip", "zstd", "lz4", "brotli"]:
    pq.write_table(table, f"{codec}.parquet", compression=codec, row_group_size=2)
pq.write_table(table, "v2.parquet", data_page_version="2.0")
dictionary = pa.table({"text": pa.array(["a", "b", "a"]).dictionary_encode(), "half": pa.array([0.5, 1.5, None], pa.float16()), "big": pa.array(["x", "y", "z"], pa.large_string()), "view": pa.array(["x", None, "z"], pa.string_view())})
pq.write_table(dictionary, "types.parquet")
with pa.ipc.new_stream("stream.arrow", table.schema) as writer: writer.write_table(table)
names = [n for n in sorted(os.listdir(".")) if os.path.isfile(n)]
datasets.Dataset.from_list(rows).save_to_disk("saved")
datasets.DatasetDict({"train": datasets.Dataset.from_list(rows[:4]), "test": datasets.Dataset.from_list(rows[4:])}).save_to_disk("dict")
for folder, files in {"sharded": ["data/train-00000-of-00001.jsonl", "data/test-00000-of-00001.jsonl", "other.jsonl"], "named": ["train.jsonl", "dev_1.jsonl", "rest.jsonl"], "folders": ["my-train/a.jsonl", "eval/b.jsonl", "train.jsonl"], "plain": ["contest.jsonl", "b.jsonl"]}.items():
    for i, file in enumerate(files):
        os.makedirs(os.path.dirname(f"{folder}/{file}"), exist_ok=True)
        open(f"{folder}/{file}", "w").write(json.dumps({"text": file}) + "\n")
def show(path, split, data):
    print(json.dumps({"path": path, "split": split, "rows": [dict(row) for row in data]}))
kinds = {"jsonl": "json", "json": "json", "csv": "csv", "tsv": "csv", "parquet": "parquet", "arrow": "arrow"}
for name in names:
    kind = kinds[name.split(".")[1]]
    more = {"sep": "\t"} if ".tsv" in name else {}
    show(name, "train", datasets.load_dataset(kind, data_files=name, split="train", **more))
show("saved", "train", datasets.load_from_disk("saved"))
for split, data in datasets.load_from_disk("dict").items(): show("dict", split, data)
for folder in ["sharded", "named", "folders", "plain"]:
    for split, data in datasets.load_dataset(f"./{folder}").items(): show(folder, split, data)
"#;

/// An object without nulls, which say the same as missing columns.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name, without_nulls(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        value => value,
    }
}

fn ours(path: &Path, split: &str, is_folder: bool) -> Vec<Value> {
    let split = is_folder.then(|| split.to_owned()).filter(|_| !path.join("state.json").exists());
    let options = ReadOptions { split, ..ReadOptions::default() };
    let rows = read_raw_with(path, &options).unwrap();
    rows.map(|raw| without_nulls(Value::Object(raw.unwrap().object))).collect()
}

#[test]
fn rows_are_those_of_pythons_datasets() {
    let Ok(python) = std::env::var("SMOL_PYTHON") else {
        assert!(std::env::var_os("SMOL_REQUIRE_PYTHON").is_none(), "SMOL_PYTHON is not set");
        eprintln!("skipped: SMOL_PYTHON names no Python");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(python);
    command
        .args(["-c", PYTHON])
        .arg(folder.path())
        .env("HF_HUB_OFFLINE", "1")
        .env("HF_HOME", folder.path().join("cache"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (mut compared, mut differences) = (0, Vec::new());
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let theirs: Value = serde_json::from_str(line).unwrap();
        let (name, split) = (theirs["path"].as_str().unwrap(), theirs["split"].as_str().unwrap());
        let path = folder.path().join(name);
        let found = ours(&path, split, path.is_dir());
        let expected: Vec<Value> =
            theirs["rows"].as_array().unwrap().iter().cloned().map(without_nulls).collect();
        compared += 1;
        if found != expected {
            differences.push(format!("{name}, {split}: {found:?} where load_dataset has {expected:?}"));
        }
    }
    assert!(compared > 25 && differences.is_empty(), "{compared} compared, {differences:#?}");
}
