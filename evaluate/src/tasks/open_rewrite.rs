//! OpenRewrite-Eval (Shu et al. 2024): a text is rewritten as an instruction says, compared with a reference by ROUGE-L.
//!
//! The prompts of the published figures are not public. Here it is the instruction, a blank line, and the text.

use crate::rouge::rouge_l;
use crate::task::{DataSet, Document, Generation, Group, MetricValue, Metrics, Row, Scorer, Task};
use anyhow::{Context, Result};
use serde_json::{Value, json};

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let data = DataSet {
        folders: &["open_rewrite", "openrewrite"],
        files: &["open_rewrite", "test"],
        ..DataSet::new("gabrielmbmb/OpenRewriteEval", "", "train")
    };
    let about = "texts rewritten after an instruction (OpenRewrite-Eval)";
    (
        vec![Task { scorer: Scorer::Text(score), ..Task::new("open_rewrite", about, data, document) }],
        Vec::new(),
    )
}

fn document(row: &Row) -> Result<Document> {
    let (instruction, source, target) = (row.text("comment")?, row.text("source")?, row.text("target")?);
    let generation = Generation::new(&[], 512, json!(target));
    Ok(Document::text(format!("{instruction}\n\n{source}"), target, generation))
}

fn score(gold: &Value, response: &str) -> Result<Metrics> {
    let target = gold.as_str().context("`gold` is not text")?;
    Ok(vec![("rougeL".to_owned(), MetricValue::Number(rouge_l(target, response)))])
}
