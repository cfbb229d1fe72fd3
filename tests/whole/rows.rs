use datasets::write::{Column, ColumnType as Kind, write_jsonl, write_shards};
use datasets::{Error, Row, read};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use tests::shared_data;

fn count(path: &Path) -> (usize, Vec<String>) {
    let mut rows = read(path).unwrap();
    let count = rows.by_ref().map(Result::unwrap).collect::<Vec<_>>().len();
    (count, rows.layouts().iter().map(|(_, layout)| format!("{layout:?}")).collect())
}

/// Row counts: the shared data's own table.
#[test]
fn public_files_read_whole() {
    let Some(data) = shared_data() else { return };
    let expected = [
        ("instruct/llamafactory/alpaca_en_demo.json", 999, "Alpaca"),
        ("instruct/llamafactory/dpo_en_demo.json", 300, "ShareGptPreference"),
        ("instruct/llamafactory/glaive_toolcall_en_demo.json", 300, "ShareGpt"),
        ("instruct/llamafactory/identity.json", 91, "Alpaca"),
        ("instruct/llamafactory/kto_en_demo.json", 300, "Messages"),
        ("instruct/llamafactory/reason_tool_use_demo_50.jsonl", 50, "Messages"),
        ("instruct/llamafactory/v1_dpo_demo.jsonl", 10, "MessagesPreference"),
        ("instruct/llamafactory/v1_sft_demo.jsonl", 500, "Messages"),
        ("instruct/oasst/en_100_tree.jsonl", 100, "Tree"),
        ("instruct/seeds/magpie/example_instructions.jsonl", 5, "Instruction"),
        ("instruct/seeds/seed_tasks.jsonl", 175, "Instances"),
        ("preference/eval_clean.jsonl", 200, "Preference"),
        ("preference/hh-harmless-test.jsonl.gz", 2312, "Preference"),
        ("preference/train_clean.jsonl", 1000, "Preference"),
        ("text/arxiv.jsonl", 11, "Text"),
        ("text/c4_demo.jsonl", 300, "Text"),
        ("text/stack_exchange.jsonl", 70, "Text"),
        ("text/tinystories_197k.txt", 1230, "Text"),
    ];
    for (name, rows, layout) in expected {
        assert_eq!(count(&data.join(name)), (rows, vec![layout.to_owned()]), "{name}");
    }
    let mut folder = read(&data.join("instruct/llamafactory")).unwrap();
    assert_eq!(
        folder.by_ref().map(Result::unwrap).collect::<Vec<_>>().len(),
        999 + 300 + 300 + 91 + 300 + 50 + 10 + 500
    );
    // dataset_info.json describes the others, and is no data to anyone.
    assert!(folder.skipped().is_empty());
}

fn one(line: &Value) -> Result<Row, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, format!("{line}\n")).unwrap();
    read(&path)?.next().unwrap().map(|located| located.row)
}

#[test]
fn layouts_become_our_rows() {
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let chat = json!([turn("user", "Hi"), turn("assistant", "Hello")]);
    let same = [
        json!({"messages": chat}),
        json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, turn("assistant", "Hello")]}),
        json!({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}),
        json!({"instruction": "Hi", "input": "", "output": "Hello"}),
        json!({"prompt": "Hi", "completion": "Hello"}),
        json!({"query": "Hi", "response": "Hello"}),
        json!({"prompt": [turn("user", "Hi")], "completion": [turn("assistant", "Hello")]}),
        json!({"prompt": {"text": "Hi", "role": "prompter", "replies": [{"text": "Hello", "role": "assistant", "replies": []}]}}),
    ];
    for line in same {
        assert_eq!(serde_json::to_value(one(&line).unwrap()).unwrap(), json!({"messages": chat}), "{line}");
    }
    let pair = json!({"prompt": [turn("user", "Hi")], "chosen": [turn("assistant", "Hello")], "rejected": [turn("assistant", "No")], "score": 3});
    let same = [
        pair.clone(),
        json!({"prompt": "Hi", "chosen": "Hello", "rejected": "No", "score": 3}),
        json!({"prompt": "Hi", "chosen": [turn("user", "Hi"), turn("assistant", "Hello")], "rejected": [turn("user", "Hi"), turn("assistant", "No")], "score": 3}),
        json!({"chosen": "\n\nHuman: Hi\n\nAssistant: Hello", "rejected": "\n\nHuman: Hi\n\nAssistant: No", "score": 3}),
        json!({"question": "Hi", "chosen": "Hello", "rejected": "No", "score": 3}),
        json!({"prompt": "Hi", "chosen": [turn("user", "Hi"), turn("assistant", "Hello")], "rejected": [turn("user", "Hi"), turn("assistant", "No")], "score": 3}),
    ];
    for line in same {
        assert_eq!(serde_json::to_value(one(&line).unwrap()).unwrap(), pair, "{line}");
    }
}

#[test]
fn what_a_message_carries_stays_with_it() {
    let parts = json!([{"type": "reasoning", "value": "Look it up."}, {"type": "text", "value": "One moment."},
        {"type": "tool_call", "value": "{\"name\": \"find\", \"arguments\": {\"x\": 1}}"}]);
    let call = json!([{"type": "function", "function": {"name": "find", "arguments": {"x": 1}}}]);
    let row = json!({"messages": [
        {"role": "user", "content": "Find it.", "loss_weight": 0.0},
        {"role": "assistant", "content": parts},
        {"role": "tool", "content": "2", "tool_call_id": "a", "name": null}]});
    let expected = json!({"messages": [
        {"role": "user", "content": "Find it.", "loss_weight": 0.0},
        {"role": "assistant", "content": "One moment.", "reasoning_content": "Look it up.", "tool_calls": call},
        {"role": "tool", "content": "2", "tool_call_id": "a"}]});
    assert_eq!(serde_json::to_value(one(&row).unwrap()).unwrap(), expected);
    // A prompt of its own before replies of several messages, as agents give them.
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let reply = json!([turn("assistant", "Searching."), turn("tool", "2"), turn("assistant", "It is 2.")]);
    let row =
        json!({"prompt": [turn("user", "How many?")], "chosen": reply, "rejected": [turn("assistant", "3")]});
    assert_eq!(serde_json::to_value(one(&row).unwrap()).unwrap(), row);
    let error = one(&json!({"instruction": "Add.", "input": [1, 2], "output": "3"})).unwrap_err().to_string();
    assert!(error.contains("input is [1,2]; expected a string"), "{error}");
}

#[test]
fn json_is_read_as_what_it_is_whatever_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let lines = "{\"text\": \"one\"}\n{\"text\": \"two\"}\n";
    let array = "\u{feff}[{\"text\": \"one\"},\n {\"text\": \"two\"}]\n";
    for (name, text) in [("lines.json", lines), ("array.jsonl", array), ("array.json", array)] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        assert_eq!(count(&path).0, 2, "{name}");
    }
    let path = folder.path().join("broken.json");
    for (text, expected) in [
        ("[{\"text\": \"one\"}\n{\"text\": \"two\"}]", "line 2: '{' where a comma or ] was expected"),
        ("[{\"text\": \"one\"}]\nmore", "line 2: 'm' after the end of the array"),
        ("[{\"text\": \"one\"},", "line 1: the array is cut short"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = read(&path).unwrap().find_map(Result::err).unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
    std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(count(folder.path()).0, 6);
}

#[test]
fn a_broken_row_is_named_by_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.jsonl");
    let refused = |bytes: &[u8], expected: &str| {
        std::fs::write(&path, bytes).unwrap();
        let error = read(&path).unwrap().find_map(Result::err).expect("some row is broken").to_string();
        assert!(error.contains(expected) && error.contains("source.jsonl"), "{error}");
    };
    let good = "{\"text\": \"fine\"}\n".repeat(16);
    refused(format!("{good}{{\"text\": \"cut\n").as_bytes(), "line 17: not JSON");
    refused(format!("{good}[1]\n").as_bytes(), "line 17: expected a JSON object, found an array");
    refused(format!("{good}{{\"body\": 1}}\n").as_bytes(), "line 17: has no text");
    refused(format!("{good}{{\"text\": 1}}\n").as_bytes(), "line 17: text is 1; expected a string");
    refused(&[good.as_bytes(), b"{\"text\": \"\xff\"}\n"].concat(), "line 17: not UTF-8 at byte 10");
    refused(b"{\"a\": 1}\n", "line 1: no layout has the fields [\"a\"]");
    let array = folder.path().join("array.json");
    std::fs::write(&array, "[\n{\"text\": \"one\"},\n{\"text\": \"two\"},\n{\"text\": }\n]").unwrap();
    let errors: Vec<String> =
        read(&array).unwrap().filter_map(Result::err).map(|error| error.to_string()).collect();
    assert!(errors.len() == 1 && errors[0].contains("array.json, line 4"), "{errors:?}");
    let missing = read(&folder.path().join("none.jsonl")).err().unwrap().to_string();
    assert!(missing.contains("none.jsonl"), "{missing}");
}

#[test]
fn compressed_files_read_and_a_cut_one_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let text = "{\"text\": \"one\"}\n{\"text\": \"two\"}\n".repeat(500);
    let zst = folder.path().join("rows.jsonl.zst");
    std::fs::write(&zst, zstd::encode_all(text.as_bytes(), 3).unwrap()).unwrap();
    assert_eq!(count(&zst).0, 1000);
    let gz = folder.path().join("rows.jsonl.gz");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    let bytes = encoder.finish().unwrap();
    std::fs::write(&gz, &bytes).unwrap();
    assert_eq!(count(&gz).0, 1000);
    std::fs::write(&gz, &bytes[..bytes.len() / 2]).unwrap();
    let error = read(&gz).unwrap().find_map(Result::err).unwrap().to_string();
    assert!(error.contains("rows.jsonl.gz, line") && error.contains("cannot be read"), "{error}");
}

#[test]
fn shards_and_jsonl_read_back_as_written() {
    let folder = tempfile::tempdir().unwrap();
    let row = |index: usize| -> Map<String, Value> {
        let value = json!({
            "messages": [{"role": "user", "content": format!("é {index}\n")}, {"role": "assistant", "content": ""}],
            "index": index, "score": index as f64 / 4.0, "tags": ["a", "b"], "flag": index.is_multiple_of(2),
            "source": if index == 3 { Value::Null } else { json!("test") }
        });
        value.as_object().unwrap().clone()
    };
    let kinds = BTreeMap::from([
        ("messages", Kind::Messages),
        ("index", Kind::Integer),
        ("score", Kind::Float),
        ("tags", Kind::Texts),
        ("flag", Kind::Boolean),
        ("source", Kind::Text),
    ]);
    let columns: Vec<Column> =
        kinds.iter().map(|(name, kind)| Column { name: (*name).to_owned(), kind: *kind }).collect();
    let rows = || (0..2500).map(|index| Ok::<_, Error>(row(index)));
    let shards =
        write_shards(folder.path(), "train", &columns, 2500, 1200.try_into().unwrap(), rows()).unwrap();
    assert_eq!(shards.iter().map(|shard| shard.rows).collect::<Vec<_>>(), [1200, 1200, 100]);
    assert!(shards[2].path.ends_with("train-00002-of-00003.parquet"));
    write_jsonl(&folder.path().join("train-z.jsonl"), rows()).unwrap();
    let found: Vec<Row> = read(folder.path()).unwrap().map(|located| located.unwrap().row).collect();
    assert_eq!(found.len(), 5000);
    for (index, found) in found.iter().enumerate() {
        let index = index % 2500;
        let mut value = serde_json::to_value(found).unwrap();
        // A null is left out of Parquet's JSON.
        if index == 3 {
            value["source"] = Value::Null;
        }
        assert_eq!(value, Value::Object(row(index)), "row {index}");
    }
    let failing = (0..10).map(|index| {
        if index < 5 {
            Ok(row(index))
        } else {
            Err(Error::NotData { path: "x".into(), reason: "stop".into() })
        }
    });
    let other = tempfile::tempdir().unwrap();
    let three = 3.try_into().unwrap();
    write_shards(other.path(), "train", &columns, 10, three, failing).unwrap_err();
    for (announced, given) in [(4, 5), (6, 5)] {
        let given = (0..given).map(|index| Ok::<_, Error>(row(index)));
        let error = write_shards(other.path(), "train", &columns, announced, three, given).unwrap_err();
        assert!(error.to_string().contains("5 rows came where"), "{error}");
    }
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0, "nothing half-written stays");
}

#[test]
fn rows_of_any_dataset_are_shown_filtered_and_sorted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let row = |index: usize| json!({"prompt": format!("Question {index}"), "completion": format!("Answer {index}"), "score": index % 5});
    let text: Vec<String> = (0..20).map(|index| row(index).to_string()).collect();
    std::fs::write(&path, text.join("\n")).unwrap();
    let show = |arguments: &[&str]| {
        let output =
            crate::programs::program("smoltalk").arg("show").arg(&path).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let first = show(&["--n", "1"]);
    assert!(first.contains("[user] Question 0") && first.contains("[assistant] Answer 0"), "{first}");
    let chosen = show(&["--n", "9", "--filter", "score>=3", "--filter", "prompt~1", "--sort", "-score"]);
    let places = ["Answer 14", "Answer 19", "Answer 13", "Answer 18"].map(|answer| chosen.find(answer));
    assert!(places.iter().all(Option::is_some) && places[1] < places[2], "{chosen}");
    assert!(!chosen.contains("Question 4\n") && !chosen.contains("Answer 12"), "{chosen}");
}
