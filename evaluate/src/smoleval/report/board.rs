//! The scoreboard: the large figures, what each model gained, questions by kind, conditions by instruction, perplexity.

use super::bars::{Bar, card};
use super::page::escape;
use crate::figures::{Figures, Questions, gains};
use crate::statistics::Estimate;
use crate::stored::Scored;
use crate::table::{number, percent, points};
use datasets::pocket::Kind;

/// A model in one of the ways it was asked.
pub(super) struct Column<'a> {
    name: String,
    /// The model's own name, for what does not depend on how it was asked.
    model: String,
    colour: usize,
    figures: &'a Figures,
    questions: Option<&'a Questions>,
    first: bool,
}

/// One column for each way a model was asked.
pub(super) fn columns<'a>(models: &[Scored], figures: &'a [Figures]) -> Vec<Column<'a>> {
    let mut columns: Vec<Column<'a>> = Vec::new();
    for (model, figures) in models.iter().zip(figures) {
        let several = figures.questions.len() > 1;
        let asked: Vec<Option<&Questions>> = match figures.questions.as_slice() {
            [] => vec![None],
            questions => questions.iter().map(Some).collect(),
        };
        let model = &model.name;
        for (index, questions) in asked.into_iter().enumerate() {
            let mode = questions.filter(|_| several).map(|questions| format!(" ({})", questions.mode.name()));
            let name = format!("{model}{}", mode.unwrap_or_default());
            columns.push(Column {
                name,
                model: model.clone(),
                colour: columns.len(),
                figures,
                questions,
                first: index == 0,
            });
        }
    }
    columns
}

/// All of it.
pub(super) fn section(models: &[Scored], columns: &[Column<'_>]) -> String {
    let mut html = String::from(
        "<section id=\"board\"><h2>Scoreboard</h2>\n<p class=\"note\">Bars end at the figure; the whiskers are one standard error to each side.</p>\n<div class=\"cards wide\">\n",
    );
    html.push_str(&totals(columns));
    html.push_str("</div>\n");
    html.push_str(&gained(models));
    let kinds: String = Kind::ALL.into_iter().map(|kind| of_kind(kind, columns)).collect();
    if !kinds.is_empty() {
        html.push_str(&format!(
            "<h2 id=\"kinds\">Questions by kind</h2>\n<div class=\"cards\">\n{kinds}</div>\n"
        ));
    }
    let conditions = by_instruction(columns);
    if !conditions.is_empty() {
        html.push_str(&format!("<h2 id=\"conditions\">Conditions by instruction</h2>\n<div class=\"cards\">\n{conditions}</div>\n"));
    }
    let documents = documents(columns);
    if !documents.is_empty() {
        html.push_str(&format!("<h2 id=\"documents\">Held-out documents</h2>\n<p class=\"note\">Less is better.</p>\n<div class=\"cards\">\n{documents}</div>\n"));
    }
    html.push_str("</section>\n");
    html
}

/// Bars of questions: one a column.
fn asked(columns: &[Column<'_>], of: impl Fn(&Questions) -> Option<Estimate>) -> Vec<Bar> {
    let bar = |column: &Column<'_>| {
        let estimate = of(column.questions?)?;
        Some(Bar { name: column.name.clone(), colour: column.colour, estimate, figure: percent(estimate) })
    };
    columns.iter().filter_map(bar).collect()
}

/// Bars of what does not depend on how questions were put: one a model.
fn measured(
    columns: &[Column<'_>],
    of: impl Fn(&Figures) -> Option<Estimate>,
    figure: fn(Estimate) -> String,
) -> Vec<Bar> {
    let bar = |column: &Column<'_>| {
        let estimate = of(column.figures)?;
        Some(Bar { name: column.model.clone(), colour: column.colour, estimate, figure: figure(estimate) })
    };
    columns.iter().filter(|column| column.first).filter_map(bar).collect()
}

fn totals(columns: &[Column<'_>]) -> String {
    let mut html = String::new();
    if let Some(questions) = columns.iter().find_map(|column| column.questions) {
        let bars = asked(columns, |questions| Some(questions.average));
        let count: usize = questions.kinds.iter().map(|kind| kind.count).sum();
        let note = format!("percent right, the mean of {} kinds, {count} questions", questions.kinds.len());
        let mark = Some((questions.constant, "dashed: the best constant answer of each kind"));
        html.push_str(&card("Questions", &note, &bars, 1.0, mark));
    }
    if let Some(found) = columns.iter().find_map(|column| column.figures.conditions.as_ref()) {
        let whole = measured(columns, |of| Some(of.conditions.as_ref()?.whole_requests), percent);
        let note = format!("percent of {} requests with every condition met", found.requests);
        html.push_str(&card("Whole requests", &note, &whole, 1.0, None));
        let met = measured(columns, |of| Some(of.conditions.as_ref()?.conditions), percent);
        html.push_str(&card("Conditions", "percent of all conditions met", &met, 1.0, None));
    }
    let preferred = measured(columns, |of| Some(of.preferences.as_ref()?.preferred), percent);
    if !preferred.is_empty() {
        let chance = Some((0.5, "dashed: chance"));
        html.push_str(&card("Preferred pairs", &preferences_note(columns), &preferred, 1.0, chance));
    }
    html
}

fn preferences_note(columns: &[Column<'_>]) -> String {
    let found: Vec<_> = columns
        .iter()
        .filter(|column| column.first)
        .filter_map(|column| Some((&column.model, column.figures.preferences.as_ref()?)))
        .collect();
    let mut notes = vec!["percent of pairs with the chosen reply likelier".to_owned()];
    if let Some((_, one)) = found.iter().find(|(_, one)| one.pairs > 0) {
        let (pairs, longer, shorter) = (one.pairs, 100.0 * one.longer, 100.0 * one.shorter);
        notes.push(format!("{pairs} pairs, of which the longer reply is the chosen one in {longer:.1}%, the shorter in {shorter:.1}%"));
    }
    for (name, one) in found {
        notes.extend(
            one.skipped.iter().map(|(reason, count)| format!("{name}: {count} not measured ({reason})")),
        );
    }
    notes.join("; ")
}

/// What each model gained over the one before.
fn gained(models: &[Scored]) -> String {
    let mut rows = String::new();
    for pair in models.windows(2) {
        for gain in gains(&pair[0].replies, &pair[1].replies) {
            let modes = gain
                .modes
                .filter(|(before, after)| before != after)
                .map_or_else(String::new, |(before, after)| {
                    format!(" ({} after {})", after.name(), before.name())
                });
            rows.push_str(&format!(
                "<tr><th scope=\"row\">{} over {}</th><td>{}{modes}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
                escape(&pair[1].name), escape(&pair[0].name), gain.what, points(&gain), gain.count
            ));
        }
    }
    if rows.is_empty() {
        return rows;
    }
    format!(
        "<div class=\"card table\"><h3>Paired differences</h3><table><thead><tr><th>models</th><th>of</th><th class=\"n\">gain \u{b1} standard error</th><th class=\"n\">asked both</th></tr></thead><tbody>\n{rows}</tbody></table></div>\n"
    )
}

fn of_kind(kind: Kind, columns: &[Column<'_>]) -> String {
    let of = |questions: &Questions| questions.kinds.iter().find(|one| one.kind == kind).cloned();
    let Some(first) = columns.iter().find_map(|column| of(column.questions?)) else { return String::new() };
    let bars = asked(columns, |questions| Some(of(questions)?.accuracy));
    let mark = Some((first.constant_share, "always the same answer"));
    card(kind.name(), &format!("{} questions", first.count), &bars, 1.0, mark)
}

fn by_instruction(columns: &[Column<'_>]) -> String {
    let Some(all) = columns.iter().find_map(|column| column.figures.conditions.as_ref()) else {
        return String::new();
    };
    let cards = all.by_instruction.iter().map(|instruction| {
        let of = |figures: &Figures| {
            let found =
                figures.conditions.as_ref()?.by_instruction.iter().find(|one| one.id == instruction.id)?;
            Some(found.followed)
        };
        let note = format!("asked for {} times", instruction.count);
        card(&instruction.id, &note, &measured(columns, of, percent), 1.0, None)
    });
    cards.collect()
}

fn documents(columns: &[Column<'_>]) -> String {
    let Some(all) = columns.iter().map(|column| &column.figures.documents).find(|found| !found.is_empty())
    else {
        return String::new();
    };
    let mut html = String::new();
    for source in all {
        let of =
            |figures: &Figures| figures.documents.iter().find(|one| one.source == source.source).cloned();
        let bits = measured(columns, |figures| Some(of(figures)?.bits_per_byte), number);
        let nats = measured(columns, |figures| Some(of(figures)?.nats_per_token), number);
        let note = format!("{} documents", source.documents);
        for (unit, bars) in [("bits per byte", bits), ("nats per token", nats)] {
            html.push_str(&card(&format!("{}: {unit}", source.source), &note, &bars, highest(&bars), None));
        }
    }
    html
}

/// A little beyond the longest bar with its whisker.
fn highest(bars: &[Bar]) -> f64 {
    let ends =
        bars.iter().flat_map(|bar| [bar.estimate.value, bar.estimate.value + bar.estimate.standard_error]);
    1.05 * ends.filter(|end| end.is_finite()).fold(1e-9, f64::max)
}
