//! Questions in the chat template, or as plain text after five solved ones of the same kind, and the checker's verdict.

use super::Options;
use super::asking::{ask as ask_all, said};
use super::held_out::Question;
use super::subject::Subject;
use crate::replies::{Mode, QuestionReply, Reply};
use anyhow::Result;
use datasets::pocket::{self, Draw, Kind, Split, Verdict};
use std::collections::BTreeMap;

/// Solved examples before a question.
const SHOTS: usize = 5;

pub(super) fn ask(
    subject: &Subject,
    questions: &[Question],
    mode: Mode,
    options: &Options,
) -> Result<Vec<Reply>> {
    if questions.is_empty() {
        return Ok(Vec::new());
    }
    let examples: BTreeMap<Kind, String> =
        Kind::ALL.into_iter().map(|kind| (kind, examples(kind, options.seed))).collect();
    let most = options.max_tokens;
    let request = |question: &Question| match mode {
        Mode::Chat => subject.chat(&question.text, most),
        Mode::FiveShot => {
            subject.line(&format!("{}Question: {}\nAnswer:", examples[&question.kind], question.text), most)
        }
    };
    let requests = questions.iter().map(request).collect::<Result<Vec<_>>>()?;
    if mode == Mode::FiveShot {
        // The first of a kind goes ahead, so that all others find the examples' keys and values computed.
        let first = |index: &usize| *index == 0 || questions[*index].kind != questions[index - 1].kind;
        let ahead = (0..questions.len()).filter(first).map(|index| requests[index].clone());
        ask_all(subject, ahead.collect(), "solved examples")?;
    }
    let answers = ask_all(subject, requests, &format!("questions ({})", mode.name()))?;
    let judged = questions.iter().zip(answers).map(|(question, answer)| {
        let (reply, ending) = said(answer);
        Reply::Question(QuestionReply {
            mode,
            id: question.id.clone(),
            kind: question.kind,
            question: question.text.clone(),
            answer: question.answer.clone(),
            right: pocket::check(&[&question.text], &reply) == Verdict::Right,
            reply,
            ending,
        })
    });
    Ok(judged.collect())
}

/// Five questions of the training split with their replies: the same before every question of a kind.
fn examples(kind: Kind, seed: u64) -> String {
    let mut draw = Draw::new(seed, &format!("examples/{}", kind.name()));
    let solved = |_| {
        let question = pocket::Question::new(kind, &mut draw, Split::Train);
        format!("Question: {}\nAnswer: {}\n\n", question.user, question.reply)
    };
    (0..SHOTS).map(solved).collect()
}
