//! Smol-Constraint: a request with verifiable constraints, its reply, and what a checker must know of both.

use super::fields;
use crate::recipe::Instruction;
use crate::teacher::Prompt;
use crate::walk::{Halt, Walk, dropped};
use serde_json::{Map, Value, json};
use smollm::Message;

pub(crate) async fn row(walk: &Walk<'_>) -> Result<Map<String, Value>, Halt> {
    let system = Message::new("system", walk.recipe.prompt("system", &json!({}))?);
    let user = walk.words("user", Prompt::User(vec![system.clone()])).await?;
    let instructions = instructions(walk, &user).await?;
    let kwargs = arguments(walk, &user, &instructions).await?;
    let question = Message::new("user", user.clone());
    let response = walk.words("assistant", Prompt::Assistant(vec![system, question.clone()])).await?;
    let ids: Vec<&str> = instructions.iter().map(|instruction| instruction.id.as_str()).collect();
    Ok(fields(json!({
        "messages": [question, Message::new("assistant", response.clone())],
        "prompt": user, "response": response, "instruction_id_list": ids, "kwargs": kwargs.to_string()
    })))
}

/// The instructions the request states, each once; pairs that cannot both hold drop the row.
async fn instructions<'a>(walk: &Walk<'a>, user: &str) -> Result<Vec<&'a Instruction>, Halt> {
    let recipe = walk.recipe;
    let question = recipe
        .prompt("instruction_ids", &json!({"instruction": user, "instructions": recipe.instructions}))?;
    let teacher = walk.teachers.judge.as_ref().unwrap_or(&walk.teachers.main);
    let schema = recipe.schema("instruction_ids")?;
    let answer = walk.judge(teacher, "instruction_ids", "instruction_ids", question, schema).await?;
    let named = |instruction: &&Instruction| {
        answer["instruction_ids"]
            .as_array()
            .is_some_and(|ids| ids.iter().any(|id| *id == instruction.id.as_str()))
    };
    let chosen: Vec<&Instruction> = recipe.instructions.iter().filter(named).collect();
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

/// The arguments of each instruction, in their order, as IFEval keeps them.
async fn arguments(walk: &Walk<'_>, user: &str, instructions: &[&Instruction]) -> Result<Value, Halt> {
    if instructions.iter().all(|instruction| instruction.arguments.is_empty()) {
        return Ok(json!(vec![json!({}); instructions.len()]));
    }
    let question =
        walk.recipe.prompt("arguments", &json!({"instruction": user, "instructions": instructions}))?;
    let teacher = walk.teachers.judge.as_ref().unwrap_or(&walk.teachers.main);
    let answer = walk.judge(teacher, "arguments", "arguments", question, &schema(instructions)).await?;
    Ok(instructions
        .iter()
        .map(|instruction| answer.get(&instruction.id).cloned().unwrap_or(json!({})))
        .collect())
}

/// An object with an entry for each instruction that has arguments.
fn schema(instructions: &[&Instruction]) -> Value {
    let object = |properties: Map<String, Value>| {
        let names: Vec<String> = properties.keys().cloned().collect();
        json!({"type": "object", "properties": properties, "required": names, "additionalProperties": false})
    };
    let entry = |instruction: &&&Instruction| {
        let arguments =
            instruction.arguments.iter().map(|argument| (argument.name.clone(), argument.schema.clone()));
        (instruction.id.clone(), object(arguments.collect()))
    };
    object(
        instructions
            .iter()
            .filter(|instruction| !instruction.arguments.is_empty())
            .map(|i| entry(&i))
            .collect(),
    )
}
