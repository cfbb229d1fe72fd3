//! MMLU (Hendrycks et al. 2021): exam questions of 57 subjects with four choices.
//!
//! lm-evaluation-harness asks for a letter (`mmlu`) or for the choice's text (`mmlu_continuation`), one task a subject;
//! the paper's task asks for the text, of all subjects as one task.

use crate::task::python::strip;
use crate::task::{ChoiceMetrics, DataSet, Document, Group, GroupMean, Row, Scorer, ShotSource, Task};
use anyhow::Result;

/// The subjects of each group, in lm-evaluation-harness's division (`lm_eval/tasks/mmlu/default`).
const SUBJECTS: [(&str, &str); 4] = [
    (
        "stem",
        "\
         abstract_algebra anatomy astronomy college_biology college_chemistry college_computer_science \
         college_mathematics college_physics computer_security conceptual_physics electrical_engineering \
         elementary_mathematics high_school_biology high_school_chemistry high_school_computer_science \
         high_school_mathematics high_school_physics high_school_statistics machine_learning",
    ),
    (
        "humanities",
        "\
         formal_logic high_school_european_history high_school_us_history high_school_world_history \
         international_law jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy \
         prehistory professional_law world_religions",
    ),
    (
        "social_sciences",
        "\
         econometrics high_school_geography high_school_government_and_politics high_school_macroeconomics \
         high_school_microeconomics high_school_psychology human_sexuality professional_psychology \
         public_relations security_studies sociology us_foreign_policy",
    ),
    (
        "other",
        "\
         business_ethics clinical_knowledge college_medicine global_facts human_aging management marketing \
         medical_genetics miscellaneous nutrition professional_accounting professional_medicine virology",
    ),
];

const ABOUT: &str = "exam questions of 57 subjects (MMLU)";

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let (mut tasks, mut groups) = (Vec::new(), Vec::new());
    for form in [Form::Letters, Form::Texts] {
        let mut members = Vec::new();
        for (group, subjects) in SUBJECTS {
            let subjects: Vec<&str> = subjects.split_whitespace().collect();
            tasks.extend(subjects.iter().map(|subject| form.task(subject)));
            let names: Vec<String> = subjects.iter().map(|subject| form.name(subject)).collect();
            members.push(form.name(group));
            groups.push(Group {
                name: form.name(group),
                about: ABOUT,
                tasks: names,
                mean: GroupMean::OfDocuments,
            });
        }
        let name = form.name("").replace("mmlu__", "mmlu_").trim_end_matches('_').to_owned();
        groups.push(Group { name, about: ABOUT, tasks: members, mean: GroupMean::OfDocuments });
    }
    tasks.push(Task::smollm2("mmlu", ABOUT, data(), smollm2_document));
    (tasks, groups)
}

/// What is asked for.
#[derive(Clone, Copy)]
enum Form {
    Letters,
    Texts,
}

impl Form {
    fn name(self, subject: &str) -> String {
        match self {
            Self::Letters => format!("mmlu_{subject}"),
            Self::Texts => format!("mmlu_{subject}_continuation"),
        }
    }

    fn task(self, subject: &str) -> Task {
        let data = DataSet { only: Some(("subject", subject.to_owned())), ..data() };
        let dev = ShotSource::First(data.with_split("dev"));
        let words = subject.replace('_', " ");
        let (document, description, metrics): (fn(&Row) -> _, _, _) = match self {
            Self::Letters => (letters, "multiple choice questions", ChoiceMetrics::Accuracy),
            Self::Texts => (texts, "questions", ChoiceMetrics::AccuracyAndNormalized),
        };
        Task {
            shot_source: dev,
            description: format!("The following are {description} (with answers) about {words}.\n\n"),
            scorer: Scorer::Choices(metrics),
            ..Task::new(self.name(subject), ABOUT, data, document)
        }
    }
}

fn data() -> DataSet {
    DataSet::new("cais/mmlu", "all", "test")
}

fn letters(row: &Row) -> Result<Document> {
    let choices = row.exactly("choices", 4)?;
    Ok(Document::letters(strip(row.text("question")?), &choices, row.index("answer", 4)?))
}

fn texts(row: &Row) -> Result<Document> {
    let query = format!("Question: {}\nAnswer:", strip(row.text("question")?));
    Ok(Document::choices(query, row.exactly("choices", 4)?, row.index("answer", 4)?))
}

fn smollm2_document(row: &Row) -> Result<Document> {
    let subject = row.text("subject")?.replace('_', " ");
    let query =
        format!("The following are questions about {subject}.\nQuestion: {}\nAnswer:", row.text("question")?);
    Ok(Document::choices(query, row.exactly("choices", 4)?, row.index("answer", 4)?).with_spaces())
}
