//! System chats: the teacher writes a system prompt for a drawn kind of assistant, then a conversation with that
//! prompt. A judge rates how well the replies follow it.

use super::steps::{fields, judge, pick, text, turn, turns};
use crate::flaws::placeholder;
use crate::maker::{Maker, OtherTeachers};
use crate::recipe::{Recipe, TaskSettings};
use crate::row_context::{RowContext, RowError, dropped};
use crate::task::{RowShape, SourceTexts, Task};
use crate::unusable::fitting;
use anyhow::Result;
use checkpoint::Message;
use datasets::write::ColumnType;
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub(super) static TASK: Maker = Maker {
    task: Task {
        name: "system-chats",
        about: "Conversations with a system prompt that the replies must follow",
        by_default: false,
        source: SourceTexts::None,
        shape: RowShape::Conversation,
        columns: &[
            ("role", ColumnType::Text),
            ("tone", ColumnType::Text),
            ("rules", ColumnType::Texts),
            ("adherence", ColumnType::Integer),
            ("explanation", ColumnType::Text),
        ],
    },
    load,
    calls: |_| OtherTeachers { judge: true, ..OtherTeachers::default() },
    user_turns: |_| true,
    make_row: |context| Box::pin(make_row(context)),
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SystemChatSettings {
    /// Maximum number of turns; the exact number without `minimum_turns`.
    turns: usize,
    minimum_turns: Option<usize>,
    /// Minimum rating of how well replies follow their system prompt, from 1 to 5.
    minimum_adherence: Option<i64>,
    lists: SystemChatLists,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SystemChatLists {
    role: Vec<String>,
    tone: Vec<String>,
    rule: Vec<String>,
}

fn load(recipe: &Recipe) -> Result<TaskSettings> {
    let settings: SystemChatSettings = recipe.parse()?;
    let SystemChatLists { role, tone, rule } = &settings.lists;
    for (list, name) in [(role, "role"), (tone, "tone"), (rule, "rule")] {
        recipe.needs_entries(list, name)?;
    }
    Ok(Box::new(settings))
}

/// Maximum number of rules of an assistant.
const MAX_RULES: u64 = 2;

/// The drawn kind of assistant.
struct Assistant<'a> {
    role: &'a str,
    tone: &'a str,
    rules: Vec<&'a str>,
}

async fn make_row(context: &RowContext<'_>) -> Result<Map<String, Value>, RowError> {
    let settings: &SystemChatSettings = context.recipe.task_settings();
    let assistant = draw_assistant(context, &settings.lists);
    let mut messages = vec![Message::new("system", system_prompt(context, &assistant).await?)];
    for number in 1..=turns(context, settings.turns, settings.minimum_turns) {
        turn(context, number, &mut messages).await?;
    }
    let rating = adherence(context, settings.minimum_adherence, &messages).await?;
    let mut row = fields(json!({
        "messages": messages, "role": assistant.role, "tone": assistant.tone, "rules": assistant.rules
    }));
    row.extend(rating);
    Ok(row)
}

fn draw_assistant<'a>(context: &RowContext<'_>, lists: &'a SystemChatLists) -> Assistant<'a> {
    let rules = &lists.rule;
    let first = context.draw("rule") as usize % rules.len();
    let count = (1 + context.draw("rules") % MAX_RULES) as usize;
    // Adjacent rules of the list do not contradict each other.
    let rules = (0..count.min(rules.len())).map(|next| rules[(first + next) % rules.len()].as_str());
    Assistant {
        role: pick(context, "role", &lists.role).as_str(),
        tone: pick(context, "tone", &lists.tone).as_str(),
        rules: rules.collect(),
    }
}

async fn system_prompt(context: &RowContext<'_>, assistant: &Assistant<'_>) -> Result<String, RowError> {
    let variables = json!({"role": assistant.role, "tone": assistant.tone, "rules": assistant.rules});
    let prompt = context.recipe.prompt("system_prompt", &variables)?;
    let schema = context.recipe.schema("system_prompt")?;
    let check = |value: Value| {
        let value = fitting(schema, value)?;
        let text = value["system_prompt"].as_str().unwrap_or_default().trim();
        match placeholder(text) {
            _ if text.is_empty() => Err(("empty", String::new())),
            Some(placeholder) => Err(("placeholder", format!("nobody filled in {placeholder}: {text}"))),
            None => Ok(text.to_owned()),
        }
    };
    context.written(&context.teachers.main, "system_prompt", "system_prompt", prompt, schema, check).await
}

/// The judge's rating of all replies together.
async fn adherence(
    context: &RowContext<'_>,
    minimum: Option<i64>,
    messages: &[Message],
) -> Result<Map<String, Value>, RowError> {
    let variables = json!({"system_prompt": messages[0].content, "messages": messages[1..]});
    let prompt = context.recipe.prompt("adherence", &variables)?;
    let schema = context.recipe.schema("adherence")?;
    let answer = context.judge(judge(context), "adherence", "judge", prompt, schema).await?;
    match (answer["adherence"].as_i64(), minimum) {
        (Some(rating), Some(minimum)) if rating < minimum => {
            let explanation = text(&answer["explanation"]);
            dropped("adherence", "broke_system_prompt", format!("{rating} of 5: {explanation}"))
        }
        _ => Ok(fields(answer)),
    }
}
