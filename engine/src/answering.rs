//! An answer under way: everything that happens between one step's logits and the events that tell of it.
//!
//! Penalties, bias, constraint, draw, log-probabilities, text and the end are the same whatever ran the forward
//! pass, so that an engine over foreign arithmetic honours every parameter the native one does.

use crate::constraint::Guide;
use crate::request::{Done, Event, Finish, Logprobs, Request, Token};
use crate::sampling::{Seen, logprobs, penalise, sample};
use crate::text::AnswerText;
use smollm::Tokenizer;
use tokio::sync::mpsc::UnboundedSender;

/// A request's answer, as far as it has come. It sends its events itself.
pub struct Answering {
    request: Request,
    guide: Option<Guide>,
    events: UnboundedSender<Event>,
    /// What is told with the end, where that was asked for.
    held: Vec<Token>,
    seen: Seen,
    text: AnswerText,
    generated: usize,
    cached_tokens: usize,
    over: bool,
}

impl Answering {
    /// `request` has passed [`Request::check`]; `guide` is its constraint, compiled.
    pub fn new(request: Request, guide: Option<Guide>, events: UnboundedSender<Event>) -> Self {
        Self {
            seen: Seen::new(&request.prompt),
            // Stop strings count once the least number of tokens is there.
            text: AnswerText::new(match request.min_tokens {
                0 => request.stop_strings.clone(),
                _ => Vec::new(),
            }),
            request,
            guide,
            events,
            held: Vec::new(),
            generated: 0,
            cached_tokens: 0,
            over: false,
        }
    }

    /// What was asked.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Whether it has sent its end, or nobody listens any more.
    pub fn is_over(&self) -> bool {
        self.over || self.events.is_closed()
    }

    /// Whether its caller went away before the end.
    pub fn is_cancelled(&self) -> bool {
        !self.over && self.events.is_closed()
    }

    /// Whether the prompt is still being read for the first time.
    pub fn is_first_reading(&self) -> bool {
        self.generated == 0
    }

    /// Notes how many of the prompt's tokens did not have to be run.
    pub fn begins_cached(&mut self, tokens: usize) {
        self.cached_tokens = tokens;
    }

    /// Tells of the embedding (C).
    pub fn embedding(&self, embedding: Vec<f32>) {
        let _ = self.events.send(Event::Embedding(embedding));
    }

    /// Tells of the prompt's log-probabilities.
    pub fn prompt(&self, logprobs: Vec<Option<Logprobs>>) {
        // A closed stream shows in `is_over`.
        let _ = self.events.send(Event::Prompt(logprobs));
    }

    /// Natural-log probabilities of a prompt id under the logits (V) before it, where they were asked for.
    pub fn score(&self, logits: &[f32], id: u32) -> Option<Logprobs> {
        self.request.prompt_logprobs.map(|top| logprobs(logits, id, top))
    }

    /// Chooses the next token from logits (V), which it overwrites, and tells of it. `None` when the answer
    /// could not go on: its end then says why.
    pub fn choose(&mut self, logits: &mut [f32], tokenizer: &Tokenizer) -> Option<u32> {
        let chosen = self.draw(logits, tokenizer).and_then(|(id, logprobs)| {
            self.accept(id, logprobs, tokenizer)?;
            Ok(id)
        });
        chosen.map_err(|finish| self.finish(finish)).ok()
    }

    /// Sends the end, once.
    pub fn finish(&mut self, finish: Finish) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        if !self.held.is_empty() {
            let _ = self.events.send(Event::Tokens(std::mem::take(&mut self.held)));
        }
        let text = self.text.finish();
        let (completion_tokens, cached_tokens) = (self.generated, self.cached_tokens);
        let _ = self.events.send(Event::Done(Done { finish, text, completion_tokens, cached_tokens }));
    }

    fn draw(&mut self, logits: &mut [f32], tokenizer: &Tokenizer) -> Result<(u32, Option<Logprobs>), Finish> {
        let original = self.request.logprobs.map(|top| (logits.to_vec(), top));
        penalise(logits, &self.request.sampling, &self.seen);
        // Rows of the embedding beyond the tokenizer stand for no text.
        if tokenizer.vocab_size() < logits.len() {
            logits[tokenizer.vocab_size()..].fill(f32::NEG_INFINITY);
        }
        if let Some(guide) = &mut self.guide {
            let allowed = guide.allowed().map_err(Finish::Unfit)?;
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
            let reason = "no token may follow: the logits hold no finite value that is allowed".to_owned();
            if self.guide.is_some() { Finish::Unfit(reason) } else { Finish::Failed(reason) }
        })?;
        Ok((id, original.map(|(logits, top)| logprobs(&logits, id, top))))
    }

    /// Leaves the stop ids alone where nothing else may follow: the constraint ends the answer.
    fn forbid_stops(&self, logits: &mut [f32]) {
        let stops = &self.request.stop_ids;
        let open = |(id, logit): (usize, &f32)| *logit > f32::NEG_INFINITY && !stops.contains(&(id as u32));
        if self.guide.is_some() && !logits.iter().enumerate().any(open) {
            return;
        }
        for &id in stops {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    fn accept(&mut self, id: u32, logprobs: Option<Logprobs>, tokenizer: &Tokenizer) -> Result<(), Finish> {
        self.generated += 1;
        self.seen.add(id);
        let stop = self.request.stop_ids.contains(&id);
        let complete = match &mut self.guide {
            Some(guide) if !stop => guide.advance(id).map_err(Finish::Unfit)?,
            _ => false,
        };
        let silent = stop || tokenizer.is_special(id);
        let text = if silent { String::new() } else { self.text.push(&tokenizer.token_bytes()[id as usize]) };
        let token = Token { id, text, logprobs };
        if self.request.at_once {
            self.held.push(token);
        } else {
            let _ = self.events.send(Event::Token(token));
        }
        if stop || complete || self.text.stopped() {
            self.finish(Finish::Stop);
        } else if self.generated == self.request.max_tokens {
            self.finish(Finish::Length);
        } else if self.generated == self.request.min_tokens {
            self.text.watch_for(self.request.stop_strings.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Events;
    use tokio::sync::mpsc::unbounded_channel;

    #[test]
    fn tokens_told_at_once_come_with_the_end_and_are_the_same() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/pocket-instruct/tokenizer.json");
        let tokenizer = Tokenizer::open(file.as_ref()).expect("a tokenizer");
        let [one_by_one, at_once] = [false, true].map(|at_once| {
            let (events, receiver) = unbounded_channel();
            let request = Request { prompt: vec![1], max_tokens: 3, at_once, ..Request::default() };
            let mut answering = Answering::new(request, None, events);
            for id in [300, 400, 500] {
                let mut logits = vec![0.0; tokenizer.vocab_size()];
                logits[id] = 1.0;
                assert_eq!(receiver.is_empty(), at_once || id == 300, "before token {id}");
                assert_eq!(answering.choose(&mut logits, &tokenizer), Some(id as u32));
            }
            assert!(answering.is_over());
            assert_eq!(receiver.len(), if at_once { 2 } else { 4 });
            drop(answering);
            Events::from(receiver).collect_blocking()
        });
        assert_eq!(one_by_one.ids, [300, 400, 500]);
        assert_eq!(one_by_one, at_once);
    }
}
