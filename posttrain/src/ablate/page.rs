//! The report of an ablation: `report.html`, and `ablation.json` with the same figures.

use super::compare::{ArmFigure, Comparison, Figure};
use super::plan::{MIXTURE, Plan};
use super::propose::Proposal;
use anyhow::Result;
use report::bars::{Bar, bars, series_class};
use report::chart::{self, Chart, Line, Point};
use report::html::{escape, note, panel};
use report::{Page, STYLE};
use serde_json::{Value, json};
use std::path::Path;

/// A held-out loss of all arms over the steps.
#[derive(Debug)]
pub(super) struct Curves {
    /// The key of the metrics.
    pub(super) key: String,
    /// The name of each arm, and its points.
    pub(super) arms: Vec<(String, Vec<Point>)>,
}

/// Writes both files.
///
/// # Errors
/// When the disk refuses them.
pub(super) fn write(
    out: &Path,
    plan: &Plan,
    comparison: &Comparison,
    proposal: Option<&Proposal>,
    curves: &[Curves],
) -> Result<()> {
    let arms: Vec<Value> =
        plan.arms.iter().map(|arm| json!({"name": arm.name, "value": arm.value})).collect();
    let proposed = proposal.map(|one| {
        let weights: serde_json::Map<String, Value> =
            one.weights.iter().map(|(name, weight)| (name.clone(), json!(weight))).collect();
        json!({"mixture": weights, "expected": one.expected, "error": one.error, "is_reliable": one.is_reliable()})
    });
    let summary = json!({
        "vary": plan.vary, "seeds": plan.seeds, "arms": arms, "comparison": comparison, "proposal": proposed,
    });
    files::atomic::write(&out.join("ablation.json"), format!("{summary:#}\n"))?;
    files::atomic::write(&out.join("report.html"), page(plan, comparison, proposal, curves))?;
    Ok(())
}

fn page(plan: &Plan, comparison: &Comparison, proposal: Option<&Proposal>, curves: &[Curves]) -> String {
    let seeds: Vec<String> = plan.seeds.iter().map(u64::to_string).collect();
    let varied = if plan.vary == MIXTURE { "the mixture" } else { &plan.vary };
    let head = format!(
        "<header>\n<h1>Ablation of {}</h1>\n{}</header>\n",
        escape(varied),
        note(&format!(
            "{} arms with seeds {}: the same weights, tokens, steps and order of data in all arms. Differences are from `{}`, \
             pair by pair; bold where they are more than two standard errors (the larger of those over seeds and over \
             documents).",
            plan.arms.len(),
            seeds.join(", "),
            plan.arms[0].name
        ))
    );
    let drawn: String = comparison.figures.iter().map(drawn).collect();
    let charts: String = curves.iter().map(chart).collect();
    let body = format!(
        "{head}{}<div class=\"panels wide\">\n{}{}</div>\n<div class=\"panels\">\n{drawn}</div>\n<main class=\"charts\">\n{charts}</main>\n",
        table(comparison),
        values(plan),
        proposal.map(proposed).unwrap_or_default()
    );
    let page = Page { title: "Ablation", styles: &[STYLE], scripts: &[chart::SCRIPT], body: &body };
    page.render()
}

/// What each arm has in the place of what varies.
fn values(plan: &Plan) -> String {
    let rows: String = plan
        .arms
        .iter()
        .map(|arm| {
            format!("<tr><td>{}</td><td>{}</td></tr>\n", escape(&arm.name), escape(&arm.value.to_string()))
        })
        .collect();
    let head = format!("<tr><th>arm</th><th>{}</th></tr>", escape(&plan.vary));
    format!("<div class=\"panel table\"><h3>Arms</h3><table>{head}\n{rows}</table></div>\n")
}

fn table(comparison: &Comparison) -> String {
    let head: String =
        comparison.figures.iter().map(|figure| format!("<th>{}</th>", escape(&figure.name))).collect();
    let row = |(name, figures): (&str, &mut dyn Iterator<Item = &ArmFigure>)| {
        let cells = figures.map(|figure| {
            let text = escape(figure.cell().trim_end_matches('*'));
            if figure.is_clear() { format!("<td><b>{text}</b></td>") } else { format!("<td>{text}</td>") }
        });
        format!("<tr><td>{}</td>{}</tr>\n", escape(name), cells.collect::<String>())
    };
    let rows: String = comparison.lines().map(|(name, mut figures)| row((name, &mut figures))).collect();
    format!(
        "<div class=\"panel table\"><h3>Figures</h3><table><tr><th></th>{head}</tr>\n{rows}</table></div>\n"
    )
}

/// A figure as bars, with the standard error of the difference from the first arm.
fn drawn(figure: &Figure) -> String {
    let highest = figure.arms.iter().map(|arm| arm.mean).fold(f64::MIN_POSITIVE, f64::max);
    let bar = |(index, arm): (usize, &ArmFigure)| Bar {
        name: arm.arm.clone(),
        class: series_class(index),
        value: arm.mean,
        standard_error: arm.error(),
        figure: format!("{:.4}", arm.mean),
    };
    let list: Vec<Bar> = figure.arms.iter().enumerate().map(bar).collect();
    let better = if figure.is_score { "higher is better" } else { "nats per token; lower is better" };
    panel(&figure.name, &(note(better) + &bars(&list, highest, None)))
}

fn proposed(proposal: &Proposal) -> String {
    let highest = proposal.weights.iter().map(|(_, weight)| *weight).fold(f64::MIN_POSITIVE, f64::max);
    let bar = |(index, (name, weight)): (usize, &(String, f64))| Bar {
        name: name.clone(),
        class: series_class(index),
        value: *weight,
        standard_error: None,
        figure: format!("{:.1}%", 100.0 * weight),
    };
    let list: Vec<Bar> = proposal.weights.iter().enumerate().map(bar).collect();
    let words = proposal.text();
    let words = words.split_once("expected objective").map_or("", |(_, rest)| rest);
    panel("Proposed mixture", &(bars(&list, highest, None) + &note(&format!("Expected objective{words}"))))
}

fn chart(curves: &Curves) -> String {
    let line = |(name, points): &(String, Vec<Point>)| Line {
        label: name.clone(),
        points: points.clone(),
        smoothed: false,
        dotted: true,
    };
    let last = curves.arms.iter().flat_map(|(_, points)| points).map(|point| point.0).fold(0.0, f64::max);
    let lines = curves.arms.iter().map(line).collect();
    Chart { title: curves.key.clone(), unit: "nats per token", lines, skips_start: true }.figure((0.0, last))
}
