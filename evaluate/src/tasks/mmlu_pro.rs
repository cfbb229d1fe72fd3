//! MMLU-Pro (Wang et al. 2024): harder exam questions with up to ten choices.

use crate::task::{DataSet, Document, Group, Row, Task};
use anyhow::Result;

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let about = "harder exam questions with up to ten choices (MMLU-Pro)";
    let data = DataSet { folders: &["mmlu_pro"], ..DataSet::new("TIGER-Lab/MMLU-Pro", "", "test") };
    (vec![Task::smollm2("mmlu_pro", about, data, letters)], Vec::new())
}

/// The paper's form: the likelihood of a letter without a space before it.
fn letters(row: &Row) -> Result<Document> {
    let choices = row.texts("options")?;
    let gold = row.index("answer_index", choices.len())?;
    let category = row.text("category")?;
    let introduction = "The following are multiple choice questions (with answers) about";
    let question = format!("{introduction} {category}.\n\n{}", row.text("question")?);
    Ok(Document::letters(&question, &choices, gold))
}
