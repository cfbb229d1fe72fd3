//! Which of two replies a model finds more likely: log-probabilities summed over the assistant's tokens, the stop token
//! included, of the conversation as `posttrain dpo` renders it.

use super::answers::collect;
use super::model::EvaluatedModel;
use super::rows::Pair;
use crate::replies::{PairReply, Reply, Side, SkippedPair};
use anyhow::Result;
use checkpoint::{Checkpoint, Message, chat};
use engine::{Answer, Request};

/// A conversation as a request, and the positions of its tokens that count.
struct RenderedSide {
    request: Request,
    positions: Vec<usize>,
}

/// Measures all pairs. A pair that cannot be measured is a row with the reason.
pub(super) fn measure(model: &EvaluatedModel, pairs: &[Pair]) -> Result<Vec<Reply>> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let (mut sides, mut requests) = (Vec::new(), Vec::new());
    for pair in pairs {
        let chosen = render(model, &pair.prompt, &pair.chosen);
        let both = chosen.and_then(|chosen| Ok([chosen, render(model, &pair.prompt, &pair.rejected)?]));
        sides.push(both.map(|both| {
            both.map(|side| {
                requests.push(Some(side.request));
                side.positions
            })
        }));
    }
    let mut answers = collect(model, requests, &model.name, "replies of pairs")?.into_iter().flatten();
    let mut side = |positions: &[usize]| answers.next().map(|answer| sum(&answer, positions));
    let replies = pairs.iter().zip(sides).filter_map(|(pair, sides)| {
        let id = pair.id.clone();
        Some(match sides {
            Ok([chosen, rejected]) => {
                Reply::Pair(PairReply { id, chosen: side(&chosen)?, rejected: side(&rejected)? })
            }
            Err(reason) => Reply::SkippedPair(SkippedPair { id, reason }),
        })
    });
    Ok(replies.collect())
}

/// Renders a prompt with a reply; the error says why it cannot be measured.
fn render(model: &EvaluatedModel, prompt: &[Message], reply: &[Message]) -> Result<RenderedSide, String> {
    let messages = [prompt, reply].concat();
    let Checkpoint { template, tokenizer, .. } = &model.checkpoint;
    let rendered = chat::render(template, tokenizer, &messages, None).map_err(|error| error.to_string())?;
    if rendered.ids.len() > model.context() {
        return Err("longer than the context".to_owned());
    }
    let counts = |role: &chat::TokenRole| {
        let message = role.message.map(|message| message as usize);
        role.content && message.is_some_and(|at| at >= prompt.len() && messages[at].role == "assistant")
    };
    // The first token of the conversation has no probability.
    let positions = (1..rendered.ids.len()).filter(|index| counts(&rendered.roles[*index])).collect();
    Ok(RenderedSide { request: model.logprob_request(rendered.ids), positions })
}

fn sum(answer: &Answer, positions: &[usize]) -> Side {
    let logprob = |position: &usize| {
        answer.prompt_logprobs[*position].as_ref().map_or(0.0, |token| f64::from(token.logprob))
    };
    Side { log_probability: positions.iter().map(logprob).sum(), tokens: positions.len() }
}
