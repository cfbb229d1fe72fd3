//! Natural Questions (Kwiatkowski et al. 2019), closed book: questions to a search engine, answered in a few words.

use crate::task::python::strip;
use crate::task::{
    DataSet, Document, ExactMatch, Generation, Group, MetricValue, Metrics, Row, Scorer, ShotSource, Task,
};
use anyhow::Result;
use serde_json::{Value, json};

const MATCH: ExactMatch =
    ExactMatch { ignored: &[r"\b(?:The |the |An |A |The |a |an )"], case: true, punctuation: true };

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let data = DataSet::new("google-research-datasets/nq_open", "nq_open", "validation");
    let task = Task {
        description: "Answer these questions:\n\n".to_owned(),
        shot_delimiter: "\n",
        shot_source: ShotSource::Random(data.with_split("train")),
        scorer: Scorer::Text(score),
        ..Task::new("nq_open", "questions of searchers, from memory (Natural Questions)", data, document)
    };
    (vec![task], Vec::new())
}

fn document(row: &Row) -> Result<Document> {
    let answers = row.texts("answer")?;
    let query = format!("Q: {}?\nA:", row.text("question")?);
    let first = answers[0].clone();
    Ok(Document::text(query, first, Generation::new(&["\n", ".", ","], 256, json!(answers))))
}

fn score(gold: &Value, response: &str) -> Result<Metrics> {
    let answers = gold.as_array().into_iter().flatten().filter_map(Value::as_str);
    let is_right = MATCH.matches(strip(response), answers);
    Ok(vec![("exact_match".to_owned(), MetricValue::Number(f64::from(is_right)))])
}
