//! The perplexity of any texts: the rows' column `text`, per token and per byte.

use crate::task::{DataSet, Document, Group, Question, Row, Scorer, Task};
use anyhow::Result;

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let data = DataSet::local("texts", &["texts"], &["texts", "documents", "test", "validation"]);
    let about = "log-likelihood of texts in the column `text`, per token and per byte";
    (vec![Task { scorer: Scorer::Perplexity, ..Task::new("perplexity", about, data, document) }], Vec::new())
}

fn document(row: &Row) -> Result<Document> {
    let text = row.text("text")?;
    anyhow::ensure!(!text.is_empty(), "`text` is empty");
    let question = Question::Likelihood;
    Ok(Document { query: text.to_owned(), answer: String::new(), reply_start: String::new(), question })
}
