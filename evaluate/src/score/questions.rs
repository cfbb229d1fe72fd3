//! Questions, asked in the chat template or as plain text after five solved ones of the same kind, and the checker's
//! verdicts.

use super::answers::{collect, text_and_ending};
use super::held_out::Questions;
use super::model::EvaluatedModel;
use super::rows::{Example, Question};
use crate::replies::{PromptMode, QuestionReply, Reply};
use anyhow::{Result, ensure};
use engine::Request;

/// The number of solved examples before a question.
const SHOTS: usize = 5;

/// Asks the model and judges its replies.
pub(super) fn ask(
    model: &EvaluatedModel,
    Questions { list: questions, examples, checker }: &Questions,
    mode: PromptMode,
    max_tokens: usize,
) -> Result<Vec<Reply>> {
    let Some(checker) = checker.filter(|_| !questions.is_empty()) else { return Ok(Vec::new()) };
    let label = format!("{} ({})", model.name, mode.name());
    let requests: Vec<Option<Request>> = match mode {
        PromptMode::Chat => {
            questions.iter().map(|one| model.chat_request(&one.text, max_tokens)).collect::<Result<_>>()?
        }
        PromptMode::FiveShot => {
            let requests = five_shot_requests(model, questions, examples, max_tokens)?;
            // The first request of each kind goes first, so that the keys and values of the examples are in the cache
            // for the others.
            let is_first = |index: &usize| *index == 0 || questions[*index].kind != questions[index - 1].kind;
            let first = (0..questions.len()).filter(is_first).map(|index| requests[index].clone());
            collect(model, first.collect(), &label, "prompts of solved examples")?;
            requests
        }
    };
    let answers = collect(model, requests, &label, "questions")?;
    let replies = questions.iter().zip(answers).map(|(question, answer)| {
        let (reply, ending) = text_and_ending(answer);
        Reply::Question(QuestionReply {
            mode,
            id: question.id.clone(),
            kind: question.kind.clone(),
            question: question.text.clone(),
            answer: question.answer.clone(),
            right: (checker.is_right)(&question.text, &reply) == Ok(true),
            reply,
            ending,
        })
    });
    Ok(replies.collect())
}

fn five_shot_requests(
    model: &EvaluatedModel,
    questions: &[Question],
    examples: &[Example],
    max_tokens: usize,
) -> Result<Vec<Option<Request>>> {
    let request = |question: &Question| {
        let examples = solved_examples(examples, &question.kind)?;
        model.line_request(&format!("{examples}Question: {}\nAnswer:", question.text), max_tokens)
    };
    questions.iter().map(request).collect()
}

/// The text of five solved examples of a kind, the same before every question of that kind.
fn solved_examples(examples: &[Example], kind: &str) -> Result<String> {
    let examples: Vec<&Example> = examples.iter().filter(|one| one.kind == kind).take(SHOTS).collect();
    ensure!(
        examples.len() == SHOTS,
        "questions/examples.jsonl has {} solved examples of the kind `{kind}`; add some, `--shots 5` needs {SHOTS}",
        examples.len()
    );
    let text = |example: &&Example| format!("Question: {}\nAnswer: {}\n\n", example.question, example.reply);
    Ok(examples.iter().map(text).collect())
}
