//! Rows that are read without a tree of values are those that are read with one: the same conversations, places and errors.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use datasets::{QuickRow, read_quick_with};
use datasets::{ReadOptions, Row, read, read_raw};
use serde_json::Value;
use std::path::Path;

/// Lines and whether they are plain.
const LINES: [(&str, bool); 43] = [
    (r#"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}"#, true),
    (r#"{"messages": [{"content": "Hi", "role": "user"}, {"content": "", "role": "assistant"}]}"#, true),
    (
        r#" {"source":"a","messages":[{"role":"system","content":"\u00fc \ud83d\ude00 \n\"\\"}],"id":"x"} "#,
        true,
    ),
    (r#"{"messages": [{"role": "user", "content": "ü😀"}], "id": 12, "source": null}"#, true),
    (r#"{"messages": [{"role": "user", "content": "a"}], "id": -3, "source": 7, "source": "late"}"#, true),
    (r#"{"messages": [{"role": "user", "content": "a"}], "source": "early", "source": 7, "id": [1]}"#, true),
    (
        r#"{"messages": [{"role": "user", "content": "a"}], "more": {"deep": [1, 2.5, {"x": null}]}, "n": 1e3}"#,
        true,
    ),
    (r#"{"messages": [{"role": "user", "content": "a"}], "role": "r", "content": "c"}"#, true),
    (r#"{"messages": [{"role": "user", "content": "a"}], "id": 18446744073709551615}"#, true),
    (r#"{"messages": [{"role": "user", "content": "a"}], "id": 123456789012345678901234567890}"#, false),
    (r#"{"messages": [{"role": "user", "content": "a"}], "id": 1.0}"#, false),
    (r#"{"messages": [{"role": "user", "content": "a"}], "n": 123456789012345678901234567890}"#, true),
    (r#"{"first": 1, "messages": [{"role": "user", "content": "a"}], "second": 2, "third": 3}"#, true),
    (r#"{"first": 1, "messages": [{"role": "user", "content": "a"}], "first": "again", "last": []}"#, true),
    (r#"{"x": "12345678901234567890123", "messages": [{"role": "user", "content": "a"}]}"#, true),
    (r#"{"messages": [{"role": "user", "content": "a"}], "n": 1e999}"#, false),
    (r#"{"messages": [{"role": "user", "content": "a"}], "n": 01}"#, false),
    (r#"{"messages": [{"role": "user", "content": "half \ud83d"}]}"#, false),
    (r#"{"messages": [{"role": "user", "content": "a"}], "x": "half \ud83d"}"#, false),
    (r#"{"messages": [{"role": "User", "content": "a"}]}"#, false),
    (r#"{"messages": [{"role": "human", "content": "a"}]}"#, false),
    (r#"{"messages": [{"role": "tool", "content": "a"}]}"#, false),
    (r#"{"messages": [{"role": "user", "content": "a", "weight": 0}]}"#, false),
    (r#"{"messages": [{"role": "user", "content": "a", "role": "assistant"}]}"#, false),
    (r#"{"messages": [{"role": "user", "content": null}]}"#, false),
    (r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}"#, false),
    (r#"{"messages": [{"role": "user"}]}"#, false),
    (r#"{"messages": []}"#, false),
    (r#"{"messages": null, "conversation": [{"role": "user", "content": "a"}]}"#, false),
    (r#"{"messages": "[]"}"#, false),
    (
        r#"{"messages": [{"role": "user", "content": "a"}], "messages": [{"role": "user", "content": "b"}]}"#,
        false,
    ),
    (r#"{"messages": [{"role": "user", "content": "a"}], "system": "Be kind."}"#, false),
    (r#"{"messages": [{"role": "user", "content": "a"}], "tools": []}"#, false),
    (r#"{"messages": [{"role": "user", "content": "a"}], "label": false}"#, false),
    (r#"{"messages": [{"role": "user", "content": "a"}], "weight": 2}"#, false),
    (r#"{"messages": [{"role": "user", "content": "a"}], "image": "x.png"}"#, false),
    (r#"{"messages": [{"role": "user", "content": "a"}], "response": "b"}"#, false),
    (r#"{"messages": [{"role": "user", "content": "a"}], "Answer_1": "b"}"#, false),
    (r#"{"messages": [{"role": "user", "content": "a"}]} x"#, false),
    (r#"{"messages": [{"role": "user", "content": "a"}]"#, false),
    (
        r#"{"messages": [{"role": "user", "content": "a"}], "x": {"$serde_json::private::RawValue": "1"}}"#,
        false,
    ),
    (r#"[{"role": "user", "content": "a"}]"#, false),
    ("\u{0}", false),
];

/// What a row is for its reader: its place, its text as JSON, or its error.
fn shown(row: Result<datasets::RawRow, datasets::Error>) -> String {
    shown_row(row.and_then(datasets::RawRow::row))
}

/// As [`shown`]; the text has the columns in their order.
fn shown_row(row: Result<datasets::LocatedRow, datasets::Error>) -> String {
    match row {
        Ok(located) => {
            let text = serde_json::to_string(&located.row).unwrap();
            format!("{} {} {text}", located.file.display(), located.number)
        }
        Err(error) => error.to_string(),
    }
}

/// Compares both ways of reading; returns which rows were plain.
fn compare(path: &Path) -> Vec<bool> {
    let expected: Vec<String> = read_raw(path).unwrap().map(shown).collect();
    let mut plain = Vec::new();
    let rows = read_quick_with(path, &ReadOptions::default()).unwrap();
    let rows: Vec<String> = rows
        .map(|row| {
            plain.push(matches!(row, Ok(QuickRow::Plain(_))));
            if let Ok(QuickRow::Plain(row)) = &row {
                let whole = row.clone().raw().unwrap();
                let id = match whole.object.get("id") {
                    Some(Value::String(id)) => Some(id.clone()),
                    Some(Value::Number(id)) => Some(id.to_string()),
                    _ => None,
                };
                let source = whole.object.get("source").and_then(Value::as_str).map(str::to_owned);
                assert_eq!((row.id().map(str::to_owned), row.source().map(str::to_owned)), (id, source));
                let located = whole.row().unwrap();
                assert_eq!((row.file(), row.number()), (located.file.as_path(), located.number));
                let Row::Chat(chat) = &located.row else { panic!("{located:?}") };
                let messages: Vec<_> =
                    chat.messages.iter().map(|turn| (turn.role.as_str(), turn.content.as_str())).collect();
                assert_eq!(row.messages().collect::<Vec<_>>(), messages);
                assert!(chat.messages.iter().all(|turn| turn.tool_calls.is_none() && turn.extra.is_empty()));
                assert!(located.row.unfit().is_none() && located.row.weight().is_none());
                assert!(chat.metadata.get("tools").is_none());
            }
            shown(row.and_then(QuickRow::raw))
        })
        .collect();
    assert_eq!(rows, expected);
    let rows: Vec<String> = read(path).unwrap().map(shown_row).collect();
    assert_eq!(rows, expected);
    plain
}

#[test]
fn lines_are_the_same_rows_either_way() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    for (line, is_plain) in LINES {
        // The first row decides the layout; a plain one after it is compared, too.
        let first = LINES[0].0;
        std::fs::write(&path, format!("{first}\n\n{line}\n{first}\n")).unwrap();
        let plain = compare(&path);
        assert_eq!((plain[1], plain.first(), plain.last()), (is_plain, Some(&true), Some(&true)), "{line}");
        if std::fs::write(&path, line).is_ok() && read_raw(&path).is_ok() {
            assert_eq!(compare(&path), [is_plain], "{line}");
        }
    }
}

/// Files of other layouts, whose later rows look plain, and rows that are plain after many that are not.
#[test]
fn plain_rows_in_files_of_other_layouts_are_the_same_either_way() {
    let folder = tempfile::tempdir().unwrap();
    let plain = LINES[0].0;
    let pair = r#"{"prompt": "a", "chosen": "b", "rejected": "c"}"#;
    std::fs::write(folder.path().join("a.jsonl"), format!("{pair}\n{plain}\n")).unwrap();
    let odd = r#"{"messages": [{"role": "human", "content": "a"}]}"#;
    std::fs::write(
        folder.path().join("b.jsonl"),
        format!("{odd}\n").repeat(200) + &format!("{plain}\n").repeat(200),
    )
    .unwrap();
    std::fs::write(folder.path().join("c.json"), format!("[{plain}, {plain}]")).unwrap();
    let plain = compare(folder.path());
    assert_eq!((plain.len(), &plain[..2]), (404, &[false, false][..]));
    assert!(plain[..202].iter().all(|plain| !plain) && plain[300..402].iter().all(|plain| *plain));
}

#[test]
fn rows_of_parquet_are_the_same_either_way() {
    use datasets::columns::Columns;
    use datasets::encoded::write_inferred_shards;
    use std::num::NonZeroUsize;
    let row = |index: usize, more: Value| {
        let role = if index == 300 { "human" } else { "user" };
        let mut row = serde_json::json!({"messages": [{"role": role, "content": format!("{index} ü")}], "id": index, "source": "a"});
        if index == 400 {
            row["messages"] = Value::Array(Vec::new());
        }
        if index == 500 {
            row["messages"][0]["content"] = Value::Null;
        }
        if index == 600 {
            row["messages"][0]["content"] = "long ".repeat(300_000).into();
        }
        if index == 700 {
            row["source"] = Value::Null;
        }
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        row.as_object().unwrap().clone()
    };
    let write = |folder: &Path, more: Value| {
        let rows: Vec<_> = (0..1200).map(|index| row(index, more.clone())).collect();
        let mut columns = Columns::default();
        rows.iter().for_each(|row| columns.add(row));
        let rows = rows.into_iter().map(Ok::<_, datasets::Error>);
        let size = NonZeroUsize::new(700).unwrap();
        write_inferred_shards(folder, "train", columns.into(), 1200, size, rows).unwrap();
    };
    for (more, is_plain) in [
        (serde_json::json!({"n": 1.5, "note": "x", "good": true}), true),
        (serde_json::json!({"tags": ["x"]}), false),
        (serde_json::json!({"weight": 0.5}), false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), more);
        let plain = compare(folder.path());
        let others: Vec<usize> = (0..1200).filter(|index| !plain[*index]).collect();
        match is_plain {
            true => assert_eq!(others, [300, 400, 500, 600]),
            false => assert_eq!(others.len(), 1200),
        }
    }
}
