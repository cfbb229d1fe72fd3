//! The counts of a task's rows. Their memory does not grow with the number of rows.

use super::columns::ColumnCounts;
use super::lengths::Lengths;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The step that drops near-duplicates after all rows were generated.
const FINISH: &str = "finish";

/// The counts of one task.
#[derive(Default)]
pub(super) struct TaskCounts {
    pub(super) kept: u64,
    /// Dropped rows by reason and step.
    pub(super) drops: BTreeMap<(String, String), u64>,
    /// Numbers of messages per row, system prompts included.
    pub(super) messages: Lengths,
    /// Numbers of words per user message; a word ends at white space.
    pub(super) user: Lengths,
    /// Numbers of words per assistant message.
    pub(super) assistant: Lengths,
    /// In the order of the rows' columns.
    pub(super) columns: Vec<ColumnCounts>,
    /// The steps of the sampled row with the most steps, in order.
    order: Vec<String>,
    /// The steps that dropped a row, in the order of their first drop.
    dropping: Vec<String>,
}

impl TaskCounts {
    /// Counts a kept row.
    pub(super) fn add_kept(&mut self, row: &Map<String, Value>) {
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

    /// Counts a dropped row.
    pub(super) fn add_dropped(&mut self, reason: &str, step: &str) {
        *self.drops.entry((reason.to_owned(), step.to_owned())).or_default() += 1;
        if !self.dropping.iter().any(|known| known == step) {
            self.dropping.push(step.to_owned());
        }
    }

    /// Adds the steps of a row in their order, which the counts of dropped rows do not contain.
    pub(super) fn add_order<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let mut order: Vec<String> = Vec::new();
        for name in names {
            if !order.iter().any(|known| known == name) {
                order.push(name.to_owned());
            }
        }
        if order.len() > self.order.len() {
            self.order = order;
        }
    }

    /// The steps that dropped rows, with the number of rows, in the order of the steps. Steps without a call come
    /// last.
    pub(super) fn by_step(&self) -> Vec<(&str, u64)> {
        let index = |step: &str| self.order.iter().position(|name| name == step).unwrap_or(usize::MAX);
        let mut steps: Vec<&str> = self.dropping.iter().map(String::as_str).collect();
        steps.sort_by_key(|step| (index(step), *step == FINISH));
        let dropped =
            |step| self.drops.iter().filter(|((_, at), _)| at == step).map(|(_, count)| count).sum();
        steps.into_iter().map(|step| (step, dropped(step))).collect()
    }

    /// The number of dropped rows.
    pub(super) fn dropped_rows(&self) -> u64 {
        self.drops.values().sum()
    }

    fn column(&mut self, name: &str) -> &mut ColumnCounts {
        let index = self.columns.iter().position(|column| column.name == name).unwrap_or(self.columns.len());
        if index == self.columns.len() {
            self.columns.push(ColumnCounts::new(name));
        }
        &mut self.columns[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_in_the_order_of_the_rows() {
        let mut counts = TaskCounts::default();
        for step in ["finish", "reward", "check", "user", "finish"] {
            counts.add_dropped("a_reason", step);
        }
        counts.add_order(["user", "user", "assistant", "reward"].into_iter());
        counts.add_order(["user", "assistant"].into_iter());
        assert_eq!(counts.by_step(), [("user", 1), ("reward", 1), ("check", 1), ("finish", 2)]);
    }
}
