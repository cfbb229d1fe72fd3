//! Conversations that train the pocket teacher in the five tasks it can teach. They are rendered from the prompts in
//! `pocket/prompts`, so that `smoltalk gen` asks the teacher for nothing it has not seen. A changed prompt needs a new
//! teacher.

mod agreement;
mod judgments;
mod messages;
mod mixture;
mod recipes;

use crate::draw::Draw;
use crate::letters::{Letter, Style};
use crate::questions::{Kind, Question};
use crate::requests::Request;
use crate::split::Split;
use crate::stories::{Length, Story};
use crate::talks::talk;
use anyhow::Result;
use messages::{conversation, fully_trained_conversation, judgment, message, trained_user_message};
use mixture::{KINDS, LESSONS, Lesson, QUESTION_CATEGORIES, TALK_CATEGORIES, weighted};
use recipes::{Recipes, UserTurn};
use serde_json::{Map, Value, json};
use std::path::Path;

/// The lessons of all tasks.
pub(crate) struct Lessons {
    recipes: Recipes,
}

impl Lessons {
    /// Reads the recipes in a folder of prompts.
    ///
    /// # Errors
    /// When a recipe is missing or has something that no lesson is written for.
    pub(crate) fn open(prompts: &Path) -> Result<Self> {
        Ok(Self { recipes: Recipes::open(prompts)? })
    }

    /// A conversation of a random lesson, as a row of a dataset.
    pub(crate) fn row(&self, draw: &mut Draw, split: Split) -> Result<Value> {
        let lesson = weighted(&LESSONS, draw);
        Ok(json!({"messages": self.messages(lesson, draw, split)?, "source": "pocket"}))
    }

    fn messages(&self, lesson: Lesson, draw: &mut Draw, split: Split) -> Result<Vec<Value>> {
        // Drawn for every lesson; only some need it.
        let kind = draw.pick(&Kind::ALL);
        match lesson {
            Lesson::Question => {
                let (kind, count) = (weighted(&KINDS, draw), draw.between(1, 2));
                Ok(conversation(&Question::turns(kind, count, draw, split)))
            }
            Lesson::Talk => {
                let (_, topic) = draw.pick(&TALK_CATEGORIES);
                Ok(conversation(&talk(topic, draw, split)))
            }
            Lesson::Magpie => self.magpie(draw, split),
            Lesson::Difficulty => self.difficulty(kind, draw, split),
            Lesson::Classification => self.classification(kind, draw, split),
            Lesson::Quality => self.quality(kind, draw, split),
            Lesson::Reward => self.reward(kind, draw, split),
            Lesson::Constraint => self.constraint(draw, split),
            Lesson::InstructionIds => self.instruction_ids(draw, split),
            Lesson::Arguments => self.arguments(draw, split),
            Lesson::Rewrite => self.rewrite(draw, split),
            Lesson::Summary => self.summary(draw, split),
            Lesson::Faithfulness => self.faithfulness(draw, split),
            Lesson::Preference => self.preference(draw, split),
            Lesson::Rating => self.rating(kind, draw, split),
        }
    }

    /// The system prompt of a category and its conversation; the user's turns are trained on, too.
    fn magpie(&self, draw: &mut Draw, split: Split) -> Result<Vec<Value>> {
        let (category, turns) = if draw.chance(75) {
            let (category, kinds) = draw.pick(&QUESTION_CATEGORIES);
            (category, Question::turns(draw.pick(kinds), 2, draw, split))
        } else {
            let (category, topic) = draw.pick(&TALK_CATEGORIES);
            (category, talk(topic, draw, split))
        };
        let system = self.recipes.magpie.prompt(&format!("system/{category}"), &json!({}))?;
        Ok(fully_trained_conversation(&system, &turns))
    }

    fn difficulty(&self, kind: Kind, draw: &mut Draw, split: Split) -> Result<Vec<Value>> {
        let question = Question::new(kind, draw, split);
        let prompt = self.recipes.magpie.prompt("difficulty", &json!({"instruction": question.user}))?;
        Ok(judgment(&prompt, &judgments::difficulty(&question)))
    }

    fn classification(&self, kind: Kind, draw: &mut Draw, split: Split) -> Result<Vec<Value>> {
        let question = Question::new(kind, draw, split);
        let prompt = self.recipes.magpie.prompt("classification", &json!({"instruction": question.user}))?;
        Ok(judgment(&prompt, &judgments::classification(question.kind)))
    }

    fn quality(&self, kind: Kind, draw: &mut Draw, split: Split) -> Result<Vec<Value>> {
        let (task, answer) = judgments::quality(kind, draw, split);
        Ok(judgment(&self.recipes.magpie.prompt("quality", &json!({"instruction": task}))?, &answer))
    }

    fn reward(&self, kind: Kind, draw: &mut Draw, split: Split) -> Result<Vec<Value>> {
        let judgments::Reward { replies, own_replies, answer } = judgments::reward(kind, draw, split);
        let messages: Vec<Value> = replies.iter().map(|reply| message("assistant", reply)).collect();
        let variables = json!({"messages": messages, "references": own_replies});
        Ok(judgment(&self.recipes.magpie.prompt("reward", &variables)?, &answer))
    }

    /// A request and its reply, below the system prompt in 70 of 100 draws.
    fn constraint(&self, draw: &mut Draw, split: Split) -> Result<Vec<Value>> {
        let request = Request::new_verified(draw, split);
        let mut messages = vec![trained_user_message(&request.user), message("assistant", &request.reply)];
        if draw.chance(70) {
            messages.insert(0, message("system", &self.recipes.constraint.prompt("system", &json!({}))?));
        }
        Ok(messages)
    }

    fn instruction_ids(&self, draw: &mut Draw, split: Split) -> Result<Vec<Value>> {
        let request = Request::new(draw, split);
        let ids: Vec<&str> = request.conditions.iter().map(|(id, _)| *id).collect();
        let variables = json!({"instruction": request.user});
        let prompt = self.recipes.constraint.prompt("instruction_ids", &variables)?;
        Ok(judgment(&prompt, &json!({"instruction_ids": ids})))
    }

    /// The arguments of a request's conditions, for a request with any.
    fn arguments(&self, draw: &mut Draw, split: Split) -> Result<Vec<Value>> {
        loop {
            let request = Request::new(draw, split);
            let has_arguments =
                |arguments: &Value| arguments.as_object().is_some_and(|arguments| !arguments.is_empty());
            let mut conditions: Vec<(&str, &Value)> = request
                .conditions
                .iter()
                .filter(|(_, arguments)| has_arguments(arguments))
                .map(|(id, arguments)| (*id, arguments))
                .collect();
            if conditions.is_empty() {
                continue;
            }
            // The schema of the answer has the order of the recipe.
            let place = |id: &str| self.recipes.instruction_ids.iter().position(|known| known == id);
            conditions.sort_by_key(|(id, _)| place(id).unwrap_or(0));
            let answer: Map<String, Value> =
                conditions.iter().map(|(id, arguments)| ((*id).to_owned(), (*arguments).clone())).collect();
            let prompt =
                self.recipes.constraint.prompt("arguments", &json!({"instruction": request.user}))?;
            return Ok(judgment(&prompt, &answer.into()));
        }
    }

    fn rewrite(&self, draw: &mut Draw, split: Split) -> Result<Vec<Value>> {
        let (letter, style) = (Letter::new(draw, split), draw.pick(&Style::TARGETS));
        let source = letter.write(Letter::source_style(style, draw), draw);
        let system = self.recipes.rewrite.prompt(style.key(), &json!({}))?;
        let reply = letter.write(style, draw);
        Ok(vec![message("system", &system), message("user", &source), message("assistant", &reply)])
    }

    fn summary(&self, draw: &mut Draw, split: Split) -> Result<Vec<Value>> {
        let (story, length) = (Story::new(draw, split), draw.pick(&Length::ALL));
        let system = self.recipes.summary.prompt(length.key(), &json!({}))?;
        let summary = story.summary(length, draw);
        Ok(vec![message("system", &system), message("user", &story.text), message("assistant", &summary)])
    }

    fn faithfulness(&self, draw: &mut Draw, split: Split) -> Result<Vec<Value>> {
        let (source, text) = source_and_text(draw, split);
        let variables = json!({"source": source, "reply": text});
        let prompt = self.recipes.rewrite.prompt("faithfulness", &variables)?;
        Ok(judgment(&prompt, &judgments::faithfulness(&source, &text)))
    }

    /// The user's turn for a kind of request, below the system prompt that asks for it.
    fn preference(&self, draw: &mut Draw, split: Split) -> Result<Vec<Value>> {
        let (text, turn) = &self.recipes.requests[draw.below(self.recipes.requests.len())];
        let turns = match *turn {
            UserTurn::Talk(topic) => talk(topic, draw, split),
            UserTurn::Request => {
                let request = Request::new(draw, split);
                vec![(request.user, request.reply)]
            }
            UserTurn::Question(kind) => Question::turns(kind, 1, draw, split),
        };
        let system = self.recipes.preferences.prompt("user", &json!({"request": text}))?;
        Ok(fully_trained_conversation(&system, &turns[..1]))
    }

    fn rating(&self, kind: Kind, draw: &mut Draw, split: Split) -> Result<Vec<Value>> {
        let judgments::Rating { task, reply, own_reply, answer } = judgments::rating(kind, draw, split);
        let variables = json!({"instruction": task, "response": reply, "reference": own_reply});
        Ok(judgment(&self.recipes.preferences.prompt("rating", &variables)?, &answer))
    }
}

/// A text and a rewriting or a summary of it, in 60 of 100 draws with one to three words that are not in it. With one
/// wrong word in twenty, a small model learned to accept all of them.
fn source_and_text(draw: &mut Draw, split: Split) -> (String, String) {
    let (is_wrong, count) = (draw.chance(60), draw.between(1, 3));
    if draw.chance(50) {
        let (letter, style) = (Letter::new(draw, split), draw.pick(&Style::TARGETS));
        let source = letter.write(Letter::source_style(style, draw), draw);
        let text = if is_wrong { letter.write_wrong(style, count, draw) } else { letter.write(style, draw) };
        return (source, text);
    }
    let (story, length) = (Story::new(draw, split), draw.pick(&Length::ALL));
    let text = if is_wrong { story.wrong_summary(length, count, draw) } else { story.summary(length, draw) };
    (story.text, text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use generate::{Prompts, Recipe};

    fn recipe(task: &str) -> Recipe {
        let prompts = Path::new(env!("CARGO_MANIFEST_DIR")).join("prompts");
        generate::recipe(task, &Prompts::open(Some(&prompts)).unwrap()).unwrap()
    }

    #[test]
    fn every_recipe_has_its_lessons() {
        assert!(Lessons::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("prompts")).is_ok());
    }

    /// The judgments that the pocket teacher learns match the schemas that constrain it.
    #[test]
    fn judgments_match_the_schemas_of_the_tasks() {
        let (magpie, rewrite) = (recipe("magpie-ultra"), recipe("smol-rewrite"));
        let mut draw = Draw::new(4, "judgements");
        let assert_valid = |recipe: &Recipe, step: &str, answer: &Value| {
            assert!(jsonschema::is_valid(recipe.schema(step).unwrap(), answer), "{step}: {answer}");
        };
        for round in 0..1000 {
            let kind = Kind::ALL[round % Kind::ALL.len()];
            let question = Question::new(kind, &mut draw, Split::Train);
            assert_valid(&magpie, "difficulty", &judgments::difficulty(&question));
            assert_valid(&magpie, "classification", &judgments::classification(kind));
            assert_valid(&magpie, "quality", &judgments::quality(kind, &mut draw, Split::Train).1);
            assert_valid(&magpie, "reward", &judgments::reward(kind, &mut draw, Split::Train).answer);
            let story = Story::new(&mut draw, Split::Train);
            assert_valid(&rewrite, "faithfulness", &judgments::faithfulness(&story.text, &story.text));
        }
    }
}
