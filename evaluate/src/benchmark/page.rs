//! The sections of `smoleval report` about benchmark tasks: scores beside published ones, paired differences between
//! models, and documents with their answers and verdicts.

use super::published;
use super::record::{Answer, Record};
use super::rescore::model_folders;
use super::summary::{ModelSummary, rows};
use crate::statistics::{self, Estimate};
use crate::task::is_share;
use anyhow::Result;
use report::escape;
use report::html::note;
use std::collections::BTreeMap;
use std::path::Path;

/// A section of the page: its id, its title and its HTML.
pub(crate) type Section = (&'static str, &'static str, String);

/// A model with its rows, by task.
struct Scored {
    summary: ModelSummary,
    records: BTreeMap<String, Vec<Record>>,
}

/// The sections; none if the folder has no results of benchmark tasks. `documents` is the number of documents of each
/// task to show, `published` the name of a published model to compare with.
///
/// # Errors
/// Names the file that cannot be read.
pub(crate) fn sections(scores: &Path, documents: usize, published: Option<&str>) -> Result<Vec<Section>> {
    let Ok(folders) = model_folders(scores) else { return Ok(Vec::new()) };
    let mut models = Vec::new();
    for folder in folders {
        let summary = ModelSummary::read(&folder)?;
        let names = summary.task_names();
        let read = |name: String| Ok((name.clone(), summary.records(&folder, &name)?));
        let records = names.into_iter().map(read).collect::<Result<_>>()?;
        models.push(Scored { summary, records });
    }
    Ok(vec![
        ("benchmarks", "Benchmarks", scores_table(&models, published)),
        ("differences", "Differences", differences(&models)),
        ("documents", "Documents", documents_section(&models, documents)),
    ])
}

/// A table; the cells of `rows` are HTML.
fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let head: String = head.iter().map(|cell| format!("<th>{}</th>", escape(cell))).collect();
    let row = |row: &Vec<String>| {
        let cells: String = row.iter().map(|cell| format!("<td>{cell}</td>")).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let rows: String = rows.iter().map(row).collect();
    format!("<div class=\"panel table\"><table><tr>{head}</tr>\n{rows}</table></div>\n")
}

fn scores_table(models: &[Scored], published: Option<&str>) -> String {
    let mut rows = rows(&models.iter().map(|model| &model.summary));
    let mut head = rows.remove(0);
    let score = |name: &str, row: &[String]| published::score(name, &row[0], &row[1]);
    let is_published = |name: &&str| rows.iter().any(|row| score(name, row).is_some());
    let mut explanation =
        "Percent (per token and per byte: as they are), with the standard error of the mean.".to_owned();
    if let Some(name) = published.filter(|name| !is_published(name)) {
        explanation += &format!(" No score of {name} on these tasks is published.");
    }
    let published = published.filter(is_published);
    head.extend(published.map(|name| format!("{name}, published")));
    for row in &mut rows {
        let cell = |name| score(name, row).map_or_else(String::new, |score| format!("{score:.2}"));
        let cell = published.map(cell);
        row.extend(cell);
        row.iter_mut().for_each(|cell| *cell = escape(cell));
    }
    format!(
        "<section id=\"benchmarks\"><h2>Benchmarks</h2>\n{}{}</section>\n",
        note(&explanation),
        table(&head, &rows)
    )
}

/// What each model gains over the first one, on the documents that both have answered.
fn differences(models: &[Scored]) -> String {
    let [first, others @ ..] = models else { return String::new() };
    if others.is_empty() {
        return String::new();
    }
    let mut rows = Vec::new();
    for (task, records) in &first.records {
        let Some(metrics) = records.first().map(|record| &record.metrics) else { continue };
        for (metric, _) in metrics {
            let mut row = vec![escape(task), escape(metric)];
            for other in others {
                let pairs = pairs(records, other.records.get(task).map_or(&[], Vec::as_slice), metric);
                row.push(difference(metric, &pairs));
            }
            rows.push(row);
        }
    }
    let mut head = vec!["task".to_owned(), "metric".to_owned()];
    head.extend(others.iter().map(|other| format!("{} - {}", other.summary.name(), first.summary.name())));
    let explanation = note(
        "The mean difference over the documents that both answered, in points (per token and per byte: as it is), with its \
         standard error; bold where it is more than two of them. What both find easy or hard cancels.",
    );
    format!(
        "<section id=\"differences\"><h2>Differences</h2>\n{explanation}{}</section>\n",
        table(&head, &rows)
    )
}

/// The values of a metric on the documents that both have.
fn pairs(one: &[Record], other: &[Record], metric: &str) -> Vec<(f64, f64)> {
    let others: BTreeMap<usize, &Record> = other.iter().map(|record| (record.doc_id, record)).collect();
    let pair = |record: &Record| Some((record.number(metric)?, others.get(&record.doc_id)?.number(metric)?));
    // A document without a rating has no value.
    one.iter().filter_map(pair).filter(|(one, other)| one.is_finite() && other.is_finite()).collect()
}

/// The mean difference of pairs of a metric: of shares in points, of others as they are; bold where it is more than two
/// standard errors.
fn difference(metric: &str, pairs: &[(f64, f64)]) -> String {
    if pairs.is_empty() {
        return String::new();
    }
    let Estimate { value, standard_error } = statistics::mean_difference(pairs);
    let (scale, digits) = if is_share(metric) { (100.0, 2) } else { (1.0, 4) };
    let text = format!(
        "{:+.digits$} ± {:.digits$} ({} documents)",
        scale * value,
        scale * standard_error,
        pairs.len()
    );
    let is_clear = value.abs() > 2.0 * standard_error;
    if is_clear { format!("<b>{}</b>", escape(&text)) } else { escape(&text) }
}

fn documents_section(models: &[Scored], count: usize) -> String {
    let mut html = String::new();
    let Some(first) = models.first() else { return html };
    for (task, records) in &first.records {
        for record in records.iter().take(count) {
            let answers = models.iter().filter_map(|model| {
                let records = model.records.get(task)?;
                let record = records.iter().find(|other| other.doc_id == record.doc_id)?;
                Some(answer(model.summary.name(), record))
            });
            html.push_str(&format!(
                "<article class=\"panel\"><p class=\"kind\">{} {}</p><p class=\"prompt\">{}</p>{}</article>\n",
                escape(task),
                record.doc_id,
                escape(&record.query),
                answers.collect::<String>()
            ));
        }
    }
    let explanation = note(&format!(
        "The first {count} documents of each task. Search for words, for a task, or for \u{201c}wrong\u{201d}."
    ));
    format!(
        "<section id=\"documents\"><h2>Documents</h2>\n{explanation}<label>Search <input id=\"search\" type=\"search\" \
         autocomplete=\"off\"></label> <span id=\"found\" class=\"note\" aria-live=\"polite\"></span>\n\
         <div class=\"examples\">\n{html}</div></section>\n"
    )
}

fn answer(model: &str, record: &Record) -> String {
    // Of the first metric that is a share, if it is 0 or 1: what lies between is neither right nor wrong.
    let verdict = record.metrics.iter().find(|(name, _)| is_share(name));
    let value = verdict.and_then(|(name, _)| record.number(name));
    let is_right = value.filter(|value| *value == 0.0 || *value == 1.0).map(|value| value == 1.0);
    let metrics: Vec<String> = record
        .metrics
        .iter()
        .map(|(name, _)| {
            format!("{name} {}", record.number(name).map_or_else(String::new, report::numbers::short))
        })
        .collect();
    let text = match &record.answer {
        Answer::Choices { choices, loglikelihoods, .. } => {
            let gold = record.gold.as_u64().map(|gold| gold as usize);
            let line = |(index, (choice, ll)): (usize, (&String, &f64))| {
                let mark = if gold == Some(index) { "\u{2713}" } else { "\u{b7}" };
                format!("{mark} {ll:.3}  {choice}\n")
            };
            choices.iter().zip(loglikelihoods).enumerate().map(line).collect()
        }
        Answer::Text { response, finish, .. } => format!("{response}\n[{finish}] gold: {}", record.gold),
        Answer::Conversation { responses, judgments, .. } => {
            let text = |(index, reply): (usize, &String)| {
                let judgment =
                    judgments.get(index).map_or_else(String::new, |text| format!("[judge] {text}\n"));
                format!("[turn {}] {reply}\n{judgment}", index + 1)
            };
            responses.iter().enumerate().map(text).collect()
        }
        Answer::Likelihood { loglikelihood, tokens, .. } => {
            format!("{loglikelihood:.3} over {tokens} tokens")
        }
    };
    let (class, sign) = match is_right {
        Some(true) => ("right", "\u{2713} right, "),
        Some(false) => ("wrong", "\u{2717} wrong, "),
        None => ("", ""),
    };
    format!(
        "<div class=\"verdict {class}\"><p><b>{}</b> <span>{sign}{}</span></p><p class=\"reply\">{}</p></div>",
        escape(model),
        escape(&metrics.join(", ")),
        escape(&text)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::MetricValue;
    use serde_json::json;

    const HOSTILE: &str = "</p></script><script>alert(1)</script>";

    fn scored(name: &str, values: &[f64]) -> Scored {
        let record = |(doc_id, value): (usize, &f64)| Record {
            task: "t".to_owned(),
            doc_id,
            key: String::new(),
            scorer: String::new(),
            query: HOSTILE.to_owned(),
            gold: json!(HOSTILE),
            answer: Answer::Text { response: HOSTILE.to_owned(), finish: "stop".to_owned(), tokens: 1 },
            metrics: vec![("acc".to_owned(), MetricValue::Number(*value))],
        };
        let records = values.iter().enumerate().map(record).collect();
        Scored {
            summary: ModelSummary::new(name, json!({})),
            records: BTreeMap::from([("t".to_owned(), records)]),
        }
    }

    #[test]
    fn a_published_column_has_a_score() {
        let mut model = scored("a", &[1.0]);
        let summary = json!({"program": "", "name": "a", "model": {}, "groups": [], "tasks": [
            {"task": "piqa@smollm2", "scorer": "", "shots": 0, "documents": 1, "files": {}, "first_prompt": "",
             "first_prompt_ids": [], "seconds": 0.0,
             "metrics": [{"metric": "acc_norm", "value": 0.5, "standard_error": null}]}]});
        model.summary = serde_json::from_value(summary).expect("a summary");
        let html = scores_table(std::slice::from_ref(&model), Some("SmolLM2-135M-Instruct"));
        assert!(html.contains("<td>50.00</td><td>66.30</td>"), "{html}");
        let html = scores_table(&[model], Some("SmolLM2-1.7B"));
        assert!(html.contains("77.60"), "{html}");
        let html = scores_table(&[scored("a", &[1.0])], Some("SmolLM2-1.7B"));
        assert!(html.contains("No score of SmolLM2-1.7B") && !html.contains("published</th>"), "{html}");
    }

    #[test]
    fn differences_are_paired_and_texts_are_escaped() {
        let models = [scored("a", &[0.0, 1.0, 0.0, 1.0]), scored("b", &[1.0, 1.0, 0.0, 1.0])];
        let html = differences(&models);
        assert!(html.contains("<td>+25.00 ± 25.00 (4 documents)</td>"), "{html}");
        let models = [scored("a", &[0.0; 4]), scored("<i>b", &[1.0, 1.0, 0.0, 1.0])];
        let html = differences(&models);
        assert!(html.contains("<b>+75.00 ± 25.00 (4 documents)</b>") && !html.contains("<i>"), "{html}");
        let html = documents_section(&models, 2);
        assert!(!html.contains("<script>") && html.matches("<article").count() == 2, "{html}");
        assert!(html.contains("\u{2717} wrong, acc 0") && html.contains("\u{2713} right, acc 1"), "{html}");
    }
}
