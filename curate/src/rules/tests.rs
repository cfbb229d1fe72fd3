//! Decisions compared with datatrove's.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use serde_json::Value;

/// Source: tests/goldens/make_rule_goldens.py. Another file, such as one of real texts, can be named in
/// `CURATE_RULE_GOLDENS`.
fn goldens() -> String {
    match std::env::var_os("CURATE_RULE_GOLDENS") {
        Some(path) => std::fs::read_to_string(path).unwrap(),
        None => include_str!("../../tests/goldens/rules.jsonl").to_owned(),
    }
}

fn reason(outcome: &Outcome) -> Value {
    outcome.dropped.as_ref().map_or(Value::Null, |dropped| dropped.reason.clone().into())
}

#[test]
fn decisions_equal_datatroves() {
    let goldens = goldens();
    let mut differences = Vec::new();
    let (mut count, mut dropped) = (0, 0);
    for line in goldens.lines() {
        let golden: Value = serde_json::from_str(line).unwrap();
        let source = golden["text"].as_str().unwrap();
        let text = Text::new(source);
        let c4 = C4::default().apply(&text);
        let found = [
            ("gopher_quality", reason(&GopherQuality::default().apply(&text))),
            ("gopher_repetition", reason(&GopherRepetition::default().apply(&text))),
            ("fineweb", reason(&FineWeb::default().apply(&text))),
            ("c4", reason(&c4)),
            ("c4_text", c4.text.map_or(Value::Null, Value::from)),
            ("pii", Pii::default().apply(&text).text.unwrap_or_else(|| source.to_owned()).into()),
        ];
        for (rule, found) in found {
            count += 1;
            dropped += usize::from(!golden[rule].is_null() && !rule.contains("c4_text") && rule != "pii");
            if found != golden[rule] {
                differences.push(format!(
                    "{rule}: {found} where datatrove has {} for {:?}",
                    golden[rule],
                    &source[..source.floor_char_boundary(300)]
                ));
            }
        }
    }
    println!("{count} decisions, {dropped} of them drop the text, {} differ", differences.len());
    assert!(count > 500 && dropped > 50);
    assert!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences.iter().take(20).cloned().collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn lines_that_say_nothing_are_removed() {
    let page = format!(
        "{}\nSHARE THIS PAGE NOW\n12\n3.4k likes\nHome\n\nThe end of it is here.",
        "Some words of a long line that stays. ".repeat(20)
    );
    let outcome = RefinedWebLines::default().apply(&Text::new(&page));
    assert_eq!(outcome.dropped, None);
    assert!(outcome.text.unwrap().ends_with("stays. \n\nThe end of it is here."));
    let outcome = RefinedWebLines::default().apply(&Text::new("SHARE NOW\nA line that stays here."));
    assert_eq!(outcome.dropped.unwrap().value, 2.0 / 7.0);
}
