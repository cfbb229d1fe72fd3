//! Calls in both formats, text that is no call, and that the cuts of a stream change nothing.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use proptest::prelude::*;

/// The answer's text and its calls, names with arguments.
type Split = (String, Vec<(String, String)>);

fn read(parts: &[&str], max_calls: usize) -> Split {
    let mut reader = CallReader::new(["f", "g"].map(str::to_owned), max_calls);
    let mut pieces: Vec<Piece> = parts.iter().flat_map(|part| reader.push(part)).collect();
    pieces.extend(reader.finish());
    let (mut whole, mut calls) = (String::new(), Vec::new());
    for piece in pieces {
        match piece {
            Piece::Text(text) => whole.push_str(&text),
            Piece::CallBegins { index, id, name } => {
                assert_eq!((index, id.len(), &id[..5]), (calls.len(), 29, "call_"));
                calls.push((name, String::new()));
            }
            Piece::Arguments { index, text } => {
                assert_eq!(index, calls.len() - 1);
                calls[index].1.push_str(&text);
            }
        }
    }
    assert_eq!(reader.has_calls(), !calls.is_empty());
    (whole, calls)
}

#[track_caller]
fn reads(text: &str, rest: &str, calls: &[(&str, &str)]) {
    let expected = calls.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    assert_eq!(read(&[text], usize::MAX), (rest.to_owned(), expected), "{text}");
}

#[test]
fn lists_of_smollm2_are_calls() {
    reads(
        "<tool_call>[{\"name\": \"f\", \"arguments\": {\"a\": [1, {}]}}]</tool_call>",
        "",
        &[("f", "{\"a\": [1, {}]}")],
    );
    reads(
        "\n<tool_call>[\n{\"name\":\"f\",\"arguments\":{}} ,\n{\"name\": \"g\", \"arguments\": { }}\n]\n</tool_call>\n",
        "",
        &[("f", "{}"), ("g", "{ }")],
    );
    reads("So: <tool_call>[{\"name\": \"g\"}]</tool_call> Done.", "So:  Done.", &[("g", "{}")]);
    reads("<tool_call>[]</tool_call>", "", &[]);
    reads("<tool_call>[ ]", "", &[]);
}

#[test]
fn one_object_per_tag_is_a_call() {
    reads(
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"é\": \"}\\\"]</tool_call>\"}}\n</tool_call>\n<tool_call>{\"arguments\": {\"x\": 1}, \"id\": [{}], \"name\": \"g\"}</tool_call>",
        "",
        &[("f", "{\"é\": \"}\\\"]</tool_call>\"}"), ("g", "{\"x\": 1}")],
    );
}

#[test]
fn anything_else_is_text() {
    for text in [
        " plain\n",
        " \n",
        "a < b <tool_cal <tool_call",
        "<tool_call>oops</tool_call>",
        "<tool_call>[{\"name\": \"unknown\", \"arguments\": {}}]</tool_call>",
        "<tool_call>[{\"name\": \"f\", \"arguments\": \"{}\"}]</tool_call>",
        "<tool_call>[{\"name\": \"f\", \"arguments\": [1]}]</tool_call>",
        "<tool_call>[{\"name\": {\"a\": 1}}]</tool_call>",
        "<tool_call>[{\"name\": \"f\", \"name\": \"f\"}]</tool_call>",
        "<tool_call>[{\"arguments\": {}}]</tool_call>",
        "<tool_call>[\"f\"]</tool_call>",
        "<tool_call>[[]]</tool_call>",
        "<tool_call>{}</tool_call>",
        "<tool_call>\"f\"</tool_call>",
        "<tool_call>[{\"name\": \"f\", \"argum",
        "<tool_call>[] no",
    ] {
        reads(text, text, &[]);
    }
    reads("<tool_call><tool_call>[{\"name\": \"f\"}]</tool_call>", "<tool_call>", &[("f", "{}")]);
}

#[test]
fn a_call_that_breaks_off_keeps_its_arguments() {
    reads("<tool_call>[{\"name\": \"f\", \"arguments\": {\"a\": \"b", "", &[("f", "{\"a\": \"b")]);
    reads("<tool_call>[{\"name\": \"f\", \"arguments\": {\"a\": oops}}]", "oops}}]", &[("f", "{\"a\": ")]);
    reads("<tool_call>[{\"name\": \"f\", \"arguments\": {}}, {\"na", ", {\"na", &[("f", "{}")]);
    reads("<tool_call>[{\"name\": \"f\", \"arguments\": {}}]</tool", "", &[("f", "{}")]);
    reads("<tool_call>[{\"name\": \"f\", \"arguments\": {}}", "", &[("f", "{}")]);
}

#[test]
fn names_and_arguments_are_not_held_back() {
    let mut reader = CallReader::new(["f".to_owned()], 9);
    assert_eq!(reader.push("Hi <tool"), [Piece::Text("Hi ".to_owned())]);
    assert_eq!(reader.push("_call>[{\"name\": \"f\", \"arguments\": "), []);
    let begun = reader.push("{");
    assert!(matches!(&begun[..], [Piece::CallBegins { .. }, Piece::Arguments { text, .. }] if text == "{"));
    assert_eq!(reader.push("\"a\""), [Piece::Arguments { index: 0, text: "\"a\"".to_owned() }]);
}

#[test]
fn further_calls_are_dropped() {
    let text =
        "<tool_call>[{\"name\": \"f\", \"arguments\": {}}, {\"name\": \"g\", \"arguments\": {}}]</tool_call>";
    assert_eq!(read(&[text], 1), (String::new(), vec![("f".to_owned(), "{}".to_owned())]));
}

proptest! {
    #[test]
    fn cuts_do_not_change_the_pieces(
        text in "(<tool_call>|</tool_call>|<|tool|\\[|\\]|\\{|\\}|, |\n|é|\"a\": |1|\\{\"name\": \"f\", \"arguments\": \\{|\\{\"name\": \"g\"\\}|\"|\\\\){0,24}",
        cuts in prop::collection::vec(0usize..200, 0..12),
    ) {
        let mut ends: Vec<usize> = cuts.into_iter().filter(|cut| text.is_char_boundary(*cut)).collect();
        ends.push(text.len());
        ends.sort_unstable();
        let mut start = 0;
        let parts: Vec<&str> = ends.into_iter().map(|end| { let part = &text[start..end]; start = end; part }).collect();
        prop_assert_eq!(read(&parts, 2), read(&[&text], 2));
    }
}
