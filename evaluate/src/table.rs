//! The scoreboard as text: one row per figure, one column per model and mode.

use crate::columns::{Column, columns, question_kinds};
use crate::figures::{ConditionFigures, DocumentFigures, Figures, PreferenceFigures, QuestionFigures};
use crate::format::{measure, number, percent, points};
use crate::gains::gains;
use crate::results::ModelResults;
use crate::statistics::Estimate;
use std::collections::BTreeSet;

type Row = Vec<String>;

/// The table, then what each model gained over the one before it.
pub(crate) fn side_by_side(models: &[ModelResults]) -> String {
    let figures: Vec<Figures> = models.iter().map(ModelResults::figures).collect();
    let columns = columns(models, &figures);
    let mut rows = vec![row("", &columns, |column| Some(column.heading.clone()))];
    rows.extend(question_rows(&columns));
    rows.extend(condition_rows(&columns));
    rows.extend(preference_rows(&columns));
    rows.extend(document_rows(&columns));
    let mut text = align(&rows);
    for pair in models.windows(2) {
        for gain in gains(&pair[0].replies, &pair[1].replies) {
            text.push_str(&format!(
                "{} over {}, {}: {} (paired, {})\n",
                pair[1].name,
                pair[0].name,
                measure(&gain),
                points(&gain),
                gain.count
            ));
        }
    }
    text
}

/// A name and one cell per column; the cell is empty where a column has no figure.
fn row(name: &str, columns: &[Column<'_>], cell: impl Fn(&Column<'_>) -> Option<String>) -> Row {
    let mut row = vec![name.to_owned()];
    row.extend(columns.iter().map(|column| cell(column).unwrap_or_default()));
    row
}

fn question_rows(columns: &[Column<'_>]) -> Vec<Row> {
    let Some(first) = columns.iter().find_map(|column| column.questions) else { return Vec::new() };
    let mut rows = Vec::new();
    for kind in question_kinds(columns) {
        let of_kind = |questions: &QuestionFigures| {
            questions.kinds.iter().find(|figures| figures.kind == kind).cloned()
        };
        let mut cells = row(kind, columns, |column| Some(percent(of_kind(column.questions?)?.accuracy)));
        cells.push(of_kind(first).map_or_else(String::new, |kind| constant_cell(kind.constant_share)));
        rows.push(cells);
    }
    let mut average =
        row("questions, average of kinds", columns, |column| Some(percent(column.questions?.average)));
    average.push(constant_cell(first.constant));
    rows.push(average);
    let count_row = |name: &str, count: fn(&QuestionFigures) -> usize| {
        let mut questions = columns.iter().filter_map(|column| column.questions);
        let has_any = questions.any(|questions| count(questions) > 0);
        has_any.then(|| row(name, columns, |column| Some(count(column.questions?).to_string())))
    };
    rows.extend(count_row("  replies cut", |questions| questions.cut));
    rows.extend(count_row("  prompts too long", |questions| questions.prompt_too_long));
    rows
}

/// What the best constant answer scores.
fn constant_cell(share: f64) -> String {
    format!("constant {:.1}", 100.0 * share)
}

fn condition_rows(columns: &[Column<'_>]) -> Vec<Row> {
    fn conditions<'a>(column: &Column<'a>) -> Option<&'a ConditionFigures> {
        column.figures.conditions.as_ref().filter(|_| column.is_first)
    }
    let ids: BTreeSet<&str> = columns
        .iter()
        .filter_map(conditions)
        .flat_map(|conditions| conditions.by_instruction.iter().map(|one| one.id.as_str()))
        .collect();
    if ids.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![
        row("whole requests", columns, |column| Some(percent(conditions(column)?.whole_requests))),
        row("conditions", columns, |column| Some(percent(conditions(column)?.conditions))),
    ];
    for id in ids {
        rows.push(row(&format!("  {id}"), columns, |column| {
            Some(percent(conditions(column)?.by_instruction.iter().find(|one| one.id == id)?.followed))
        }));
    }
    rows
}

fn preference_rows(columns: &[Column<'_>]) -> Vec<Row> {
    fn preferences<'a>(column: &Column<'a>) -> Option<&'a PreferenceFigures> {
        column.figures.preferences.as_ref().filter(|_| column.is_first)
    }
    if !columns.iter().any(|column| preferences(column).is_some()) {
        return Vec::new();
    }
    let share = |share: f64| if share.is_nan() { "-".to_owned() } else { format!("{:.1}", 100.0 * share) };
    let mut rows = vec![
        row("preferred pairs", columns, |column| Some(percent(preferences(column)?.preferred))),
        row("  the longer reply", columns, |column| Some(share(preferences(column)?.longer))),
        row("  the shorter reply", columns, |column| Some(share(preferences(column)?.shorter))),
    ];
    let skipped = |column: &Column<'_>| Some(preferences(column)?.skipped.values().sum::<usize>());
    if columns.iter().any(|column| skipped(column).is_some_and(|count| count > 0)) {
        rows.push(row("  not measured", columns, |column| Some(skipped(column)?.to_string())));
    }
    rows
}

fn document_rows(columns: &[Column<'_>]) -> Vec<Row> {
    let sources: BTreeSet<&str> = columns
        .iter()
        .flat_map(|column| column.figures.documents.iter().map(|one| one.source.as_str()))
        .collect();
    let cell = |column: &Column<'_>, source: &str, figure: fn(&DocumentFigures) -> Estimate| {
        let documents = column.figures.documents.iter().find(|one| one.source == source)?;
        column.is_first.then(|| number(figure(documents)))
    };
    let mut rows = Vec::new();
    for source in sources {
        rows.push(row(&format!("{source}: nats per token"), columns, |column| {
            cell(column, source, |documents| documents.nats_per_token)
        }));
        rows.push(row(&format!("{source}: bits per byte"), columns, |column| {
            cell(column, source, |documents| documents.bits_per_byte)
        }));
    }
    rows
}

/// Lines with the first column aligned to the left and the others to the right.
fn align(rows: &[Row]) -> String {
    let width = |index: usize| {
        rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match index {
                0 => line.push_str(&format!("{cell:<width$}")),
                _ => line.push_str(&format!("  {cell:>width$}")),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
