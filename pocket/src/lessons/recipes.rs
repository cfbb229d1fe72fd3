//! The recipes whose prompts the lessons use, checked: a recipe that no lesson is written for is refused.

use super::judgments::ASPECTS;
use crate::questions::Kind;
use crate::talks::Topic;
use anyhow::{Result, bail, ensure};
use generate::{Prompts, Recipe};
use serde::Deserialize;
use std::path::Path;

/// The recipes of the five tasks.
pub(super) struct Recipes {
    pub(super) magpie: Recipe,
    pub(super) constraint: Recipe,
    pub(super) rewrite: Recipe,
    pub(super) summary: Recipe,
    pub(super) preferences: Recipe,
    /// The texts of the preferences' kinds of requests, with what the user writes for each.
    pub(super) requests: Vec<(String, UserTurn)>,
    /// The ids of the constraints' instructions, in the order of the recipe.
    pub(super) instruction_ids: Vec<String>,
}

/// What a user writes for a kind of request.
#[derive(Clone, Copy)]
pub(super) enum UserTurn {
    Talk(Topic),
    Request,
    Question(Kind),
}

/// The user's turn by the key of the kind of request.
const USER_TURNS: [(&str, UserTurn); 16] = [
    ("explain", UserTurn::Question(Kind::Place)),
    ("write_text", UserTurn::Talk(Topic::Scene)),
    ("numbers", UserTurn::Question(Kind::Color)),
    ("program", UserTurn::Question(Kind::Moves)),
    ("compare", UserTurn::Question(Kind::Age)),
    ("plan", UserTurn::Question(Kind::Job)),
    ("question", UserTurn::Question(Kind::Day)),
    ("transform", UserTurn::Question(Kind::Next)),
    ("ideas", UserTurn::Talk(Topic::Ideas)),
    ("argument", UserTurn::Question(Kind::Length)),
    ("how_to", UserTurn::Question(Kind::Sum)),
    ("scene", UserTurn::Talk(Topic::Scene)),
    ("role", UserTurn::Talk(Topic::Role)),
    ("find_error", UserTurn::Question(Kind::Place)),
    ("uncertain", UserTurn::Talk(Topic::Advice)),
    ("formal_conditions", UserTurn::Request),
];

/// The keys of `preferences/recipe.toml` that lessons use.
#[derive(Deserialize)]
struct PreferencesKeys {
    request: Vec<RequestKeys>,
    aspect: Vec<AspectKeys>,
}

#[derive(Deserialize)]
struct RequestKeys {
    key: String,
    text: String,
}

#[derive(Deserialize)]
struct AspectKeys {
    key: String,
}

/// The keys of `smol-constraint/instructions.toml` that lessons use.
#[derive(Deserialize)]
struct InstructionsKeys {
    instruction: Vec<InstructionKeys>,
}

#[derive(Deserialize)]
struct InstructionKeys {
    id: String,
}

impl Recipes {
    /// Reads the recipes in a folder of prompts.
    ///
    /// # Errors
    /// When a recipe has a kind of request, an aspect or an order of aspects that no lesson is written for.
    pub(super) fn open(prompts: &Path) -> Result<Self> {
        let prompts = Prompts::open(Some(prompts))?;
        let recipe = |name: &str| generate::recipe(name, &prompts);
        let (constraint, preferences) = (recipe("smol-constraint")?, recipe("preferences")?);
        let keys: PreferencesKeys = preferences.parse()?;
        let aspects: Vec<&str> = keys.aspect.iter().map(|aspect| aspect.key.as_str()).collect();
        ensure!(
            aspects == ASPECTS,
            "preferences/recipe.toml has the aspects {aspects:?}, but the lessons rate {ASPECTS:?}; give these aspects in \
             this order"
        );
        let requests = keys.request.into_iter().map(|RequestKeys { key, text }| {
            match USER_TURNS.iter().find(|(known, _)| *known == key) {
                Some((_, turn)) => Ok((text, *turn)),
                None => {
                    bail!("preferences/recipe.toml: no lesson is written for the request `{key}`; remove it")
                }
            }
        });
        let instructions: InstructionsKeys = toml::from_str(constraint.file("instructions.toml")?)?;
        Ok(Self {
            magpie: recipe("magpie-ultra")?,
            rewrite: recipe("smol-rewrite")?,
            summary: recipe("smol-summarization")?,
            requests: requests.collect::<Result<_>>()?,
            instruction_ids: instructions.instruction.into_iter().map(|one| one.id).collect(),
            constraint,
            preferences,
        })
    }
}
