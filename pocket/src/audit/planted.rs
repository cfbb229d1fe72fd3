//! Planted rows: rows that are known to be good or bad are put through a task's own filters, to measure which ones the
//! filters keep.

use super::print::print_row;
use crate::draw::Draw;
use crate::letters::{Letter, Style};
use crate::questions::{Kind, Question};
use crate::requests::Request;
use crate::split::Split;
use crate::stories::{Length, Story};
use anyhow::Result;
use futures::{StreamExt, stream};
use generate::TeacherOptions;
use generate::planted::{Filters, PlantedOutcome, PlantedRow};
use std::collections::BTreeMap;

/// A row to plant, and what is good or bad about it.
struct LabeledRow {
    label: &'static str,
    row: PlantedRow,
}

impl LabeledRow {
    fn new(label: &'static str, source: Option<String>, answers: &[(&str, &str)]) -> Self {
        let answers = answers.iter().map(|(step, text)| ((*step).to_owned(), (*text).to_owned())).collect();
        Self { label, row: PlantedRow { source, answers } }
    }

    /// All texts with their names, in their order.
    fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        let source = self.row.source.iter().map(|source| ("source", source.as_str()));
        source.chain(self.row.answers.iter().map(|(step, text)| (step.as_str(), text.as_str())))
    }
}

/// Plants `count` good rows and `count` bad rows of every task and prints how many were kept. Of each it prints up to
/// `show` that the filters judged wrongly.
pub(super) fn run(teachers: &TeacherOptions, count: usize, show: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let filters = Filters::open(teachers, count).await?;
        for (number, task) in filters.tasks().iter().enumerate() {
            for is_good in [true, false] {
                let counts =
                    plant_rows(&filters, (number, task.name), teachers, (count, show), is_good).await?;
                counts.print(task.name, if is_good { "good" } else { "bad" });
            }
        }
        Ok(())
    })
}

/// The outcomes of planted rows.
#[derive(Default)]
struct Counts {
    /// The number of kept rows and of all rows, by label.
    labels: BTreeMap<&'static str, (usize, usize)>,
    /// The number of dropped rows, by reason.
    reasons: BTreeMap<String, usize>,
}

/// Plants `count` good or bad rows of a task; prints up to `show` that the filters judged wrongly.
async fn plant_rows(
    filters: &Filters,
    (number, task): (usize, &str),
    teachers: &TeacherOptions,
    (count, show): (usize, usize),
    is_good: bool,
) -> Result<Counts> {
    let mut draw = Draw::new(teachers.seed(), if is_good { "good" } else { "bad" });
    let (mut counts, mut shown) = (Counts::default(), 0);
    let rows = (0..count).filter_map(|index| {
        let position = index * 2 + usize::from(is_good);
        // The style follows from the position, and the texts from the style.
        let style = filters.style(number, position);
        let row = labeled_row(task, style.as_deref(), is_good, &mut draw)?;
        let planted = row.row.clone();
        Some(async move { filters.try_row(number, position, planted).await.map(|outcome| (row, outcome)) })
    });
    let mut outcomes = stream::iter(rows).buffer_unordered(teachers.in_flight());
    while let Some(outcome) = outcomes.next().await {
        let (row, Some(outcome)) = outcome? else { continue };
        let is_kept = outcome == PlantedOutcome::Kept;
        let (kept, total) = counts.labels.entry(row.label).or_default();
        *total += 1;
        *kept += usize::from(is_kept);
        let outcome = match &outcome {
            PlantedOutcome::Kept => "kept".to_owned(),
            PlantedOutcome::Dropped { reason, detail } => {
                *counts.reasons.entry(reason.clone()).or_default() += 1;
                format!("{reason}: {detail}")
            }
        };
        if is_kept != is_good && shown < show {
            shown += 1;
            print_row(&format!("{}, {outcome}", row.label), row.texts());
        }
    }
    Ok(counts)
}

impl Counts {
    /// Prints how many rows were kept, by label and in total, and why the others were dropped.
    fn print(&self, task: &str, name: &str) {
        let (kept, total) =
            self.labels.values().fold((0, 0), |sum, label| (sum.0 + label.0, sum.1 + label.1));
        if total == 0 {
            return;
        }
        let list = |parts: Vec<String>| if parts.is_empty() { "none".to_owned() } else { parts.join(", ") };
        let labels =
            self.labels.iter().map(|(label, (kept, total))| format!("{label} {kept} of {total}")).collect();
        let reasons = self.reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        println!(
            "{task}: {kept} of {total} {name} rows are kept ({}); dropped: {}",
            list(labels),
            list(reasons)
        );
    }
}

/// A good or a bad row of a task; none for tasks whose rows the world cannot write.
fn labeled_row(task: &str, style: Option<&str>, is_good: bool, draw: &mut Draw) -> Option<LabeledRow> {
    match task {
        "magpie-ultra" => Some(conversation(is_good, draw)),
        "smol-constraint" => {
            let request = Request::new(draw, Split::Test);
            let (label, reply) = match is_good {
                true => ("conditions met", &request.reply),
                false => ("condition broken", &request.wrong_reply),
            };
            Some(LabeledRow::new(label, None, &[("user", &request.user), ("assistant", reply)]))
        }
        "smol-rewrite" => {
            let (letter, style) = (Letter::new(draw, Split::Test), Style::from_key(style?)?);
            let source = letter.write(Style::Long, draw);
            let (label, reply) = match (is_good, draw.below(4)) {
                (true, _) => ("rewritten", letter.write(style, draw)),
                (false, 0) => ("unchanged", source.clone()),
                (false, _) => ("one word exchanged", letter.write_wrong(style, 1, draw)),
            };
            Some(LabeledRow::new(label, Some(source), &[("assistant", &reply)]))
        }
        "smol-summarization" => {
            let (story, length) = (Story::new(draw, Split::Test), Length::from_key(style?)?);
            let (label, reply) = match (is_good, draw.below(4)) {
                (true, _) => ("summarized", story.summary(length, draw)),
                (false, 0) => ("unchanged", story.text.clone()),
                (false, _) => ("one word exchanged", story.wrong_summary(length, 1, draw)),
            };
            Some(LabeledRow::new(label, Some(story.text), &[("assistant", &reply)]))
        }
        _ => None,
    }
}

/// A conversation of two turns; a bad one has only the first, because a follow-up would be about another question.
fn conversation(is_good: bool, draw: &mut Draw) -> LabeledRow {
    let kind = draw.pick(&Kind::ALL);
    let turns = Question::turns(kind, 2, draw, Split::Test);
    if !is_good {
        let (label, user, reply) = faulty_turn(kind, draw);
        return LabeledRow::new(label, None, &[("user_1", &user), ("assistant_1", &reply)]);
    }
    let answers = [
        ("user_1", turns[0].0.as_str()),
        ("assistant_1", &turns[0].1),
        ("user_2", &turns[1].0),
        ("assistant_2", &turns[1].1),
    ];
    LabeledRow::new(kind.name(), None, &answers)
}

/// A question with a wrong reply, a question without an answer, or shuffled words; with its label.
fn faulty_turn(kind: Kind, draw: &mut Draw) -> (&'static str, String, String) {
    let question = Question::new(kind, draw, Split::Test);
    match draw.below(4) {
        0 => {
            if let Some(other) = question.unanswerable(draw) {
                return ("unanswerable", other.user, question.reply);
            }
        }
        1 => return ("shuffled", question.shuffled_text(draw), question.reply),
        _ => {}
    }
    let reply = question.wrong_reply(draw);
    ("wrong reply", question.user, reply)
}
