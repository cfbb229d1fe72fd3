//! A request while it runs: its tokens, its cache and its decoder, and how a step changes them.

use crate::constraint::Guide;
use crate::decode::Decoder;
use crate::event::{Event, Finish, PromptLogprobs};
use crate::kv_cache::KvCache;
use crate::lookup::{Lookup, Pace};
use crate::model::{Chunk, LogitPositions};
use crate::prefix_cache::Scope;
use crate::request::{Pooling, Request};
use checkpoint::Tokenizer;
use std::time::Instant;
use tokio::sync::mpsc::UnboundedSender;

/// A request in the batch or in the queue.
pub(crate) struct Sequence {
    decoder: Decoder,
    /// The number of its adapter.
    adapter: Option<usize>,
    pub(crate) cache: KvCache,
    /// Prompt and generated ids. The cache holds the first `cache.length` of them. In a step, guessed ids follow them.
    ids: Vec<u32>,
    /// What is guessed to follow `ids`.
    guess: Vec<u32>,
    /// Whether a constraint forces the guess; otherwise it was looked up.
    is_forced: bool,
    /// Whether its next token cannot be chosen in the next step.
    is_waiting: bool,
    lookup: Lookup,
    /// How well guesses went: those that were looked up, and those that were forced.
    pace: [Pace; 2],
    /// Tokens that were guessed, and how many of them were right.
    guessed: [u64; 2],
    prompt_logprobs: PromptLogprobs,
    /// The sum of the last hidden states (C); empty if no embedding is requested.
    hidden_sum: Vec<f32>,
}

impl Sequence {
    /// Makes the sequence of a request to an adapter, or to the model itself. `width` is C, for embeddings.
    pub(crate) fn new(
        request: Request,
        adapter: Option<usize>,
        guide: Option<Guide>,
        events: UnboundedSender<Event>,
        submitted: Instant,
        width: usize,
    ) -> Self {
        // The worker asks before each step.
        let guide = guide.map(|mut guide| {
            guide.may_leave();
            guide
        });
        let is_empty = request.max_tokens == 0 && request.prompt_logprobs.is_none() && !request.embedding;
        let mut sequence = Self {
            ids: request.prompt.clone(),
            hidden_sum: vec![0.0; if request.embedding { width } else { 0 }],
            decoder: Decoder::new(request, guide, events),
            adapter,
            cache: KvCache::new(),
            prompt_logprobs: vec![None],
            guess: Vec::new(),
            is_forced: false,
            is_waiting: false,
            lookup: Lookup::default(),
            pace: Default::default(),
            guessed: [0; 2],
        };
        sequence.decoder.set_submitted(submitted);
        if is_empty {
            sequence.decoder.finish(Finish::Length);
        }
        sequence
    }

    /// Returns whether the end was sent or the caller dropped the stream.
    pub(crate) fn is_over(&self) -> bool {
        self.decoder.is_over()
    }

    /// Returns whether the caller dropped the stream before the end.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.decoder.is_cancelled()
    }

    /// Finds out whether its next token can be chosen in the next step.
    pub(crate) fn poll(&mut self) {
        self.is_waiting = self.decoder.is_waiting() || self.is_over();
    }

    /// Returns whether it takes no part in the next step, because its constraint takes long or has ended it.
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Returns how many ids are to be run: the rest of the prompt, the last token, or all ids after a pause.
    pub(crate) fn pending(&self) -> usize {
        self.ids.len() - self.cache.length
    }

    /// Returns how many ids are to be run if the sequence generates: the last token and the guess.
    pub(crate) fn generating(&self) -> usize {
        1 + self.guess.len()
    }

    /// Returns how many tokens were guessed, and how many of them were right.
    pub(crate) fn guessed(&self) -> [u64; 2] {
        self.guessed
    }

    /// Shortens the guess.
    pub(crate) fn limit_guess(&mut self, most: usize) {
        self.guess.truncate(most);
    }

    /// Returns how many of its next `count` ids to run in one step: the last one runs alone where its hidden state is the
    /// embedding.
    pub(crate) fn step(&self, count: usize) -> usize {
        let request = self.decoder.request();
        let is_alone = request.embedding && request.pooling == Pooling::Last;
        if is_alone { count.min(self.pending() - 1) } else { count }
    }

    /// Returns the ids that the cache holds.
    pub(crate) fn cached_ids(&self) -> &[u32] {
        &self.ids[..self.cache.length]
    }

    /// Returns the number of its adapter.
    pub(crate) fn adapter(&self) -> Option<usize> {
        self.adapter
    }

    /// Marks that it runs.
    pub(crate) fn begin(&mut self) {
        self.decoder.begin();
    }

    /// Returns who asked.
    pub(crate) fn client(&self) -> u64 {
        self.decoder.request().client
    }

    /// Returns the scope in which blocks are shared.
    pub(crate) fn prefix_scope(&self) -> Scope {
        Scope { adapter: self.adapter, client: self.decoder.request().prefix_scope }
    }

    /// Returns whether the sequence may begin with blocks of another one: not if every position must be computed, for
    /// its logits or hidden states.
    pub(crate) fn can_reuse_prefix(&self) -> bool {
        let request = self.decoder.request();
        self.cache.length == 0 && request.prompt_logprobs.is_none() && !request.embedding
    }

    /// Returns whether it may share more than `positions` first positions with another one.
    pub(crate) fn can_share(&self, source: &Self, positions: usize) -> bool {
        self.prefix_scope() == source.prefix_scope() && self.ids.len().min(source.ids.len()) > positions
    }

    /// Returns how many of its first positions equal those of `source`, computed or still to be computed. At least one id
    /// remains to be run.
    pub(crate) fn shared_with(&self, source: &Self) -> usize {
        let most = self.ids.len().saturating_sub(1).min(source.ids.len());
        self.ids[..most].iter().zip(&source.ids).take_while(|(own, other)| own == other).count()
    }

    /// Returns all ids, to look up their prefix.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Begins with the blocks of another sequence.
    pub(crate) fn set_prefix(&mut self, cache: KvCache) {
        if self.decoder.is_first_prefill() {
            self.decoder.set_cached_tokens(cache.length);
        }
        self.cache = cache;
    }

    /// Drops the cache. All ids are run again later and give the same bits.
    pub(crate) fn pause(&mut self) {
        self.cache = KvCache::new();
        self.guess.clear();
        self.prompt_logprobs.truncate(1);
        self.hidden_sum.fill(0.0);
    }

    /// Returns the sequence's part of a step: at most `count` of the pending ids and the guess.
    pub(crate) fn chunk(&mut self, count: usize) -> Chunk<'_> {
        let (start, request) = (self.cache.length, self.decoder.request());
        let is_guessing = !self.guess.is_empty();
        self.ids.extend_from_slice(&self.guess);
        let count = count.min(self.ids.len() - start);
        let logits = match request.prompt_logprobs {
            _ if is_guessing => LogitPositions::All,
            Some(_) if self.decoder.is_first_prefill() => LogitPositions::All,
            _ if request.embedding || start + count < self.ids.len() => LogitPositions::None,
            _ => LogitPositions::Last,
        };
        let is_pooled = request.pooling == Pooling::Mean || start + 1 == self.ids.len();
        let hidden = (request.embedding && is_pooled).then_some(&mut self.hidden_sum[..]);
        let ids = &self.ids[start..start + count];
        Chunk { ids, cache: &mut self.cache, logits, hidden_sum: hidden, adapter: self.adapter }
    }

    /// Processes the logits (R, V) of a step that ran `count` ids, which the cache holds already.
    pub(crate) fn advance(
        &mut self,
        count: usize,
        logits: &mut [f32],
        vocab_size: usize,
        tokenizer: &Tokenizer,
        guessed_tokens: usize,
    ) {
        if !self.guess.is_empty() {
            self.accept_guess(logits, vocab_size, tokenizer);
            return self.guess(guessed_tokens, tokenizer);
        }
        let is_scoring = self.decoder.is_first_prefill() && self.decoder.request().prompt_logprobs.is_some();
        if is_scoring {
            self.score_prompt(count, logits, vocab_size);
        }
        if self.pending() > 0 {
            return;
        }
        if is_scoring {
            self.decoder.send_prompt_logprobs(std::mem::take(&mut self.prompt_logprobs));
        }
        if self.decoder.request().embedding {
            let count = match self.decoder.request().pooling {
                Pooling::Mean => self.ids.len() as f32,
                Pooling::Last => 1.0,
            };
            self.decoder.send_embedding(self.hidden_sum.iter().map(|sum| sum / count).collect());
        }
        if self.decoder.request().max_tokens == 0 {
            return self.decoder.finish(Finish::Length);
        }
        let last = logits.len() - vocab_size;
        self.ids.extend(self.decoder.choose(&mut logits[last..], tokenizer));
        self.guess(guessed_tokens, tokenizer);
    }

    /// Chooses a token from the logits (R, V) after the last id and after each guessed one, as long as the guess is what was
    /// chosen; forgets the rest of the guess.
    fn accept_guess(&mut self, logits: &mut [f32], vocab_size: usize, tokenizer: &Tokenizer) {
        let guess = std::mem::take(&mut self.guess);
        self.ids.truncate(self.ids.len() - guess.len());
        let mut right = 0;
        for (index, row) in logits.chunks_exact_mut(vocab_size).enumerate() {
            let Some(id) = self.decoder.choose(row, tokenizer) else { break };
            self.ids.push(id);
            let is_right = guess.get(index) == Some(&id);
            right += usize::from(is_right);
            if !is_right || self.is_over() || self.decoder.has_left() {
                break;
            }
        }
        self.pace[usize::from(self.is_forced)].learn(guess.len(), right);
        self.guessed[0] += guess.len() as u64;
        self.guessed[1] += right as u64;
        self.cache.truncate(self.ids.len() - 1);
    }

    /// Guesses at most `most` of the tokens that follow.
    fn guess(&mut self, most: usize, tokenizer: &Tokenizer) {
        let most = most.min(self.decoder.remaining_after_next());
        if most == 0 || self.is_over() || self.decoder.has_left() {
            return;
        }
        let [looked_up, forced] = &mut self.pace;
        // A guess that is forced is as long as it is.
        let forced = if forced.next() > 0 { self.decoder.forced(tokenizer) } else { Vec::new() };
        self.is_forced = !forced.is_empty();
        self.guess = match looked_up.next() {
            _ if self.is_forced => forced,
            0 => Vec::new(),
            count => self.lookup.guess(&self.ids, count.min(most)),
        };
        self.guess.truncate(most);
    }

    /// Adds the log-probabilities of the prompt ids that follow the `count` ids of this step.
    fn score_prompt(&mut self, count: usize, logits: &[f32], vocab_size: usize) {
        let next = self.ids.iter().skip(self.cache.length - count + 1).take(count);
        for (row, &id) in logits.chunks_exact(vocab_size).zip(next) {
            self.prompt_logprobs.push(self.decoder.score(row, id));
        }
    }
}
