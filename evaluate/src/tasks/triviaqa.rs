//! TriviaQA (Joshi et al. 2017) without its documents: trivia, answered in a few words.

use crate::task::python::strip;
use crate::task::{
    DataSet, Document, ExactMatch, Generation, Group, MetricValue, Metrics, Row, Scorer, ShotSource, Task,
};
use anyhow::Result;
use serde_json::{Value, json};

const MATCH: ExactMatch = ExactMatch { ignored: &[], case: true, punctuation: true };

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let about = "trivia from memory (TriviaQA)";
    let data = DataSet {
        files: &["rc.wikipedia.nocontext-validation"],
        ..DataSet::new("mandarjoshi/trivia_qa", "rc.nocontext", "validation")
    };
    let task = Task {
        shot_source: ShotSource::Random(data.with_split("train")),
        scorer: Scorer::Text(score),
        ..Task::new("triviaqa", about, data.clone(), document)
    };
    let smollm2 =
        Task { scorer: Scorer::Text(score), ..Task::smollm2("triviaqa", about, data, smollm2_document) };
    (vec![task, smollm2], Vec::new())
}

/// The harness's template adds a second question mark.
fn document(row: &Row) -> Result<Document> {
    let aliases = row.texts("answer.aliases")?;
    let query = format!("Question: {}?\nAnswer:", row.text("question")?);
    let first = aliases[0].clone();
    Ok(Document::text(query, first, Generation::new(&["\n", ".", ","], 256, json!(aliases))))
}

fn smollm2_document(row: &Row) -> Result<Document> {
    let mut aliases = row.texts("answer.aliases")?;
    aliases.sort();
    let mut kept: Vec<String> = Vec::new();
    for alias in aliases {
        if kept.last().is_none_or(|last| !alias.starts_with(last.as_str())) {
            kept.push(alias);
        }
    }
    let query = format!("Question: {}\nAnswer:", row.text("question")?);
    let answer = format!(" {}", kept[0]);
    Ok(Document::text(query, answer, Generation::new(&["Question:", "Question"], 20, json!(kept))))
}

fn score(gold: &Value, response: &str) -> Result<Metrics> {
    let aliases = gold.as_array().into_iter().flatten().filter_map(Value::as_str);
    let is_right = MATCH.matches(strip(response), aliases);
    Ok(vec![("exact_match".to_owned(), MetricValue::Number(f64::from(is_right)))])
}
