//! One source of documents: tokenized once to memory-mapped shards, one for each data file, then read as an
//! endless row of tokens, the documents in another order every epoch, the last ones held out.

use crate::examples::{self, Kind, Rules, tokenized};
use crate::model::Sequence;
use crate::random::{mix, permutation};
use crate::tokens::{Counts, Store};
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};

/// Documents that are trained on, and documents that only evaluate.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    shards: Vec<Store>,
    /// Every document to train on.
    documents: Vec<Document>,
    held: Vec<Document>,
    /// Tokens to train on.
    pub(super) tokens: u64,
    seed: u64,
    /// The epoch whose order is at hand.
    current: Option<Epoch>,
}

/// A stretch of a shard's tokens.
#[derive(Clone, Copy, Debug)]
struct Document {
    shard: u32,
    start: u64,
    end: u64,
}

impl Document {
    fn tokens(&self) -> u64 {
        self.end - self.start
    }
}

/// The documents of an epoch in its order.
#[derive(Debug)]
struct Epoch {
    number: u64,
    order: Vec<u32>,
    /// Where each begins in the epoch's row of tokens, then the total.
    starts: Vec<u64>,
}

impl Source {
    /// Tokenizes what was not tokenized before. `held_out` is the share of tokens, at the end of the files, that is
    /// not trained on.
    pub(super) fn open(
        name: &str,
        paths: &[PathBuf],
        held_out: f64,
        rules: &Rules<'_>,
        seed: u64,
        cache: &Path,
    ) -> Result<Self> {
        let mut shards = Vec::new();
        for path in paths {
            for file in datasets::data_files(path)? {
                shards.push(tokenized(&[file], Kind::Sft, rules, cache)?);
            }
        }
        examples::tell(&format!("source {name}"), &shards.iter().collect::<Vec<_>>());
        let total: u64 = shards.iter().map(|shard| shard.counts.tokens as u64).sum();
        let tokens = (total as f64 * (1.0 - held_out)).round() as u64;
        let (mut documents, mut held, mut seen) = (Vec::new(), Vec::new(), 0);
        for (shard, store) in shards.iter().enumerate() {
            for index in 0..store.len() {
                let (start, end) = (store.start(index) as u64, store.start(index + 1) as u64);
                // The document that the border falls into is cut there: a source may be one long document.
                let border = (start + tokens.saturating_sub(seen)).min(end);
                let shard = shard as u32;
                if start < border {
                    documents.push(Document { shard, start, end: border });
                }
                if border < end {
                    held.push(Document { shard, start: border, end });
                }
                seen += end - start;
            }
        }
        ensure!(total > 0, "source {name}: nothing to train on");
        ensure!(tokens > 0, "source {name}: held_out {held_out} leaves nothing to train on");
        ensure!(u32::try_from(documents.len()).is_ok(), "source {name}: more than 4,294,967,295 documents");
        let seed = name.bytes().fold(seed, |seed, byte| mix(seed, u64::from(byte)));
        Ok(Self { name: name.to_owned(), shards, documents, held, tokens, seed, current: None })
    }

    /// What became of its rows.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.shards.iter().for_each(|shard| counts.add(&shard.counts));
        counts
    }

    /// The hashes of its shards.
    pub(super) fn hashes(&self) -> Vec<String> {
        self.shards.iter().map(Store::name).collect()
    }

    /// `count` tokens from a place in the endless row, as pieces of documents.
    pub(super) fn read(&mut self, from: u64, count: usize) -> Vec<Sequence<'static>> {
        let (mut pieces, mut place, end) = (Vec::new(), from, from + count as u64);
        while place < end {
            let (epoch, within) = (place / self.tokens, place % self.tokens);
            self.prepare(epoch);
            let current = self.current.as_ref().expect("prepared above");
            let document = current.starts.partition_point(|start| *start <= within) - 1;
            let skipped = within - current.starts[document];
            let left = current.starts[document + 1] - within;
            let take = left.min(end - place) as usize;
            let from = self.documents[current.order[document] as usize];
            let start = (from.start + skipped) as usize;
            pieces.push(self.shards[from.shard as usize].tokens(start, start + take));
            place += take as u64;
        }
        pieces
    }

    /// Held-out documents, cut to `length` tokens each.
    pub(super) fn held(&self, length: usize) -> impl Iterator<Item = Sequence<'static>> {
        self.held.iter().flat_map(move |document| {
            let (start, end) = (document.start as usize, document.end as usize);
            let store = &self.shards[document.shard as usize];
            (start..end).step_by(length).map(move |from| store.tokens(from, end.min(from + length)))
        })
    }

    fn prepare(&mut self, number: u64) {
        if self.current.as_ref().is_some_and(|epoch| epoch.number == number) {
            return;
        }
        let order = permutation(mix(self.seed, number), self.documents.len());
        let mut starts = Vec::with_capacity(order.len() + 1);
        let mut end = 0;
        starts.push(end);
        for document in &order {
            end += self.documents[*document as usize].tokens();
            starts.push(end);
        }
        self.current = Some(Epoch { number, order, starts });
    }
}
