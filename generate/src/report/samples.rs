//! The rows that the page shows: for each task a number of kept rows and a number of rows per drop reason. They are
//! chosen by the hash of their ids, so that they are a uniform sample of the whole run and the same in every
//! report.

use super::row_sample::RowSample;
use crate::draw::draw;
use crate::trace::TracedStep;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Maximum number of kept rows per task.
pub(super) const KEPT: usize = 40;
/// Maximum number of dropped rows per task and reason.
pub(super) const DROPPED: usize = 8;
/// Maximum number of bytes of one text.
const TEXT_BYTES: usize = 16_000;
/// Maximum number of bytes of all texts of one row.
const ROW_BYTES: usize = 200_000;
/// Characters of an opening.
const OPENING: usize = 160;

/// The sample, by task and, for dropped rows, reason.
#[derive(Default)]
pub(super) struct Samples {
    groups: BTreeMap<(String, Option<String>), Group>,
}

/// Rows by hash, then id.
type Group = BTreeMap<(u64, String), ShownRow>;

/// A row as the page shows it.
#[derive(Serialize)]
pub(super) struct ShownRow {
    id: String,
    task: String,
    dropped: Option<ShownDrop>,
    /// Its first words, on one line.
    opening: String,
    messages: Vec<ShownMessage>,
    columns: Vec<(String, ShownText)>,
    steps: Vec<ShownStep>,
}

#[derive(Serialize)]
struct ShownDrop {
    reason: String,
    step: String,
    detail: ShownText,
}

#[derive(Serialize)]
struct ShownMessage {
    role: String,
    text: ShownText,
}

#[derive(Serialize)]
struct ShownStep {
    name: String,
    teacher: String,
    prompt: ShownText,
    reply: ShownText,
    opening: String,
    prompt_tokens: u64,
    completion_tokens: u64,
    /// Whether the row was dropped here.
    is_last: bool,
}

/// A text, cut to a maximum length.
#[derive(Serialize)]
struct ShownText {
    shown: String,
    /// Bytes of the whole text if it is cut.
    bytes: Option<usize>,
}

impl Samples {
    /// Whether a row would be in the sample.
    pub(super) fn wants(&self, task: &str, reason: Option<&str>, id: &str) -> bool {
        let Some(group) = self.groups.get(&(task.to_owned(), reason.map(str::to_owned))) else { return true };
        let limit = if reason.is_none() { KEPT } else { DROPPED };
        let last = group.last_key_value().filter(|_| group.len() >= limit);
        last.is_none_or(|(key, _)| (order(task, id), id) <= (key.0, key.1.as_str()))
    }

    /// Adds a row if it is in the sample; another one may leave the sample for it.
    pub(super) fn offer(&mut self, sample: RowSample) {
        let reason = sample.dropped.as_ref().map(|drop| drop.reason.clone());
        if !self.wants(&sample.task, reason.as_deref(), &sample.id) {
            return;
        }
        let limit = if reason.is_none() { KEPT } else { DROPPED };
        let group = self.groups.entry((sample.task.clone(), reason)).or_default();
        group.insert((order(&sample.task, &sample.id), sample.id.clone()), ShownRow::new(sample));
        if group.len() > limit {
            group.pop_last();
        }
    }

    /// All rows, tasks and outcomes mixed.
    pub(super) fn all(&self) -> Vec<&ShownRow> {
        let mut all: Vec<_> = self.groups.values().flatten().collect();
        all.sort_by_key(|(key, _)| *key);
        all.into_iter().map(|(_, row)| row).collect()
    }
}

impl ShownRow {
    fn new(sample: RowSample) -> Self {
        let mut room = ROW_BYTES;
        let dropped = sample.dropped.map(|drop| ShownDrop {
            detail: ShownText::cut(&drop.detail, &mut room),
            reason: drop.reason,
            step: drop.step,
        });
        let messages = sample.row.get("messages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let messages: Vec<_> = messages.iter().map(|message| ShownMessage::new(message, &mut room)).collect();
        let columns = sample.row.iter().filter(|(name, _)| !["messages", "id"].contains(&name.as_str()));
        let columns =
            columns.map(|(name, value)| (name.clone(), ShownText::cut(&plain(value), &mut room))).collect();
        let mut steps: Vec<_> = sample.steps.iter().map(|step| ShownStep::new(step, &mut room)).collect();
        if let Some(dropped) = &dropped
            && let Some(step) = steps.iter_mut().rfind(|step| step.name == dropped.step)
        {
            step.is_last = true;
        }
        let user = messages.iter().find(|message| message.role == "user").or(messages.first());
        let opening = user.map(|message| message.text.shown.as_str());
        let opening =
            one_line(opening.or(steps.first().map(|step| step.reply.shown.as_str())).unwrap_or_default());
        Self { id: sample.id, task: sample.task, dropped, opening, messages, columns, steps }
    }
}

impl ShownMessage {
    fn new(message: &Value, room: &mut usize) -> Self {
        let mut text = message.get("content").map(plain).unwrap_or_default();
        // Tool calls are in a field of their own.
        let others = message.as_object().into_iter().flatten();
        let others: Map<String, Value> = others
            .filter(|(name, value)| !["role", "content"].contains(&name.as_str()) && !value.is_null())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !others.is_empty() {
            text.push_str(if text.is_empty() { "" } else { "\n\n" });
            text.push_str(&plain(&Value::Object(others)));
        }
        Self {
            role: message["role"].as_str().unwrap_or("no role").to_owned(),
            text: ShownText::cut(&text, room),
        }
    }
}

impl ShownStep {
    fn new(step: &TracedStep, room: &mut usize) -> Self {
        let reply = ShownText::cut(&step.reply, room);
        Self {
            name: step.name.clone(),
            teacher: step.teacher.clone(),
            prompt: ShownText::cut(&step.prompt, room),
            opening: one_line(&reply.shown),
            reply,
            prompt_tokens: step.prompt_tokens,
            completion_tokens: step.completion_tokens,
            is_last: false,
        }
    }
}

impl ShownText {
    /// Cuts a text to its maximum length and to what is left of the row's.
    fn cut(text: &str, room: &mut usize) -> Self {
        let shown = &text[..text.floor_char_boundary(TEXT_BYTES.min(*room))];
        *room -= shown.len();
        Self { bytes: (shown.len() < text.len()).then_some(text.len()), shown: shown.to_owned() }
    }
}

/// A value as text.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        value => serde_json::to_string_pretty(value).unwrap_or_default(),
    }
}

/// The first words of a text on one line.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        line.push_str(if line.is_empty() { "" } else { " " });
        line.extend(word.chars().take(OPENING));
        if let Some((end, _)) = line.char_indices().nth(OPENING) {
            line.truncate(end);
            line.push('\u{2026}');
            break;
        }
    }
    line
}

/// The position of a row in a shuffle that is always the same.
fn order(task: &str, id: &str) -> u64 {
    draw(&format!("{task}\n{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::row_sample::SampledDrop;

    fn sample(id: usize, is_dropped: bool) -> RowSample {
        let (reason, step, detail) = ("too_easy".to_owned(), "difficulty".to_owned(), String::new());
        let dropped = is_dropped.then_some(SampledDrop { reason, step, detail });
        RowSample {
            id: format!("row-{id}"),
            task: "a-task".into(),
            dropped,
            row: Map::new(),
            steps: Vec::new(),
        }
    }

    #[test]
    fn the_sample_is_bounded_and_does_not_depend_on_the_order() {
        let (mut forward, mut backward) = (Samples::default(), Samples::default());
        for id in 0..1000 {
            forward.offer(sample(id, id % 2 == 0));
            backward.offer(sample(999 - id, id % 2 == 1));
        }
        let ids = |samples: &Samples| samples.all().iter().map(|row| row.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&forward).len(), KEPT + DROPPED);
        assert_eq!(ids(&forward), ids(&backward));
        let wanted = |id: &usize| forward.wants("a-task", None, &format!("row-{id}"));
        assert_eq!((0..1000).filter(|id| id % 2 == 1).filter(wanted).count(), KEPT);
        assert!(
            forward.wants("another-task", None, "row-1") && forward.wants("a-task", Some("cut_off"), "row-1")
        );
    }

    #[test]
    fn a_text_is_cut_at_a_character_and_says_so() {
        let mut room = ROW_BYTES;
        let long = "é".repeat(1 << 19);
        let text = ShownText::cut(&format!("a{long}"), &mut room);
        assert_eq!((text.shown.len(), text.bytes), (TEXT_BYTES - 1, Some((1 << 20) + 1)));
        let texts: Vec<_> = (0..20).map(|_| ShownText::cut(&long, &mut room)).collect();
        assert!(room < 2 && texts[19].shown.is_empty() && texts[19].bytes.is_some());
        assert_eq!(ShownText::cut("", &mut room).bytes, None);
        assert_eq!(one_line(" two\n words "), "two words");
        assert_eq!(one_line(&"é ".repeat(200)).chars().count(), OPENING + 1);
    }
}
