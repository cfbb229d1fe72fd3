//! The figures of one task as the template shows them.

use super::columns::ColumnCounts;
use super::counts::TaskCounts;
use super::lengths::Lengths;
use report::numbers::separated;
use serde::Serialize;
use std::collections::BTreeMap;

/// Values of a column that are shown by name.
const NAMED_VALUES: usize = 30;
/// Scales whose levels have an order.
const SCALES: [[&str; 5]; 2] = [
    ["very easy", "easy", "medium", "hard", "very hard"],
    ["very poor", "poor", "average", "good", "excellent"],
];

/// The figures of a task.
#[derive(Serialize)]
pub(super) struct TaskFigures<'a> {
    pub(super) name: &'a str,
    pub(super) begun: u64,
    pub(super) kept: u64,
    funnel: Vec<FunnelStep<'a>>,
    pub(super) reasons: Vec<Reason<'a>>,
    histograms: Vec<Histogram>,
    columns: Vec<ColumnShares<'a>>,
    /// Lengths that are equal in all rows.
    constant_lengths: Vec<(&'static str, String)>,
    /// Columns with the same value in all rows.
    constant_columns: Vec<(&'a str, &'a str)>,
}

/// A step that dropped rows.
#[derive(Serialize)]
struct FunnelStep<'a> {
    name: &'a str,
    dropped: u64,
    /// Rows that are left after it.
    left: u64,
}

/// A reason for which rows were dropped.
#[derive(Serialize)]
pub(super) struct Reason<'a> {
    pub(super) name: &'a str,
    count: u64,
    steps: Vec<&'a str>,
}

/// A histogram of lengths.
#[derive(Serialize)]
struct Histogram {
    heading: &'static str,
    /// The unit of the lengths.
    unit: &'static str,
    /// What has the lengths.
    counted: &'static str,
    bars: Vec<HistogramBar>,
    highest: u64,
    count: u64,
    mean: String,
    median: u64,
    percentile_90: u64,
    longest: u64,
    /// Whether each bar is one length.
    is_exact: bool,
}

#[derive(Serialize)]
struct HistogramBar {
    range: String,
    label: String,
    count: u64,
}

/// The shares of a column's values.
#[derive(Serialize)]
struct ColumnShares<'a> {
    name: &'a str,
    is_list: bool,
    rows: u64,
    highest: u64,
    values: Vec<(&'a str, u64)>,
    /// Values that are not shown by name.
    other_values: usize,
    other_rows: u64,
}

impl<'a> TaskFigures<'a> {
    /// The figures of a task's counts.
    pub(super) fn new(name: &'a str, counts: &'a TaskCounts) -> Self {
        let begun = counts.kept + counts.dropped_rows();
        let mut left = begun;
        let funnel = counts.by_step().into_iter().map(|(name, dropped)| {
            left -= dropped;
            FunnelStep { name, dropped, left }
        });
        let categories = || counts.columns.iter().filter(|column| column.is_category());
        let is_constant = |column: &&ColumnCounts| column.values.len() == 1 && !column.is_list;
        let constants = categories().filter(is_constant);
        let varied = categories().filter(|column| !is_constant(column));
        let histograms = [
            ("Messages per row", "messages", "rows", &counts.messages),
            ("Words per user message", "words", "messages", &counts.user),
            ("Words per assistant message", "words", "messages", &counts.assistant),
        ];
        let histograms = histograms.into_iter().filter(|(.., lengths)| lengths.count > 0).map(histogram);
        let (histograms, constant): (Vec<_>, Vec<_>) = histograms.partition(|chart| chart.bars.len() > 1);
        Self {
            name,
            begun,
            kept: counts.kept,
            funnel: funnel.collect(),
            reasons: reasons(counts),
            histograms,
            columns: varied.map(shares).collect(),
            constant_lengths: constant
                .into_iter()
                .map(|mut chart| (chart.heading, chart.bars.remove(0).range))
                .collect(),
            constant_columns: constants
                .filter_map(|column| Some((column.name.as_str(), column.values.keys().next()?.as_str())))
                .collect(),
        }
    }
}

/// The reasons, the most frequent first.
fn reasons(counts: &TaskCounts) -> Vec<Reason<'_>> {
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

fn histogram(
    (heading, unit, counted, lengths): (&'static str, &'static str, &'static str, &Lengths),
) -> Histogram {
    let ranges = lengths.bars();
    let is_exact = ranges.iter().all(|(first, last, _)| first == last);
    let are_few = ranges.len() < 14;
    let bars = ranges.iter().enumerate().map(|(index, (first, last, count))| {
        let range = match first == last {
            true => separated(*first),
            false => format!("{}\u{2013}{}", separated(*first), separated(*last)),
        };
        // A logarithmic axis has labels at the powers of two, with many bars at every other one.
        let is_labeled = is_exact
            || first.is_power_of_two() && (are_few || first.ilog2() % 2 == 0)
            || index == 0 && are_few;
        let label = if is_labeled { separated(*first) } else { String::new() };
        HistogramBar { range, label, count: *count }
    });
    Histogram {
        heading,
        unit,
        counted,
        bars: bars.collect(),
        highest: ranges.iter().map(|(_, _, count)| *count).max().unwrap_or(0),
        count: lengths.count,
        mean: format!("{:.1}", lengths.mean()),
        median: lengths.quantile(0.5),
        percentile_90: lengths.quantile(0.9),
        longest: lengths.longest,
        is_exact,
    }
}

/// The values of a column: levels of a scale and numbers in their order, others by frequency.
fn shares(column: &ColumnCounts) -> ColumnShares<'_> {
    let mut values: Vec<(&str, u64)> =
        column.values.iter().map(|(value, count)| (value.as_str(), *count)).collect();
    values.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let others = values.split_off(values.len().min(NAMED_VALUES));
    let level = |scale: &[&str; 5], value: &str| scale.iter().position(|level| *level == value);
    let is_scale = |scale: &&[&str; 5]| values.iter().all(|(value, _)| level(scale, value).is_some());
    if let Some(scale) = SCALES.iter().find(is_scale) {
        values.sort_by_key(|(value, _)| level(scale, value));
    } else if values.iter().all(|(value, _)| *value == "none" || value.parse::<f64>().is_ok()) {
        let number = |value: &str| value.parse().unwrap_or(f64::INFINITY);
        values.sort_by(|(one, _), (other, _)| number(one).total_cmp(&number(other)));
    }
    let other_rows = others.iter().map(|(_, count)| count).sum();
    ColumnShares {
        name: &column.name,
        is_list: column.is_list,
        rows: column.rows,
        highest: values.iter().map(|(_, count)| *count).max().unwrap_or(0).max(other_rows),
        values,
        other_values: others.len(),
        other_rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_and_numbers_keep_their_order() {
        let order = |pairs: &[(&str, u64)]| {
            let values = pairs.iter().map(|(value, count)| ((*value).to_owned(), *count)).collect();
            let mut column = ColumnCounts::new("column");
            (column.values, column.rows) = (values, 100);
            shares(&column).values.iter().map(|(value, _)| (*value).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(order(&[("hard", 9), ("easy", 1), ("medium", 5)]), ["easy", "medium", "hard"]);
        assert_eq!(order(&[("10", 1), ("9", 2), ("none", 7)]), ["9", "10", "none"]);
        assert_eq!(order(&[("coding", 1), ("math", 2)]), ["math", "coding"]);
        let many: BTreeMap<_, _> =
            (0..100).map(|value| (format!("v{value}"), 1 + u64::from(value < 3))).collect();
        let mut column = ColumnCounts::new("column");
        (column.values, column.rows) = (many, 103);
        let shares = shares(&column);
        assert_eq!(
            (shares.values.len(), shares.other_values, shares.other_rows, shares.highest),
            (30, 70, 70, 70)
        );
    }
}
