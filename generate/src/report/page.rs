//! From counts to HTML: the figures as the template (`report.html`) wants them, and its filters.

use super::count::{Column, Counts, Lengths};
use super::samples::{DROPPED, KEPT, Samples, Shown};
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

pub(super) const TEMPLATE: &str = include_str!("../report.html");
/// Values of a column that are shown by name.
const NAMED: usize = 30;
/// Scales whose levels have an order.
const SCALES: [[&str; 5]; 2] = [
    ["very easy", "easy", "medium", "hard", "very hard"],
    ["very poor", "poor", "average", "good", "excellent"],
];

#[derive(Serialize)]
struct Page<'a> {
    title: &'a str,
    policy: String,
    about: &'a [(String, String)],
    begun: u64,
    kept: u64,
    tasks: Vec<Task<'a>>,
    /// Of all tasks.
    reasons: Vec<&'a str>,
    samples: Vec<&'a Shown>,
    sampled_kept: usize,
    sampled_dropped: usize,
}

#[derive(Serialize)]
struct Task<'a> {
    name: &'a str,
    begun: u64,
    kept: u64,
    stages: Vec<Stage<'a>>,
    reasons: Vec<Reason<'a>>,
    charts: Vec<Chart>,
    shares: Vec<Shares<'a>>,
    /// Lengths that never differ.
    always: Vec<(&'static str, String)>,
    /// Columns with the same value in every row.
    constants: Vec<(&'a str, &'a str)>,
}

/// What a step lost.
#[derive(Serialize)]
struct Stage<'a> {
    step: &'a str,
    lost: u64,
    /// Rows that went on.
    left: u64,
}

#[derive(Serialize)]
struct Reason<'a> {
    name: &'a str,
    count: u64,
    steps: Vec<&'a str>,
}

/// A histogram.
#[derive(Serialize)]
struct Chart {
    heading: &'static str,
    unit: &'static str,
    /// What is counted.
    of: &'static str,
    bars: Vec<Bar>,
    highest: u64,
    count: u64,
    mean: String,
    median: u64,
    ninetieth: u64,
    longest: u64,
    exact: bool,
}

#[derive(Serialize)]
struct Bar {
    range: String,
    label: String,
    count: u64,
}

#[derive(Serialize)]
struct Shares<'a> {
    name: &'a str,
    several: bool,
    rows: u64,
    highest: u64,
    values: Vec<(&'a str, u64)>,
    other_values: usize,
    other: u64,
}

/// The whole page.
pub(super) fn render(
    title: &str,
    about: &[(String, String)],
    tasks: &[(String, Counts)],
    samples: &Samples,
) -> Result<String> {
    let tasks: Vec<Task<'_>> = tasks.iter().map(|(name, counts)| task(name, counts)).collect();
    let mut reasons: Vec<&str> =
        tasks.iter().flat_map(|task| &task.reasons).map(|reason| reason.name).collect();
    reasons.sort_unstable();
    reasons.dedup();
    let page = Page {
        title,
        policy: policy().context("the report's template is broken")?,
        about,
        begun: tasks.iter().map(|task| task.begun).sum(),
        kept: tasks.iter().map(|task| task.kept).sum(),
        reasons,
        samples: samples.all(),
        sampled_kept: KEPT,
        sampled_dropped: DROPPED,
        tasks,
    };
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.add_filter("number", number);
    environment.add_filter("percent", percent);
    environment.add_filter("width", width);
    Ok(visible(&environment.render_str(TEMPLATE, page)?))
}

/// What the page may do: run its own script and wear its own style; load nothing, speak to nobody.
fn policy() -> Option<String> {
    let hash = |name: &str| {
        let (_, rest) = TEMPLATE.split_once(&format!("<{name}>"))?;
        let (inside, _) = rest.split_once(&format!("</{name}>"))?;
        Some(format!("'sha256-{}'", STANDARD.encode(Sha256::digest(inside))))
    };
    Some(format!(
        "default-src 'none'; script-src {}; style-src {}; img-src data:; base-uri 'none'; form-action 'none'",
        hash("script")?,
        hash("style")?
    ))
}

fn task<'a>(name: &'a str, counts: &'a Counts) -> Task<'a> {
    let begun = counts.kept + counts.dropped_rows();
    let mut left = begun;
    let stages = counts.by_step().into_iter().map(|(step, lost)| {
        left -= lost;
        Stage { step, lost, left }
    });
    let categories = || counts.columns.iter().filter(|column| column.is_category());
    let constants = categories().filter(|column| column.values.len() == 1 && !column.several);
    let varied = categories().filter(|column| column.values.len() > 1 || column.several);
    let charts = [
        ("Messages per row", "messages", "rows", &counts.messages),
        ("Words per user message", "words", "messages", &counts.user),
        ("Words per assistant message", "words", "messages", &counts.assistant),
    ];
    let charts = charts.into_iter().filter(|(.., lengths)| lengths.count > 0).map(chart);
    let (charts, even): (Vec<_>, Vec<_>) = charts.partition(|chart| chart.bars.len() > 1);
    Task {
        name,
        begun,
        kept: counts.kept,
        stages: stages.collect(),
        reasons: reasons(counts),
        charts,
        shares: varied.map(shares).collect(),
        always: even.into_iter().map(|mut chart| (chart.heading, chart.bars.remove(0).range)).collect(),
        constants: constants
            .filter_map(|column| Some((column.name.as_str(), column.values.keys().next()?.as_str())))
            .collect(),
    }
}

/// Reasons, the most frequent first.
fn reasons(counts: &Counts) -> Vec<Reason<'_>> {
    let mut reasons: BTreeMap<&str, Reason<'_>> = BTreeMap::new();
    for ((name, step), count) in &counts.drops {
        let reason = reasons.entry(name).or_insert(Reason { name, count: 0, steps: Vec::new() });
        reason.count += count;
        reason.steps.push(step);
    }
    let mut reasons: Vec<_> = reasons.into_values().collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.count));
    reasons
}

fn chart((heading, unit, of, lengths): (&'static str, &'static str, &'static str, &Lengths)) -> Chart {
    let columns = lengths.columns();
    let exact = columns.iter().all(|(first, last, _)| first == last);
    let bars = columns.iter().enumerate().map(|(place, (first, last, count))| Bar {
        range: if first == last {
            number(*first)
        } else {
            format!("{}\u{2013}{}", number(*first), number(*last))
        },
        // On a logarithmic axis the powers of two are named, every other one where they are many.
        label: match exact || first.is_power_of_two() && (columns.len() < 14 || first.ilog2() % 2 == 0) {
            true => number(*first),
            false if place == 0 && columns.len() < 14 => number(*first),
            false => String::new(),
        },
        count: *count,
    });
    Chart {
        heading,
        unit,
        of,
        bars: bars.collect(),
        highest: columns.iter().map(|(_, _, count)| *count).max().unwrap_or(0),
        count: lengths.count,
        mean: format!("{:.1}", lengths.mean()),
        median: lengths.quantile(0.5),
        ninetieth: lengths.quantile(0.9),
        longest: lengths.longest,
        exact,
    }
}

/// Levels of a scale and numbers in their order, names by frequency.
fn shares(column: &Column) -> Shares<'_> {
    let mut values: Vec<(&str, u64)> =
        column.values.iter().map(|(value, count)| (value.as_str(), *count)).collect();
    values.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let rest = values.split_off(values.len().min(NAMED));
    let known = |scale: &[&str; 5], value: &str| scale.iter().position(|level| *level == value);
    let is_scale = |scale: &&[&str; 5]| values.iter().all(|(value, _)| known(scale, value).is_some());
    if let Some(scale) = SCALES.iter().find(is_scale) {
        values.sort_by_key(|(value, _)| known(scale, value));
    } else if values.iter().all(|(value, _)| *value == "none" || value.parse::<f64>().is_ok()) {
        let place = |value: &str| value.parse().unwrap_or(f64::INFINITY);
        values.sort_by(|(one, _), (other, _)| place(one).total_cmp(&place(other)));
    }
    let other = rest.iter().map(|(_, count)| count).sum();
    Shares {
        name: &column.name,
        several: column.several,
        rows: column.rows,
        highest: values.iter().map(|(_, count)| *count).max().unwrap_or(0).max(other),
        values,
        other_values: rest.len(),
        other,
    }
}

/// Control characters as their pictures: HTML drops some of them, and a reader should see that they were there.
pub(super) fn visible(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\t' => character,
            '\0'..='\x1f' => char::from_u32(0x2400 + character as u32).unwrap_or(character),
            '\x7f' => '\u{2421}',
            _ => character,
        })
        .collect()
}

/// With commas between thousands.
fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share for people; what is not nothing is not called 0, and what is not all is not called 100.
fn percent(part: u64, whole: u64) -> String {
    let share = 100.0 * part as f64 / whole as f64;
    match part {
        _ if whole == 0 => "\u{2013}".to_owned(),
        0 => "0%".to_owned(),
        part if part == whole => "100%".to_owned(),
        _ if share < 0.05 => "<0.1%".to_owned(),
        _ if share >= 99.95 => ">99.9%".to_owned(),
        _ => format!("{share:.1}%"),
    }
}

/// A share as the length of a bar.
fn width(part: u64, whole: u64) -> String {
    format!("{:.2}%", 100.0 * part as f64 / whole.max(1) as f64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn the_template_escapes_everything_and_loads_nothing() {
        let forbidden = [
            "safe",
            "autoescape",
            "http:",
            "https:",
            "@import",
            "url(",
            "src=",
            "innerHTML",
            "outerHTML",
            "eval(",
            "insertAdjacent",
            "document.write",
            "Function(",
            "fetch(",
            "style=",
            "javascript:",
            "onclick",
            "onload",
        ];
        let found: Vec<_> = forbidden.iter().filter(|word| TEMPLATE.contains(**word)).collect();
        assert!(found.is_empty(), "{found:?}");
        assert_eq!((TEMPLATE.matches("<script").count(), TEMPLATE.matches("<style").count()), (1, 1));
        // What is hashed must be what the browser sees.
        for name in ["script", "style"] {
            let inside = TEMPLATE
                .split_once(&format!("<{name}>"))
                .unwrap()
                .1
                .split_once(&format!("</{name}>"))
                .unwrap()
                .0;
            assert!(!["{{", "{%", "{#"].iter().any(|mark| inside.contains(mark)), "{name}");
        }
    }

    #[test]
    fn figures_are_written_for_people() {
        assert_eq!(
            ["0", "999", "1,000", "12,345,678"],
            [0, 999, 1000, 12_345_678].map(number).each_ref().map(String::as_str)
        );
        assert_eq!(percent(0, 0), "\u{2013}");
        assert_eq!([percent(0, 9), percent(9, 9), percent(1, 3)], ["0%", "100%", "33.3%"]);
        assert_eq!([percent(1, 1_000_000), percent(999_999, 1_000_000)], ["<0.1%", ">99.9%"]);
        assert_eq!(width(1, 3), "33.33%");
        assert_eq!(visible("a\0b\r\n\x1b[31m"), "a\u{2400}b\u{240d}\n\u{241b}[31m");
    }

    #[test]
    fn scales_and_numbers_keep_their_order() {
        let order = |pairs: &[(&str, u64)]| {
            let values = pairs.iter().map(|(value, count)| ((*value).to_owned(), *count)).collect();
            let column = Column { values, rows: 100, ..Column::default() };
            shares(&column).values.iter().map(|(value, _)| (*value).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(order(&[("hard", 9), ("easy", 1), ("medium", 5)]), ["easy", "medium", "hard"]);
        assert_eq!(order(&[("10", 1), ("9", 2), ("none", 7)]), ["9", "10", "none"]);
        assert_eq!(order(&[("coding", 1), ("math", 2)]), ["math", "coding"]);
        let many: BTreeMap<_, _> =
            (0..100).map(|value| (format!("v{value}"), 1 + u64::from(value < 3))).collect();
        let column = Column { values: many, rows: 103, ..Column::default() };
        let shares = shares(&column);
        assert_eq!(
            (shares.values.len(), shares.other_values, shares.other, shares.highest),
            (30, 70, 70, 70)
        );
    }
}
