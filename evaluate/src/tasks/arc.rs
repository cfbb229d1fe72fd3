//! ARC (Clark et al. 2018): science questions of school exams with three to five choices, easy and challenging.

use crate::task::{DataSet, Document, Group, GroupMean, Row, ShotSource, Task};
use anyhow::Result;

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let mut tasks = Vec::new();
    for (name, config) in [("arc_easy", "ARC-Easy"), ("arc_challenge", "ARC-Challenge")] {
        let data = DataSet { folders: &["arc"], ..DataSet::new("allenai/ai2_arc", config, "test") };
        let train = ShotSource::Random(data.with_split("train"));
        let about = "science questions of school exams (ARC)";
        tasks.push(Task { shot_source: train, ..Task::new(name, about, data.clone(), document) });
        tasks.push(Task::smollm2(name, about, data, |row| Ok(document(row)?.with_spaces())));
    }
    let group = Group {
        name: "arc@smollm2".to_owned(),
        about: "the mean of ARC's easy and challenging questions",
        tasks: vec!["arc_easy@smollm2".to_owned(), "arc_challenge@smollm2".to_owned()],
        mean: GroupMean::OfTasks,
    };
    (tasks, vec![group])
}

fn document(row: &Row) -> Result<Document> {
    let choices = row.texts("choices.text")?;
    let gold = row.labeled("choices.label", "answerKey")?;
    Ok(Document::choices(format!("Question: {}\nAnswer:", row.text("question")?), choices, gold))
}
