//! PIQA (Bisk et al. 2020): two ways to reach an everyday goal, one of which works.

use crate::task::{DataSet, Document, Group, Row, ShotSource, Task};
use anyhow::Result;

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let about = "everyday physical knowledge (PIQA)";
    let data = DataSet { folders: &["ybisk/piqa"], ..DataSet::new("baber/piqa", "plain_text", "validation") };
    let train = ShotSource::Random(data.with_split("train"));
    let task = Task { shot_source: train, ..Task::new("piqa", about, data.clone(), document) };
    (vec![task, Task::smollm2("piqa", about, data, |row| Ok(document(row)?.with_spaces()))], Vec::new())
}

fn document(row: &Row) -> Result<Document> {
    let choices = vec![row.text("sol1")?.to_owned(), row.text("sol2")?.to_owned()];
    let gold = row.index("label", 2)?;
    Ok(Document::choices(format!("Question: {}\nAnswer:", row.text("goal")?), choices, gold))
}
