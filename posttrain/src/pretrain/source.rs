//! A source of documents: tokenized once to shards on disk, one for each data file, then read as an endless stream
//! of tokens, each epoch in another order of documents. The last documents are held out.

use crate::data::located;
use crate::examples::{Kind, Rules};
use crate::tokenize::{report_counts, tokenized};
use crate::tokens::{Counts, Store};
use anyhow::{Result, ensure};
use datasets::ReadOptions;
use random::{mix, permutation};
use std::path::{Path, PathBuf};
use training::Sequence;

/// Documents to train on, and documents to evaluate on.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    shards: Vec<Store>,
    /// Documents to train on.
    documents: Vec<Document>,
    held_out: Vec<Document>,
    /// Tokens to train on.
    pub(super) tokens: u64,
    seed: u64,
    /// The epoch that is being read.
    current: Option<Epoch>,
}

/// A range of a shard's tokens.
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

/// The documents of an epoch, in its order.
#[derive(Debug)]
struct Epoch {
    number: u64,
    order: Vec<u32>,
    /// Index of each document's first token in the epoch, then the total.
    starts: Vec<u64>,
}

impl Source {
    /// Tokenizes what was not tokenized before. The last `held_out` of the tokens, a share, are not trained on.
    pub(super) fn open(
        name: &str,
        (paths, options): (&[PathBuf], &ReadOptions),
        held_out: f64,
        rules: &Rules<'_>,
        seed: u64,
        cache: &Path,
    ) -> Result<Self> {
        let mut shards = Vec::new();
        let of_file = ReadOptions { config: None, split: None, ..options.clone() };
        for path in &located(paths, options)? {
            for (file, reason) in datasets::left_out(path, options.choice())? {
                terminal::message!("warning: {} is skipped: {reason}", file.display());
            }
            for file in datasets::data_files(path, options.choice())? {
                shards.push(tokenized(&[file], &of_file, Kind::Sft, rules, cache)?);
            }
        }
        report_counts(&format!("source {name}"), &shards.iter().collect::<Vec<_>>());
        let total: u64 = shards.iter().map(|shard| shard.counts.tokens as u64).sum();
        let tokens = (total as f64 * (1.0 - held_out)).round() as u64;
        ensure!(total > 0, "source {name}: nothing to train on");
        ensure!(
            tokens > 0,
            "source {name}: `held_out` {held_out} leaves nothing to train on; give a smaller one"
        );
        let (documents, held_out) = split(&shards, tokens);
        ensure!(u32::try_from(documents.len()).is_ok(), "source {name}: more than 4,294,967,295 documents");
        let seed = name.bytes().fold(seed, |seed, byte| mix(seed, u64::from(byte)));
        Ok(Self { name: name.to_owned(), shards, documents, held_out, tokens, seed, current: None })
    }

    /// Returns the counts of its rows.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.shards.iter().for_each(|shard| counts.add(&shard.counts));
        counts
    }

    /// Returns the hashes of its shards.
    pub(super) fn hashes(&self) -> Vec<String> {
        self.shards.iter().map(Store::name).collect()
    }

    /// Returns `count` tokens of the endless stream, from a position on, as pieces of documents.
    ///
    /// # Errors
    /// When the tokens cannot be read.
    pub(super) fn read(&mut self, from: u64, count: usize) -> Result<Vec<Sequence<'static>>> {
        let (mut pieces, mut position, end) = (Vec::new(), from, from + count as u64);
        while position < end {
            let (epoch, within) = (position / self.tokens, position % self.tokens);
            self.prepare(epoch);
            let current = self.current.as_ref().expect("prepared above");
            let index = current.starts.partition_point(|start| *start <= within) - 1;
            let skipped = within - current.starts[index];
            let left = current.starts[index + 1] - within;
            let take = left.min(end - position) as usize;
            let document = self.documents[current.order[index] as usize];
            let start = (document.start + skipped) as usize;
            pieces.push(self.shards[document.shard as usize].tokens(start, start + take)?);
            position += take as u64;
        }
        Ok(pieces)
    }

    /// Returns the held-out documents, cut into sequences of up to `length` tokens, or why they cannot be read.
    pub(super) fn held_out(
        &self,
        length: usize,
    ) -> impl Iterator<Item = Result<Sequence<'static>, files::Error>> {
        self.held_out.iter().flat_map(move |document| {
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

/// Splits all documents after the first `tokens` tokens into those to train on and those held out. A document is cut
/// where the border is: a source may be one long document.
fn split(shards: &[Store], tokens: u64) -> (Vec<Document>, Vec<Document>) {
    let (mut documents, mut held_out, mut before) = (Vec::new(), Vec::new(), 0);
    for (shard, store) in (0u32..).zip(shards) {
        for index in 0..store.len() {
            let (start, end) = (store.start(index) as u64, store.start(index + 1) as u64);
            let border = (start + tokens.saturating_sub(before)).min(end);
            if start < border {
                documents.push(Document { shard, start, end: border });
            }
            if border < end {
                held_out.push(Document { shard, start: border, end });
            }
            before += end - start;
        }
    }
    (documents, held_out)
}
