//! The scoreboard: averages, what each model gained, questions by kind, conditions by instruction, perplexity.

use crate::columns::{Column, question_kinds};
use crate::figures::{Figures, QuestionFigures};
use crate::format::{measure, number, percent, points};
use crate::gains::gains;
use crate::results::ModelResults;
use crate::statistics::Estimate;
use report::bars::{Bar, bars, series_class};
use report::escape;
use report::html::{note, panel};

/// A dashed line across all bars of a panel: its value and what it is.
type Mark<'a> = Option<(f64, &'a str)>;

/// The whole section.
pub(super) fn section(models: &[ModelResults], columns: &[Column<'_>]) -> String {
    let mut html = String::from("<section id=\"board\"><h2>Scoreboard</h2>\n");
    html.push_str(&note("Error bars are one standard error to each side."));
    html.push_str(&format!("<div class=\"panels wide\">\n{}</div>\n", averages(columns)));
    html.push_str(&gains_table(models));
    let kinds: String = question_kinds(columns).into_iter().map(|kind| kind_panel(kind, columns)).collect();
    html.push_str(&subsection("kinds", "Questions by kind", "", &kinds));
    let conditions = instruction_panels(columns);
    html.push_str(&subsection("conditions", "Conditions by instruction", "", &conditions));
    let documents = document_panels(columns);
    html.push_str(&subsection("documents", "Held-out documents", "Lower is better.", &documents));
    html.push_str("</section>\n");
    html
}

/// A heading with panels below; empty without panels.
fn subsection(id: &str, title: &str, explanation: &str, panels: &str) -> String {
    if panels.is_empty() {
        return String::new();
    }
    let explanation = note(explanation);
    format!("<h2 id=\"{id}\">{title}</h2>\n{explanation}<div class=\"panels\">\n{panels}</div>\n")
}

/// A panel of bars from 0 to `highest` with a note below.
fn bar_panel(title: &str, explanation: &str, list: &[Bar], highest: f64, mark: Mark<'_>) -> String {
    let mut explanation = explanation.to_owned();
    if let Some((value, name)) = mark {
        explanation.push_str(&format!("; dashed: {name}, {:.1}%", 100.0 * value));
    }
    panel(title, &(bars(list, highest, mark.map(|(value, _)| value)) + &note(&explanation)))
}

/// One bar per column, for figures of questions.
fn mode_bars(columns: &[Column<'_>], estimate: impl Fn(&QuestionFigures) -> Option<Estimate>) -> Vec<Bar> {
    let bars = columns.iter().enumerate().filter_map(|(index, column)| {
        let estimate = estimate(column.questions?)?;
        Some(bar(&column.heading, index, estimate, percent(estimate)))
    });
    bars.collect()
}

/// One bar per model, for figures that do not depend on the mode of the questions.
fn model_bars(
    columns: &[Column<'_>],
    estimate: impl Fn(&Figures) -> Option<Estimate>,
    text: fn(Estimate) -> String,
) -> Vec<Bar> {
    let bars =
        columns.iter().enumerate().filter(|(_, column)| column.is_first).filter_map(|(index, column)| {
            let estimate = estimate(column.figures)?;
            Some(bar(column.model, index, estimate, text(estimate)))
        });
    bars.collect()
}

fn bar(name: &str, color: usize, estimate: Estimate, figure: String) -> Bar {
    let Estimate { value, standard_error } = estimate;
    Bar {
        name: name.to_owned(),
        class: series_class(color),
        value,
        standard_error: Some(standard_error),
        figure,
    }
}

fn averages(columns: &[Column<'_>]) -> String {
    let mut html = String::new();
    if let Some(questions) = columns.iter().find_map(|column| column.questions) {
        let bars = mode_bars(columns, |questions| Some(questions.average));
        let count: usize = questions.kinds.iter().map(|kind| kind.count).sum();
        let explanation =
            format!("percent right, the mean of {} kinds, {count} questions", questions.kinds.len());
        let mark = Some((questions.constant, "the best constant answer of each kind"));
        html.push_str(&bar_panel("Questions", &explanation, &bars, 1.0, mark));
    }
    if let Some(conditions) = columns.iter().find_map(|column| column.figures.conditions.as_ref()) {
        let whole = model_bars(columns, |figures| Some(figures.conditions.as_ref()?.whole_requests), percent);
        let explanation = format!("percent of {} requests with every condition met", conditions.requests);
        html.push_str(&bar_panel("Whole requests", &explanation, &whole, 1.0, None));
        let met = model_bars(columns, |figures| Some(figures.conditions.as_ref()?.conditions), percent);
        html.push_str(&bar_panel("Conditions", "percent of all conditions met", &met, 1.0, None));
    }
    let preferred = model_bars(columns, |figures| Some(figures.preferences.as_ref()?.preferred), percent);
    if !preferred.is_empty() {
        let chance = Some((0.5, "chance"));
        html.push_str(&bar_panel("Preferred pairs", &preferences_note(columns), &preferred, 1.0, chance));
    }
    html
}

fn preferences_note(columns: &[Column<'_>]) -> String {
    let preferences: Vec<_> = columns
        .iter()
        .filter(|column| column.is_first)
        .filter_map(|column| Some((column.model, column.figures.preferences.as_ref()?)))
        .collect();
    let mut notes = vec!["percent of pairs whose chosen reply is more likely".to_owned()];
    if let Some((_, one)) = preferences.iter().find(|(_, one)| one.pairs > 0) {
        let (pairs, longer, shorter) = (one.pairs, 100.0 * one.longer, 100.0 * one.shorter);
        notes.push(format!(
            "{pairs} pairs; the longer reply is the chosen one in {longer:.1}%, the shorter in {shorter:.1}%"
        ));
    }
    for (name, one) in preferences {
        notes.extend(
            one.skipped.iter().map(|(reason, count)| format!("{name}: {count} not measured ({reason})")),
        );
    }
    notes.join("; ")
}

/// What each model gained over the one before it; empty for a single model.
fn gains_table(models: &[ModelResults]) -> String {
    let mut rows = String::new();
    for pair in models.windows(2) {
        for gain in gains(&pair[0].replies, &pair[1].replies) {
            rows.push_str(&format!(
                "<tr><th scope=\"row\">{} over {}</th><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
                escape(&pair[1].name),
                escape(&pair[0].name),
                measure(&gain),
                points(&gain),
                gain.count
            ));
        }
    }
    if rows.is_empty() {
        return rows;
    }
    format!(
        "<div class=\"panel table\"><h3>Paired differences</h3><table><thead><tr><th>models</th><th>measure</th>\
         <th class=\"n\">gain \u{b1} standard error</th><th class=\"n\">in common</th></tr></thead><tbody>\n{rows}\
         </tbody></table></div>\n"
    )
}

fn kind_panel(kind: &str, columns: &[Column<'_>]) -> String {
    let of_kind = |questions: &QuestionFigures| questions.kinds.iter().find(|one| one.kind == kind).cloned();
    let Some(first) = columns.iter().find_map(|column| of_kind(column.questions?)) else {
        return String::new();
    };
    let bars = mode_bars(columns, |questions| Some(of_kind(questions)?.accuracy));
    let mark = Some((first.constant_share, "best constant"));
    bar_panel(kind, &format!("{} questions", first.count), &bars, 1.0, mark)
}

fn instruction_panels(columns: &[Column<'_>]) -> String {
    let Some(conditions) = columns.iter().find_map(|column| column.figures.conditions.as_ref()) else {
        return String::new();
    };
    let panels = conditions.by_instruction.iter().map(|instruction| {
        let estimate = |figures: &Figures| {
            let conditions = figures.conditions.as_ref()?;
            Some(conditions.by_instruction.iter().find(|one| one.id == instruction.id)?.followed)
        };
        let explanation = format!("in {} requests", instruction.count);
        let bars = model_bars(columns, estimate, percent);
        bar_panel(&instruction.id, &explanation, &bars, 1.0, None)
    });
    panels.collect()
}

fn document_panels(columns: &[Column<'_>]) -> String {
    let mut sources = columns.iter().map(|column| &column.figures.documents);
    let Some(sources) = sources.find(|documents| !documents.is_empty()) else { return String::new() };
    let mut html = String::new();
    for source in sources {
        let of_source =
            |figures: &Figures| figures.documents.iter().find(|one| one.source == source.source).cloned();
        let bits = model_bars(columns, |figures| Some(of_source(figures)?.bits_per_byte), number);
        let nats = model_bars(columns, |figures| Some(of_source(figures)?.nats_per_token), number);
        let explanation = format!("{} documents", source.documents);
        for (unit, bars) in [("bits per byte", bits), ("nats per token", nats)] {
            let title = format!("{}: {unit}", source.source);
            html.push_str(&bar_panel(&title, &explanation, &bars, highest(&bars), None));
        }
    }
    html
}

/// A little more than the end of the longest bar with its error bar.
fn highest(bars: &[Bar]) -> f64 {
    let ends = bars.iter().flat_map(|bar| [bar.value, bar.value + bar.standard_error.unwrap_or(0.0)]);
    1.05 * ends.filter(|end| end.is_finite()).fold(1e-9, f64::max)
}
