//! The rows the page shows: for each task so many kept ones and so many of each reason, chosen by the hash of their
//! ids, so that they are a fair draw over the whole run and the same however often the report is made.

use super::{Sample, Step};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Kept rows shown of each task.
pub(super) const KEPT: usize = 40;
/// Dropped rows shown of each task and reason.
pub(super) const DROPPED: usize = 8;
/// Bytes of one text, and of all texts of one row, that the page carries.
const TEXT: usize = 16_000;
const ROW: usize = 200_000;
/// Characters of a row's one-line beginning.
const OPENING: usize = 160;

/// The drawn rows, by task and, if they were dropped, reason.
#[derive(Default)]
pub(super) struct Samples {
    groups: BTreeMap<(String, Option<String>), Group>,
}

/// By hash, then id.
type Group = BTreeMap<(u64, String), Shown>;

/// A row, ready for the page.
#[derive(Serialize)]
pub(super) struct Shown {
    id: String,
    task: String,
    dropped: Option<Drop>,
    opening: String,
    messages: Vec<Message>,
    fields: Vec<(String, Text)>,
    steps: Vec<Asked>,
}

#[derive(Serialize)]
struct Drop {
    reason: String,
    step: String,
    detail: Text,
}

#[derive(Serialize)]
struct Message {
    role: String,
    text: Text,
}

#[derive(Serialize)]
struct Asked {
    name: String,
    teacher: String,
    prompt: Text,
    reply: Text,
    opening: String,
    prompt_tokens: u64,
    completion_tokens: u64,
    /// Whether the row ended here.
    last: bool,
}

/// What is shown of a text.
#[derive(Serialize)]
struct Text {
    shown: String,
    /// Bytes of the whole, if this is not all of it.
    cut_from: Option<usize>,
}

impl Samples {
    pub(super) fn wants(&self, task: &str, reason: Option<&str>, id: &str) -> bool {
        let Some(group) = self.groups.get(&(task.to_owned(), reason.map(str::to_owned))) else { return true };
        let limit = if reason.is_none() { KEPT } else { DROPPED };
        let last = group.last_key_value().filter(|_| group.len() >= limit);
        last.is_none_or(|(key, _)| (order(task, id), id) <= (key.0, key.1.as_str()))
    }

    pub(super) fn offer(&mut self, sample: Sample) {
        let reason = sample.dropped.as_ref().map(|(reason, _, _)| reason.clone());
        if !self.wants(&sample.task, reason.as_deref(), &sample.id) {
            return;
        }
        let limit = if reason.is_none() { KEPT } else { DROPPED };
        let group = self.groups.entry((sample.task.clone(), reason)).or_default();
        group.insert((order(&sample.task, &sample.id), sample.id.clone()), Shown::new(sample));
        if group.len() > limit {
            group.pop_last();
        }
    }

    /// All of them, tasks and fates mixed.
    pub(super) fn all(&self) -> Vec<&Shown> {
        let mut all: Vec<_> = self.groups.values().flatten().collect();
        all.sort_by_key(|(key, _)| *key);
        all.into_iter().map(|(_, shown)| shown).collect()
    }
}

impl Shown {
    fn new(sample: Sample) -> Self {
        let mut room = ROW;
        let dropped = sample.dropped.map(|(reason, step, detail)| Drop {
            detail: Text::cut(&detail, &mut room),
            reason,
            step,
        });
        let messages = sample.row.get("messages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let messages: Vec<_> = messages.iter().map(|message| Message::new(message, &mut room)).collect();
        let fields = sample.row.iter().filter(|(name, _)| !["messages", "id"].contains(&name.as_str()));
        let fields =
            fields.map(|(name, value)| (name.clone(), Text::cut(&plain(value), &mut room))).collect();
        let mut steps: Vec<_> = sample.steps.iter().map(|step| Asked::new(step, &mut room)).collect();
        if let Some(dropped) = &dropped
            && let Some(step) = steps.iter_mut().rfind(|step| step.name == dropped.step)
        {
            step.last = true;
        }
        let user = messages.iter().find(|message| message.role == "user").or(messages.first());
        let opening = user.map(|message| message.text.shown.as_str());
        let opening =
            one_line(opening.or(steps.first().map(|step| step.reply.shown.as_str())).unwrap_or_default());
        Self { id: sample.id, task: sample.task, dropped, opening, messages, fields, steps }
    }
}

impl Message {
    fn new(message: &Value, room: &mut usize) -> Self {
        let mut text = message.get("content").map(plain).unwrap_or_default();
        // Tool calls and the like stand in fields of their own.
        let others = message.as_object().into_iter().flatten();
        let others: Map<String, Value> = others
            .filter(|(name, value)| !["role", "content"].contains(&name.as_str()) && !value.is_null())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !others.is_empty() {
            text.push_str(if text.is_empty() { "" } else { "\n\n" });
            text.push_str(&plain(&Value::Object(others)));
        }
        Self { role: message["role"].as_str().unwrap_or("no role").to_owned(), text: Text::cut(&text, room) }
    }
}

impl Asked {
    fn new(step: &Step, room: &mut usize) -> Self {
        let reply = Text::cut(&step.reply, room);
        Self {
            name: step.name.clone(),
            teacher: step.teacher.clone(),
            prompt: Text::cut(&step.prompt, room),
            opening: one_line(&reply.shown),
            reply,
            prompt_tokens: step.prompt_tokens,
            completion_tokens: step.completion_tokens,
            last: false,
        }
    }
}

impl Text {
    /// As much as fits into a text's share and what the row has left.
    fn cut(text: &str, room: &mut usize) -> Self {
        let shown = &text[..text.floor_char_boundary(TEXT.min(*room))];
        *room -= shown.len();
        Self { cut_from: (shown.len() < text.len()).then_some(text.len()), shown: shown.to_owned() }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        value => serde_json::to_string_pretty(value).unwrap_or_default(),
    }
}

/// The text's beginning on one line.
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

/// A row's place in a shuffle that is the same every time.
fn order(task: &str, id: &str) -> u64 {
    let hash = Sha256::digest(format!("{task}\n{id}"));
    hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(id: usize, dropped: bool) -> Sample {
        let dropped = dropped.then(|| ("too_easy".to_owned(), "difficulty".to_owned(), String::new()));
        Sample { id: format!("row-{id}"), task: "a-task".into(), dropped, row: Map::new(), steps: Vec::new() }
    }

    #[test]
    fn the_draw_is_bounded_and_does_not_depend_on_the_order() {
        let (mut forward, mut backward) = (Samples::default(), Samples::default());
        for id in 0..1000 {
            forward.offer(sample(id, id % 2 == 0));
            backward.offer(sample(999 - id, id % 2 == 1));
        }
        let ids = |samples: &Samples| samples.all().iter().map(|shown| shown.id.clone()).collect::<Vec<_>>();
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
        let mut room = ROW;
        let long = "é".repeat(1 << 19);
        let text = Text::cut(&format!("a{long}"), &mut room);
        assert_eq!((text.shown.len(), text.cut_from), (TEXT - 1, Some((1 << 20) + 1)));
        let texts: Vec<_> = (0..20).map(|_| Text::cut(&long, &mut room)).collect();
        assert!(room < 2 && texts[19].shown.is_empty() && texts[19].cut_from.is_some());
        assert_eq!(Text::cut("", &mut room).cut_from, None);
        assert_eq!(one_line(" two\n words "), "two words");
        assert_eq!(one_line(&"é ".repeat(200)).chars().count(), OPENING + 1);
    }
}
