//! Which of two replies a model holds for likelier: log-probabilities summed over the assistant's tokens, the stop token
//! included, of the conversation as `posttrain dpo` renders it.

use super::asking::ask;
use super::held_out::Pair;
use super::subject::Subject;
use crate::replies::{PairReply, Reply, Side, SkippedPair};
use anyhow::Result;
use engine::{Answer, Request};
use smollm::{Checkpoint, Message, chat};

/// A conversation on its way through the engine, and which of its tokens count.
struct Rendered {
    request: Request,
    counted: Vec<usize>,
}

pub(super) fn measure(subject: &Subject, pairs: &[Pair]) -> Result<Vec<Reply>> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let (mut sides, mut requests) = (Vec::new(), Vec::new());
    for pair in pairs {
        let chosen = rendered(subject, &pair.prompt, &pair.chosen);
        let both = chosen.and_then(|chosen| Ok([chosen, rendered(subject, &pair.prompt, &pair.rejected)?]));
        sides.push(both.map(|both| {
            both.map(|side| {
                requests.push(Some(side.request));
                side.counted
            })
        }));
    }
    let mut answers = ask(subject, requests, "replies of pairs")?.into_iter().flatten();
    let mut side = |counted: &[usize]| answers.next().map(|answer| summed(&answer, counted));
    let measured = pairs.iter().zip(sides).filter_map(|(pair, sides)| {
        let id = pair.id.clone();
        Some(match sides {
            Ok([chosen, rejected]) => {
                Reply::Pair(PairReply { id, chosen: side(&chosen)?, rejected: side(&rejected)? })
            }
            Err(reason) => Reply::SkippedPair(SkippedPair { id, reason }),
        })
    });
    Ok(measured.collect())
}

/// The error says why the conversation cannot be measured.
fn rendered(subject: &Subject, prompt: &[Message], reply: &[Message]) -> Result<Rendered, String> {
    let messages = [prompt, reply].concat();
    let Checkpoint { template, tokenizer, .. } = &subject.checkpoint;
    let rendered = chat::render(template, tokenizer, &messages, None).map_err(|error| error.to_string())?;
    if rendered.ids.len() > subject.context() {
        return Err("longer than the context".to_owned());
    }
    let counts = |role: &chat::TokenRole| {
        let message = role.message.map(|message| message as usize);
        role.content && message.is_some_and(|at| at >= prompt.len() && messages[at].role == "assistant")
    };
    // The first token of all has no probability.
    let counted = (1..rendered.ids.len()).filter(|index| counts(&rendered.roles[*index])).collect();
    Ok(Rendered { request: subject.measure(rendered.ids), counted })
}

fn summed(answer: &Answer, counted: &[usize]) -> Side {
    let of =
        |index: &usize| answer.prompt_logprobs[*index].as_ref().map_or(0.0, |one| f64::from(one.logprob));
    Side { log_probability: counted.iter().map(of).sum(), tokens: counted.len() }
}
