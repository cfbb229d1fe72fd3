//! Requests with verifiable conditions: each reply is checked strictly against IFEval's instructions.

use super::answers::{collect, text_and_ending};
use super::model::EvaluatedModel;
use super::rows::Request;
use crate::replies::{Reply, RequestReply};
use anyhow::Result;

/// Asks the model and checks its replies.
pub(super) fn ask(model: &EvaluatedModel, requests: &[Request], max_tokens: usize) -> Result<Vec<Reply>> {
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    let prompts = requests.iter().map(|request| model.chat_request(&request.text, max_tokens));
    let answers = collect(model, prompts.collect::<Result<_>>()?, &model.name, "requests")?;
    let replies = requests.iter().zip(answers).map(|(request, answer)| {
        let (reply, ending) = text_and_ending(answer);
        Reply::Request(RequestReply {
            id: request.id.clone(),
            request: request.text.clone(),
            instruction_ids: request.instructions.iter().map(|one| one.id().to_owned()).collect(),
            followed: request.instructions.iter().map(|one| one.strict(&reply)).collect(),
            reply,
            ending,
        })
    });
    Ok(replies.collect())
}
