//! The solved examples before each question, drawn as the harnesses draw them.

use super::data::Data;
use crate::task::python::Random;
use crate::task::{DataSet, Dialect, Document, Row, ShotSource, Task};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;

/// The seed of lm-evaluation-harness's draws.
const LM_EVAL_SEED: u32 = 1234;
/// The seed of lighteval's draws from a class.
const BALANCED_SEED: u32 = 0;

/// The examples of one task.
pub(super) struct Shots {
    count: usize,
    pool: Vec<Row>,
    draw: Draw,
    make: fn(&Row) -> Result<Document>,
    /// The task's description, where the file of examples has it.
    pub(super) description: Option<String>,
    /// SHA-256 of the files that were read.
    pub(super) files: BTreeMap<String, String>,
}

enum Draw {
    /// The same rows before every question, but never the question itself.
    Same(Vec<usize>),
    /// A sample for each question from one generator. `spare` rows more are drawn, and the question is removed.
    Sample { random: Box<Random>, spare: usize },
}

impl Shots {
    /// Reads the examples of a task. `order` is lighteval's generator after it shuffled the documents.
    ///
    /// # Errors
    /// When there are fewer than `count`, or the task has none.
    pub(super) fn read(task: &Task, count: usize, data: &mut Data, order: Random) -> Result<Self> {
        let make = task.shot.unwrap_or(task.document);
        let is_listed = matches!(task.shot_source, ShotSource::Listed(..));
        if count == 0 && !is_listed {
            let (draw, files) = (Draw::Same(Vec::new()), BTreeMap::new());
            return Ok(Self { count, pool: Vec::new(), draw, make, description: None, files });
        }
        let set = match &task.shot_source {
            ShotSource::None => {
                bail!("task `{}` has no solved examples; give `--num-fewshot 0`", task.name)
            }
            ShotSource::First(set)
            | ShotSource::Random(set)
            | ShotSource::Balanced(set)
            | ShotSource::Fixed(set)
            | ShotSource::Listed(set, _) => set,
        };
        let read = data.rows(set).with_context(|| format!("the examples of task `{}`", task.name))?;
        let (mut pool, files) = (read.rows, read.files);
        let mut description = None;
        if let ShotSource::Listed(_, entry) = &task.shot_source {
            let listed =
                listed(&pool, entry).with_context(|| format!("the examples of task `{}`", task.name))?;
            (description, pool) = (Some(listed.0), listed.1);
        }
        ensure!(
            pool.len() > count || (pool.len() == count && !takes_spare(task, set)),
            "task `{}` has {} solved examples; {count} are needed; give a smaller `--num-fewshot`",
            task.name,
            pool.len()
        );
        let draw = match &task.shot_source {
            ShotSource::Random(_) => {
                let random = match task.dialect {
                    Dialect::LmEval => Random::new(LM_EVAL_SEED),
                    Dialect::SmolLm2 => order,
                };
                Draw::Sample { random: Box::new(random), spare: usize::from(takes_spare(task, set)) }
            }
            ShotSource::Balanced(_) => Draw::Same(balanced(&pool, make, count + 1)?),
            _ => Draw::Same((0..pool.len()).collect()),
        };
        Ok(Self { count, pool, draw, make, description, files })
    }

    /// The examples before the next question, in the order of the questions.
    ///
    /// # Errors
    /// Names the row that is not an example.
    pub(super) fn next(&mut self, question: &Row) -> Result<Vec<Document>> {
        let pool = &self.pool;
        let is_other = |index: &usize| pool[*index].columns != question.columns;
        let mut rows: Vec<usize> = match &mut self.draw {
            Draw::Same(rows) => rows.iter().copied().filter(is_other).take(self.count).collect(),
            Draw::Sample { random, spare: 0 } => random.sample(pool.len(), self.count),
            Draw::Sample { random, spare } => {
                let mut rows = random.sample(pool.len(), self.count + *spare);
                rows.retain(is_other);
                rows
            }
        };
        if rows.len() < self.count
            && let Draw::Sample { random, .. } = &mut self.draw
        {
            // The pool has the question several times: the harness draws again without any of them.
            let others: Vec<usize> = (0..pool.len()).filter(is_other).collect();
            rows = random.sample(others.len(), self.count).into_iter().map(|index| others[index]).collect();
        }
        rows.truncate(self.count);
        let document = |index: usize| {
            let row = &pool[index];
            (self.make)(row).with_context(|| row.place.clone())
        };
        rows.into_iter().map(document).collect()
    }
}

/// The description and the examples of an entry (`task.form`) of a file with one object.
fn listed(rows: &[Row], entry: &str) -> Result<(String, Vec<Row>)> {
    let row = rows.first().context("the file is empty")?;
    let description = row.text(&format!("{entry}.description"))?.to_owned();
    let samples = row.value(&format!("{entry}.samples"))?.as_array();
    let samples = samples.with_context(|| format!("`{entry}.samples` is not a list"))?;
    let sample = |sample: &serde_json::Value| {
        let columns = sample.as_object().with_context(|| format!("`{entry}.samples` has {sample}"))?;
        Ok(Row { columns: columns.clone(), place: row.place.clone() })
    };
    Ok((description, samples.iter().map(sample).collect::<Result<_>>()?))
}

/// Whether lm-evaluation-harness draws one row more and removes the question: where the examples' split is the evaluated
/// one, and for every task without a test split.
fn takes_spare(task: &Task, set: &DataSet) -> bool {
    task.dialect == Dialect::LmEval && (task.data.split != "test" || task.data.split == set.split)
}

/// lighteval's balanced draw: one row of each answer in turn, the most frequent answers first.
fn balanced(pool: &[Row], make: fn(&Row) -> Result<Document>, count: usize) -> Result<Vec<usize>> {
    let mut by_answer: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, row) in pool.iter().enumerate() {
        let document = make(row).with_context(|| row.place.clone())?;
        by_answer.entry(document.answer).or_default().push(index);
    }
    let mut by_count: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (answer, rows) in &by_answer {
        by_count.entry(rows.len()).or_default().push(answer.clone());
    }
    let mut random = Random::new(BALANCED_SEED);
    let mut answers = Vec::new();
    for mut same_count in by_count.into_values().rev() {
        random.shuffle(&mut same_count);
        answers.extend(same_count);
    }
    let mut rows = Vec::new();
    for answer in answers.iter().cycle() {
        if rows.len() == count.min(pool.len()) {
            break;
        }
        if let Some(left) = by_answer.get_mut(answer).filter(|left| !left.is_empty()) {
            rows.push(left.remove(random.below(left.len())));
        }
    }
    Ok(rows)
}
