//! Log-probabilities that a reply's tokens were stored with -> distributions over the model's own ids, token by token.
//!
//! The teacher's tokens and the model's are both laid out over the bytes of the reply. Where a token of the model is one of
//! the teacher's, what was stored there is the distribution that the model learns; the teacher's vocabulary need not be the
//! model's, but where it splits a text otherwise nothing can be learned.

use checkpoint::Tokenizer;
use checkpoint::chat::RenderedChat;
use datasets::logprobs::{Spans, TokenLogprobs};
use std::collections::HashMap;
use training::TopTokens;

/// The model's ids by the bytes of their tokens.
#[derive(Debug)]
pub struct TokenIds(HashMap<Vec<u8>, u32>);

impl TokenIds {
    /// Reads a tokenizer's tokens; of several with the same bytes the first one.
    pub fn new(tokenizer: &Tokenizer) -> Self {
        let mut ids = HashMap::new();
        for (id, bytes) in (0..).zip(tokenizer.token_bytes().iter()) {
            ids.entry(bytes.clone()).or_insert(id);
        }
        Self(ids)
    }

    /// Returns the ids and log-probabilities of what was stored for `chosen`; tokens that the model lacks are left out.
    fn top_tokens(&self, stored: &TokenLogprobs, chosen: u32) -> TopTokens {
        let mut top: TopTokens = Vec::with_capacity(stored.top_logprobs.len() + 1);
        let alternatives = stored.top_logprobs.iter().filter(|token| token.bytes() != stored.chosen.bytes());
        top.push((chosen, stored.chosen.logprob as f32));
        for token in alternatives {
            if let Some(id) = self.0.get(token.bytes()).filter(|id| **id != chosen) {
                top.push((*id, token.logprob as f32));
            }
        }
        top
    }
}

/// A reply with stored log-probabilities.
pub(super) struct StoredReply<'a> {
    /// The index of its message among the rendered ones.
    pub(super) message: usize,
    /// Its text as the template was given it.
    pub(super) content: &'a str,
    pub(super) tokens: Vec<TokenLogprobs>,
}

/// Returns the distribution at each token of a conversation; those that nothing is stored for are empty.
pub(super) fn distributions(
    rendered: &RenderedChat,
    replies: &[StoredReply<'_>],
    tokenizer: &Tokenizer,
    ids: &TokenIds,
) -> Vec<TopTokens> {
    let mut all = vec![TopTokens::new(); rendered.ids.len()];
    let bytes = tokenizer.token_bytes();
    for reply in replies {
        let is_own = |place: &usize| {
            let role = &rendered.roles[*place];
            role.content && role.message.map(|message| message as usize) == Some(reply.message)
        };
        let places: Vec<usize> = (0..rendered.ids.len()).filter(is_own).collect();
        let of_place = |place: usize| bytes[rendered.ids[place] as usize].as_slice();
        let own = Spans::new(places.iter().map(|place| of_place(*place)));
        let theirs = Spans::new(reply.tokens.iter().map(|token| token.chosen.bytes()));
        let (Some(here), Some(there)) = (own.find(reply.content), theirs.find(reply.content)) else {
            continue;
        };
        let mut start = 0usize;
        for (place, end) in places.into_iter().zip(&own.ends) {
            let token = start
                .checked_sub(here.start)
                .and_then(|offset| theirs.token_at(there.start + offset..there.start + end - here.start));
            let token = token.map(|token| &reply.tokens[token]);
            if let Some(token) = token.filter(|token| token.chosen.bytes() == of_place(place)) {
                all[place] = ids.top_tokens(token, rendered.ids[place]);
            }
            start = *end;
        }
    }
    all
}
