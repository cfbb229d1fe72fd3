//! How well held-out documents are predicted: the text's tokens but the first, which nothing comes before. What ends a
//! document is left out, because base and chat models end theirs with different tokens. A document that is longer than the context
//! is measured in pieces.

use super::asking::ask;
use super::held_out::Document;
use super::subject::Subject;
use crate::replies::{DocumentReply, Reply};
use anyhow::Result;

pub(super) fn measure(subject: &Subject, documents: &[Document]) -> Result<Vec<Reply>> {
    if documents.is_empty() {
        return Ok(Vec::new());
    }
    let (mut pieces, mut requests) = (Vec::new(), Vec::new());
    for (index, document) in documents.iter().enumerate() {
        for ids in subject.document(&document.text)?.chunks(subject.context()) {
            pieces.push((index, ids.to_vec()));
            requests.push(Some(subject.measure(ids.to_vec())));
        }
    }
    let answers = ask(subject, requests, "documents")?.into_iter().flatten();
    let mut measured: Vec<DocumentReply> = documents.iter().map(nothing).collect();
    let bytes_of = subject.checkpoint.tokenizer.token_bytes();
    for ((index, ids), answer) in pieces.into_iter().zip(answers) {
        let sum = &mut measured[index];
        for (id, found) in ids.iter().zip(&answer.prompt_logprobs).skip(1) {
            sum.tokens += 1;
            sum.bytes += bytes_of[*id as usize].len();
            sum.nats -= found.as_ref().map_or(0.0, |one| f64::from(one.logprob));
        }
    }
    Ok(measured.into_iter().map(Reply::Document).collect())
}

fn nothing(document: &Document) -> DocumentReply {
    DocumentReply { source: document.source.clone(), line: document.line, tokens: 0, bytes: 0, nats: 0.0 }
}
