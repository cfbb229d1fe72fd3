//! Everyday conversations: a greeting, then a few short turns about a drawn topic. The teacher writes both sides.

use super::steps::{fields, pick, reply, turn, turns};
use crate::maker::{Maker, OtherTeachers};
use crate::recipe::{Recipe, TaskSettings};
use crate::row_context::{RowContext, RowError, dropped};
use crate::task::{RowShape, SourceTexts, Task};
use crate::teacher::Prompt;
use anyhow::Result;
use checkpoint::Message;
use datasets::write::ColumnType;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use unicode_segmentation::UnicodeSegmentation;

pub(super) static TASK: Maker = Maker {
    task: Task {
        name: "everyday-conversations",
        about: "Short, simple conversations that start with a greeting",
        by_default: false,
        source: SourceTexts::None,
        shape: RowShape::GreetedConversation,
        columns: &[
            ("topic", ColumnType::Text),
            ("subtopic", ColumnType::Text),
            ("turns", ColumnType::Integer),
        ],
    },
    load,
    calls: |_| OtherTeachers::default(),
    user_turns: |_| true,
    make_row: |context| Box::pin(make_row(context)),
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EverydaySettings {
    /// Maximum number of turns; the exact number without `minimum_turns`.
    turns: usize,
    minimum_turns: Option<usize>,
    /// Maximum number of words in a message.
    maximum_words: Option<usize>,
    /// Whether the greeting is drawn from the list instead of being requested: for teachers that do not greet.
    #[serde(default)]
    drawn_greeting: bool,
    lists: EverydayLists,
    /// Topics with their subtopics.
    topics: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EverydayLists {
    greeting: Vec<String>,
}

fn load(recipe: &Recipe) -> Result<TaskSettings> {
    let mut settings: EverydaySettings = recipe.parse()?;
    settings.topics.retain(|_, subtopics| !subtopics.is_empty());
    recipe.needs_entries(&settings.lists.greeting, "greeting")?;
    recipe.needs_entries(&settings.topics.keys().collect::<Vec<_>>(), "topics")?;
    Ok(Box::new(settings))
}

/// Attempts to get a greeting.
const GREETING_ATTEMPTS: usize = 3;

async fn make_row(context: &RowContext<'_>) -> Result<Map<String, Value>, RowError> {
    let settings: &EverydaySettings = context.recipe.task_settings();
    let (topic, subtopic) = drawn_topic(context, &settings.topics);
    let system = context.recipe.prompt("system", &json!({"topic": topic, "subtopic": subtopic}))?;
    let mut messages = vec![Message::new("system", system)];
    let greeting = greeting(context, settings, &messages).await?;
    messages.push(Message::new("user", greeting));
    reply(context, 1, &mut messages).await?;
    let turns = turns(context, settings.turns, settings.minimum_turns);
    for number in 2..=turns {
        turn(context, number, &mut messages).await?;
    }
    // The system prompt, which sets the topic, is not part of the conversation.
    let conversation = messages.split_off(1);
    check_lengths(&conversation, settings.maximum_words)?;
    Ok(fields(json!({"messages": conversation, "topic": topic, "subtopic": subtopic, "turns": turns})))
}

/// Draws a topic, each with the same probability, and one of its subtopics.
fn drawn_topic<'a>(
    context: &RowContext<'_>,
    topics: &'a BTreeMap<String, Vec<String>>,
) -> (&'a str, &'a str) {
    let topics: Vec<_> = topics.iter().collect();
    let (topic, subtopics) = pick(context, "topic", &topics);
    (topic.as_str(), pick(context, "subtopic", subtopics.as_slice()).as_str())
}

/// The first message: written by the teacher, requested again while it is no greeting, or drawn from the recipe's
/// list.
async fn greeting(
    context: &RowContext<'_>,
    settings: &EverydaySettings,
    messages: &[Message],
) -> Result<String, RowError> {
    let greetings = &settings.lists.greeting;
    if settings.drawn_greeting {
        return Ok(format!("{}!", pick(context, "greeting", greetings)));
    }
    let mut rejected = String::new();
    for attempt in 1..=GREETING_ATTEMPTS {
        rejected = context.message(&format!("greeting_{attempt}"), Prompt::User(messages.to_vec())).await?;
        if greets(&rejected, greetings) {
            return Ok(rejected);
        }
    }
    dropped("greeting", "no_greeting", rejected)
}

/// Whether a text starts with one of the greetings, as whole words.
fn greets(text: &str, greetings: &[String]) -> bool {
    let text = text.to_lowercase();
    let starts = |greeting: &String| {
        let rest = text.strip_prefix(&greeting.to_lowercase());
        rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    };
    greetings.iter().any(starts)
}

fn check_lengths(messages: &[Message], maximum: Option<usize>) -> Result<(), RowError> {
    let maximum = maximum.unwrap_or(usize::MAX);
    let words = messages.iter().map(|message| message.content.unicode_words().count());
    match words.max() {
        Some(longest) if longest > maximum => {
            dropped("check", "too_long", format!("a message of {longest} words, of at most {maximum}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_whole_words_at_the_start() {
        let greetings = ["Hi", "Good morning"].map(str::to_owned);
        for text in ["Hi", "hi there!", "Good Morning, I have a question."] {
            assert!(greets(text, &greetings), "{text}");
        }
        for text in ["High time to go.", "Well, hi", "Good", ""] {
            assert!(!greets(text, &greetings), "{text}");
        }
    }

    #[test]
    fn long_messages_are_dropped_with_their_length() {
        let messages = [Message::new("user", "Hi"), Message::new("assistant", "one two three four")];
        assert!(check_lengths(&messages, Some(4)).is_ok() && check_lengths(&messages, None).is_ok());
        let Err(RowError::Dropped(entry)) = check_lengths(&messages, Some(3)) else { panic!("it is kept") };
        assert_eq!((entry.reason.as_str(), entry.detail.contains("4 words")), ("too_long", true));
    }
}
