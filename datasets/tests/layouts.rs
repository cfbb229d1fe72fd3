//! Rows as people publish them: each becomes the conversation, the pair or the document that it is, or is refused with the
//! column and the flag.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use datasets::{Error, NamedColumn, ReadOptions, Row, read_with};
use serde_json::{Value, json};

fn options(columns: &[&str]) -> ReadOptions {
    let columns: Vec<NamedColumn> = columns.iter().map(|text| text.parse().unwrap()).collect();
    ReadOptions { columns, ..ReadOptions::default() }
}

fn rows(lines: &[Value], columns: &[&str]) -> Vec<Result<Row, Error>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    std::fs::write(&path, text.join("\n")).unwrap();
    read_with(&path, &options(columns)).unwrap().map(|located| located.map(|located| located.row)).collect()
}

/// Role and content of every message; calls as their names.
fn turns(line: &Value, columns: &[&str]) -> Value {
    match rows(std::slice::from_ref(line), columns)
        .remove(0)
        .unwrap_or_else(|error| panic!("{line}: {error}"))
    {
        Row::Chat(row) => messages(&row.messages),
        Row::Preference(row) => {
            json!([messages(&row.prompt), messages(&row.chosen), messages(&row.rejected)])
        }
        Row::Text(row) => row.text.into(),
    }
}

fn messages(messages: &[datasets::Message]) -> Value {
    let one = |message: &datasets::Message| match &message.tool_calls {
        Some(calls) => format!("{}: calls {}", message.role, calls[0]["function"]["name"]),
        None => format!("{}: {}", message.role, message.content),
    };
    messages.iter().map(one).collect()
}

#[track_caller]
fn refused(line: Value, expected: &str) {
    let error = rows(&[line], &[]).remove(0).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn prompts_and_replies_are_found_under_their_many_names() {
    let pair = json!(["user: Name a tree.", "assistant: Oak."]);
    for (prompt, reply) in [
        ("instruction", "response"),
        ("instruction", "answer"),
        ("instruction", "generation"),
        ("instruction", "completion"),
        ("question", "answer"),
        ("question", "response"),
        ("problem", "solution"),
        ("prompt", "output"),
        ("input", "output"),
    ] {
        assert_eq!(
            turns(&json!({prompt: "Name a tree.", reply: "Oak.", "id": 1}), &[]),
            pair,
            "{prompt}, {reply}"
        );
    }
    let with_context = json!(["user: When?\n\nIt opens at nine.", "assistant: At nine."]);
    for (prompt, context, reply) in [
        ("instruction", "context", "response"),
        ("question", "context", "answer"),
        ("instruction", "input", "output"),
    ] {
        let line = json!({prompt: "When?", context: "It opens at nine.", reply: "At nine."});
        assert_eq!(turns(&line, &[]), with_context, "{prompt}, {context}");
    }
    let line = json!({"system_prompt": "Be brief.", "question": "Name a tree.", "response": "Oak."});
    assert_eq!(turns(&line, &[]), json!(["system: Be brief.", "user: Name a tree.", "assistant: Oak."]));
    assert_eq!(turns(&json!({"instruction": "", "input": "Name a tree.", "output": "Oak."}), &[]), pair);
}

#[test]
fn a_reply_that_would_be_left_out_is_an_error_that_shows_the_flag() {
    refused(
        json!({"instruction": "Hi", "generations": ["a", "b"]}),
        "`generations` ([\"a\",\"b\"]) looks like a reply",
    );
    refused(
        json!({"prompt": "Hi", "completion": "Hello", "response": "Bye"}),
        "`--columns prompt=COLUMN,reply=response`, or leave it with `--columns ignore=response`",
    );
    refused(json!({"messages": [{"role": "user", "content": "Hi"}], "solution": "x = 1"}), "`solution`");
    refused(json!({"text": "A document.", "answer": "42"}), "`answer`");
    refused(json!({"instruction": "Hi", "generated_answer": "Hello"}), "`generated_answer`");
    refused(json!({"instruction": "Hi", "target": "Hello"}), "`target`");
    refused(json!({"text": "A document.", "prompt": "Hi", "model_answer": "Hello"}), "`model_answer`");
    // What the conversation has already is not left out.
    let line = json!({"messages": [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "It is 2."}], "answer": "2"});
    assert_eq!(turns(&line, &[]), json!(["user: 1+1?", "assistant: It is 2."]));
    let line = json!({"prompt": "Hi", "completion": "Hello", "response": "Bye"});
    assert_eq!(turns(&line, &["ignore=response"]), json!(["user: Hi", "assistant: Hello"]));
    assert_eq!(turns(&line, &["prompt=prompt", "reply=response"]), json!(["user: Hi", "assistant: Bye"]));
}

#[test]
fn columns_that_no_layout_knows_are_named() {
    let line = json!({"q": "1+1?", "a": "2", "rules": "Be exact.", "other": "b"});
    let columns = ["prompt=q", "reply=a", "system=rules"];
    assert_eq!(turns(&line, &columns), json!(["system: Be exact.", "user: 1+1?", "assistant: 2"]));
    assert_eq!(
        turns(&line, &["prompt=q", "chosen=a", "rejected=other"]),
        json!([["user: 1+1?"], ["assistant: 2"], ["assistant: b"]])
    );
    assert_eq!(
        turns(&json!({"dialog": ["Hi", "Hello"]}), &["messages=dialog"]),
        json!(["user: Hi", "assistant: Hello"])
    );
    assert_eq!(turns(&json!({"body": "A document."}), &["text=body"]), "A document.");
    let error = rows(&[line], &["prompt=query", "reply=a"]).remove(0).unwrap_err().to_string();
    assert!(
        error.contains("has no column `query`, which `--columns prompt=query` names; it has [\"q\""),
        "{error}"
    );
}

#[test]
fn roles_are_folded_and_unknown_ones_refused_by_name() {
    let roles = ["Human", "USER", "gpt", "ChatGPT", "bard", "bot", "model", "Assistant", "developer"];
    let list: Vec<Value> = roles.iter().map(|role| json!({"from": role, "value": "x"})).collect();
    let found = turns(&json!({"conversations": list}), &[]);
    let expected = [["user: x"; 2].as_slice(), &["assistant: x"; 6], &["system: x"]].concat();
    assert_eq!(found, json!(expected));
    let call = "{\"name\": \"find\", \"arguments\": {}}";
    for (caller, tool) in [
        ("function_call", "observation"),
        ("tool_call", "tool_response"),
        ("tool_call", "ipython"),
        ("tool_call", "function"),
    ] {
        let line = json!({"conversations": [{"from": "user", "value": "Find."}, {"from": caller, "value": call}, {"from": tool, "value": "1"}]});
        assert_eq!(turns(&line, &[]), json!(["user: Find.", "assistant: calls \"find\"", "tool: 1"]));
    }
    let line = json!({"messages": [{"role": "user", "content": "Find."}, {"role": "assistant", "content": null, "function_call": {"name": "find", "arguments": "{}"}}]});
    assert_eq!(turns(&line, &[]), json!(["user: Find.", "assistant: calls \"find\""]));
    refused(json!({"messages": [{"role": "hummany", "content": "Hi"}]}), "the role `hummany` is not known");
}

#[test]
fn conversations_come_in_many_shapes() {
    let chat = json!(["user: Hi", "assistant: Hello"]);
    let list = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]);
    for line in [
        json!({"conversation": list, "turn": 1}),
        json!({"conversations": ["Hi", "Hello"]}),
        json!({"data": ["Hi", "Hello"], "id": "0"}),
        json!({"conversation": [{"input": "Hi", "output": "Hello"}]}),
        json!({"messages": list.to_string()}),
        json!({"messages": [list[0].to_string(), list[1].to_string()]}),
        json!({"conversations": {"from": ["human", "gpt"], "value": ["Hi", "Hello"]}}),
        json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", "parts": [{"text": "Hello"}]}]}),
        json!({"messages": list, "text": "<|im_start|>user\nHi<|im_end|>"}),
        json!({"chat": "USER: Hi\n\n\nASSISTANT: Hello <|endoftext|>"}),
        json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]),
    ] {
        assert_eq!(turns(&line, &[]), chat, "{line}");
    }
    let xlam = json!({"query": "Hi", "tools": "[]", "answers": "[{\"name\": \"wave\", \"arguments\": {}}]"});
    assert_eq!(turns(&xlam, &[]), json!(["user: Hi", "assistant: calls \"wave\""]));
    refused(json!({"messages": "[{'role': 'user', 'content': 'Hi'}]"}), "as Python prints it");
    refused(
        json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}),
        "of type `image_url`, which no model here reads",
    );
}

#[test]
fn pairs_are_found_in_the_forms_of_many_datasets() {
    let pair = json!([["user: Name a tree."], ["assistant: Oak."], ["assistant: Cat."]]);
    let ask = json!([{"role": "user", "content": "Name a tree."}]);
    let whole = |reply: &str| json!([{"role": "user", "content": "Name a tree."}, {"role": "assistant", "content": reply}]);
    for line in [
        json!({"instruction": "Name a tree.", "chosen": "Oak.", "rejected": "Cat."}),
        json!({"instruction": "Name a tree.", "input": "", "output": ["Oak.", "Cat."]}),
        json!({"prompt": "Name a tree.", "response_0": "Cat.", "response_1": "Oak.", "better_response_id": 1}),
        json!({"prompt": "Name a tree.", "response_1": "Oak.", "response_2": "Cat.", "preference_strength": -3}),
        json!({"prompt": "Name a tree.", "response_1": "Cat.", "response_2": "Oak.", "preference_strength": 1}),
        json!({"context": ask, "response1": "Oak.", "response2": "Cat.", "overall_preference": -1, "domain": "general"}),
        json!({"messages": whole("Oak."), "rejected_response": "Cat."}),
        json!({"input": {"messages": ask}, "preferred_output": [{"role": "assistant", "content": "Oak."}], "non_preferred_output": [{"role": "assistant", "content": "Cat."}]}),
        json!({"conversation_a": whole("Cat."), "conversation_b": whole("Oak."), "winner": "model_b"}),
        json!({"prompt": "Name a tree.", "responses": ["Elm", "Oak.", "Cat."], "scores": [3, 5, 1]}),
        json!({"instruction": "Name a tree.", "completions": [{"response": "Cat.", "overall_score": 1.0}, {"response": "Oak.", "overall_score": 9.0}]}),
        json!({"prompt": "\n\nHuman: Name a tree.\n\nAssistant: ", "answers": [{"answer": "Cat.", "rank": 7}, {"answer": "Oak.", "rank": 1}]}),
        // What is no number ranks nothing.
        json!({"prompt": "Name a tree.", "responses": ["Elm", "Oak.", "Cat."], "scores": ["NaN", 5, 1]}),
        json!({"prompt": "Name a tree.", "responses": ["Oak.", "Cat.", "Elm"], "scores": [5, 1, "-inf"]}),
    ] {
        assert_eq!(turns(&line, &[]), pair, "{line}");
    }
    // Without a common start there is no prompt: one row of a file is left out by choice.
    let apart = json!({"chosen": [{"role": "user", "content": "Name a tree."}, {"role": "assistant", "content": "Oak."}], "rejected": [{"role": "user", "content": "Name a bird."}, {"role": "assistant", "content": "Owl."}]});
    refused(apart.clone(), "do not start with the same message");
    let folder = tempfile::tempdir().unwrap();
    let whole_pair = json!({"chosen": whole("Oak."), "rejected": whole("Cat.")});
    std::fs::write(folder.path().join("rows.jsonl"), format!("{whole_pair}\n{apart}\n{whole_pair}\n"))
        .unwrap();
    let skipping = ReadOptions { skip_invalid: true, ..ReadOptions::default() };
    let mut reading = read_with(&folder.path().join("rows.jsonl"), &skipping).unwrap();
    assert_eq!(reading.by_ref().filter(Result::is_ok).count(), 2);
    assert_eq!(reading.take_invalid()[0].number, 2);
    let tie = json!({"conversation_a": whole("Oak."), "conversation_b": whole("Elm."), "winner": "tie"});
    let Row::Preference(row) = rows(&[tie], &[]).remove(0).unwrap() else { panic!("no pair") };
    assert_eq!(row.metadata["score_chosen"], row.metadata["score_rejected"]);
    let even = json!({"prompt": "Name a tree.", "response_1": "Oak.", "response_2": "Elm.", "preference_strength": 0});
    let Row::Preference(row) = rows(&[even], &[]).remove(0).unwrap() else { panic!("no pair") };
    assert_eq!(row.metadata["score_chosen"], row.metadata["score_rejected"]);
    // A prompt with its ratings is HelpSteer2's other form.
    let rated = json!({"prompt": "Hi", "response": "Hello", "helpfulness": 4, "correctness": 4});
    assert_eq!(turns(&rated, &[]), json!(["user: Hi", "assistant: Hello"]));
    let bad = json!({"prompt": "Hi", "completion": "Go away.", "label": false});
    assert_eq!(rows(&[bad], &[]).remove(0).unwrap().unfit(), Some("rejected_reply"));
    let image = json!({"prompt": "<image>What?", "completion": "A cat.", "image": "a.jpg"});
    assert_eq!(rows(std::slice::from_ref(&image), &[]).remove(0).unwrap().unfit(), Some("has_media"));
    assert_eq!(rows(&[image], &["ignore=image"]).remove(0).unwrap().unfit(), None);
}

#[test]
fn trees_follow_the_best_reply_that_was_not_deleted() {
    let node = |id: &str, parent: Option<&str>, text: &str, role: &str, rank: Option<u8>, deleted: bool| json!({"message_id": id, "parent_id": parent, "message_tree_id": "t", "text": text, "role": role, "rank": rank, "deleted": deleted});
    let flat = [
        node("a", None, "Name a tree.", "prompter", None, false),
        node("b", Some("a"), "Cat.", "assistant", Some(1), false),
        node("c", Some("a"), "Spam", "assistant", Some(0), true),
        node("d", Some("a"), "Oak.", "assistant", Some(0), false),
        node("e", Some("d"), "Another?", "prompter", None, false),
    ];
    let expected = json!(["user: Name a tree.", "assistant: Oak.", "user: Another?"]);
    let found = rows(&flat, &[]);
    assert_eq!(found.len(), 1, "five messages are one tree");
    let Ok(Row::Chat(row)) = &found[0] else { panic!("{found:?}") };
    assert_eq!(messages(&row.messages), expected);
    let lost = rows(&[flat[0].clone(), flat[4].clone()], &[]).remove(0).unwrap_err().to_string();
    assert!(lost.contains("the message d is missing"), "{lost}");
}

#[test]
fn weights_that_no_loss_has_are_refused() {
    for bad in [json!({"weight": -0.1}), json!({"weight": "0"}), json!({"loss": 2.5})] {
        let mut message = bad.as_object().unwrap().clone();
        message.extend([("role".to_owned(), json!("assistant")), ("content".to_owned(), json!("x"))]);
        refused(json!({"messages": [message]}), "a number from 0 to 1");
        let mut row = bad.as_object().unwrap().clone();
        row.extend([("prompt".to_owned(), json!("a")), ("completion".to_owned(), json!("b"))]);
        refused(row.into(), "ignore=COLUMN");
    }
    let row = json!({"prompt": "a", "completion": "b", "train": false});
    assert_eq!(rows(&[row], &[]).remove(0).unwrap().weight(), Some(0.0));
}
