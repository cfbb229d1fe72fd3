//! `smoltalk mix` and `smoltalk show` over rows as people have them.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use clap::Parser;
use datasets::Row;
use serde_json::{Value, json};
use std::path::Path;

#[derive(Parser)]
struct Mix {
    #[command(flatten)]
    options: generate::mix::Options,
}

#[derive(Parser)]
struct Clean {
    #[command(flatten)]
    options: generate::clean::Options,
}

fn write_lines(path: &Path, lines: &[String]) {
    std::fs::write(path, lines.join("\n")).unwrap();
}

fn mix(folder: &Path, source: &str) -> anyhow::Result<u8> {
    let recipe = folder.join("mix.toml");
    let data = folder.join("rows.jsonl");
    std::fs::write(
        &recipe,
        format!("name = \"m\"\n[[source]]\nname = \"s\"\ndata = {:?}\n{source}", data.to_str().unwrap()),
    )
    .unwrap();
    let arguments =
        ["mix", recipe.to_str().unwrap(), "--out", folder.join("out").to_str().unwrap()].map(str::to_owned);
    generate::mix::run(&Mix::try_parse_from(arguments)?.options)
}

fn contents(folder: &Path) -> Vec<String> {
    let rows = datasets::read(&folder.join("out")).unwrap().map(|located| located.unwrap().row);
    let mut all: Vec<String> = rows
        .map(|row| match row {
            Row::Chat(row) => {
                row.messages.iter().map(|message| message.content.clone()).collect::<Vec<_>>().join("|")
            }
            other => panic!("{other:?}"),
        })
        .collect();
    all.sort();
    all
}

#[test]
fn a_source_has_columns_by_name_and_leaves_invalid_and_rejected_rows_out_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let row = |q: &str, a: &str, label: Value| json!({"q": q, "a": a, "label": label}).to_string();
    let lines = [
        row("1", "one", json!(true)),
        row("2", "two", json!("False")),
        "{\"q\": NaN}".to_owned(),
        row("3", "three", json!(1)),
        row("4", "four", json!("bad")),
    ];
    write_lines(&folder.join("rows.jsonl"), &lines);
    let reason = format!("{:#}", mix(folder, "").unwrap_err());
    assert!(reason.contains("--columns prompt=COLUMN,reply=COLUMN"), "{reason}");
    let columns = "columns = [\"prompt=q\", \"reply=a\"]\n";
    let reason = format!("{:#}", mix(folder, columns).unwrap_err());
    assert!(reason.contains("rows.jsonl, line 3: not JSON"), "{reason}");
    mix(folder, &format!("{columns}skip_invalid = true\n")).unwrap();
    assert_eq!(contents(folder), ["1|one", "3|three"]);
    let mixed: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("out/mix.json")).unwrap()).unwrap();
    let source = &mixed["sources"][0];
    assert_eq!((&source["rows"], &source["filtered"]["rejected_reply"]), (&json!(2), &json!(1)));
    assert_eq!(source["filtered"]["unknown_label"], 1);
    assert!(source["invalid"][0].as_str().unwrap().contains("rows.jsonl, line 3"), "{source}");
    // Nobody learns where the data was.
    let root = folder.to_str().unwrap();
    for name in ["mix.json", "README.md"] {
        assert!(!std::fs::read_to_string(folder.join("out").join(name)).unwrap().contains(root), "{name}");
    }
}

#[test]
fn clean_goes_on_after_a_bad_line_and_drops_empty_replies() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let row = |index: usize| {
        json!({"prompt": format!("{index}"), "completion": format!("answer {index}"), "id": index % 90})
            .to_string()
    };
    let mut lines: Vec<String> = (0..99).map(row).collect();
    lines.insert(9, "{\"prompt\": NaN}".to_owned());
    lines.push(json!({"prompt": "empty", "completion": " "}).to_string());
    write_lines(&folder.join("rows.jsonl"), &lines);
    let out = folder.join("clean");
    let arguments = [
        "clean",
        folder.join("rows.jsonl").to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
        "--no-near-duplicates",
        "--skip-invalid",
    ]
    .map(str::to_owned);
    generate::clean::run(&Clean::try_parse_from(arguments).unwrap().options).unwrap();
    let manifest: Value =
        serde_json::from_str(&std::fs::read_to_string(out.join("clean.json")).unwrap()).unwrap();
    assert_eq!(
        (&manifest["rows"], &manifest["kept"], &manifest["dropped"]["empty_reply"]),
        (&json!(100), &json!(99), &json!(1))
    );
    assert_eq!(
        manifest["skipped"],
        json!(["rows.jsonl, line 10: not JSON (expected value at line 1 column 12)"])
    );
    assert_eq!(manifest["repeated_ids"], 9);
}

fn clean(folder: &Path, data: &str, more: &[&str]) -> anyhow::Result<Value> {
    let (input, out) = (folder.join(data), folder.join("clean"));
    let mut arguments =
        vec!["clean", input.to_str().unwrap(), "--out", out.to_str().unwrap(), "--no-near-duplicates"];
    arguments.extend(more);
    generate::clean::run(&Clean::try_parse_from(arguments)?.options)?;
    Ok(serde_json::from_str(&std::fs::read_to_string(out.join("clean.json"))?)?)
}

/// Rows that a model should not learn from, or not as much.
#[test]
fn odd_rows_are_counted_and_what_would_lose_its_weight_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let said = |role: &str, content: &str| json!({"role": role, "content": content});
    let row = |messages: &[Value]| json!({"messages": messages}).to_string();
    let good = row(&[said("user", "a"), said("assistant", "b")]);
    let odd = [
        row(&[said("user", "c"), said("assistant", " ")]),
        row(&[said("system", "d")]),
        row(&[said("user", "e"), said("user", "f"), said("assistant", "g")]),
        row(&[said("user", "h"), said("user", "i")]),
    ];
    write_lines(&folder.join("rows.jsonl"), &[std::slice::from_ref(&good), &odd[..]].concat());
    mix(folder, "").unwrap();
    let card = std::fs::read_to_string(folder.join("out/README.md")).unwrap();
    for words in ["1 with an empty reply", "2 without a reply", "2 with two turns of the user in a row"] {
        assert!(card.contains(words), "{words}: {card}");
    }
    let cleaned = clean(folder, "rows.jsonl", &[]).unwrap();
    assert_eq!(cleaned["dropped"], json!({"empty_reply": 1, "no_reply": 2}));
    assert_eq!(
        (&cleaned["kept"], &cleaned["odd"]["with two turns of the user in a row"]),
        (&json!(2), &json!(2))
    );
    // Prompts alone are a dataset, too.
    write_lines(&folder.join("prompts.jsonl"), &odd[1..2]);
    assert_eq!(clean(folder, "prompts.jsonl", &[]).unwrap()["kept"], 1);

    let weighted = |weight: Value, of_reply: Value| {
        let mut reply = said("assistant", "k");
        reply["weight"] = of_reply;
        json!({"messages": [said("user", "j"), reply], "loss_weight": weight}).to_string()
    };
    for (row, weight) in
        [(weighted(json!(0.2), json!(null)), "0.2"), (weighted(json!(1), json!(0)), "a weight of 0 ")]
    {
        write_lines(&folder.join("rows.jsonl"), &[good.clone(), row]);
        let reason = format!("{:#}", mix(folder, "").unwrap_err());
        assert!(reason.contains("row 2") && reason.contains(weight), "{reason}");
        mix(folder, "skip_invalid = true\n").unwrap();
        assert_eq!(contents(folder), ["a|b"]);
    }
    write_lines(
        &folder.join("rows.jsonl"),
        &[good, weighted(json!(0), json!(1)), weighted(json!(1), json!(true))],
    );
    mix(folder, "").unwrap();
    assert_eq!(contents(folder), ["a|b", "j|k"]);
}

/// Images, for example: JSON would have them as text.
#[test]
fn a_column_of_bytes_stays_one_or_is_refused() {
    use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
    use std::sync::Arc;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let columns: [(&str, ArrayRef); 3] = [
        ("prompt", Arc::new(StringArray::from(vec!["a"]))),
        ("completion", Arc::new(StringArray::from(vec!["b"]))),
        ("image", Arc::new(BinaryArray::from(vec![b"\x89PNG".as_slice()]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    std::fs::create_dir(folder.join("set")).unwrap();
    let file = std::fs::File::create(folder.join("set/a.parquet")).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    assert_eq!(clean(folder, "set", &[]).unwrap()["kept"], 1);
    let refused = |more: &[&str]| format!("{:#}", clean(folder, "set", more).unwrap_err());
    let reason = refused(&["--format", "jsonl"]);
    assert!(reason.contains("a.parquet: the column `image` has bytes"), "{reason}");
    write_lines(&folder.join("set/b.jsonl"), &[json!({"prompt": "c", "completion": "d"}).to_string()]);
    assert!(refused(&[]).contains("the column `image` has bytes"));
}
