//! Smol-Constraint: a request with verifiable constraints, and a reply that was verified to satisfy them.

use super::steps::{fields, judge, object};
use crate::maker::{Maker, OtherTeachers};
use crate::recipe::{Recipe, TaskSettings};
use crate::row_context::{RowContext, RowError, dropped};
use crate::task::{RowShape, SourceTexts, Task};
use crate::teacher::Prompt;
use anyhow::{Context, Result};
use checkpoint::Message;
use datasets::write::ColumnType;
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub(super) static TASK: Maker = Maker {
    task: Task {
        name: "smol-constraint",
        about: "Requests with verifiable constraints, as in IFEval",
        by_default: true,
        source: SourceTexts::None,
        shape: RowShape::Conversation,
        columns: &[
            ("prompt", ColumnType::Text),
            ("response", ColumnType::Text),
            ("instruction_id_list", ColumnType::Texts),
            ("kwargs", ColumnType::Text),
        ],
    },
    load,
    calls: |_| OtherTeachers { judge: true, ..OtherTeachers::default() },
    user_turns: |_| true,
    make_row: |context| Box::pin(make_row(context)),
};

/// `recipe.toml` has no settings that only this task has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoSettings {}

/// The content of `instructions.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Instructions {
    instruction: Vec<Instruction>,
}

/// A verifiable instruction.
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
struct Instruction {
    id: String,
    description: String,
    conflicts: Vec<String>,
    #[serde(default, rename(deserialize = "argument"))]
    arguments: Vec<Argument>,
}

/// An argument of an instruction's checker.
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
struct Argument {
    name: String,
    description: String,
    schema: Value,
}

fn load(recipe: &Recipe) -> Result<TaskSettings> {
    recipe.parse::<NoSettings>()?;
    let instructions: Instructions =
        toml::from_str(recipe.file("instructions.toml")?).context("smol-constraint/instructions.toml")?;
    recipe.needs_entries(&instructions.instruction, "instruction")?;
    Ok(Box::new(instructions))
}

async fn make_row(context: &RowContext<'_>) -> Result<Map<String, Value>, RowError> {
    let system = Message::new("system", context.recipe.prompt("system", &json!({}))?);
    let user = context.message("user", Prompt::User(vec![system.clone()])).await?;
    let instructions = instructions(context, &user).await?;
    let kwargs = arguments(context, &user, &instructions).await?;
    let checks = checks(&instructions, &kwargs)?;
    let request = Message::new("user", user.clone());
    let response = context.message("assistant", Prompt::Assistant(vec![system, request.clone()])).await?;
    // A response may have megabytes.
    let violated = off_the_runtime(|| checks.iter().find(|(check, _)| !check.strict(&response)));
    if let Some((check, kwargs)) = violated {
        return dropped("check", "constraint_violated", format!("{}: {kwargs}", check.id()));
    }
    let ids: Vec<&str> = instructions.iter().map(|instruction| instruction.id.as_str()).collect();
    Ok(fields(json!({
        "messages": [request, Message::new("assistant", response.clone())],
        "prompt": user, "response": response, "instruction_id_list": ids, "kwargs": kwargs.to_string()
    })))
}

/// The instructions in the request, each once; instructions that contradict each other drop the row.
async fn instructions<'a>(context: &RowContext<'a>, user: &str) -> Result<Vec<&'a Instruction>, RowError> {
    let recipe = context.recipe;
    let known = &recipe.task_settings::<Instructions>().instruction;
    let prompt = recipe.prompt("instruction_ids", &json!({"instruction": user, "instructions": known}))?;
    let schema = recipe.schema("instruction_ids")?;
    let answer = context.judge(judge(context), "instruction_ids", "instruction_ids", prompt, schema).await?;
    let is_named = |instruction: &&Instruction| {
        answer["instruction_ids"]
            .as_array()
            .is_some_and(|ids| ids.iter().any(|id| *id == instruction.id.as_str()))
    };
    let chosen: Vec<&Instruction> = known.iter().filter(is_named).collect();
    for instruction in &chosen {
        if let Some(other) = chosen.iter().find(|other| instruction.conflicts.contains(&other.id)) {
            return dropped(
                "instruction_ids",
                "conflicting_constraints",
                format!("{} and {}", instruction.id, other.id),
            );
        }
    }
    Ok(chosen)
}

/// The arguments of each instruction, in IFEval's format and in the order of the instructions.
async fn arguments(
    context: &RowContext<'_>,
    user: &str,
    instructions: &[&Instruction],
) -> Result<Value, RowError> {
    if instructions.iter().all(|instruction| instruction.arguments.is_empty()) {
        return Ok(json!(vec![json!({}); instructions.len()]));
    }
    let prompt =
        context.recipe.prompt("arguments", &json!({"instruction": user, "instructions": instructions}))?;
    let answer =
        context.judge(judge(context), "arguments", "arguments", prompt, &schema(instructions)).await?;
    Ok(instructions
        .iter()
        .map(|instruction| answer.get(&instruction.id).cloned().unwrap_or(json!({})))
        .collect())
}

/// The checker of each instruction, with its arguments. Unusable arguments drop the row.
fn checks<'k>(
    instructions: &[&Instruction],
    kwargs: &'k Value,
) -> Result<Vec<(ifeval::Instruction, &'k Value)>, RowError> {
    let unusable = |detail: String| dropped("arguments", "unusable_arguments", detail);
    let check = |(index, instruction): (usize, &&Instruction)| {
        let kwargs = &kwargs[index];
        let Some(arguments) = kwargs.as_object() else {
            return unusable(format!("{}: {kwargs} is no object", instruction.id));
        };
        if !ifeval::Instruction::is_linear(arguments) {
            return unusable(format!(
                "{}: {kwargs} contains a pattern that may take very long to check",
                instruction.id
            ));
        }
        match ifeval::Instruction::new(&instruction.id, arguments) {
            Ok(check) => Ok((check, kwargs)),
            Err(error) => unusable(error.to_string()),
        }
    };
    instructions.iter().enumerate().map(check).collect()
}

/// Runs a check that may take long, without keeping other rows from this thread.
fn off_the_runtime<T>(check: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(check),
        _ => check(),
    }
}

/// The schema of the arguments: an object with an entry for each instruction that has any.
fn schema(instructions: &[&Instruction]) -> Value {
    let entry = |instruction: &&&Instruction| {
        let arguments =
            instruction.arguments.iter().map(|argument| (argument.name.clone(), argument.schema.clone()));
        (instruction.id.clone(), object(&arguments.collect()))
    };
    object(
        &instructions
            .iter()
            .filter(|instruction| !instruction.arguments.is_empty())
            .map(|i| entry(&i))
            .collect(),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::recipe::Prompts;

    fn all() -> Vec<Instruction> {
        let recipe = TASK.recipe(&Prompts::default()).unwrap();
        recipe.task_settings::<Instructions>().instruction.clone()
    }

    #[test]
    fn conflicts_are_symmetric_and_name_known_instructions() {
        let all = all();
        assert_eq!(all.len(), 25);
        for instruction in &all {
            for other in &instruction.conflicts {
                let other = all.iter().find(|known| known.id == *other).unwrap();
                assert!(other.conflicts.contains(&instruction.id), "{} and {}", other.id, instruction.id);
            }
        }
    }

    /// `instructions.toml` has the ids and the names of arguments that `ifeval` has.
    #[test]
    fn every_instruction_of_the_recipe_can_be_checked() {
        let all = all();
        let argument = |schema: &Value| match (
            schema["enum"][0].as_str(),
            schema["type"].as_str().unwrap_or_default(),
        ) {
            (Some(first), _) => json!(first),
            (_, "integer") => schema["minimum"].clone(),
            (_, "array") => json!(["words"]),
            _ if schema["pattern"].is_string() => json!("e"),
            _ => json!("words"),
        };
        assert_eq!(all.len(), ifeval::INSTRUCTION_IDS.len());
        for instruction in &all {
            let kwargs: Map<String, Value> =
                instruction.arguments.iter().map(|one| (one.name.clone(), argument(&one.schema))).collect();
            let kwargs = json!([kwargs]);
            let checks = checks(&[instruction], &kwargs).unwrap();
            assert_eq!(checks[0].0.id(), instruction.id);
        }
        let words = all.iter().find(|one| one.id == "length_constraints:number_words").unwrap();
        let none = json!([{"num_words": 0, "relation": "at least"}]);
        let refused = checks(&[words], &none);
        assert!(matches!(refused, Err(RowError::Dropped(drop)) if drop.reason == "unusable_arguments"));
    }
}
