//! Smol-Constraint: a request with verifiable constraints and a reply that was verified to keep them.

use super::{fields, judge, object};
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
    let checks = checks(&instructions, &kwargs)?;
    let question = Message::new("user", user.clone());
    let response = walk.words("assistant", Prompt::Assistant(vec![system, question.clone()])).await?;
    if let Some((check, kwargs)) = checks.iter().find(|(check, _)| !check.strict(&response)) {
        return dropped("check", "constraint_violated", format!("{}: {kwargs}", check.id()));
    }
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
    let schema = recipe.schema("instruction_ids")?;
    let answer = walk.judge(judge(walk), "instruction_ids", "instruction_ids", question, schema).await?;
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
    let answer = walk.judge(judge(walk), "arguments", "arguments", question, &schema(instructions)).await?;
    Ok(instructions
        .iter()
        .map(|instruction| answer.get(&instruction.id).cloned().unwrap_or(json!({})))
        .collect())
}

/// What verifies each instruction, beside its arguments. Arguments that nothing can be verified by drop the row.
fn checks<'k>(
    instructions: &[&Instruction],
    kwargs: &'k Value,
) -> Result<Vec<(evaluate::Instruction, &'k Value)>, Halt> {
    let unusable = |detail: String| dropped("arguments", "unusable_arguments", detail);
    let check = |(index, instruction): (usize, &&Instruction)| {
        let kwargs = &kwargs[index];
        let Some(given) = kwargs.as_object() else {
            return unusable(format!("{}: {kwargs} is no object", instruction.id));
        };
        match evaluate::Instruction::new(&instruction.id, given) {
            Ok(check) => Ok((check, kwargs)),
            Err(error) => unusable(error.to_string()),
        }
    };
    instructions.iter().enumerate().map(check).collect()
}

/// An object with an entry for each instruction that has arguments.
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
    use crate::recipe::{Profile, Recipe, Task};

    /// The ids and argument names of `instructions.toml` are those that `evaluate` knows.
    #[test]
    fn every_instruction_of_the_recipe_can_be_checked() {
        let recipe = Recipe::load(Task::SmolConstraint, Profile::Full).unwrap();
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
        assert_eq!(recipe.instructions.len(), evaluate::INSTRUCTION_IDS.len());
        for instruction in &recipe.instructions {
            let kwargs: Map<String, Value> =
                instruction.arguments.iter().map(|one| (one.name.clone(), argument(&one.schema))).collect();
            let kwargs = json!([kwargs]);
            let checks = checks(&[instruction], &kwargs).unwrap();
            assert_eq!(checks[0].0.id(), instruction.id);
        }
        let words =
            recipe.instructions.iter().find(|one| one.id == "length_constraints:number_words").unwrap();
        let none = json!([{"num_words": 0, "relation": "at least"}]);
        let refused = checks(&[words], &none);
        assert!(matches!(refused, Err(Halt::Drop(drop)) if drop.reason == "unusable_arguments"));
    }
}
