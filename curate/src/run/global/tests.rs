//! Whole runs with stages that look at all pages: parts that repeat, domains.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use crate::fasttext::{Training, train};
use crate::recipe::Recipe;
use crate::run::{DROPPED, Settings, run};
use serde_json::{Map, Value, json};
use std::path::Path;
use terminal::Stop;

/// Runs a recipe on rows; returns the rows that are kept and those that are dropped.
fn curated(folder: &Path, stages: &str, rows: &[Value]) -> (Vec<Map<String, Value>>, Vec<Value>) {
    let (input, recipe, out) = (folder.join("in.jsonl"), folder.join("r.toml"), folder.join("out"));
    std::fs::write(&input, rows.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")).unwrap();
    std::fs::write(&recipe, format!("name = \"r\"\n[[stage]]\nkind = \"extract\"\n{stages}")).unwrap();
    let recipe = Recipe::read(recipe.to_str().unwrap(), &[], &[]).unwrap();
    let settings = Settings {
        input,
        out: out.clone(),
        recipe,
        restart: false,
        no_lock: false,
        sharing: Default::default(),
    };
    run(&settings, &Stop::default()).unwrap().unwrap();
    let files = datasets::data_files(&out, datasets::Choice::default()).unwrap();
    let kept = files.iter().flat_map(|file| datasets::file_objects(file).unwrap()).map(|row| row.unwrap().1);
    let dropped = std::fs::read_to_string(out.join(DROPPED)).unwrap();
    (kept.collect(), dropped.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn texts(rows: &[Map<String, Value>]) -> Vec<&str> {
    rows.iter().map(|row| row["text"].as_str().unwrap()).collect()
}

const NOTICE: &str = "All rights are reserved by the owner of this site and its pages.";

#[test]
fn what_earlier_pages_have_is_removed_and_a_page_of_nothing_else_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let row = |text: String| json!({"text": text});
    let rows = [
        row(format!("The first page is about circles and angles.\n{NOTICE}")),
        row(format!("{NOTICE}\nThe second page is about sums and products.")),
        row(NOTICE.to_owned()),
    ];
    let (kept, dropped) = curated(folder.path(), "[[stage]]\nkind = \"line_duplicates\"\n", &rows);
    assert_eq!(
        texts(&kept),
        [rows[0]["text"].as_str().unwrap(), "The second page is about sums and products."]
    );
    assert_eq!(dropped.len(), 1);
    assert_eq!(
        (&dropped[0]["reason"], &dropped[0]["measure"], &dropped[0]["value"], &dropped[0]["excerpt"]),
        (&json!("repeated_lines"), &json!("repeated_lines"), &json!(1.0), &json!(NOTICE))
    );
}

#[test]
fn domains_are_kept_by_their_share_of_good_pages() {
    let folder = tempfile::tempdir().unwrap();
    let example = |at: usize| {
        let (word, label) = if at.is_multiple_of(2) { ("proof", "good") } else { ("price", "rest") };
        (format!("{word}{} of the {word}{}", at % 7, at % 5), label.to_owned())
    };
    let examples: Vec<_> = (0..600).map(example).collect();
    let model =
        train(&examples, &Training { dim: 8, buckets: 1000, epochs: 20, ..Training::default() }).unwrap();
    let mut bytes = Vec::new();
    model.write(&mut bytes).unwrap();
    let path = folder.path().join("model.bin");
    std::fs::write(&path, bytes).unwrap();
    let page = |host: &str, word: &str| json!({"url": format!("http://{host}/"), "text": format!("{word}1 of the {word}2")});
    let rows = [
        page("www.math.org", "proof"),
        page("math.org", "price"),
        page("math.org", "price"),
        page("math.org", "proof"),
        page("few.org", "proof"),
        page("shop.org", "price"),
        page("shop.org", "proof"),
        page("shop.org", "proof"),
        page("shop.org", "price"),
        page("shop.org", "price"),
        json!({"text": "proof1 of the proof2"}),
    ];
    let stages = format!(
        "[[stage]]\nkind = \"classifier\"\nname = \"good\"\nmodel = \"{}\"\nlabel = \"good\"\n\
         [[stage]]\nkind = \"domains\"\nscore = \"good\"\nat_least = 0.5\nmin_share = 0.5\nmin_pages = 2\n",
        path.display()
    );
    let (kept, dropped) = curated(folder.path(), &stages, &rows);
    assert_eq!(kept.len(), 4, "all pages of math.org, the bad ones, too");
    assert!(kept.iter().all(|row| row["domain_share"] == json!(0.5) && row["domain_good_pages"] == json!(2)));
    let reasons: Vec<(&str, &Value)> =
        dropped.iter().map(|row| (row["reason"].as_str().unwrap(), &row["value"])).collect();
    let expected =
        [("domain_good_pages", json!(1)), ("domain_share", json!(0.4)), ("no_domain", Value::Null)];
    for (reason, value) in &expected {
        assert!(reasons.contains(&(reason, value)), "{reason} in {reasons:?}");
    }
    assert_eq!(dropped.len(), 7);
}
