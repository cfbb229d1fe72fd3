//! Rows as Hugging Face `datasets` reads them and as we do: of files as people have them, of every layout after `datasets` has
//! written it, and of what the programs write in every form. Needs SMOL_PYTHON.

use crate::layout_rows::layouts;
use crate::programs::{of_project, program, succeeds};
use crate::task_teacher::Teacher;
use datasets::{ReadOptions, Row, read, read_raw_with};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tests::shared_data;

/// Runs tests/datasets_rows.py on these paths; `None` where there is no Python.
fn datasets_rows(paths: &[String], arguments: &[&str]) -> Option<Vec<Value>> {
    let Ok(python) = std::env::var("SMOL_PYTHON") else {
        assert!(std::env::var("SMOL_REQUIRE_PYTHON").is_err(), "SMOL_PYTHON is not set");
        eprintln!("skipped: SMOL_PYTHON names no Python");
        return None;
    };
    let mut command = Command::new(python);
    command.arg(of_project("tests/datasets_rows.py")).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(paths.join("\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// A value without nulls, which say the same as missing columns.
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

/// The objects that we read, or why a row is refused.
fn raw(path: &Path, options: &ReadOptions) -> Result<Vec<Value>, String> {
    let rows = read_raw_with(path, options).map_err(|error| error.to_string())?;
    let object = |raw: datasets::RawRow| without_nulls(Value::Object(raw.object));
    rows.map(|raw| raw.map(object).map_err(|error| error.to_string())).collect()
}

/// The rows of a line that the script printed, or why there are none.
fn loaded(line: &Value) -> Result<Vec<Value>, String> {
    match line["error"].as_str() {
        Some(error) => Err(error.chars().take(150).collect()),
        None => Ok(line["rows"].as_array().unwrap().iter().cloned().map(without_nulls).collect()),
    }
}

/// Whether values are equal; numbers in lists of JSON objects have ten decimals in `datasets`.
fn is_same(here: Option<&Value>, there: Option<&Value>) -> bool {
    let number = |value: Option<&Value>| value.filter(|value| value.is_f64()).and_then(Value::as_f64);
    here == there
        || number(here)
            .zip(number(there))
            .is_some_and(|(here, there)| (here - there).abs() <= 1e-9 * here.abs())
}

/// What is different, in words.
fn differences(ours: Result<Vec<Value>, String>, theirs: Result<Vec<Value>, String>) -> Vec<String> {
    let (ours, theirs) = match (ours, theirs) {
        (Err(_), Err(_)) => return Vec::new(),
        (Ok(rows), Err(error)) => return vec![format!("{} rows here, an error there: {error}", rows.len())],
        (Err(error), Ok(rows)) => return vec![format!("{} rows there, an error here: {error}", rows.len())],
        (Ok(ours), Ok(theirs)) => (ours, theirs),
    };
    let mut differences = Vec::new();
    if ours.len() != theirs.len() {
        differences.push(format!("{} rows here, {} there", ours.len(), theirs.len()));
    }
    for (index, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        let (empty, row) = (Map::new(), index + 1);
        let (ours, theirs) = (ours.as_object().unwrap_or(&empty), theirs.as_object().unwrap_or(&empty));
        for name in ours.keys().chain(theirs.keys().filter(|name| !ours.contains_key(*name))) {
            let (here, there) = (ours.get(name), theirs.get(name));
            if !is_same(here, there) {
                let show = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
                let text = format!("row {row}, {name}: {} here, {} there", show(here), show(there));
                differences.push(text.chars().take(300).collect());
            }
        }
    }
    differences
}

/// Differences that are meant: a file, what its differences have in their text, and why.
const EXPLAINED: [(&str, &str, &str); 23] = [
    (
        "bytes/dup_keys.jsonl",
        "an error there",
        "of two fields with one name the last one counts, as in Python's json",
    ),
    ("bytes/empty.jsonl", "0 rows here", "an empty file is no rows"),
    ("bytes/only_blank.jsonl", "0 rows here", "an empty file is no rows"),
    (
        "bytes/huge_int_noinf.jsonl",
        "\"123456789012345678901234567890\" here",
        "no digit of a large integer is lost",
    ),
    ("bytes/huge_int_noinf.jsonl", "18446744073709551615 here", "no digit of a large integer is lost"),
    ("bytes/infinity.jsonl", "an error here", "JSON has no infinities; `--skip-invalid` leaves the row out"),
    ("bytes/nan.jsonl", "an error here", "JSON has no NaN; `--skip-invalid` leaves the row out"),
    (
        "bytes/one_bad_of_1000.jsonl",
        "line 10: not JSON",
        "JSON has no NaN; `--skip-invalid` leaves the row out",
    ),
    ("bytes/surrogate.jsonl", "an error there", "half a surrogate pair becomes U+FFFD and is counted"),
    ("formats/jsonl_named.txt", "row 1, text", "the white space after a document is not part of it"),
    ("formats/rows.jsonl.zst", "zstd not supported", "datasets needs the package zstandard for it"),
    ("formats/rows.jsonl.zstd", "zstd not supported", "datasets needs the package zstandard for it"),
    ("formats/two_frames.jsonl.zst", "zstd not supported", "datasets needs the package zstandard for it"),
    ("oasst/flat.jsonl", "1 rows here, 4 there", "the messages of a tree are a row"),
    ("oasst/flat.jsonl", "row 1, ", "the messages of a tree are a row"),
    ("parquet_nested/rest.parquet", "an error there", "datasets has no maps"),
    ("parquet_nested/types.parquet", "an error there", "datasets has no maps"),
    ("parquet_nested/timestamp_utc.parquet", "2024-01-01T00:00:00Z", "the same instant"),
    ("unstable_types/int_float.jsonl", "score: 1 here, 1.0 there", "a number stays as its line has it"),
    ("wrapped_json/columns.json", "", "columns of texts are rows"),
    ("wrapped_json/data_key.json", "", "the list of rows in an object is the rows"),
    ("wrapped_json/list_of_lists.json", "", "a list of messages is a conversation"),
    ("wrapped_json/list_of_lists.jsonl", "an error there", "a list of messages is a conversation"),
];

/// Files below a folder, and folders that are datasets as a whole.
fn cases(root: &Path) -> Vec<PathBuf> {
    let wholes =
        ["hub_folder", "split_files", "formats/saved_to_disk", "bytes/mixedgz"].map(|name| root.join(name));
    let (mut folders, mut paths) = (vec![root.to_owned()], wholes.to_vec());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_part = path == wholes[2] || path.file_name().unwrap() == "README.md";
            match path.is_dir() {
                true if is_part => {}
                true => folders.push(path),
                false if is_part => {}
                false => paths.push(path),
            }
        }
    }
    paths.sort();
    paths
}

/// Every difference is printed, and each is one that is explained above.
#[test]
fn files_of_people_give_the_rows_of_datasets() {
    let Some(data) = shared_data() else { return };
    let root = data.parent().unwrap().join("cases/data");
    let paths: Vec<String> = cases(&root).iter().map(|path| path.display().to_string()).collect();
    let Some(lines) = datasets_rows(&paths, &[]) else { return };
    let (mut unexplained, mut used) = (Vec::new(), vec![false; EXPLAINED.len()]);
    for line in &lines {
        let path = Path::new(line["path"].as_str().unwrap());
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        let split = line["split"].as_str().filter(|_| path.is_dir() && !path.join("state.json").exists());
        let options = ReadOptions { split: split.map(str::to_owned), ..ReadOptions::default() };
        for difference in differences(raw(path, &options), loaded(line)) {
            let difference = difference.replace(&format!("{}/", root.display()), "");
            let found =
                EXPLAINED.iter().position(|(file, text, _)| *file == name && difference.contains(text));
            match found {
                Some(index) => {
                    used[index] = true;
                    eprintln!("{name}: {difference}\n    {}", EXPLAINED[index].2);
                }
                None => unexplained.push(format!("{name}: {difference}")),
            }
        }
    }
    assert!(lines.len() > 100, "{} files", lines.len());
    assert!(unexplained.is_empty(), "{} differences:\n{}", unexplained.len(), unexplained.join("\n"));
    let idle: Vec<_> = EXPLAINED.iter().zip(used).filter(|(_, used)| !used).map(|(entry, _)| entry).collect();
    assert!(idle.is_empty(), "explained, but not there: {idle:?}");
}

fn rows(path: &Path) -> Vec<Value> {
    let rows = read(path).unwrap_or_else(|error| panic!("{error}"));
    let value = |row: Row| without_nulls(serde_json::to_value(row).unwrap());
    rows.map(|row| value(row.unwrap_or_else(|error| panic!("{}: {error}", path.display())).row)).collect()
}

/// What `load_dataset` makes of a layout and writes again is the same rows to us.
#[test]
fn every_layout_survives_the_forms_of_datasets() {
    let folder = tempfile::tempdir().unwrap();
    let (mut paths, out) = (Vec::new(), folder.path().join("out"));
    for (name, rows) in layouts() {
        let path = folder.path().join(format!("{name}.jsonl"));
        let text: Vec<String> = rows.iter().map(Value::to_string).collect();
        std::fs::write(&path, text.join("\n")).unwrap();
        paths.push(path.display().to_string());
    }
    let Some(_) = datasets_rows(&paths, &["--convert", out.to_str().unwrap()]) else { return };
    let mut different = Vec::new();
    for (name, _) in layouts() {
        let expected = rows(&folder.path().join(format!("{name}.jsonl")));
        assert!(!expected.is_empty(), "{name}");
        for form in [format!("parquet/{name}.parquet"), format!("json/{name}.jsonl"), format!("saved/{name}")]
        {
            let found = std::panic::catch_unwind(|| rows(&out.join(&form)));
            match found {
                Ok(found) if found == expected => {}
                Ok(found) => different.push(format!("{form}: {found:?} where the file had {expected:?}")),
                Err(_) => different.push(format!("{form}: is refused")),
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// `load_dataset` has the rows of folders that programs wrote: each a name for errors, the folder and its configuration.
#[track_caller]
fn load_with_the_same_rows(written: &[(String, PathBuf, &str)]) {
    let path = |(_, folder, config): &(String, PathBuf, &str)| format!("{}\t{config}", folder.display());
    let paths: Vec<String> = written.iter().map(path).collect();
    let Some(lines) = datasets_rows(&paths, &[]) else { return };
    assert_eq!(lines.len(), written.len(), "a split each");
    let mut all = Vec::new();
    for ((name, folder, config), line) in written.iter().zip(&lines) {
        let options = ReadOptions { config: Some((*config).to_owned()), ..ReadOptions::default() };
        let ours = raw(folder, &options);
        assert!(ours.as_ref().is_ok_and(|rows| !rows.is_empty()), "{name}: {ours:?}");
        let found = differences(ours, loaded(line));
        all.extend(found.iter().take(3).map(|difference| format!("{name}: {difference}")));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

const FORMATS: [&str; 4] = ["parquet", "jsonl", "sharegpt", "alpaca"];

fn write_rows(path: &Path, rows: impl IntoIterator<Item = Value>) {
    let lines: Vec<String> = rows.into_iter().map(|row| row.to_string()).collect();
    std::fs::write(path, lines.join("\n")).unwrap();
}

/// Conversations of which only the last ones have a system prompt, earlier turns and a further column, after more than the 10 MB
/// from which `load_dataset` takes the columns of a JSON file.
fn late_chats() -> Vec<Value> {
    let turn = |role: &str, text: &str| json!({"role": role, "content": text});
    let early = |index: usize| {
        let reply = format!("Answer {index}: {}", "word ".repeat(1000));
        json!({"messages": [turn("user", &format!("Question {index}?")), turn("assistant", &reply)], "id": format!("r{index}")})
    };
    let late = |index: usize| {
        let messages = [
            ("system", "Be brief."),
            ("user", "Hi"),
            ("assistant", "Yes?"),
            ("user", "Why?"),
            ("assistant", "So."),
        ];
        let messages: Vec<Value> =
            messages.iter().map(|(role, text)| turn(role, &format!("{text} {index}"))).collect();
        json!({"messages": messages, "id": format!("r{index}"), "note": {"of": "late", "n": index}})
    };
    (0..2400).map(early).chain((2400..2410).map(late)).collect()
}

#[test]
fn what_clean_and_mix_write_loads_with_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_rows(&path("chats.jsonl"), late_chats());
    let pair = |index: usize| json!({"prompt": format!("Say {index}."), "chosen": format!("It is {index}."), "rejected": "No.", "margin": index});
    write_rows(&path("pairs.jsonl"), (0..20).map(pair));
    write_rows(
        &path("texts.jsonl"),
        (0..20).map(|index| json!({"text": format!("Text {index} has its {index} words.")})),
    );
    let mut written = Vec::new();
    for data in ["chats", "pairs", "texts"] {
        let recipe = format!("name = \"Soup\"\n[[source]]\nname = \"a\"\ndata = \"{data}.jsonl\"\n");
        std::fs::write(path(&format!("{data}.toml")), recipe).unwrap();
        for format in FORMATS {
            if data == "texts" && ["sharegpt", "alpaca"].contains(&format) {
                continue;
            }
            let out = |program: &str| path(&format!("{program}-{data}-{format}"));
            let mut clean = program("smoltalk");
            clean.arg("clean").arg(path(&format!("{data}.jsonl"))).arg("--out").arg(out("clean"));
            succeeds(clean.args(["--no-near-duplicates", "--format", format]));
            let mut mix = program("smoltalk");
            mix.current_dir(folder.path())
                .arg("mix")
                .arg(format!("{data}.toml"))
                .arg("--out")
                .arg(out("mix"));
            succeeds(mix.args(["--format", format]));
            for program in ["clean", "mix"] {
                written.push((format!("{program} of {data} as {format}"), out(program), "default"));
            }
        }
    }
    load_with_the_same_rows(&written);
}

#[test]
fn what_gen_writes_loads_with_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let (good, poor, systems) = (Teacher::start("good"), Teacher::start("poor"), Teacher::start("system"));
    let writers = ["--completion-teacher", &good.name, "--completion-teacher", &poor.name];
    let mut written = Vec::new();
    for (task, teacher, more) in [("system-chats", &systems, &writers[..0]), ("preferences", &good, &writers)]
    {
        for format in FORMATS {
            let out = folder.path().join(format!("{task}-{format}"));
            let mut command = program("smoltalk");
            command.args(["gen", task, "--teacher", &teacher.name, "--rows", "30", "--format", format]);
            succeeds(command.arg("--out").arg(&out).args(more));
            written.push((format!("{task} as {format}"), out, task));
        }
    }
    load_with_the_same_rows(&written);
}
