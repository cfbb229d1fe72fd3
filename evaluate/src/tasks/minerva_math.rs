//! MATH (Hendrycks et al. 2021) with the four examples and the normalization of Minerva (Lewkowycz et al. 2022).
//!
//! `exact_match` is the published normalization, then equality; the harness also asks sympy, which needs Python.
//! `equivalent` is this program's own comparison of that answer, or of the last box if there is none.

use crate::math::{are_equivalent, final_answer, last_boxed, normalize_hendrycks, normalize_minerva};
use crate::task::{
    DataSet, Document, Generation, Group, GroupMean, MetricValue, Metrics, Row, Scorer, ShotSource, Task,
};
use anyhow::{Context, Result};
use serde_json::{Value, json};

const SUBJECTS: [&str; 7] = [
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
];
const ABOUT: &str = "competition mathematics (MATH)";

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let examples = DataSet::examples(&["minerva_math"]);
    let task = |name: String, data: DataSet| Task {
        shots: 4,
        shot_source: ShotSource::Fixed(examples.clone()),
        shot: Some(shot),
        scorer: Scorer::Text(score),
        ..Task::new(name, ABOUT, data, document)
    };
    let name = |subject: &str| format!("minerva_math_{subject}");
    let of_subject = |subject: &&'static str| {
        let only = Some(("config", (*subject).to_owned()));
        let data = DataSet::new("EleutherAI/hendrycks_math", subject, "test");
        task(name(subject), DataSet { folders: &["math"], only, ..data })
    };
    let mut tasks: Vec<Task> = SUBJECTS.iter().map(of_subject).collect();
    let data = DataSet::new("HuggingFaceH4/MATH-500", "", "test");
    tasks.push(task("minerva_math500".to_owned(), DataSet { folders: &["math500"], ..data }));
    let group = |name: &str, tasks: Vec<String>| Group {
        name: name.to_owned(),
        about: ABOUT,
        tasks,
        mean: GroupMean::OfDocuments,
    };
    let subjects = group("minerva_math", SUBJECTS.iter().map(|subject| name(subject)).collect());
    (tasks, vec![subjects, group("math500", vec!["minerva_math500".to_owned()])])
}

fn document(row: &Row) -> Result<Document> {
    let solution = row.text("solution")?;
    let answer = last_boxed(solution).context("`solution` has no answer in a box")?;
    let query = format!("Problem:\n{}\n\nSolution:", row.text("problem")?);
    let normalized = normalize_minerva(&answer);
    Ok(Document::text(query, normalized, Generation::new(&["Problem:"], 256, json!(answer))))
}

fn shot(row: &Row) -> Result<Document> {
    let query = format!("Problem:\n{}\n\nSolution:", row.text("problem")?);
    Ok(Document::text(query, row.text("solution")?, Generation::new(&["Problem:"], 256, Value::Null)))
}

fn score(gold: &Value, response: &str) -> Result<Metrics> {
    let gold = gold.as_str().context("`gold` is not text")?;
    let sentence = final_answer(response);
    let minerva = sentence.as_deref().map(normalize_minerva);
    let is_exact = minerva.as_deref() == Some(&normalize_minerva(gold));
    let answer = sentence.map(|answer| answer.trim_matches('$').to_owned()).or_else(|| last_boxed(response));
    let is_equivalent = answer.as_deref().is_some_and(|answer| {
        is_exact || are_equivalent(answer, gold) || answers_match_hendrycks(answer, gold)
    });
    let metric = |name: &str, is_right: bool| (name.to_owned(), MetricValue::Number(f64::from(is_right)));
    Ok(vec![metric("exact_match", is_exact), metric("equivalent", is_equivalent)])
}

fn answers_match_hendrycks(one: &str, other: &str) -> bool {
    normalize_hendrycks(one).is_some_and(|one| Some(one) == normalize_hendrycks(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::shared_data;

    fn goldens(name: &str) -> Option<Vec<Value>> {
        let text = std::fs::read_to_string(shared_data()?.join("goldens/evaluation").join(name)).ok()?;
        Some(text.lines().map(|line| serde_json::from_str(line).expect("a golden")).collect())
    }

    #[test]
    fn normalizations_are_the_published_ones() {
        let Some(rows) = goldens("math_normalize.jsonl") else { return };
        for row in rows {
            let boxed = row["boxed"].as_str().expect("text");
            assert_eq!(normalize_minerva(boxed), row["minerva"], "{boxed}");
            if let Some(expected) = row["hendrycks"].as_str() {
                let own = normalize_hendrycks(boxed).unwrap_or_else(|| boxed.to_owned());
                assert_eq!(own, expected, "{boxed}");
            }
        }
    }

    #[test]
    fn what_this_program_finds_equivalent_math_verify_does_too() {
        let Some(rows) = goldens("math_equiv.jsonl") else { return };
        let (mut both, mut only_ours, mut only_theirs) = (0, Vec::new(), 0);
        for row in &rows {
            let (gold, pred) = (row["gold"].as_str().expect("text"), row["pred"].as_str().expect("text"));
            match (are_equivalent(gold, pred), row["math_verify"] == true) {
                (true, true) => both += 1,
                (true, false) => only_ours.push(format!("{gold} = {pred}")),
                (false, true) => only_theirs += 1,
                _ => {}
            }
        }
        println!("{both} both, {only_theirs} only math_verify, only ours: {only_ours:?}");
        assert!(only_ours.len() * 50 < both, "{only_ours:?}");
    }
}
