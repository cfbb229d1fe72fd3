//! The scoreboard in a terminal: one row a figure, one column a model, two for a model that was asked both ways.

use crate::figures::{Figures, Gain, Questions, gains};
use crate::statistics::Estimate;
use crate::stored::Scored;
use std::collections::BTreeSet;

/// A column's figures; only the first of a model's columns has what is not asked in modes.
struct Column<'a> {
    heading: String,
    figures: &'a Figures,
    questions: Option<&'a Questions>,
    first: bool,
}

/// The table, then what each model gained over the one before.
pub(crate) fn side_by_side(models: &[Scored]) -> String {
    let figures: Vec<Figures> = models.iter().map(Scored::figures).collect();
    let columns: Vec<Column<'_>> =
        models.iter().zip(&figures).flat_map(|(model, figures)| columns(&model.name, figures)).collect();
    let mut rows = vec![headings(&columns)];
    rows.extend(question_rows(&columns));
    rows.extend(condition_rows(&columns));
    rows.extend(preference_rows(&columns));
    rows.extend(document_rows(&columns));
    let mut text = laid_out(&rows);
    for pair in models.windows(2) {
        text.extend(
            gains(&pair[0].replies, &pair[1].replies)
                .iter()
                .map(|gain| told(&pair[0].name, &pair[1].name, gain)),
        );
    }
    text
}

fn columns<'a>(name: &str, figures: &'a Figures) -> Vec<Column<'a>> {
    let several = figures.questions.len() > 1;
    let mut columns: Vec<Column<'_>> = Vec::new();
    for questions in &figures.questions {
        let heading = if several { format!("{name} ({})", questions.mode.name()) } else { name.to_owned() };
        columns.push(Column { heading, figures, questions: Some(questions), first: columns.is_empty() });
    }
    if columns.is_empty() {
        columns.push(Column { heading: name.to_owned(), figures, questions: None, first: true });
    }
    columns
}

type Row = Vec<String>;

fn headings(columns: &[Column<'_>]) -> Row {
    let mut row = vec![String::new()];
    row.extend(columns.iter().map(|column| column.heading.clone()));
    row
}

/// A row of one figure a column; nothing where a column has none.
fn row(name: &str, columns: &[Column<'_>], cell: impl Fn(&Column<'_>) -> Option<String>) -> Row {
    let mut row = vec![name.to_owned()];
    row.extend(columns.iter().map(|column| cell(column).unwrap_or_default()));
    row
}

fn question_rows(columns: &[Column<'_>]) -> Vec<Row> {
    let asked = || columns.iter().filter_map(|column| column.questions);
    let Some(first) = asked().next() else { return Vec::new() };
    let mut rows = Vec::new();
    let kinds: BTreeSet<_> =
        asked().flat_map(|questions| questions.kinds.iter().map(|kind| kind.kind)).collect();
    for kind in kinds {
        let of = |questions: &Questions| {
            let found = questions.kinds.iter().find(|figures| figures.kind == kind)?;
            Some(percent(found.accuracy))
        };
        let mut cells = row(kind.name(), columns, |column| of(column.questions?));
        let constant = first.kinds.iter().find(|figures| figures.kind == kind);
        cells.push(
            constant.map_or_else(String::new, |kind| format!("constant {:.1}", 100.0 * kind.constant_share)),
        );
        rows.push(cells);
    }
    let mut average =
        row("questions, average of kinds", columns, |column| Some(percent(column.questions?.average)));
    average.push(format!("constant {:.1}", 100.0 * first.constant));
    rows.push(average);
    let counted = |name: &str, count: fn(&Questions) -> usize| {
        let any = asked().any(|questions| count(questions) > 0);
        any.then(|| row(name, columns, |column| Some(count(column.questions?).to_string())))
    };
    rows.extend(counted("  replies cut", |questions| questions.cut));
    rows.extend(counted("  prompts too long", |questions| questions.prompt_too_long));
    rows
}

fn condition_rows(columns: &[Column<'_>]) -> Vec<Row> {
    let found = |column: &Column<'_>| column.figures.conditions.clone().filter(|_| column.first);
    let ids: BTreeSet<String> = columns
        .iter()
        .filter_map(found)
        .flat_map(|conditions| conditions.by_instruction.into_iter().map(|one| one.id))
        .collect();
    if ids.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![
        row("whole requests", columns, |column| Some(percent(found(column)?.whole_requests))),
        row("conditions", columns, |column| Some(percent(found(column)?.conditions))),
    ];
    for id in &ids {
        rows.push(row(&format!("  {id}"), columns, |column| {
            let conditions = found(column)?;
            Some(percent(conditions.by_instruction.iter().find(|one| one.id == *id)?.followed))
        }));
    }
    rows
}

fn preference_rows(columns: &[Column<'_>]) -> Vec<Row> {
    let found = |column: &Column<'_>| column.figures.preferences.clone().filter(|_| column.first);
    if !columns.iter().any(|column| found(column).is_some()) {
        return Vec::new();
    }
    let share = |share: f64| if share.is_nan() { "-".to_owned() } else { format!("{:.1}", 100.0 * share) };
    let mut rows = vec![
        row("preferred pairs", columns, |column| Some(percent(found(column)?.preferred))),
        row("  the longer reply", columns, |column| Some(share(found(column)?.longer))),
        row("  the shorter reply", columns, |column| Some(share(found(column)?.shorter))),
    ];
    let skipped = |column: &Column<'_>| found(column).map(|found| found.skipped.values().sum::<usize>());
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
    let of = |column: &Column<'_>, source: &str, figure: fn(&crate::figures::Documents) -> Estimate| {
        let found = column.figures.documents.iter().find(|one| one.source == source)?;
        column.first.then(|| number(figure(found)))
    };
    let mut rows = Vec::new();
    for source in sources {
        rows.push(row(&format!("{source}: nats a token"), columns, |column| {
            of(column, source, |one| one.nats_per_token)
        }));
        rows.push(row(&format!("{source}: bits a byte"), columns, |column| {
            of(column, source, |one| one.bits_per_byte)
        }));
    }
    rows
}

/// Hundredths with their standard error.
pub(crate) fn percent(estimate: Estimate) -> String {
    let Estimate { value, standard_error } = estimate;
    match (value.is_nan(), standard_error.is_nan()) {
        (true, _) => "-".to_owned(),
        (_, true) => format!("{:.1}", 100.0 * value),
        _ => format!("{:.1} \u{b1} {:.1}", 100.0 * value, 100.0 * standard_error),
    }
}

/// A figure with its standard error.
pub(crate) fn number(estimate: Estimate) -> String {
    let Estimate { value, standard_error } = estimate;
    match (value.is_nan(), standard_error.is_nan()) {
        (true, _) => "-".to_owned(),
        (_, true) => format!("{value:.3}"),
        _ => format!("{value:.3} \u{b1} {standard_error:.3}"),
    }
}

/// A gain in points.
pub(crate) fn points(gain: &Gain) -> String {
    let Estimate { value, standard_error } = gain.gain;
    let error = if standard_error.is_nan() {
        String::new()
    } else {
        format!(" \u{b1} {:.1}", 100.0 * standard_error)
    };
    format!("{:+.1}{error} points", 100.0 * value)
}

fn told(before: &str, after: &str, gain: &Gain) -> String {
    let modes = gain.modes.filter(|(earlier, later)| earlier != later);
    let modes = modes
        .map_or_else(String::new, |(earlier, later)| format!(" ({} after {})", later.name(), earlier.name()));
    format!("{after} over {before}, {}{modes}: {} (paired, {})\n", gain.what, points(gain), gain.count)
}

/// The first column to the left, the others to the right.
fn laid_out(rows: &[Row]) -> String {
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
