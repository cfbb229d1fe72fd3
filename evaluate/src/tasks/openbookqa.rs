//! OpenBookQA (Mihaylov et al. 2018): science facts and common knowledge, four choices that end a sentence.

use crate::task::{DataSet, Document, Group, Row, ShotSource, Task};
use anyhow::Result;

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let about = "science facts with common knowledge (OpenBookQA)";
    let data = DataSet::new("allenai/openbookqa", "main", "test");
    let train = ShotSource::Random(data.with_split("train"));
    // The paper's task takes the validation split.
    let validation = data.with_split("validation");
    let smollm2 = Task::smollm2("openbookqa", about, validation, |row| Ok(document(row)?.with_spaces()));
    (vec![Task { shot_source: train, ..Task::new("openbookqa", about, data, document) }, smollm2], Vec::new())
}

fn document(row: &Row) -> Result<Document> {
    let gold = row.labeled("choices.label", "answerKey")?;
    Ok(Document::choices(row.text("question_stem")?, row.texts("choices.text")?, gold))
}
