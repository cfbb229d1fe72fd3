//! MMLU-Pro (Wang et al. 2024): harder exam questions with up to ten choices. lm-evaluation-harness asks for a chain of
//! thought in 14 categories, the paper's task for the likelihood of a letter.

use crate::task::python::strip;
use crate::task::{
    DataSet, Document, ExactMatch, Generation, Group, GroupMean, MetricValue, Metrics, Row, Scorer,
    ShotSource, Task, find_all,
};
use anyhow::Result;
use serde_json::{Value, json};

const ABOUT: &str = "harder exam questions with up to ten choices (MMLU-Pro)";
const CATEGORIES: [&str; 14] = [
    "biology",
    "business",
    "chemistry",
    "computer science",
    "economics",
    "engineering",
    "health",
    "history",
    "law",
    "math",
    "other",
    "philosophy",
    "physics",
    "psychology",
];
const ANSWER: &str = r"answer is \(?([ABCDEFGHIJ])\)?";
const MATCH: ExactMatch = ExactMatch { ignored: &[], case: true, punctuation: true };

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let data = DataSet { folders: &["mmlu_pro"], ..DataSet::new("TIGER-Lab/MMLU-Pro", "", "test") };
    let name = |category: &str| format!("mmlu_pro_{}", category.replace(' ', "_"));
    let of_category = |category: &&str| {
        let data = DataSet { only: Some(("category", (*category).to_owned())), ..data.clone() };
        let description = format!(
            "The following are multiple choice questions (with answers) about {category}. Think step by step and \
             then finish your answer with \"the answer is (X)\" where X is the correct letter choice.\n"
        );
        Task {
            description,
            shots: 5,
            shot_source: ShotSource::First(data.with_split("validation")),
            scorer: Scorer::Text(score),
            ..Task::new(name(category), ABOUT, data, reasoning)
        }
    };
    let mut tasks: Vec<Task> = CATEGORIES.iter().map(of_category).collect();
    tasks.push(Task::smollm2("mmlu_pro", ABOUT, data, letters));
    let group = Group {
        name: "mmlu_pro".to_owned(),
        about: ABOUT,
        tasks: CATEGORIES.iter().map(|category| name(category)).collect(),
        mean: GroupMean::OfDocuments,
    };
    (tasks, vec![group])
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

fn reasoning(row: &Row) -> Result<Document> {
    let options: String = ('A'..='J')
        .zip(row.texts("options")?)
        .map(|(letter, text)| format!("{letter}. {}\n", strip(&text)))
        .collect();
    let question = row.text("question")?;
    let query = format!("Question:\n{question}\nOptions:\n{options}Answer: Let's think step by step.");
    let thought = row.columns.get("cot_content").and_then(Value::as_str).unwrap_or_default();
    let thought = thought.replace("A: Let's think step by step. ", "");
    Ok(Document::text(query, thought, Generation::new(&["Question:"], 2048, json!(row.text("answer")?))))
}

fn score(gold: &Value, response: &str) -> Result<Metrics> {
    let letter = find_all(ANSWER, response).into_iter().next().flatten();
    let is_right = MATCH.matches(letter.as_deref().unwrap_or("[invalid]"), gold.as_str());
    Ok(vec![("exact_match".to_owned(), MetricValue::Number(f64::from(is_right)))])
}
