//! MBPP (Austin et al. 2021): Python functions from a description and three assertions, which are run.

use super::humaneval::pass_at_1;
use crate::task::{DataSet, Document, Generation, Group, Metrics, Row, Scorer, ShotSource, Task};
use anyhow::{Context, Result};
use fancy_regex::Regex;
use serde_json::{Value, json};
use std::sync::LazyLock;

const MAX_TOKENS: usize = 256;

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let about = "Python functions from a description and assertions, run (MBPP)";
    let set = |split, range| DataSet {
        files: &["mbpp"],
        numbers: Some(("task_id", range)),
        ..DataSet::new("google-research-datasets/mbpp", "full", split)
    };
    let task = |name, document, shot, scorer| Task {
        shots: 3,
        // The first three rows after the one that the paper does not use.
        shot_source: ShotSource::Fixed(set("prompt", 2..=4)),
        shot: Some(shot),
        target_delimiter: "",
        scorer: Scorer::Text(scorer),
        runs_code: true,
        ..Task::new(name, about, set("test", 11..=510), document)
    };
    let tasks = vec![
        task("mbpp", document, shot, score),
        task("mbpp_instruct", instruct, instruct_shot, score_instruct),
    ];
    (tasks, Vec::new())
}

fn document(row: &Row) -> Result<Document> {
    let (text, tests) = (row.text("text")?, row.exactly("test_list", 3)?.join("\n"));
    let query = format!(
        "You are an expert Python programmer, and here is your task: {text} Your code should pass these \
         tests:\n\n{tests}\n[BEGIN]\n"
    );
    Ok(Document::text(query, "", Generation::new(&["[DONE]"], MAX_TOKENS, json!(tests))))
}

fn shot(row: &Row) -> Result<Document> {
    Ok(Document { answer: format!("{}\n[DONE]", row.text("code")?), ..document(row)? })
}

fn instruct(row: &Row) -> Result<Document> {
    let (text, tests) = (row.text("text")?, row.exactly("test_list", 3)?.join("\n"));
    let query = format!(
        "You are an expert Python programmer, and here is your task:\n{text}\nYour code should pass these \
         tests:\n{tests}"
    );
    let document = Document::text(query, "", Generation::new(&[], MAX_TOKENS, json!(tests)));
    Ok(Document { reply_start: "\n```python\n".to_owned(), ..document })
}

fn instruct_shot(row: &Row) -> Result<Document> {
    Ok(Document { answer: format!("{}\n```", row.text("code")?), ..instruct(row)? })
}

fn score(gold: &Value, response: &str) -> Result<Metrics> {
    let tests = gold.as_str().context("`gold` is not text")?;
    pass_at_1(&format!("{response}\n{tests}"))
}

fn score_instruct(gold: &Value, response: &str) -> Result<Metrics> {
    score(gold, &first_block(response))
}

/// The first fenced block of a reply whose fence the prompt has opened.
fn first_block(response: &str) -> String {
    static BLOCK: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?s)```(?:\w+)?\n?(.*?)\n?```").expect("a pattern of this file"));
    let first = |text: &str| {
        let captures = BLOCK.captures(text).ok().flatten()?;
        captures.get(1).map(|block| block.as_str().to_owned())
    };
    first(&format!("```{response}"))
        .or_else(|| first(&response.replace("```python", "```")))
        .unwrap_or_default()
}
