//! Tests of the whole page: hostile rows stay text, and the figures are those of the rows.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use crate::trace::TracedStep;
use page::tests::style_and_script;
use serde_json::json;

/// Texts that break out of HTML that does not escape them; none longer than a value of a category.
const HOSTILE: [&str; 13] = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "\" autofocus onfocus=\"alert(3)\" x=\"",
    "' onmouseover='alert(4)",
    "</details></title><svg onload=alert(5)>",
    "</style><style>body { display: none }",
    "<meta http-equiv=refresh content=0>",
    "javascript:alert(6)",
    "<!-- not ended",
    "{{ 7 * 7 }}{% raw %}{# no comment #}",
    "&lt;b&gt; &amp; &#60;",
    "one\u{2028}two\u{2029}three\u{202e}four",
    "nul\0 escape\u{1b}[31m return\r",
];

fn step(text: &str) -> TracedStep {
    TracedStep {
        name: text.to_owned(),
        teacher: text.to_owned(),
        prompt: text.to_owned(),
        reply: text.to_owned(),
        prompt_tokens: 1234,
        completion_tokens: 5,
    }
}

fn row(text: &str) -> Map<String, Value> {
    let messages = json!([
        {"role": "user", "content": text}, {"role": text, "content": text}, {"role": "tool", "content": [{"x": text}]},
        {"role": "assistant", "content": null, "tool_calls": [{"name": text}]}, "no message", {"content": 7}
    ]);
    let row =
        json!({"id": text, "messages": messages, "category": text, text: text, "nested": {"a": [text]}});
    row.as_object().unwrap().clone()
}

/// A page with the text in every place that a row, a teacher or a recipe can fill.
fn everywhere(text: &str) -> String {
    let mut report = Report::new(text, vec![("about", text.to_owned())]);
    for task in [text, "other"] {
        for category in [text, "math", "math"] {
            let mut row = row(text);
            row.insert("category".to_owned(), json!(category));
            report.count_kept(task, &row);
        }
        report.count_dropped(task, text, text);
        let [reason, step_name, detail] = [text; 3].map(str::to_owned);
        for dropped in [None, Some(SampledDrop { reason, step: step_name, detail })] {
            let sample = RowSample {
                id: text.to_owned(),
                task: task.to_owned(),
                dropped,
                row: row(text),
                steps: vec![step(text)],
            };
            report.sample(sample);
        }
    }
    written(&report)
}

fn written(report: &Report) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    report.write(&path).unwrap();
    std::fs::read_to_string(path).unwrap()
}

/// The tags of the page, each up to its `>`; quotes in them must be closed.
fn tags(page: &str) -> Vec<String> {
    // Another test compares style and script.
    let mut page = page.to_owned();
    for name in ["style", "script"] {
        let (start, end) =
            (page.find(&format!("<{name}>")).unwrap(), page.find(&format!("</{name}>")).unwrap());
        page.replace_range(start + name.len() + 2..end, "");
    }
    let mut tags = Vec::new();
    let mut rest = page.as_str();
    while let Some(start) = rest.find('<') {
        let mut quoted = false;
        let end = rest[start..].find(|character| {
            quoted ^= character == '"';
            character == '>' && !quoted
        });
        let (tag, after) = rest[start..].split_at(end.expect("every tag ends") + 1);
        tags.push(tag.to_owned());
        rest = after;
    }
    tags
}

/// A tag without the values of its attributes.
fn shape(tag: &str) -> String {
    tag.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

#[test]
fn the_page_has_the_same_tags_whatever_a_row_contains() {
    // A text of letters: the tags of this page are those of the template.
    let harmless = everywhere("harmless");
    let expected: Vec<_> = tags(&harmless).iter().map(|tag| shape(tag)).collect();
    assert!(expected.len() > 300, "{}", expected.len());
    for text in HOSTILE {
        let page = everywhere(text);
        let shapes: Vec<_> = tags(&page).iter().map(|tag| shape(tag)).collect();
        let difference = shapes.iter().zip(&expected).find(|(shape, expected)| shape != expected);
        assert_eq!((difference, shapes.len()), (None, expected.len()), "{text}");
        assert!(!page.contains('\0') && !page.contains('\u{1b}') && !page.contains('\r'), "{text:?}");
        // Nothing is missing either: a browser shows the whole text.
        assert!(page.matches(&::report::escape(text)).count() > 40, "{text}");
    }
}

#[test]
fn only_the_pages_own_script_may_run() {
    let page = everywhere(HOSTILE[0]);
    let inside = |text: &str, name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>")).unwrap();
        rest.split_once(&format!("</{name}>")).unwrap().0.to_owned()
    };
    for (name, text) in style_and_script() {
        assert_eq!(inside(&page, name), text);
        assert_eq!(page.matches(&format!("<{name}")).count(), 1);
    }
    let policy = page.find("http-equiv=\"Content-Security-Policy\"").unwrap();
    assert!(policy < page.find("<style").unwrap() && policy < page.find("<title").unwrap());
    let script = ::report::hash_source(&inside(&page, "script"));
    assert!(page.contains("default-src 'none';") && page.contains(&format!("script-src {script};")));
    assert!(!page[policy..].split_once('>').unwrap().0.contains("unsafe"));
}

#[test]
fn the_figures_are_those_of_the_rows() {
    let mut report = Report::new("A title", vec![("Teacher", "a-teacher".to_owned())]);
    for place in 0..1500 {
        let difficulty = ["easy", "hard", "hard"][place % 3];
        let row =
            json!({"messages": [{"role": "user", "content": "one two three"}], "difficulty": difficulty});
        report.count_kept("first", row.as_object().unwrap());
    }
    for _ in 0..500 {
        report.count_dropped("first", "too_easy", "difficulty");
    }
    report.count_dropped("second", "cut_off", "user_1");
    let page = written(&report);
    for expected in [
        "<dd>2,001</dd>",
        "<dd>1,500</dd>",
        "<dd>501</dd>",
        "<dd>75.0%</dd>",
        "1,500 of 2,000 rows kept (75.0%)",
        "too_<wbr>easy",
        "<td class=\"n\">500</td><td class=\"n\">25.0%</td>",
        "<td class=\"n\">500</td><td class=\"n\">1,500</td><td class=\"n\">75.0%</td>",
        "<td class=\"n\">1,000</td><td class=\"n\">66.7%</td>",
        "Messages per row: always 1.",
        "0 of 1 rows kept (0%)",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
}

#[test]
fn an_empty_run_has_a_page_too() {
    assert!(written(&Report::new("Nothing yet", Vec::new())).contains("<dd>\u{2013}</dd>"));
    let mut report = Report::new("One task", Vec::new());
    report.count_kept("a-task", &Map::new());
    assert!(written(&report).contains("No row was dropped."));
}

#[test]
fn a_long_text_is_cut_with_its_length() {
    let mut report = Report::new("Long", Vec::new());
    let long = "word ".repeat(1 << 20 >> 2);
    let row = json!({"messages": [{"role": "user", "content": &long}], "prompt": &long});
    let steps = vec![TracedStep { prompt: long.clone(), reply: long, ..step("user") }];
    let row = row.as_object().unwrap().clone();
    report.sample(RowSample { id: "id".into(), task: "a-task".into(), dropped: None, row, steps });
    let page = written(&report);
    assert!(page.len() < 200_000, "{}", page.len());
    assert_eq!(page.matches("the whole text has 1,310,720 bytes").count(), 4);
}
