//! BIG-Bench Hard (Suzgun et al. 2023): 27 tasks that need several steps, with and without a chain of thought.
//!
//! Descriptions and examples are read from `fewshot/bbh.json`: an object with, for each task, `cot_fewshot` and `fewshot`,
//! each with `description` and `samples` of `input` and `target`.

use crate::task::{
    DataSet, Document, ExactMatch, Generation, Group, GroupMean, MetricValue, Metrics, Row, Scorer,
    ShotSource, Task, find_all,
};
use anyhow::Result;
use serde_json::{Value, json};

const NAMES: &str = "\
     boolean_expressions causal_judgement date_understanding disambiguation_qa dyck_languages formal_fallacies \
     geometric_shapes hyperbaton logical_deduction_five_objects logical_deduction_seven_objects \
     logical_deduction_three_objects movie_recommendation multistep_arithmetic_two navigate object_counting \
     penguins_in_a_table reasoning_about_colored_objects ruin_names salient_translation_error_detection snarks \
     sports_understanding temporal_sequences tracking_shuffled_objects_five_objects \
     tracking_shuffled_objects_seven_objects tracking_shuffled_objects_three_objects web_of_lies word_sorting";

pub(super) const ABOUT: &str = "27 tasks that need several steps (BIG-Bench Hard)";
const STOPS: [&str; 3] = ["</s>", "Q", "\n\n"];
/// It drops the last character of the line, which is meant for a final period.
const ANSWER: &str = "(?<=the answer is )(.*)(?=.)";

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let (mut tasks, mut groups) = (Vec::new(), Vec::new());
    let names: Vec<&'static str> = names().collect();
    for (form, document, scorer) in [
        ("cot_fewshot", cot_document as fn(&Row) -> _, score_cot as fn(&Value, &str) -> _),
        ("fewshot", direct_document, score_direct),
    ] {
        let of_task = |name: &&'static str| Task {
            shots: 3,
            shot_source: ShotSource::Listed(examples(), format!("{name}.{form}")),
            target_delimiter: if form == "fewshot" { " " } else { "" },
            scorer: Scorer::Text(scorer),
            ..Task::new(format!("bbh_{form}_{name}"), ABOUT, data(name, "test"), document)
        };
        tasks.extend(names.iter().map(of_task));
        groups.push(Group {
            name: format!("bbh_{form}"),
            about: ABOUT,
            tasks: names.iter().map(|name| format!("bbh_{form}_{name}")).collect(),
            mean: GroupMean::OfDocuments,
        });
    }
    let of_task = |name: &&'static str| {
        let data = data(name, "train");
        Task {
            shots: 3,
            shot_source: ShotSource::Balanced(data.clone()),
            scorer: Scorer::Text(score_smollm2),
            ..Task::smollm2(&format!("bbh_{name}"), ABOUT, data, smollm2_document)
        }
    };
    tasks.extend(names.iter().map(of_task));
    groups.push(Group {
        name: "bbh@smollm2".to_owned(),
        about: ABOUT,
        tasks: names.iter().map(|name| format!("bbh_{name}@smollm2")).collect(),
        mean: GroupMean::OfTasks,
    });
    groups.push(Group {
        name: "bbh".to_owned(),
        about: ABOUT,
        tasks: vec!["bbh_cot_fewshot".to_owned()],
        mean: GroupMean::OfDocuments,
    });
    (tasks, groups)
}

/// The rows of a task.
pub(super) fn data(name: &'static str, split: &'static str) -> DataSet {
    let only = Some(("task", name.to_owned()));
    DataSet {
        folders: &["lighteval/big_bench_hard"],
        files: &["bbh"],
        only,
        ..DataSet::new("SaylorTwift/bbh", name, split)
    }
}

/// Descriptions and examples of all tasks.
pub(super) fn examples() -> DataSet {
    DataSet::examples(&["bbh"])
}

/// The names of the tasks.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    NAMES.split_whitespace()
}

fn cot_document(row: &Row) -> Result<Document> {
    document(row, "Q: ", "\nA: Let's think step by step.\n", 1024)
}

fn direct_document(row: &Row) -> Result<Document> {
    document(row, "Q: ", "\nA:", 256)
}

fn document(row: &Row, before: &str, after: &str, max_tokens: usize) -> Result<Document> {
    let (input, target) = (row.text("input")?, row.text("target")?);
    let generation = Generation::new(&STOPS, max_tokens, json!(target));
    Ok(Document::text(format!("{before}{input}{after}"), target, generation))
}

fn smollm2_document(row: &Row) -> Result<Document> {
    let (input, target) = (row.text("input")?, row.text("target")?);
    let generation = Generation::new(&[], 1024, json!(target));
    Ok(Document::text(format!("Question: {input}\nAnswer: "), target, generation))
}

fn score_cot(gold: &Value, response: &str) -> Result<Metrics> {
    let answer = find_all(ANSWER, response).into_iter().next().flatten();
    Ok(exact_match(gold, answer.as_deref().unwrap_or("[invalid]")))
}

fn score_direct(gold: &Value, response: &str) -> Result<Metrics> {
    Ok(exact_match(gold, response))
}

fn score_smollm2(gold: &Value, response: &str) -> Result<Metrics> {
    Ok(exact_match(gold, crate::task::python::strip(response)))
}

fn exact_match(gold: &Value, answer: &str) -> Metrics {
    let is_right = ExactMatch::default().matches(answer, gold.as_str());
    vec![("exact_match".to_owned(), MetricValue::Number(f64::from(is_right)))]
}
