//! `posttrain tokenizer`: from rows to a byte-level BPE vocabulary with the settings of SmolLM2's (cosmo2).
//!
//! It has the same 17 special tokens with the ids 0 to 16, every digit is a token of its own, and words are split by
//! GPT-2's pattern over bytes. One thing differs: cosmo2 has only the 235 bytes that occur in its data and drops the
//! others; this one has all 256, so that every text can be restored from its ids. Rows are counted as they are read;
//! only the words and their counts are kept in memory.

use anyhow::{Context, Result, anyhow, bail, ensure};
use documents::{Documents, SAMPLE_DOCUMENTS, amount};
use files::output_folder::OutputFolder;
use files::run_folder::{NO_LOCK_HELP, RESTART_HELP};
use special::{SPECIAL_TOKENS, special_tokens};
use std::io::Write;
use std::path::PathBuf;
use terminal::Progress;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Tokenizer, Trainer};

mod documents;
mod output;
mod special;

/// Tokens of the vocabulary before the first merge: every byte and the special tokens.
const SMALLEST_VOCABULARY: usize = 256 + SPECIAL_TOKENS.len();

/// The command line of `posttrain tokenizer`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Rows to train on: files or folders of texts, conversations or preference pairs
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    data: Vec<PathBuf>,
    /// Folder for tokenizer.json, tokenizer_config.json and special_tokens_map.json
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Size of the vocabulary, including 256 bytes and 17 special tokens; smaller if the data has too few pairs
    #[arg(long, default_value_t = 49152)]
    vocab_size: usize,
    /// Minimum number of times that a pair must occur to become a token
    #[arg(long, default_value_t = 2)]
    min_frequency: u64,
    /// Maximum number of documents to read
    #[arg(long, value_name = "N")]
    max_documents: Option<usize>,
    #[arg(long, help = RESTART_HELP)]
    restart: bool,
    #[arg(long, help = NO_LOCK_HELP)]
    no_lock: bool,
}

/// Trains a tokenizer, writes it and prints a summary. Returns the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    check(options)?;
    let mut documents = Documents::open(&options.data, options.max_documents)?;
    let folder = OutputFolder::open(&options.out, &output::FOLDER, options.no_lock)
        .with_context(|| format!("cannot write to `--out {}`", options.out.display()))?;
    let mut trainer = BpeTrainer::builder()
        .vocab_size(options.vocab_size)
        .min_frequency(options.min_frequency)
        .special_tokens(special_tokens())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .show_progress(false)
        .build();
    count_words(&mut trainer, &mut documents)?;
    let tokenizer = choose_merges(&trainer, options)?;
    output::write(&folder, &tokenizer)?;
    writeln!(std::io::stdout(), "{}", summary(options, &tokenizer, &documents)?)
        .context("the tokenizer is written, but its summary cannot be printed")?;
    Ok(0)
}

fn check(options: &Options) -> Result<()> {
    ensure!(
        options.vocab_size >= SMALLEST_VOCABULARY,
        "`--vocab-size {}` is too small: 256 bytes and {} special tokens are {SMALLEST_VOCABULARY} tokens; give more",
        options.vocab_size,
        SPECIAL_TOKENS.len()
    );
    ensure!(
        options.max_documents != Some(0),
        "`--max-documents 0` leaves nothing to train on; give at least 1, or remove it"
    );
    let file = options.out.join("tokenizer.json");
    ensure!(
        !file.exists() || options.restart,
        "{} exists already; choose another `--out`, or give `--restart` to set it aside and train again",
        file.display()
    );
    Ok(OutputFolder::look(&options.out, &output::FOLDER)?)
}

/// Reads all the data and gives every word and its count to the trainer.
fn count_words(trainer: &mut BpeTrainer, documents: &mut Documents<'_>) -> Result<()> {
    let pre_tokenizer = pre_tokenizer();
    let feeding = trainer.feed(documents.by_ref(), |text| {
        let mut pieces = PreTokenizedString::from(text);
        pre_tokenizer.pre_tokenize(&mut pieces)?;
        let pieces = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        Ok(pieces.into_iter().map(|(word, _, _)| word.to_owned()).collect())
    });
    documents.progress.finish();
    if let Some(error) = documents.error.take() {
        return Err(error);
    }
    feeding.map_err(|error| anyhow!("cannot count the words of `--data`: {error}"))?;
    if documents.count == 0 {
        let paths: Vec<String> = documents.paths.iter().map(|path| path.display().to_string()).collect();
        bail!("`--data {}` contains no text; give files or folders whose rows have some", paths.join(" "));
    }
    terminal::message!("counted the words of {}", amount(documents.count, documents.bytes));
    Ok(())
}

/// Makes a tokenizer from the counts. The order in which the trainer's hash maps return words does not matter: it takes
/// the most frequent pair, among equals the one with the lower ids, and no token can come from two different pairs.
fn choose_merges(trainer: &BpeTrainer, options: &Options) -> Result<Tokenizer> {
    let merges = options.vocab_size - SMALLEST_VOCABULARY;
    let progress = Progress::stage(format!("choosing up to {merges} merges"));
    let mut model = BPE::default();
    trainer.train(&mut model).map_err(|error| anyhow!("cannot choose the merges: {error}"))?;
    progress.finish();
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer()));
    // As in cosmo2's file; decoding uses none of these flags.
    tokenizer.with_decoder(Some(ByteLevel::new(true, true, true)));
    tokenizer.add_special_tokens(&special_tokens());
    Ok(tokenizer)
}

fn pre_tokenizer() -> Sequence {
    Sequence::new(vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()])
}

fn summary(options: &Options, tokenizer: &Tokenizer, documents: &Documents<'_>) -> Result<String> {
    let mut tokens = 0;
    for text in &documents.sample {
        let encoding = tokenizer.encode_fast(text.as_str(), false);
        tokens += encoding.map_err(|error| anyhow!("the new tokenizer fails: {error}"))?.len();
    }
    let bytes: usize = documents.sample.iter().map(String::len).sum();
    Ok(format!(
        "vocabulary: {}\ndata: {}\nbytes per token: {:.3} on the first {} documents\nwritten: {}",
        vocabulary_line(tokenizer.get_vocab_size(true), options),
        amount(documents.count, documents.bytes),
        bytes as f64 / tokens as f64,
        documents.count.min(SAMPLE_DOCUMENTS),
        options.out.join("tokenizer.json").display()
    ))
}

fn vocabulary_line(size: usize, options: &Options) -> String {
    if size >= options.vocab_size {
        return format!("{size} tokens");
    }
    format!(
        "{size} tokens of the requested {}: no other pair occurs {} times or more; give more data or a smaller `--min-frequency`",
        options.vocab_size,
        options.min_frequency.max(1)
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use std::path::Path;

    fn options(vocab_size: usize, out: &Path) -> Options {
        Options {
            data: vec![out.join("rows.jsonl")],
            out: out.to_owned(),
            vocab_size,
            min_frequency: 2,
            max_documents: None,
            restart: false,
            no_lock: false,
        }
    }

    #[test]
    fn impossible_options_are_refused_before_anything_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let error = |options: &Options| format!("{:#}", check(options).unwrap_err());
        assert!(error(&options(272, folder.path())).starts_with("`--vocab-size 272` is too small"));
        assert!(check(&options(273, folder.path())).is_ok());
        std::fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
        assert!(error(&options(273, folder.path())).contains("--restart"));
        // Of somebody else's there is nothing to start over.
        let restarted = Options { restart: true, ..options(273, folder.path()) };
        assert!(error(&restarted).contains("`posttrain tokenizer` did not write"));
    }

    #[test]
    fn a_vocabulary_smaller_than_requested_is_reported() {
        let options = options(1000, Path::new("out"));
        assert_eq!(vocabulary_line(1000, &options), "1000 tokens");
        assert!(vocabulary_line(700, &options).starts_with("700 tokens of the requested 1000"));
    }
}
