//! Training runs' curves, drawn from their `metrics.jsonl`: the loss as logged and smoothed, its evaluations, and in
//! preference training the share of pairs that came out right.

use super::manifest;
use super::page::{escape, facts};
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};
use std::path::Path;

/// Step and value.
type Point = (f64, f64);

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = WIDTH - 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = HEIGHT - 28.0;
/// More points than this are joined, several to one.
const POINTS: usize = 300;

/// A run's folder.
pub(super) struct TrainingRun {
    name: String,
    about: Vec<(&'static str, String)>,
    metrics: Vec<Map<String, Value>>,
}

impl TrainingRun {
    /// Reads what `posttrain` wrote.
    ///
    /// # Errors
    /// When a file is missing or no line of it names a step.
    pub(super) fn read(name: String, folder: &Path) -> Result<Self> {
        let run = manifest(folder, "posttrain")?;
        let path = folder.join("metrics.jsonl");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}, which `posttrain` writes", path.display()))?;
        let mut metrics: Vec<Map<String, Value>> = Vec::new();
        // A kill cuts the last line, and a resumed run begins again from an earlier step: later lines hold.
        for line in text.lines().filter_map(|line| serde_json::from_str::<Map<String, Value>>(line).ok()) {
            let Some(step) = line.get("step").and_then(Value::as_f64) else { continue };
            metrics.retain(|earlier| earlier["step"].as_f64().is_some_and(|earlier| earlier <= step));
            metrics.push(line);
        }
        ensure!(!metrics.is_empty(), "{} names no step", path.display());
        let text = |name: &str| run.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let last = |name: &str| metrics.iter().rev().find_map(|line| line.get(name)?.as_f64());
        let about = vec![
            ("command", text("command")),
            ("state", text("state")),
            ("steps", last("step").map_or_else(String::new, |steps| steps.to_string())),
            (
                "tokens",
                last("num_tokens").map_or_else(String::new, |tokens| format!("{:.2} M", tokens / 1e6)),
            ),
            (
                "time",
                last("seconds").map_or_else(String::new, |seconds| format!("{:.1} min", seconds / 60.0)),
            ),
        ];
        Ok(Self { name, about, metrics })
    }

    fn points(&self, key: &str) -> Vec<Point> {
        let point = |line: &Map<String, Value>| Some((line["step"].as_f64()?, line.get(key)?.as_f64()?));
        self.metrics.iter().filter_map(point).filter(|(_, value)| value.is_finite()).collect()
    }

    fn card(&self) -> String {
        let charts = [("loss, nats", "loss"), ("pairs the right way round, share", "rewards/accuracies")];
        let drawn: String = charts
            .iter()
            .map(|(title, key)| chart(title, &self.points(key), &self.points(&format!("eval_{key}"))))
            .collect();
        format!("<div class=\"card\"><h3>{}</h3>{}{drawn}</div>\n", escape(&self.name), facts(&self.about))
    }
}

/// A card for each; nothing where there is none.
pub(super) fn section(runs: &[TrainingRun]) -> String {
    if runs.is_empty() {
        return String::new();
    }
    let cards: String = runs.iter().map(TrainingRun::card).collect();
    format!(
        "<section id=\"training\"><h2>Training</h2>\n<p class=\"note\">Thin: as logged; thick: smoothed; dots: evaluations.</p>\n<div class=\"cards wide\">\n{cards}</div></section>\n"
    )
}

/// Where steps and values fall. Values above the range lie on its edge.
struct Axes {
    steps: (f64, f64),
    values: (f64, f64),
}

impl Axes {
    /// Of a run's points. The first ones of a run fall so steeply that all others would be a flat line below them.
    fn of(points: &[Point]) -> Self {
        let steps = range(points, |point| point.0);
        let settled = steps.0 + 0.03 * (steps.1 - steps.0);
        let later: Vec<Point> = points.iter().copied().filter(|point| point.0 >= settled).collect();
        let (low, high) = range(&later, |point| point.1);
        let air = 0.05 * (high - low);
        Self { steps, values: (low - air, high + air) }
    }

    fn x(&self, step: f64) -> f64 {
        LEFT + (step - self.steps.0) / (self.steps.1 - self.steps.0) * (RIGHT - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        let value = value.clamp(self.values.0, self.values.1);
        BOTTOM - (value - self.values.0) / (self.values.1 - self.values.0) * (BOTTOM - TOP)
    }

    fn grid(&self) -> String {
        let mut drawn = String::new();
        for (value, label) in ticks(self.values, 4.0) {
            let y = self.y(value);
            drawn.push_str(&format!("<path class=\"grid\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/><text class=\"value\" x=\"{}\" y=\"{:.1}\">{label}</text>", LEFT - 7.0, y + 4.0));
        }
        for (step, label) in ticks(self.steps, 5.0) {
            drawn.push_str(&format!(
                "<text x=\"{:.1}\" y=\"{}\">{label}</text>",
                self.x(step),
                BOTTOM + 19.0
            ));
        }
        drawn
    }

    fn path(&self, points: &[Point], class: &str) -> String {
        let places = points.iter().map(|(step, value)| format!("{:.1} {:.1}", self.x(*step), self.y(*value)));
        format!("<path class=\"{class}\" d=\"M{}\"/>", places.collect::<Vec<_>>().join("L"))
    }
}

/// Lowest and highest, with some width where they are one.
fn range(points: &[Point], of: fn(&Point) -> f64) -> (f64, f64) {
    let values = points.iter().map(of);
    let (low, high) = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if high > low { (low, high) } else { (low - 0.5, high + 0.5) }
}

/// One chart; nothing where there are no points.
fn chart(title: &str, logged: &[Point], evaluated: &[Point]) -> String {
    let all = [logged, evaluated].concat();
    let Some(last) = logged.last().or(evaluated.last()) else { return String::new() };
    let axes = Axes::of(&all);
    let mut drawn = axes.grid();
    if !logged.is_empty() {
        drawn.push_str(&axes.path(&thinned(logged), "thin"));
        drawn.push_str(&axes.path(&thinned(&smoothed(logged)), "line"));
    }
    for (step, value) in evaluated {
        drawn.push_str(&format!(
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
            axes.x(*step),
            axes.y(*value)
        ));
    }
    let evaluation =
        evaluated.last().map_or_else(String::new, |(_, value)| format!(", evaluated {value:.4}"));
    format!(
        "<h4>{title}: {:.4} at the end{evaluation}</h4><svg class=\"chart s0\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title} by step\">{drawn}</svg>\n",
        last.1
    )
}

/// A running mean that forgets over about a sixtieth of the run, weighed so that the first values count as they are.
fn smoothed(points: &[Point]) -> Vec<Point> {
    let share = 2.0 / ((points.len() as f64 / 60.0).max(3.0) + 1.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    let mut next = |value: f64| {
        sum += share * (value - sum);
        weight += share * (1.0 - weight);
        sum / weight
    };
    points.iter().map(|(step, value)| (*step, next(*value))).collect()
}

/// At most about `POINTS`, each the mean of its neighbours.
fn thinned(points: &[Point]) -> Vec<Point> {
    let together = points.len().div_ceil(POINTS).max(1);
    let mean =
        |points: &[Point], of: fn(&Point) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
    points.chunks(together).map(|some| (mean(some, |point| point.0), mean(some, |point| point.1))).collect()
}

/// Round numbers within a range, about `count`, with their labels.
fn ticks((low, high): (f64, f64), count: f64) -> Vec<(f64, String)> {
    let wanted = (high - low) / count;
    let power = 10_f64.powf(wanted.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|nice| nice * power >= wanted).unwrap_or(10.0) * power;
    let digits = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last)
        .map(|index| index as f64 * step)
        .map(|value| (value, format!("{value:.digits$}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let labels =
            |range, count| ticks(range, count).into_iter().map(|(_, label)| label).collect::<Vec<_>>();
        assert_eq!(labels((0.93, 4.2), 4.0), ["1", "2", "3", "4"]);
        assert_eq!(labels((0.0, 1.0), 4.0), ["0.0", "0.5", "1.0"]);
        assert_eq!(labels((0.0, 1000.0), 5.0), ["0", "200", "400", "600", "800", "1000"]);
    }

    #[test]
    fn a_long_run_is_thinned_and_a_constant_one_is_drawn() {
        let points: Vec<Point> = (0..10_000).map(|step| (f64::from(step), 2.0)).collect();
        assert!(thinned(&points).len() <= POINTS);
        assert!(smoothed(&points).iter().all(|point| (point.1 - 2.0).abs() < 1e-9));
        let drawn = chart("loss", &points, &[(5.0, 2.0)]);
        assert!(!drawn.contains("NaN") && drawn.contains("2.0000 at the end"), "{drawn}");
        assert!(chart("loss", &[], &[]).is_empty());
        assert!(!chart("loss", &[(1.0, 1.0)], &[]).contains("NaN"));
    }
}
