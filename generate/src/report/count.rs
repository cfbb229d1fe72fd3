//! What is counted of a task's rows, in memory that does not depend on how many there are.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The step that drops near-duplicates once all rows are there.
const FINISH: &str = "finish";
/// Distinct values after which a column is no category.
const DISTINCT: usize = 500;
/// Characters of a value after which its column is free text.
const SHORT: usize = 40;
/// Characters of a number after which its column is a measurement.
const SHORT_NUMBER: usize = 5;

/// One task's counts.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) kept: u64,
    /// By reason and step.
    pub(super) drops: BTreeMap<(String, String), u64>,
    /// Messages of a row, system prompts included.
    pub(super) messages: Lengths,
    /// Words of each user message, and of each assistant message; a word ends at white space.
    pub(super) user: Lengths,
    pub(super) assistant: Lengths,
    /// In the rows' order.
    pub(super) columns: Vec<Column>,
    /// The steps of the longest walk that was seen.
    walk: Vec<String>,
    /// Steps that dropped a row, as they came.
    dropping: Vec<String>,
}

impl Counts {
    pub(super) fn kept(&mut self, row: &Map<String, Value>) {
        self.kept += 1;
        let messages = row.get("messages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        self.messages.add(messages.len() as u64);
        for message in messages {
            let words =
                || message["content"].as_str().map_or(0, |content| content.split_whitespace().count() as u64);
            match message["role"].as_str() {
                Some("user") => self.user.add(words()),
                Some("assistant") => self.assistant.add(words()),
                _ => {}
            }
        }
        for (name, value) in row {
            if name != "messages" && name != "id" && !name.ends_with("_id") {
                self.column(name).add(value);
            }
        }
    }

    pub(super) fn dropped(&mut self, reason: &str, step: &str) {
        *self.drops.entry((reason.to_owned(), step.to_owned())).or_default() += 1;
        if !self.dropping.iter().any(|known| known == step) {
            self.dropping.push(step.to_owned());
        }
    }

    /// Learns in which order steps come: a row that is dropped knows only where it stopped.
    pub(super) fn walked<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let mut walk: Vec<String> = Vec::new();
        for name in names {
            if !walk.iter().any(|known| known == name) {
                walk.push(name.to_owned());
            }
        }
        if walk.len() > self.walk.len() {
            self.walk = walk;
        }
    }

    /// Steps that dropped rows with how many, in the order of the walk; those that ask nobody come after it.
    pub(super) fn by_step(&self) -> Vec<(&str, u64)> {
        let place = |step: &str| self.walk.iter().position(|name| name == step).unwrap_or(usize::MAX);
        let mut steps: Vec<&str> = self.dropping.iter().map(String::as_str).collect();
        steps.sort_by_key(|step| (place(step), *step == FINISH));
        let lost = |step| self.drops.iter().filter(|((_, at), _)| at == step).map(|(_, count)| count).sum();
        steps.into_iter().map(|step| (step, lost(step))).collect()
    }

    pub(super) fn dropped_rows(&self) -> u64 {
        self.drops.values().sum()
    }

    fn column(&mut self, name: &str) -> &mut Column {
        let place = self.columns.iter().position(|column| column.name == name).unwrap_or(self.columns.len());
        if place == self.columns.len() {
            self.columns.push(Column { name: name.to_owned(), ..Column::default() });
        }
        &mut self.columns[place]
    }
}

/// A column's values, as long as it looks like a category.
#[derive(Default)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) values: BTreeMap<String, u64>,
    /// Rows that have the column.
    pub(super) rows: u64,
    /// Whether a row can have several values.
    pub(super) several: bool,
    /// Free text, a measurement or an identifier: nothing is held of it any more.
    pub(super) left_out: bool,
}

impl Column {
    fn add(&mut self, value: &Value) {
        if self.left_out {
            return;
        }
        self.rows += 1;
        let fits = match value {
            Value::Array(values) => {
                self.several = true;
                values.iter().all(|value| self.add_one(value))
            }
            value => self.add_one(value),
        };
        if !fits || self.values.len() > DISTINCT {
            self.left_out = true;
            self.values = BTreeMap::new();
        }
    }

    /// Counts one value; false if it is none of a category's.
    fn add_one(&mut self, value: &Value) -> bool {
        let text = match value {
            Value::String(text) if text.chars().nth(SHORT).is_none() && !text.contains('\n') => text.clone(),
            Value::Number(number) if number.to_string().len() <= SHORT_NUMBER => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            Value::Null => "none".to_owned(),
            _ => return false,
        };
        *self.values.entry(text).or_default() += 1;
        true
    }

    /// Whether its shares say anything: values that hardly ever come twice are no category.
    pub(super) fn is_category(&self) -> bool {
        let distinct = self.values.len() as u64;
        !self.left_out && distinct > 0 && (distinct <= 5 || distinct * 2 <= self.rows)
    }
}

/// Lengths in buckets: exact below 16, then eight to a doubling, so that a quantile is at most an eighth too low.
#[derive(Default)]
pub(super) struct Lengths {
    buckets: Vec<u64>,
    pub(super) count: u64,
    sum: u64,
    pub(super) longest: u64,
}

impl Lengths {
    pub(super) fn add(&mut self, length: u64) {
        let bucket = bucket(length);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(length);
        self.longest = self.longest.max(length);
    }

    pub(super) fn mean(&self) -> f64 {
        self.sum as f64 / self.count.max(1) as f64
    }

    /// The length that `share` of all stay below or reach, rounded down to its bucket.
    pub(super) fn quantile(&self, share: f64) -> u64 {
        let rank = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        found.map_or(0, first)
    }

    /// Columns of a histogram, from the first that holds something to the last: (first length, last length, count).
    /// One a length where all are short, else two a doubling: lengths of texts spread over orders of magnitude.
    pub(super) fn columns(&self) -> Vec<(u64, u64, u64)> {
        let starts: Vec<u64> = if self.longest < 16 {
            (0..=self.longest).collect()
        } else {
            [0, 1]
                .into_iter()
                .chain((1..63).flat_map(|octave| [2 << (octave - 1), 3 << (octave - 1)]))
                .collect()
        };
        let mut columns = Vec::new();
        for (place, &start) in starts.iter().enumerate().take_while(|(_, start)| **start <= self.longest) {
            let end = starts.get(place + 1).map_or(self.longest, |next| next - 1);
            let inside =
                self.buckets.iter().enumerate().skip(bucket(start)).take_while(|(at, _)| first(*at) <= end);
            columns.push((start, end, inside.map(|(_, count)| count).sum()));
        }
        let empty = columns.iter().take_while(|(_, _, count)| *count == 0).count();
        columns.split_off(empty)
    }
}

fn bucket(length: u64) -> usize {
    match length.checked_ilog2() {
        Some(octave) if octave >= 3 => (octave as usize - 2) * 8 + (length >> (octave - 3) & 7) as usize,
        _ => length as usize,
    }
}

/// The first length of a bucket.
fn first(bucket: usize) -> u64 {
    if bucket < 8 { bucket as u64 } else { (8 + bucket as u64 % 8) << (bucket / 8 - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_length_has_the_bucket_that_begins_at_or_below_it() {
        for length in (0..5000).chain([u64::MAX / 2, u64::MAX]) {
            let bucket = bucket(length);
            let width = if length < 16 { 1 } else { length / 8 + 1 };
            assert!(first(bucket) <= length && length - first(bucket) < width, "{length}");
        }
        for place in 0..400 {
            assert_eq!(bucket(first(place)), place);
        }
    }

    #[test]
    fn a_histogram_counts_everything_once() {
        let mut lengths = Lengths::default();
        for length in 3..1000 {
            lengths.add(length);
        }
        let columns = lengths.columns();
        assert_eq!(columns[0], (3, 3, 1));
        assert!(columns.contains(&(96, 127, 32)) && columns.contains(&(128, 191, 64)));
        assert_eq!(columns.iter().map(|(_, _, count)| count).sum::<u64>(), 997);
        // The true median is 501, and its bucket begins at 480.
        assert_eq!((lengths.quantile(0.5), lengths.mean()), (480, 501.0));
        let mut few = Lengths::default();
        for length in [2, 2, 6] {
            few.add(length);
        }
        assert_eq!(few.columns(), [(2, 2, 2), (3, 3, 0), (4, 4, 0), (5, 5, 0), (6, 6, 1)]);
    }

    #[test]
    fn only_categories_are_held() {
        let mut counts = Counts::default();
        for place in 0..2000_u64 {
            let category = ["math", "coding"][place as usize % 2];
            let intent = if place == 1999 { "long ".repeat(9) } else { "short".to_owned() };
            let row = json!({
                "id": "row", "nearest_id": "a", "category": category, "score": place % 5, "tags": ["a", category],
                "guard": null, "serial": place.to_string(), "similarity": place as f64 / 7777.0, "intent": intent
            });
            counts.kept(row.as_object().expect("an object"));
        }
        let held: Vec<_> = counts.columns.iter().filter(|column| column.is_category()).collect();
        let names: Vec<_> = held.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["category", "score", "tags", "guard"]);
        assert_eq!(
            held[2].values,
            BTreeMap::from([("a".into(), 2000), ("coding".into(), 1000), ("math".into(), 1000)])
        );
        assert!(counts.columns.iter().all(|column| column.values.len() <= DISTINCT));
    }

    #[test]
    fn steps_come_in_the_walks_order() {
        let mut counts = Counts::default();
        for step in ["finish", "reward", "check", "user", "finish"] {
            counts.dropped("a_reason", step);
        }
        counts.walked(["user", "user", "assistant", "reward"].into_iter());
        counts.walked(["user", "assistant"].into_iter());
        assert_eq!(counts.by_step(), [("user", 1), ("reward", 1), ("check", 1), ("finish", 2)]);
    }
}
