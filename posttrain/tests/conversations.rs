//! What of a row is trained: what serving would give to the model, with the weights that the row states, and nothing that
//! the template does not print.

#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "a test may fail loudly, and is short"
)]

use checkpoint::{ChatTemplate, Tokenizer};
use datasets::Row;
use posttrain::examples::{Dropped, Example, Kind, Rules, TooLong, Tools, TrainOn, example};
use serde_json::{Value, json};
use std::path::Path;

const PRINTS_TOOLS: &str = "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for c in m.tool_calls or [] %}<call>{{ c.function.arguments | tojson }}</call>{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
const PRINTS_REASONING: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
/// Removes the thoughts of all turns but those after the user's last message.
const DROPS_THOUGHTS: &str = "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{% for m in messages %}{% set c = m.content %}{% if m.role == 'assistant' and loop.index0 < ns.last %}{% set c = c.split('</think>')[-1] %}{% endif %}<|im_start|>{{ m.role }}\n{{ c }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

fn tokenizer() -> Tokenizer {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/pocket-instruct/tokenizer.json");
    Tokenizer::open(&path).unwrap()
}

fn row(line: Value) -> Row {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, line.to_string()).unwrap();
    datasets::read(&path).unwrap().next().unwrap().unwrap().row
}

/// What a row gives under a template, with changed rules.
fn given(
    template: &str,
    example: impl FnOnce(Rules<'_>) -> Result<Example, Dropped>,
) -> Result<(Example, Vec<String>), Dropped> {
    let (tokenizer, template) = (tokenizer(), ChatTemplate::new(template, "", "<|im_end|>").unwrap());
    let found = example(Rules {
        document_end: tokenizer.id("<|im_end|>"),
        ..Rules::new(&template, &tokenizer, 4096)
    })?;
    let texts = found.sequences.iter().map(|sequence| {
        let pairs: Vec<(u32, bool)> =
            sequence.ids.iter().copied().zip(sequence.trained.iter().copied()).collect();
        let mut text = String::new();
        for run in pairs.chunk_by(|one, next| one.1 == next.1) {
            let bytes: Vec<u8> =
                run.iter().flat_map(|(id, _)| tokenizer.token_bytes()[*id as usize].clone()).collect();
            let words = String::from_utf8_lossy(&bytes).into_owned();
            text.push_str(&if run[0].1 { format!("⟦{words}⟧") } else { words });
        }
        text
    });
    let texts = texts.collect();
    Ok((found, texts))
}

fn sft(line: Value, template: &str) -> (Example, String) {
    let row = row(line);
    let (example, mut texts) = given(template, |rules| example(&row, Kind::Sft, &rules)).unwrap();
    (example, texts.remove(0))
}

fn with(
    line: Value,
    template: &str,
    change: impl FnOnce(Rules<'_>) -> Rules<'_>,
) -> Result<(Example, Vec<String>), Dropped> {
    let row = row(line);
    given(template, |rules| example(&row, Kind::Sft, &change(rules)))
}

fn calls(arguments: Value, tools: Value) -> Value {
    json!({"messages": [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "rain", "arguments": arguments}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "no"},
        {"role": "assistant", "content": "It is dry."}], "tools": tools})
}

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "rain", "parameters": {"type": "object"}}}])
}

fn chatml() -> String {
    ChatTemplate::chatml().source().to_owned()
}

#[test]
fn a_template_without_tools_trains_the_words_that_serving_puts_there() {
    let (example, text) = sft(calls(json!({"city": "Bern"}), tools()), &chatml());
    assert!(
        text.contains(
            "⟦<tool_call>[{\"name\": \"rain\", \"arguments\": {\"city\": \"Bern\"}}]</tool_call><|im_end|>⟧"
        ),
        "{text}"
    );
    assert!(
        text.contains("<tools>[{\"type\": \"function\"")
            && text.contains("<tool_response>\nno\n</tool_response>"),
        "{text}"
    );
    assert!(text.ends_with("⟦It is dry.<|im_end|>⟧\n"), "{text}");
    assert!(example.notes.contains("tools_as_words"));
    // The same words for arguments and tools in strings.
    let strings = calls(json!("{\"city\": \"Bern\"}"), tools().to_string().into());
    assert_eq!(sft(strings, &chatml()).1, text);
    let dropped = with(calls(json!({}), tools()), &chatml(), |rules| Rules { tools: Tools::Drop, ..rules });
    assert_eq!(dropped.unwrap_err().reason, "tools_not_printed");
}

#[test]
fn a_template_with_tools_gets_them_opened_as_serving_does() {
    let (example, text) = sft(calls(json!("{\"city\": \"Bern\"}"), tools().to_string().into()), PRINTS_TOOLS);
    assert!(text.starts_with("<|im_start|>system\n[{\"type\": \"function\""), "{text}");
    assert!(text.contains("⟦<call>{\"city\": \"Bern\"}</call><|im_end|>⟧"), "{text}");
    assert!(example.notes.is_empty(), "{:?}", example.notes);
}

#[test]
fn reasoning_is_trained_where_the_template_prints_it_and_counted_where_not() {
    let line = json!({"messages": [
        {"role": "user", "content": "Is 91 prime?"},
        {"role": "assistant", "content": "No.", "reasoning_content": "7 times 13."}]});
    let (_, text) = sft(line.clone(), PRINTS_REASONING);
    assert!(text.contains("assistant\n⟦<think>7 times 13.</think>No.<|im_end|>⟧"), "{text}");
    let (example, text) = sft(line, &chatml());
    assert!(
        text.contains("assistant\n⟦No.<|im_end|>⟧") && example.notes.contains("reasoning_not_printed"),
        "{text}"
    );
}

#[test]
fn thoughts_that_the_template_removes_leave_the_last_turn_to_train() {
    let line = json!({"messages": [
        {"role": "user", "content": "7?"}, {"role": "assistant", "content": "<think>one</think>Yes."},
        {"role": "user", "content": "8?"}, {"role": "assistant", "content": "<think>two</think>No."}]});
    let (example, text) = sft(line, DROPS_THOUGHTS);
    assert!(
        text.contains("assistant\nYes.<|im_end|>\n") && text.ends_with("⟦<think>two</think>No.<|im_end|>⟧\n"),
        "{text}"
    );
    assert!(example.notes.contains("last_turn_only"));
}

#[test]
fn variables_reach_the_template_and_a_rows_come_first() {
    let template = format!("{{{{ mood }}}}|{}", chatml());
    let line = |kwargs: Value| json!({"prompt": "Hi", "completion": "Hello", "chat_template_kwargs": kwargs});
    let run: &'static Value = Box::leak(Box::new(json!({"mood": "run"})));
    let text = |kwargs: Value| {
        let found = with(line(kwargs), &template, |rules| Rules { template_args: run.as_object(), ..rules });
        found.unwrap().1.remove(0)
    };
    assert!(text(Value::Null).starts_with("run|"));
    assert!(text(json!({"mood": "row"})).starts_with("row|"));
}

#[test]
fn messages_and_rows_have_weights_in_the_loss() {
    let line = |first: Value, row: Value| {
        let mut one = json!({"role": "assistant", "content": "one"});
        one.as_object_mut().unwrap().extend(first.as_object().unwrap().clone());
        let mut line = json!({"messages": [{"role": "user", "content": "a"}, one, {"role": "user", "content": "b"}, {"role": "assistant", "content": "two"}]});
        line.as_object_mut().unwrap().extend(row.as_object().unwrap().clone());
        line
    };
    for zero in
        [json!({"weight": 0}), json!({"train": false}), json!({"loss": false}), json!({"loss_weight": 0.0})]
    {
        let (example, text) = sft(line(zero, json!({})), &chatml());
        assert!(
            !text.contains("⟦one") && text.contains("⟦two<|im_end|>⟧") && example.weights.is_none(),
            "{text}"
        );
    }
    let (example, text) = sft(line(json!({"weight": 0.5}), json!({"loss_weight": 0.5})), &chatml());
    assert!(text.contains("⟦one<|im_end|>⟧") && text.contains("⟦two<|im_end|>⟧"), "{text}");
    let weights = &example.weights.unwrap()[0];
    let mut stated: Vec<f32> = weights.iter().copied().filter(|weight| *weight > 0.0).collect();
    stated.dedup();
    assert_eq!(stated, [0.25, 0.5]);
    assert!(
        sft(line(json!({"weight": 1}), json!({"weight": 1.0})), &chatml()).0.weights.is_none(),
        "ones are no weights"
    );
    let untrained = json!({"messages": [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "one", "training": false},
        {"role": "user", "content": "b"}, {"role": "assistant", "content": "two", "training": true},
    ]});
    let text = sft(untrained, &chatml()).1;
    assert!(!text.contains("⟦one") && text.contains("⟦two<|im_end|>⟧"), "{text}");
    let (last, texts) =
        with(line(json!({}), json!({})), &chatml(), |rules| Rules { train_on: TrainOn::Last, ..rules })
            .unwrap();
    assert!(!texts[0].contains("⟦one") && texts[0].contains("⟦two") && last.weights.is_none());
}

#[test]
fn special_tokens_in_texts_are_counted_and_can_stay_text() {
    let line = json!({"prompt": "ChatML?", "completion": "A turn ends with <|im_end|> always."});
    let (example, _) = sft(line.clone(), &chatml());
    assert!(example.notes.contains("special_tokens_in_text"));
    let (split, texts) =
        with(line, &chatml(), |rules| Rules { split_special_tokens: true, ..rules }).unwrap();
    assert!(texts[0].ends_with("⟦A turn ends with <|im_end|> always.<|im_end|>⟧\n"), "{}", texts[0]);
    assert!(split.notes.is_empty() && split.sequences[0].ids.len() > example.sequences[0].ids.len());
}

#[test]
fn special_tokens_in_documents_are_counted_and_can_stay_text() {
    let text = "A turn ends with <|im_end|> always, <|im_start|><|im_end|> never.";
    let line = json!({"text": text});
    let (example, _) = sft(line.clone(), &chatml());
    assert!(example.notes.contains("special_tokens_in_text"));
    let (split, texts) =
        with(line, &chatml(), |rules| Rules { split_special_tokens: true, ..rules }).unwrap();
    assert_eq!(texts[0], format!("⟦{text}<|im_end|>⟧"));
    assert!(split.notes.is_empty() && split.sequences[0].ids.len() > example.sequences[0].ids.len());
    let special = |example: &Example| {
        let tokenizer = tokenizer();
        example.sequences[0].ids.iter().filter(|id| tokenizer.is_special(**id)).count()
    };
    assert_eq!((special(&example), special(&split)), (4, 1));
    // A document that spells none has the same tokens either way.
    let plain = json!({"text": "The end."});
    let split =
        with(plain.clone(), &chatml(), |rules| Rules { split_special_tokens: true, ..rules }).unwrap().0;
    let (plain, _) = sft(plain, &chatml());
    assert!(plain.notes.is_empty());
    assert_eq!(plain.sequences, split.sequences);
}

/// A rejected reply is trained as a good one under no spelling of its label.
#[test]
fn labels_that_are_no_booleans_are_understood_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.csv");
    std::fs::write(
        &path,
        "prompt,completion,label\na,good,True\na,bad,False\na,one,1\na,zero,0\na,odd,rejected\n",
    )
    .unwrap();
    let rows: Vec<Row> = datasets::read(&path).unwrap().map(|row| row.unwrap().row).collect();
    let reasons = |kind: Kind| -> Vec<&'static str> {
        let reason = |row: &Row| {
            given(&chatml(), |rules| example(row, kind, &rules))
                .map_or_else(|dropped| dropped.reason, |_| "kept")
        };
        rows.iter().map(reason).collect()
    };
    assert_eq!(reasons(Kind::Sft), ["kept", "rejected_reply", "kept", "rejected_reply", "unknown_label"]);
    assert_eq!(reasons(Kind::Desirable), ["kept", "other_label", "kept", "other_label", "unknown_label"]);
    assert_eq!(reasons(Kind::Undesirable), ["other_label", "kept", "other_label", "kept", "unknown_label"]);
    let odd = given(&chatml(), |rules| example(&rows[4], Kind::Sft, &rules)).unwrap_err();
    assert!(odd.detail.contains("`label` is \"rejected\"") && odd.detail.contains("ignore="), "{odd:?}");
}

#[test]
fn odd_rows_are_counted_and_bad_ones_dropped() {
    let odd = json!({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": " "}]});
    let notes: Vec<&str> = sft(odd, &chatml()).0.notes.into_iter().collect();
    assert_eq!(notes, ["empty_replies", "two_user_turns"]);
    let reason = |line: Value, kind: Kind| {
        let row = row(line);
        given(&chatml(), |rules| example(&row, kind, &rules))
            .map_or_else(|dropped| dropped.reason, |_| "kept")
    };
    assert_eq!(
        reason(json!({"prompt": "a", "completion": "b", "label": false}), Kind::Sft),
        "rejected_reply"
    );
    assert_eq!(reason(json!({"prompt": "a", "completion": "b", "label": true}), Kind::Sft), "kept");
    assert_eq!(
        reason(json!({"prompt": "a", "completion": "b", "images": ["x.png"]}), Kind::Sft),
        "has_media"
    );
    let pair = |chosen: &str, rejected: &str, more: Value| {
        let mut line = json!({"prompt": "a", "chosen": chosen, "rejected": rejected});
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        reason(line, Kind::Preference)
    };
    assert_eq!(pair("x", "y", json!({})), "kept");
    // One reply may begin as the other does.
    assert_eq!((pair("x", "x y", json!({})), pair("x y", "x", json!({}))), ("kept", "kept"));
    assert_eq!(pair("x", "x", json!({})), "tie");
    assert_eq!(pair("x", "y", json!({"score_chosen": 3, "score_rejected": 3})), "tie");
    assert_eq!(pair(" ", "y", json!({})), "empty_reply");
    assert_eq!(pair("x", "y", json!({"weight": 0.5})), "fractional_weight");
}

#[test]
fn long_documents_can_be_split_and_what_is_cut_is_counted() {
    let line = json!({"text": "the cat sat on the mat and the dog lay on the rug ".repeat(20)});
    let whole = sft(line.clone(), &chatml()).0.sequences[0].ids.len();
    let at = |too_long| {
        with(line.clone(), &chatml(), |rules| Rules { max_length: 50, too_long, ..rules }).unwrap().0
    };
    let cut = at(TooLong::Cut);
    assert_eq!((cut.sequences.len(), cut.cut, cut.lost), (1, 1, whole - 50));
    let split = at(TooLong::Split);
    let tokens: usize = split.sequences.iter().map(|sequence| sequence.ids.len()).sum();
    assert!(split.sequences.len() > 1 && whole - tokens == split.lost && split.lost <= 1);
}

#[test]
fn a_template_of_a_moment_prints_that_moment_whenever_it_is_rendered() {
    use chrono::{Local, NaiveDate};
    let noon = NaiveDate::from_ymd_opt(2001, 2, 3).unwrap().and_hms_opt(12, 0, 0).unwrap();
    let template = ChatTemplate::new("{{ strftime_now('%d %B %Y') }}", "", "").unwrap();
    assert!(template.prints_time());
    let template = template.at(noon.and_local_timezone(Local).earliest().unwrap());
    assert_eq!(template.render(&json!([]), None, false).unwrap(), "03 February 2001");
}

/// One weight for all rows changes nothing, to the bit: a step's loss is the weighted mean.
#[test]
fn equal_weights_train_the_weights_that_none_train_and_others_do_not() {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: posttrain::sft::Options,
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/pocket-instruct");
    let trained = |name: &str, weight: &dyn Fn(usize) -> Option<f64>| {
        let row = |index: usize| {
            let mut row = json!({"prompt": format!("Say {index}."), "completion": format!("It is {index}.")});
            if let Some(weight) = weight(index) {
                row["weight"] = weight.into();
            }
            row.to_string()
        };
        let (data, out) = (path(&format!("{name}.jsonl")), path(name));
        std::fs::write(&data, (0..4).map(row).collect::<Vec<_>>().join("\n")).unwrap();
        let fixed =
            ["sft", "--steps", "2", "--batch-size", "4", "--max-length", "64", "--learning-rate", "1e-3"];
        let more = ["--model", model.to_str().unwrap(), "--data", &data, "--out", &out];
        let cache = path("cache");
        let more = more.into_iter().chain(["--cache", &cache]);
        let line = fixed.into_iter().chain(more);
        let options = <Line as clap::Parser>::try_parse_from(line).unwrap().options;
        assert_eq!(posttrain::sft::run(&options).unwrap(), 0);
        std::fs::read(format!("{out}/model.safetensors")).unwrap()
    };
    let none = trained("none", &|_| None);
    assert!(none == trained("halves", &|_| Some(0.5)));
    assert!(none != trained("mixed", &|index| Some(if index == 0 { 0.1 } else { 1.0 })));
}

#[test]
fn variables_of_a_row_that_are_no_object_drop_it() {
    let line = |variables: Value| json!({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}], "chat_template_kwargs": variables});
    let template =
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{{ mark }}<|im_end|>\n{% endfor %}";
    for good in [json!("{\"mark\": \"!\"}"), json!({"mark": "!"})] {
        assert!(sft(line(good), template).1.contains("Ho!"));
    }
    for empty in [json!(null), json!(" ")] {
        assert!(sft(line(empty), template).1.contains("Ho"));
    }
    for bad in [json!("mark=!"), json!("[1]"), json!(["mark"])] {
        let dropped = with(line(bad), template, |rules| rules).unwrap_err();
        assert_eq!(dropped.reason, "unreadable_template_kwargs");
        assert!(dropped.detail.contains("expected a JSON object"), "{}", dropped.detail);
    }
}
