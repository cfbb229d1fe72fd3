//! Tasks that are made of text files alone (`--recipe FILE`): variables that are drawn, steps that ask with a template and
//! may parse, judge and filter, and the messages of the row, which are templates, too.

use super::programs;
use super::steps::judge;
use crate::maker::{Maker, OtherTeachers};
use crate::recipe::{Prompts, Recipe, TaskSettings};
use crate::row_context::{RowContext, RowError, dropped};
use crate::task::{RowShape, SourceTexts, Task};
use crate::teacher::Prompt;
use crate::unusable::fitting;
use anyhow::{Context, Result, bail, ensure};
use checkpoint::Message;
use datasets::write::ColumnType;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The keys of `recipe.toml` that these tasks have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TextSettings {
    /// One line of help.
    about: String,
    /// What is taken from `--source` as the variable `source`.
    #[serde(default)]
    texts: SourceKind,
    /// Columns of the rows of `--source`, of any layout, that are variables; `source` is all of them as JSON.
    #[serde(default)]
    source_columns: Vec<String>,
    /// Variables that are drawn for each row, by name.
    #[serde(default)]
    draw: BTreeMap<String, Vec<Choice>>,
    step: Vec<Step>,
    /// The messages of the row.
    message: Vec<RowMessage>,
    /// Variables that are columns of the row, as text.
    #[serde(default)]
    columns: Vec<String>,
}

/// What a row takes from `--source`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SourceKind {
    #[default]
    None,
    /// The user's first message of a row.
    Prompts,
    /// The text of a row.
    Texts,
}

/// A value of a variable, which may have a weight.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
enum Choice {
    Plain(String),
    Weighted { value: String, weight: f64 },
}

/// A call of a teacher, or a program that runs. Its answer is the variable with its name, for what follows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    /// Its template is `NAME.jinja`; with `NAME.schema.json`, the answer is JSON of that schema.
    name: String,
    /// The table of its sampling parameters.
    #[serde(default = "assistant")]
    sampling: String,
    /// Whether the judge is asked, and not the main teacher.
    #[serde(default)]
    judge: bool,
    /// Whether nobody is asked: the template is a program of Python, which runs in the sandbox.
    #[serde(default)]
    run: bool,
    /// An expression over the variables that a row must satisfy after the step.
    keep_if: Option<String>,
    /// Why a row is dropped that does not.
    #[serde(default = "filtered_out")]
    reason: String,
}

/// A message of the row.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowMessage {
    role: String,
    /// A template over the variables.
    content: String,
}

fn assistant() -> String {
    "assistant".to_owned()
}

fn filtered_out() -> String {
    "filtered_out".to_owned()
}

/// The task of a recipe's file, and where its prompts are.
///
/// # Errors
/// When the file cannot be read, its folder's name is no task's name, or it is a built-in task's.
pub(super) fn of_file(file: &Path) -> Result<(&'static Maker, Prompts)> {
    let (name, prompts) = Prompts::of_recipe(file)?;
    ensure!(
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && name != "all",
        "`--recipe {}`: its folder names the task and has to be of small letters, digits and `-`, and not `all`",
        file.display()
    );
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut table: toml::Table = text.parse().with_context(|| format!("{}", file.display()))?;
    for common in ["row_key", "source", "trim_cut", "forbidden_openings", "near_duplicate", "sampling"] {
        table.remove(common);
    }
    let settings: TextSettings = table.try_into().with_context(|| format!("{}", file.display()))?;
    // A run has one such task, for as long as the program runs.
    let name: &'static str = name.leak();
    let columns: Vec<(&'static str, ColumnType)> =
        settings.columns.iter().map(|column| (&*column.clone().leak(), ColumnType::Text)).collect();
    let maker = Maker {
        task: Task {
            name,
            about: settings.about.leak(),
            by_default: false,
            source: match settings.texts {
                SourceKind::None if !settings.source_columns.is_empty() => {
                    let columns = settings.source_columns.iter().map(|column| &*column.clone().leak());
                    SourceTexts::Columns(columns.collect::<Vec<&str>>().leak())
                }
                SourceKind::None => SourceTexts::None,
                SourceKind::Prompts => SourceTexts::Prompts,
                SourceKind::Texts => SourceTexts::Texts,
            },
            shape: RowShape::Conversation,
            columns: columns.leak(),
        },
        load,
        calls: |recipe| OtherTeachers {
            judge: recipe.task_settings::<TextSettings>().step.iter().any(|step| step.judge),
            ..OtherTeachers::default()
        },
        user_turns: |_| false,
        make_row: |context| Box::pin(make_row(context)),
    };
    Ok((Box::leak(Box::new(maker)), prompts))
}

/// Whether a step of a recipe runs a program.
pub(super) fn runs_code(recipe: &Recipe) -> bool {
    recipe
        .task_settings_of::<TextSettings>()
        .is_some_and(|settings| settings.step.iter().any(|step| step.run))
}

fn load(recipe: &Recipe) -> Result<TaskSettings> {
    let settings: TextSettings = recipe.parse()?;
    recipe.needs_entries(&settings.step, "step")?;
    recipe.needs_entries(&settings.message, "message")?;
    for (name, values) in &settings.draw {
        recipe.needs_entries(values, name)?;
        let is_weight = |value: &Choice| weight(value).is_finite() && weight(value) >= 0.0;
        ensure!(
            values.iter().all(is_weight) && values.iter().any(|value| weight(value) > 0.0),
            "{}: the weights of `{name}` are not numbers of at least 0, one of them above 0",
            recipe.task.name
        );
    }
    for RowMessage { role, .. } in &settings.message {
        ensure!(
            ["system", "user", "assistant"].contains(&role.as_str()),
            "{}: `{role}` is no role of a message; give system, user or assistant",
            recipe.task.name
        );
    }
    for column in &settings.columns {
        ensure!(
            !["id", "messages", "source", "nearest_id", "nearest_similarity"].contains(&column.as_str()),
            "{}: every row has a column `{column}` of its own; leave it out of `columns`",
            recipe.task.name
        );
    }
    ensure!(
        settings.source_columns.is_empty() || settings.texts == SourceKind::None,
        "{}: a source gives texts or columns; remove `texts` or `source_columns`",
        recipe.task.name
    );
    let mut names = vec!["source"];
    for name in settings.source_columns.iter().chain(settings.draw.keys()) {
        ensure!(
            !names.contains(&name.as_str()),
            "{}: two variables have the name `{name}`; rename one",
            recipe.task.name
        );
        names.push(name);
    }
    for step in &settings.step {
        recipe.check_prompt(&step.name, &names)?;
        ensure!(
            !step.run || !step.judge && recipe.schema(&step.name).is_err(),
            "{}: the step `{}` runs a program and asks nobody; remove `judge` and its schema",
            recipe.task.name,
            step.name
        );
        recipe.sampling(&step.sampling)?;
        let name = step.name.as_str();
        ensure!(
            !names.contains(&name),
            "{}: the step `{name}` has the name of another variable; rename it",
            recipe.task.name
        );
        names.push(name);
        if let Some(expression) = &step.keep_if {
            recipe.check_expression(expression)?;
        }
    }
    for message in &settings.message {
        recipe.check_template(&message.content, &names)?;
    }
    let unknown = settings.columns.iter().find(|column| !names.contains(&column.as_str()));
    if let Some(column) = unknown {
        bail!("{}: the column `{column}` is no variable; there are {}", recipe.task.name, names.join(", "));
    }
    Ok(Box::new(settings))
}

fn weight(choice: &Choice) -> f64 {
    match choice {
        Choice::Plain(_) => 1.0,
        Choice::Weighted { weight, .. } => *weight,
    }
}

/// Draws a value by weight.
fn drawn(values: &[Choice], draw: u64) -> &str {
    let mut remaining = random::unit(draw) * values.iter().map(weight).sum::<f64>();
    let choice = values.iter().find(|choice| {
        remaining -= weight(choice);
        remaining < 0.0
    });
    match choice.or(values.last()) {
        Some(Choice::Plain(value) | Choice::Weighted { value, .. }) => value,
        None => "",
    }
}

async fn make_row(context: &RowContext<'_>) -> Result<Map<String, Value>, RowError> {
    let settings: &TextSettings = context.recipe.task_settings();
    let mut variables = Map::new();
    variables.insert("source".to_owned(), json!(context.source));
    if let (SourceTexts::Columns(_), Some(source)) = (context.recipe.task.source, &context.source) {
        let columns: Map<String, Value> = serde_json::from_str(source).map_err(anyhow::Error::from)?;
        variables.extend(columns);
    }
    for (name, values) in &settings.draw {
        variables.insert(name.clone(), json!(drawn(values, context.draw(name))));
    }
    for step in &settings.step {
        let answer = answer(context, step, &Value::Object(variables.clone())).await?;
        variables.insert(step.name.clone(), answer);
        let kept = match &step.keep_if {
            Some(expression) => context.recipe.is_true(expression, &Value::Object(variables.clone()))?,
            None => true,
        };
        if !kept {
            return dropped(&step.name, &step.reason, variables[&step.name].to_string());
        }
    }
    row(context, settings, &variables)
}

/// The answer to a step: JSON of its schema, or a text; of a program, how it ended.
async fn answer(context: &RowContext<'_>, step: &Step, variables: &Value) -> Result<Value, RowError> {
    let prompt = context.recipe.prompt(&step.name, variables)?;
    if step.run {
        return programs::run(context, &step.name, prompt).await;
    }
    let teacher = if step.judge { judge(context) } else { &context.teachers.main };
    match context.recipe.schema(&step.name) {
        Ok(schema) if step.judge => context.judge(teacher, &step.name, &step.sampling, prompt, schema).await,
        Ok(schema) => {
            let check = |value: Value| fitting(schema, value);
            context.written(teacher, &step.name, &step.sampling, prompt, schema, check).await
        }
        Err(_) => {
            let prompt = Prompt::Assistant(vec![Message::new("user", prompt)]);
            Ok(json!(context.text_of(teacher, &step.name, &step.sampling, prompt).await?))
        }
    }
}

fn row(
    context: &RowContext<'_>,
    settings: &TextSettings,
    variables: &Map<String, Value>,
) -> Result<Map<String, Value>, RowError> {
    let all = Value::Object(variables.clone());
    let mut messages = Vec::new();
    for message in &settings.message {
        let content = context.recipe.rendered(&message.content, &all)?;
        if content.trim().is_empty() {
            return dropped("row", "empty", format!("the message of the {} is empty", message.role));
        }
        messages.push(Message::new(&message.role, content.trim()));
    }
    let mut row = Map::new();
    row.insert("messages".to_owned(), json!(messages));
    for column in &settings.columns {
        let value = match variables.get(column) {
            Some(Value::String(text)) => json!(text),
            Some(Value::Null) | None => Value::Null,
            Some(other) => json!(other.to_string()),
        };
        row.insert(column.clone(), value);
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_drawn_by_weight() {
        let values = [Choice::Plain("a".into()), Choice::Weighted { value: "b".into(), weight: 3.0 }];
        let draws = (0..4000u64).map(|draw| drawn(&values, draw.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let share = draws.filter(|value| *value == "b").count();
        assert!((2800..3200).contains(&share), "{share}");
        assert_eq!(drawn(&[], 1), "");
    }
}
