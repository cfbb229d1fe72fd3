//! One request while it runs: its tokens, cache, constraint and text, and what each step does to them.

use crate::answering::Answering;
use crate::cache::KvCache;
use crate::constraint::Guide;
use crate::model::{Chunk, LogitsOf};
use crate::request::{Event, Finish, Logprobs, Request};
use smollm::Tokenizer;
use tokio::sync::mpsc::UnboundedSender;

/// A request on its way.
pub(crate) struct Sequence {
    answering: Answering,
    pub(crate) cache: KvCache,
    /// The prompt and what was generated; the first `cache.length` of them have been run.
    ids: Vec<u32>,
    prompt_logprobs: Vec<Option<Logprobs>>,
    /// The sum of the last hidden states (C); empty unless an embedding is asked for.
    hidden: Vec<f32>,
}

impl Sequence {
    /// `width` is C, for embeddings.
    pub(crate) fn new(
        request: Request,
        guide: Option<Guide>,
        events: UnboundedSender<Event>,
        width: usize,
    ) -> Self {
        let nothing = request.max_tokens == 0 && request.prompt_logprobs.is_none() && !request.embedding;
        let mut sequence = Self {
            ids: request.prompt.clone(),
            hidden: vec![0.0; if request.embedding { width } else { 0 }],
            answering: Answering::new(request, guide, events),
            cache: KvCache::new(),
            prompt_logprobs: vec![None],
        };
        if nothing {
            sequence.answering.finish(Finish::Length);
        }
        sequence
    }

    /// Whether it has sent its end, or nobody listens any more.
    pub(crate) fn is_over(&self) -> bool {
        self.answering.is_over()
    }

    /// Whether its caller went away before the end.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.answering.is_cancelled()
    }

    /// Ids it wants to run next: the rest of the prompt, the token chosen last, or all of it after a pause.
    pub(crate) fn wants(&self) -> usize {
        self.ids.len() - self.cache.length
    }

    /// The ids that have been run.
    pub(crate) fn run_ids(&self) -> &[u32] {
        &self.ids[..self.cache.length]
    }

    /// Whether blocks that others computed can stand for its beginning: not when it wants to know something
    /// of every position.
    pub(crate) fn may_begin_cached(&self) -> bool {
        let request = self.answering.request();
        self.cache.length == 0 && request.prompt_logprobs.is_none() && !request.embedding
    }

    /// All ids, to look their beginning up.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Begins with blocks that others have computed.
    pub(crate) fn begin_with(&mut self, cache: KvCache) {
        if self.answering.is_first_reading() {
            self.answering.begins_cached(cache.length);
        }
        self.cache = cache;
    }

    /// Gives its cache back; all of it is run again later, to the same bits.
    pub(crate) fn pause(&mut self) {
        self.cache = KvCache::new();
        self.prompt_logprobs.truncate(1);
        self.hidden.fill(0.0);
    }

    /// Its part of a step: at most `count` of the ids it wants to run.
    pub(crate) fn chunk(&mut self, count: usize) -> Chunk<'_> {
        let (start, request) = (self.cache.length, self.answering.request());
        let count = count.min(self.ids.len() - start);
        let logits = match request.prompt_logprobs {
            Some(_) if self.answering.is_first_reading() => LogitsOf::All,
            _ if request.embedding || start + count < self.ids.len() => LogitsOf::None,
            _ => LogitsOf::Last,
        };
        let hidden = request.embedding.then_some(&mut self.hidden[..]);
        Chunk { ids: &self.ids[start..start + count], cache: &mut self.cache, logits, hidden }
    }

    /// Takes the logits (R, V) of a step that ran `count` of its ids; its cache holds them already.
    pub(crate) fn advance(
        &mut self,
        count: usize,
        logits: &mut [f32],
        vocab_size: usize,
        tokenizer: &Tokenizer,
    ) {
        let scored = self.answering.is_first_reading() && self.answering.request().prompt_logprobs.is_some();
        if scored {
            self.score_prompt(count, logits, vocab_size);
        }
        if self.wants() > 0 {
            return;
        }
        if scored {
            self.answering.prompt(std::mem::take(&mut self.prompt_logprobs));
        }
        if self.answering.request().embedding {
            let count = self.ids.len() as f32;
            self.answering.embedding(self.hidden.iter().map(|sum| sum / count).collect());
        }
        if self.answering.request().max_tokens == 0 {
            return self.answering.finish(Finish::Length);
        }
        let last = logits.len() - vocab_size;
        self.ids.extend(self.answering.choose(&mut logits[last..], tokenizer));
    }

    /// Log-probabilities of the prompt ids that follow the `count` ones just run.
    fn score_prompt(&mut self, count: usize, logits: &[f32], vocab_size: usize) {
        let next = self.ids.iter().skip(self.cache.length - count + 1).take(count);
        for (row, &id) in logits.chunks_exact(vocab_size).zip(next) {
            self.prompt_logprobs.push(self.answering.score(row, id));
        }
    }
}
