//! Requests with conditions that a program can check, judged by this room's verifiers as the reply stands.

use super::asking::{ask as ask_all, said};
use super::held_out::Request;
use super::subject::Subject;
use crate::replies::{Reply, RequestReply};
use anyhow::Result;

pub(super) fn ask(subject: &Subject, requests: &[Request], max_tokens: usize) -> Result<Vec<Reply>> {
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    let asked = requests.iter().map(|request| subject.chat(&request.text, max_tokens));
    let answers = ask_all(subject, asked.collect::<Result<_>>()?, "requests")?;
    let judged = requests.iter().zip(answers).map(|(request, answer)| {
        let (reply, ending) = said(answer);
        Reply::Request(RequestReply {
            id: request.id.clone(),
            request: request.text.clone(),
            instruction_ids: request.instructions.iter().map(|one| one.id().to_owned()).collect(),
            followed: request.instructions.iter().map(|one| one.strict(&reply)).collect(),
            reply,
            ending,
        })
    });
    Ok(judged.collect())
}
