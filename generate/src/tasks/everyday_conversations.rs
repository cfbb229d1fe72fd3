//! Everyday conversations: a greeting, then a few short turns on a drawn topic, both sides the teacher's.

use super::{fields, pick, reply, turn, turns};
use crate::teacher::Prompt;
use crate::walk::{Halt, Walk, dropped};
use anyhow::anyhow;
use serde_json::{Map, Value, json};
use smollm::Message;
use unicode_segmentation::UnicodeSegmentation;

/// Times a greeting is asked for.
const GREETINGS: usize = 3;

pub(crate) async fn row(walk: &Walk<'_>) -> Result<Map<String, Value>, Halt> {
    let (topic, subtopic) = drawn_topic(walk)?;
    let system = walk.recipe.prompt("system", &json!({"topic": topic, "subtopic": subtopic}))?;
    let mut messages = vec![Message::new("system", system)];
    let greeting = greeting(walk, &messages).await?;
    messages.push(Message::new("user", greeting));
    reply(walk, 1, &mut messages).await?;
    let turns = turns(walk);
    for number in 2..=turns {
        turn(walk, number, &mut messages).await?;
    }
    // What the two were told to talk about is not part of the conversation.
    let said = messages.split_off(1);
    check_lengths(&said, walk.recipe.settings.maximum_words)?;
    Ok(fields(json!({"messages": said, "topic": topic, "subtopic": subtopic, "turns": turns})))
}

/// A topic, and of it a subtopic; each topic is as likely as any other.
fn drawn_topic<'a>(walk: &Walk<'a>) -> Result<(&'a str, &'a str), Halt> {
    let topics: Vec<_> = walk.recipe.topics.iter().filter(|(_, subtopics)| !subtopics.is_empty()).collect();
    if topics.is_empty() {
        return Err(anyhow!("prompts/everyday-conversations/recipe.toml has no topics").into());
    }
    let (topic, subtopics) = topics[(walk.draw("topic") % topics.len() as u64) as usize];
    Ok((topic, pick(walk, "subtopic", subtopics)))
}

/// The first words: of the teacher, asked again while they are no greeting, or from the recipe's list.
async fn greeting(walk: &Walk<'_>, messages: &[Message]) -> Result<String, Halt> {
    let greetings = walk.recipe.list("greeting")?;
    if walk.recipe.settings.drawn_greeting {
        return Ok(format!("{}!", pick(walk, "greeting", greetings)));
    }
    let mut last = String::new();
    for attempt in 1..=GREETINGS {
        last = walk.words(&format!("greeting_{attempt}"), Prompt::User(messages.to_vec())).await?;
        if greets(&last, greetings) {
            return Ok(last);
        }
    }
    dropped("greeting", "no_greeting", last)
}

/// Whether a text begins with one of the greetings, as whole words.
fn greets(text: &str, greetings: &[String]) -> bool {
    let text = text.to_lowercase();
    let begins = |greeting: &String| {
        let rest = text.strip_prefix(&greeting.to_lowercase());
        rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    };
    greetings.iter().any(begins)
}

fn check_lengths(messages: &[Message], most: Option<usize>) -> Result<(), Halt> {
    let most = most.unwrap_or(usize::MAX);
    let words = messages.iter().map(|message| message.content.unicode_words().count());
    match words.max() {
        Some(longest) if longest > most => {
            dropped("check", "too_long", format!("a message of {longest} words, of at most {most}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_whole_words_at_the_beginning() {
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
        let Err(Halt::Drop(entry)) = check_lengths(&messages, Some(3)) else { panic!("it is kept") };
        assert_eq!((entry.reason.as_str(), entry.detail.contains("4 words")), ("too_long", true));
    }
}
