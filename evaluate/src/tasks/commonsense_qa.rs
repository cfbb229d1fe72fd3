//! CommonsenseQA (Talmor et al. 2019): everyday questions with five choices.
//!
//! lm-evaluation-harness lists the choices and asks for a letter; the paper's task asks for the choice's text.

use crate::task::python::strip;
use crate::task::{ChoiceMetrics, DataSet, Document, Group, Row, Scorer, ShotSource, Task};
use anyhow::Result;

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let about = "everyday knowledge (CommonsenseQA)";
    let data = DataSet::new("tau/commonsense_qa", "", "validation");
    let letters = Task {
        shot_source: ShotSource::Random(data.with_split("train")),
        scorer: Scorer::Choices(ChoiceMetrics::Accuracy),
        ..Task::new("commonsense_qa", about, data.clone(), letters)
    };
    (vec![letters, Task::smollm2("commonsense_qa", about, data, texts)], Vec::new())
}

fn letters(row: &Row) -> Result<Document> {
    let choices = row.exactly("choices.text", 5)?;
    let gold = row.labeled("choices.label", "answerKey")?;
    Ok(Document::letters(&format!("Question: {}", strip(row.text("question")?)), &choices, gold))
}

fn texts(row: &Row) -> Result<Document> {
    let gold = row.labeled("choices.label", "answerKey")?;
    Ok(Document::choices(row.text("question")?, row.texts("choices.text")?, gold).with_spaces())
}
