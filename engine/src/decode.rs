//! Decoding of one answer: everything between the logits of a step and the events sent to the caller.
//!
//! Penalties, bias, constraint, sampling, log-probabilities, text and stop conditions do not depend on what runs the
//! forward pass, so an engine on other arithmetic supports every parameter of the native one.

use crate::constraint::Guide;
use crate::event::{Done, Event, Finish, Logprobs, PromptLogprobs, Token};
use crate::request::Request;
use crate::sampling::{TokenCounts, apply_penalties, logprobs, sample};
use crate::text::AnswerText;
use checkpoint::Tokenizer;
use std::time::Instant;
use tokio::sync::mpsc::UnboundedSender;

/// The state of the answer to one request. It sends the events of the request.
pub struct Decoder {
    request: Request,
    guide: Option<Guide>,
    events: UnboundedSender<Event>,
    /// Tokens that are delivered at the end, if the request has `deliver_at_end`.
    undelivered: Vec<Token>,
    counts: TokenCounts,
    text: AnswerText,
    generated: usize,
    cached_tokens: usize,
    submitted: Instant,
    /// When it first ran.
    begun: Option<Instant>,
    is_finished: bool,
}

impl Decoder {
    /// `request` must have passed [`Request::check`]; `guide` is its compiled constraint.
    pub fn new(request: Request, guide: Option<Guide>, events: UnboundedSender<Event>) -> Self {
        Self {
            counts: TokenCounts::new(&request.prompt),
            // Stop strings apply from `min_tokens` on.
            text: AnswerText::new(match request.min_tokens {
                0 => request.stop_strings.clone(),
                _ => Vec::new(),
            }),
            request,
            guide,
            events,
            undelivered: Vec::new(),
            generated: 0,
            cached_tokens: 0,
            submitted: Instant::now(),
            begun: None,
            is_finished: false,
        }
    }

    /// Marks the end of its time in a queue; the first call counts.
    pub fn begin(&mut self) {
        self.begun.get_or_insert_with(Instant::now);
    }

    /// Sets when the request was submitted, if not just now.
    pub(crate) fn set_submitted(&mut self, submitted: Instant) {
        self.submitted = submitted;
    }

    /// Returns the request.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Returns whether the end was sent or the caller dropped the stream.
    pub fn is_over(&self) -> bool {
        self.is_finished || self.events.is_closed()
    }

    /// Returns whether the caller dropped the stream before the end.
    pub fn is_cancelled(&self) -> bool {
        !self.is_finished && self.events.is_closed()
    }

    /// Returns whether no token was generated yet: the prompt runs for the first time.
    pub(crate) fn is_first_prefill(&self) -> bool {
        self.generated == 0
    }

    /// Returns how many more tokens may be generated after the next one.
    pub(crate) fn remaining_after_next(&self) -> usize {
        self.request.max_tokens.saturating_sub(self.generated + 1)
    }

    /// Returns the text that the constraint leaves no choice of, as the tokenizer splits it: a guess, because other ids may
    /// have the same text. Nothing without a constraint.
    pub(crate) fn forced(&mut self, tokenizer: &Tokenizer) -> Vec<u32> {
        let bytes = self.guide.as_mut().map_or_else(Vec::new, Guide::forced);
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        if text.is_empty() { Vec::new() } else { tokenizer.ids(text).unwrap_or_default() }
    }

    /// Returns whether the next token cannot be chosen yet, because its constraint is still advanced past the last one.
    pub(crate) fn is_waiting(&mut self) -> bool {
        let Some(guide) = self.guide.as_mut().filter(|guide| guide.is_away()) else { return false };
        match guide.poll() {
            None => return !self.is_finished,
            Some(Ok(is_complete)) => self.end_if_due(is_complete),
            Some(Err(reason)) => self.finish(Finish::ConstraintFailed(reason)),
        }
        false
    }

    /// Returns whether `is_waiting` has to be asked before the next token is chosen.
    pub(crate) fn has_left(&self) -> bool {
        self.guide.as_ref().is_some_and(Guide::is_away)
    }

    /// Sets the number of prompt tokens that were reused from an earlier request.
    pub(crate) fn set_cached_tokens(&mut self, tokens: usize) {
        self.cached_tokens = tokens;
    }

    /// Sends the embedding (C).
    pub(crate) fn send_embedding(&self, embedding: Vec<f32>) {
        // A closed stream shows in `is_over`.
        let _ = self.events.send(Event::Embedding(embedding));
    }

    /// Sends the log-probabilities of the prompt (P).
    pub fn send_prompt_logprobs(&self, logprobs: PromptLogprobs) {
        let _ = self.events.send(Event::Prompt(logprobs));
    }

    /// Returns the log-probabilities of a prompt id under the logits (V) of the position before it, if requested.
    pub fn score(&self, logits: &[f32], id: u32) -> Option<Logprobs> {
        self.request.prompt_logprobs.map(|top| logprobs(logits, id, top))
    }

    /// Chooses the next token from logits (V), which it overwrites, and sends it. Returns `None` if no token can be
    /// chosen; the end of the answer then says why.
    pub fn choose(&mut self, logits: &mut [f32], tokenizer: &Tokenizer) -> Option<u32> {
        let chosen = self.sample(logits, tokenizer).and_then(|(id, logprobs)| {
            self.accept(id, logprobs, tokenizer)?;
            Ok(id)
        });
        chosen.map_err(|finish| self.finish(finish)).ok()
    }

    /// Sends the end of the answer. Only the first call has an effect.
    pub fn finish(&mut self, finish: Finish) {
        if std::mem::replace(&mut self.is_finished, true) {
            return;
        }
        if !self.undelivered.is_empty() {
            let _ = self.events.send(Event::Tokens(std::mem::take(&mut self.undelivered)));
        }
        let text = self.text.finish();
        let (completion_tokens, cached_tokens) = (self.generated, self.cached_tokens);
        let queued = self.begun.unwrap_or_else(Instant::now).saturating_duration_since(self.submitted);
        let done = Done { finish, text, completion_tokens, cached_tokens, queued };
        let _ = self.events.send(Event::Done(done));
    }

    fn sample(
        &mut self,
        logits: &mut [f32],
        tokenizer: &Tokenizer,
    ) -> Result<(u32, Option<Logprobs>), Finish> {
        let original = self.request.logprobs.map(|top| (logits.to_vec(), top));
        apply_penalties(logits, &self.request.sampling, &self.counts);
        // Rows of the embedding beyond the tokenizer's vocabulary have no text.
        if tokenizer.vocab_size() < logits.len() {
            logits[tokenizer.vocab_size()..].fill(f32::NEG_INFINITY);
        }
        if let Some(guide) = &mut self.guide {
            let allowed = guide.allowed().map_err(Finish::ConstraintFailed)?;
            for (id, logit) in logits.iter_mut().enumerate() {
                if !allowed.is_allowed(id as u32) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        if self.generated < self.request.min_tokens {
            self.forbid_stops(logits);
        }
        let id = sample(logits, &self.request.sampling, self.generated as u64).ok_or_else(|| {
            let reason = "no token can be chosen: no allowed token has a finite logit".to_owned();
            if self.guide.is_some() { Finish::ConstraintFailed(reason) } else { Finish::Failed(reason) }
        })?;
        Ok((id, original.map(|(logits, top)| logprobs(&logits, id, top))))
    }

    /// Forbids the stop ids, unless the constraint allows no other token: then it ends the answer.
    fn forbid_stops(&self, logits: &mut [f32]) {
        let stops = &self.request.stop_ids;
        let is_open =
            |(id, logit): (usize, &f32)| *logit > f32::NEG_INFINITY && !stops.contains(&(id as u32));
        if self.guide.is_some() && !logits.iter().enumerate().any(is_open) {
            return;
        }
        for &id in stops {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    /// Updates the state with a chosen token, sends it, and ends the answer if a stop condition holds.
    fn accept(&mut self, id: u32, logprobs: Option<Logprobs>, tokenizer: &Tokenizer) -> Result<(), Finish> {
        self.generated += 1;
        self.counts.add(id);
        let is_stop = self.request.stop_ids.contains(&id);
        let is_complete = match &mut self.guide {
            Some(guide) if !is_stop => guide.advance(id).map_err(Finish::ConstraintFailed)?,
            _ => Some(false),
        };
        let has_text = !is_stop && !tokenizer.is_special(id);
        let text =
            if has_text { self.text.push(&tokenizer.token_bytes()[id as usize]) } else { String::new() };
        let token = Token { id, text, logprobs };
        if self.request.deliver_at_end {
            self.undelivered.push(token);
        } else {
            let _ = self.events.send(Event::Token(token));
        }
        if is_stop {
            self.finish(Finish::Stop);
        } else if let Some(is_complete) = is_complete {
            self.end_if_due(is_complete);
        }
        Ok(())
    }

    /// Ends the answer if a stop condition holds after a token that is no stop token.
    fn end_if_due(&mut self, is_complete: bool) {
        if is_complete || self.text.is_stopped() {
            self.finish(Finish::Stop);
        } else if self.generated == self.request.max_tokens {
            self.finish(Finish::Length);
        } else if self.generated == self.request.min_tokens {
            self.text.set_stops(self.request.stop_strings.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Events;
    use serde_json::{Map, Value, json};
    use tokio::sync::mpsc::unbounded_channel;

    /// A tokenizer whose token with id N is the word `wN`.
    fn tokenizer() -> Tokenizer {
        let vocabulary: Map<String, Value> = (0..512).map(|id| (format!("w{id}"), json!(id))).collect();
        let json = json!({
            "version": "1.0",
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w0"},
        });
        Tokenizer::from_json(&json.to_string()).expect("a tokenizer")
    }

    #[test]
    fn tokens_that_are_delivered_at_the_end_are_the_same() {
        let tokenizer = tokenizer();
        let [streamed, delivered_at_end] = [false, true].map(|deliver_at_end| {
            let (events, receiver) = unbounded_channel();
            let request = Request { prompt: vec![1], max_tokens: 3, deliver_at_end, ..Request::default() };
            let mut decoder = Decoder::new(request, None, events);
            for id in [300, 400, 500] {
                let mut logits = vec![0.0; tokenizer.vocab_size()];
                logits[id] = 1.0;
                assert_eq!(receiver.is_empty(), deliver_at_end || id == 300, "before token {id}");
                assert_eq!(decoder.choose(&mut logits, &tokenizer), Some(id as u32));
            }
            assert!(decoder.is_over());
            assert_eq!(receiver.len(), if deliver_at_end { 2 } else { 4 });
            drop(decoder);
            Events::from(receiver).collect_blocking()
        });
        assert_eq!(streamed.ids, [300, 400, 500]);
        assert_eq!(streamed.text, "w300w400w500");
        assert_eq!(streamed, delivered_at_end);
    }
}
