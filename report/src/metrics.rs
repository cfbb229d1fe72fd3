//! The reader of a training run's `metrics.jsonl`: one object a line, with a `step` and numbers. A resumed run may repeat
//! steps (the later lines count), and a killed one may end in half a line.

use crate::axes::extent;
use crate::chart::{Line, Point};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The values of every key, in the order in which the keys first appear.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    series: Vec<(String, Vec<Point>)>,
    /// The step of the last line read.
    step: f64,
    notes: Vec<String>,
}

impl Metrics {
    /// Reads the content of the file. Lines that cannot be read are left out and noted.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut metrics = Self::default();
        let lines: Vec<_> =
            bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).collect();
        let (mut unreadable, mut without_step, mut resumed, mut words) = (0, 0, 0, BTreeSet::new());
        for (index, line) in lines.iter().enumerate() {
            match serde_json::from_slice::<Map<String, Value>>(line) {
                Ok(values) => match values.get("step").and_then(Value::as_f64) {
                    Some(step) => resumed += usize::from(metrics.add(step, values, &mut words)),
                    None => without_step += 1,
                },
                // A kill cuts the last line; any other one should be whole.
                Err(_) => unreadable += usize::from(index + 1 < lines.len()),
            }
        }
        let mut note = |count: usize, text: &str| {
            if count > 0 {
                metrics.notes.push(text.replace("{count}", &count.to_string()));
            }
        };
        note(unreadable, "Lines of metrics.jsonl that cannot be read: {count}. They are not shown.");
        note(without_step, "Lines of metrics.jsonl without a step: {count}. They are not shown.");
        note(resumed, "Times the run resumed from an earlier step: {count}. The later values are shown.");
        if !words.is_empty() {
            let keys: Vec<_> = words.into_iter().collect();
            metrics.notes.push(format!("Not shown because they are not numbers: {}.", keys.join(", ")));
        }
        metrics
    }

    /// Adds the values of one line. Returns whether its step is before the last one; what was read from there on is then
    /// removed.
    fn add(&mut self, step: f64, values: Map<String, Value>, words: &mut BTreeSet<String>) -> bool {
        let is_earlier = step < self.step;
        if is_earlier {
            for (_, points) in &mut self.series {
                points.truncate(points.partition_point(|point| point.0 < step));
            }
        }
        self.step = step;
        for (key, value) in values {
            let value = match value {
                Value::Number(value) => value.as_f64().unwrap_or(f64::NAN),
                Value::Null => f64::NAN,
                _ => {
                    words.insert(key);
                    continue;
                }
            };
            let index = self.series.iter().position(|(name, _)| *name == key).unwrap_or(self.series.len());
            if index == self.series.len() {
                self.series.push((key, Vec::new()));
            }
            let points = &mut self.series[index].1;
            points.pop_if(|point| point.0 == step);
            points.push((step, value));
        }
        is_earlier
    }

    /// What a reader of the report should know about the file, in sentences.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The keys whose values were not taken, in the order in which they first appear.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.series.iter().map(|(key, _)| key.as_str())
    }

    /// Steps and values of a key; a null in the file is not a number here.
    pub fn points(&self, key: &str) -> &[Point] {
        self.series.iter().find(|(name, _)| name == key).map_or(&[], |(_, points)| points)
    }

    /// The last finite value of a key.
    pub fn last(&self, key: &str) -> Option<f64> {
        self.points(key).iter().rev().map(|point| point.1).find(|value| value.is_finite())
    }

    /// The range of steps for the axis of every chart of the run: from 0 where the run has its first steps.
    pub fn steps(&self) -> (f64, f64) {
        let (first, last) = extent(self.series.iter().flat_map(|(_, points)| points).map(|point| point.0));
        if first >= 0.0 && first < 0.05 * last { (0.0, last) } else { (first, last) }
    }

    /// Takes the values of a key out, with those of its evaluation (`eval_KEY`) and of the parts of that (`eval_KEY/PART`),
    /// as the lines of one chart. The loss is smoothed; evaluations are dotted.
    pub fn take(&mut self, key: &str) -> Vec<Line> {
        let (whole, part) = (format!("eval_{key}"), format!("eval_{key}/"));
        let mut lines = Vec::new();
        for wanted in 0..3 {
            let found = self.series.extract_if(.., |(name, points)| {
                !points.is_empty() && [name == key, *name == whole, name.starts_with(&part)][wanted]
            });
            lines.extend(found.map(|(label, points)| Line {
                smoothed: label == "loss",
                dotted: label.starts_with("eval_"),
                label,
                points,
            }));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = concat!(
        "{\"step\": 1, \"loss\": 4.0, \"note\": \"text\"}\n",
        "{\"step\": 2, \"loss\": 3.0}\n",
        "{\"step\": 2, \"eval_loss\": 3.5, \"eval_loss/web\": 3.6}\n",
        "no JSON\n",
        "{\"loss\": 9.0}\n",
        "{\"step\": 3, \"loss\": 9.0}\n",
        "{\"step\": 2, \"loss\": 2.5, \"grad_norm\": null}\n",
        "{\"step\": 4, \"loss\": 2.0}\n",
        "{\"step\": 5, \"lo"
    );

    #[test]
    fn later_lines_count_and_what_is_wrong_is_noted() {
        let metrics = Metrics::parse(FILE.as_bytes());
        assert_eq!(metrics.points("loss"), [(1.0, 4.0), (2.0, 2.5), (4.0, 2.0)]);
        assert!(metrics.points("eval_loss").is_empty() && metrics.points("grad_norm")[0].1.is_nan());
        assert_eq!(
            (metrics.last("loss"), metrics.last("grad_norm"), metrics.last("none")),
            (Some(2.0), None, None)
        );
        let notes = metrics.notes().join(" ");
        for part in
            ["that cannot be read: 1.", "without a step: 1.", "an earlier step: 1.", "not numbers: note."]
        {
            assert!(notes.contains(part), "{part} in {notes}");
        }
    }

    #[test]
    fn a_key_is_taken_with_its_evaluations() {
        let file = FILE.lines().take(3).collect::<Vec<_>>().join("\n");
        let mut metrics = Metrics::parse(file.as_bytes());
        let lines = metrics.take("loss");
        let labels: Vec<&str> = lines.iter().map(|line| line.label.as_str()).collect();
        assert_eq!(labels, ["loss", "eval_loss", "eval_loss/web"]);
        assert_eq!(
            lines.iter().map(|line| (line.smoothed, line.dotted)).collect::<Vec<_>>(),
            [(true, false), (false, true), (false, true)]
        );
        assert_eq!(metrics.keys().collect::<Vec<_>>(), ["step"]);
        assert_eq!(metrics.steps(), (1.0, 2.0));
    }
}
