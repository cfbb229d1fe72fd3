//! The formats of held-out rows, and their checks: every question has the answer that the checker computes, every
//! condition is an instruction of IFEval. A row that passes can be asked and judged.

use super::checker::QuestionChecker;
use anyhow::{Context, Result, bail, ensure};
use checkpoint::Message;
use ifeval::Instruction;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A question with its answer.
pub(super) struct Question {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) text: String,
    pub(super) answer: String,
}

/// A solved question.
pub(super) struct Example {
    pub(super) kind: String,
    pub(super) question: String,
    pub(super) reply: String,
}

/// A request with its conditions.
pub(super) struct Request {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) instructions: Vec<Instruction>,
}

/// Two replies to one prompt.
pub(super) struct Pair {
    /// Its line in the file.
    pub(super) id: String,
    pub(super) prompt: Vec<Message>,
    pub(super) chosen: Vec<Message>,
    pub(super) rejected: Vec<Message>,
}

/// A document of a source.
pub(super) struct Document {
    pub(super) source: String,
    /// Its line in the file, from 1.
    pub(super) line: usize,
    pub(super) text: String,
}

/// A row of `questions/test.jsonl`.
#[derive(Deserialize)]
pub(super) struct QuestionRow {
    id: String,
    kind: String,
    messages: Vec<Message>,
    answer: String,
}

/// A row of `questions/examples.jsonl`.
#[derive(Deserialize)]
pub(super) struct ExampleRow {
    kind: String,
    messages: Vec<Message>,
}

/// A row of `requests/test.jsonl`.
#[derive(Deserialize)]
pub(super) struct RequestRow {
    id: String,
    messages: Vec<Message>,
    instruction_id_list: Vec<String>,
    kwargs: Vec<Map<String, Value>>,
}

/// A row of `pairs/test.jsonl`.
#[derive(Deserialize)]
pub(super) struct PairRow {
    prompt: Vec<Message>,
    chosen: Vec<Message>,
    rejected: Vec<Message>,
}

/// A row of `held-out/SOURCE/documents.jsonl`.
#[derive(Deserialize)]
pub(super) struct DocumentRow {
    pub(super) text: String,
}

impl QuestionRow {
    pub(super) fn check(self, checker: QuestionChecker) -> Result<Question> {
        let Self { id, kind, messages, answer } = self;
        let text = user_message(messages)?;
        match (checker.is_right)(&text, &answer) {
            Ok(true) => Ok(Question { id, kind, text, answer }),
            Ok(false) => bail!("question {id}: the checker does not accept the answer {answer:?}"),
            Err(reason) => bail!("question {id}: {reason}"),
        }
    }
}

impl ExampleRow {
    pub(super) fn check(self) -> Result<Example> {
        match <[Message; 2]>::try_from(self.messages) {
            Ok([question, reply]) if question.role == "user" && reply.role == "assistant" => {
                Ok(Example { kind: self.kind, question: question.content, reply: reply.content })
            }
            _ => bail!("`messages` is not one user message and one assistant message"),
        }
    }
}

impl RequestRow {
    pub(super) fn check(self) -> Result<Request> {
        let Self { id, messages, instruction_id_list, kwargs } = self;
        ensure!(
            instruction_id_list.len() == kwargs.len() && !kwargs.is_empty(),
            "request {id}: `instruction_id_list` has {} entries and `kwargs` {}; give at least one instruction, each \
             with its own `kwargs`",
            instruction_id_list.len(),
            kwargs.len()
        );
        let instructions =
            instruction_id_list.iter().zip(&kwargs).map(|(id, kwargs)| Instruction::new(id, kwargs));
        let instructions = instructions.collect::<Result<_, _>>().with_context(|| format!("request {id}"))?;
        Ok(Request { text: user_message(messages)?, id, instructions })
    }
}

impl PairRow {
    pub(super) fn check(self, line: usize) -> Result<Pair> {
        let Self { prompt, chosen, rejected } = self;
        let has_reply = |messages: &[Message]| messages.iter().any(|message| message.role == "assistant");
        ensure!(
            has_reply(&chosen) && has_reply(&rejected),
            "`chosen` and `rejected` must each contain an assistant message"
        );
        Ok(Pair { id: line.to_string(), prompt, chosen, rejected })
    }
}

/// The content of the only message, which must be a user message.
fn user_message(messages: Vec<Message>) -> Result<String> {
    match <[Message; 1]>::try_from(messages) {
        Ok([message]) if message.role == "user" => Ok(message.content),
        _ => bail!("`messages` is not a single user message"),
    }
}
