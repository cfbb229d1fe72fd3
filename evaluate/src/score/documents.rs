//! The log-probabilities of held-out documents: of all tokens but the first, which has nothing before it. The token
//! that ends a document is left out, because base and chat models use different ones. A document that is longer than
//! the context is measured in pieces.

use super::answers::collect;
use super::model::EvaluatedModel;
use super::rows::Document;
use crate::replies::{DocumentReply, Reply};
use anyhow::Result;

/// Measures all documents.
pub(super) fn measure(model: &EvaluatedModel, documents: &[Document]) -> Result<Vec<Reply>> {
    if documents.is_empty() {
        return Ok(Vec::new());
    }
    let (mut pieces, mut requests) = (Vec::new(), Vec::new());
    for (index, document) in documents.iter().enumerate() {
        for ids in model.document_ids(&document.text)?.chunks(model.context()) {
            pieces.push((index, ids.to_vec()));
            requests.push(Some(model.logprob_request(ids.to_vec())));
        }
    }
    let answers = collect(model, requests, &model.name, "pieces of documents")?.into_iter().flatten();
    let mut replies: Vec<DocumentReply> = documents.iter().map(empty_reply).collect();
    let token_bytes = model.checkpoint.tokenizer.token_bytes();
    for ((index, ids), answer) in pieces.into_iter().zip(answers) {
        let sum = &mut replies[index];
        for (id, logprob) in ids.iter().zip(&answer.prompt_logprobs).skip(1) {
            sum.tokens += 1;
            sum.bytes += token_bytes[*id as usize].len();
            sum.nats -= logprob.as_ref().map_or(0.0, |token| f64::from(token.logprob));
        }
    }
    Ok(replies.into_iter().map(Reply::Document).collect())
}

fn empty_reply(document: &Document) -> DocumentReply {
    DocumentReply { source: document.source.clone(), line: document.line, tokens: 0, bytes: 0, nats: 0.0 }
}
