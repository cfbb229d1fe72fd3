//! One request while it runs: its tokens, cache, constraint and text, and what each step does to them.

use crate::constraint::Guide;
use crate::model::{Chunk, KvCache, LogitsOf};
use crate::request::{Done, Event, Finish, Logprobs, Request};
use crate::sampling::{Seen, logprobs, penalise, sample};
use crate::text::AnswerText;
use smollm::Tokenizer;
use tokio::sync::mpsc::UnboundedSender;

/// A request that has its place in the batch.
pub(crate) struct Sequence {
    request: Request,
    guide: Option<Guide>,
    events: UnboundedSender<Event>,
    cache: KvCache,
    /// Ids not yet run: the rest of the prompt, or the token chosen last.
    pending: Vec<u32>,
    generated: usize,
    seen: Seen,
    text: AnswerText,
    prompt_logprobs: Vec<Option<Logprobs>>,
    finished: bool,
}

impl Sequence {
    pub(crate) fn new(
        request: Request,
        guide: Option<Guide>,
        events: UnboundedSender<Event>,
        cache: KvCache,
    ) -> Self {
        let mut sequence = Self {
            pending: request.prompt.clone(),
            seen: Seen::new(&request.prompt),
            text: AnswerText::new(request.stop_strings.clone()),
            request,
            guide,
            events,
            cache,
            generated: 0,
            prompt_logprobs: vec![None],
            finished: false,
        };
        if sequence.request.max_tokens == 0 && sequence.request.prompt_logprobs.is_none() {
            sequence.finish(Finish::Length);
        }
        sequence
    }

    /// Whether it has sent its end, or nobody listens any more.
    pub(crate) fn is_over(&self) -> bool {
        self.finished || self.events.is_closed()
    }

    /// Whether its prompt is not wholly run yet.
    pub(crate) fn in_prompt(&self) -> bool {
        self.generated == 0
    }

    /// Ids it wants to run next.
    pub(crate) fn wants(&self) -> usize {
        self.pending.len()
    }

    /// Its part of a step: at most `count` of the pending ids.
    pub(crate) fn chunk(&mut self, count: usize) -> Chunk<'_> {
        let count = count.min(self.pending.len());
        let logits = match (self.in_prompt(), self.request.prompt_logprobs) {
            (true, Some(_)) => LogitsOf::All,
            (true, None) if count < self.pending.len() => LogitsOf::None,
            _ => LogitsOf::Last,
        };
        Chunk { ids: &self.pending[..count], cache: &mut self.cache, logits }
    }

    /// Takes the logits (R, V) of a step that ran `count` of its ids.
    pub(crate) fn advance(
        &mut self,
        count: usize,
        logits: &mut [f32],
        vocab_size: usize,
        tokenizer: &Tokenizer,
    ) {
        if self.in_prompt() {
            self.score_prompt(count, logits, vocab_size);
        }
        self.pending.drain(..count);
        if !self.pending.is_empty() {
            return;
        }
        if self.in_prompt() && self.request.prompt_logprobs.is_some() {
            // A closed stream is noticed when the batch is next swept.
            let _ = self.events.send(Event::Prompt(std::mem::take(&mut self.prompt_logprobs)));
        }
        if self.request.max_tokens == 0 {
            return self.finish(Finish::Length);
        }
        let last = logits.len() - vocab_size;
        if let Err(reason) = self.choose(&mut logits[last..], tokenizer) {
            self.finish(Finish::Failed(reason));
        }
    }

    /// Log-probabilities of the prompt ids that follow the ones just run.
    fn score_prompt(&mut self, count: usize, logits: &[f32], vocab_size: usize) {
        let Some(top) = self.request.prompt_logprobs else { return };
        let next = self.pending.iter().skip(1).take(count);
        for (row, &id) in logits.chunks_exact(vocab_size).zip(next) {
            self.prompt_logprobs.push(Some(logprobs(row, id, top)));
        }
    }

    fn choose(&mut self, logits: &mut [f32], tokenizer: &Tokenizer) -> Result<(), String> {
        let original = self.request.logprobs.map(|top| (logits.to_vec(), top));
        penalise(logits, &self.request.sampling, &self.seen);
        // Rows of the embedding beyond the tokenizer stand for no text.
        if tokenizer.vocab_size() < logits.len() {
            logits[tokenizer.vocab_size()..].fill(f32::NEG_INFINITY);
        }
        if let Some(guide) = &mut self.guide {
            let allowed = guide.allowed()?;
            for (id, logit) in logits.iter_mut().enumerate() {
                if !allowed.is_allowed(id as u32) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        let id = sample(logits, &self.request.sampling, self.generated as u64)
            .ok_or("no token may follow: the logits hold no finite value the constraint allows")?;
        let logprobs = original.map(|(logits, top)| logprobs(&logits, id, top));
        self.accept(id, logprobs, tokenizer)
    }

    fn accept(&mut self, id: u32, logprobs: Option<Logprobs>, tokenizer: &Tokenizer) -> Result<(), String> {
        self.generated += 1;
        self.seen.add(id);
        self.pending.push(id);
        let stop = self.request.stop_ids.contains(&id);
        let complete = match &mut self.guide {
            Some(guide) if !stop => guide.advance(id)?,
            _ => false,
        };
        let silent = stop || tokenizer.is_special(id);
        let text = if silent { String::new() } else { self.text.push(&tokenizer.token_bytes()[id as usize]) };
        let _ = self.events.send(Event::Token { id, text, logprobs });
        if stop || complete || self.text.stopped() {
            self.finish(Finish::Stop);
        } else if self.generated == self.request.max_tokens {
            self.finish(Finish::Length);
        }
        Ok(())
    }

    fn finish(&mut self, finish: Finish) {
        let text = self.text.finish();
        let _ = self.events.send(Event::Done(Done { finish, text, completion_tokens: self.generated }));
        self.finished = true;
    }
}
