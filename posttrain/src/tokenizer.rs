//! `posttrain tokenizer`: from rows to a byte-level BPE vocabulary set up as SmolLM2's (cosmo2).
//!
//! The same 17 special tokens with the ids 0 to 16, every digit a token of its own, GPT-2's word pattern over
//! bytes. One thing differs: cosmo2 knows only the 235 bytes its data held and drops the others, this one
//! holds all 256, so that every text comes back from its ids. Rows are counted as they are read; the words
//! and their counts are all that is held in memory.

use anyhow::{Context, Result, anyhow, bail};
use datasets::{Row, Rows};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{
    AddedToken, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Tokenizer, Trainer,
};

/// SmolLM2's special tokens; a token's place is its id.
const SPECIAL_TOKENS: [&str; 17] = [
    END_OF_TEXT,
    "<|im_start|>",
    "<|im_end|>",
    "<repo_name>",
    "<reponame>",
    "<file_sep>",
    "<filename>",
    "<gh_stars>",
    "<issue_start>",
    "<issue_comment>",
    "<issue_closed>",
    "<jupyter_start>",
    "<jupyter_text>",
    "<jupyter_code>",
    "<jupyter_output>",
    "<jupyter_script>",
    "<empty_output>",
];
/// Begins a text, ends one, and stands in for what is unknown (nothing is).
const END_OF_TEXT: &str = "<|endoftext|>";
/// What the vocabulary holds before the first merge: every byte and the special tokens.
const SMALLEST_VOCABULARY: usize = 256 + SPECIAL_TOKENS.len();
/// SmolLM2's context, in tokens.
const MODEL_MAX_LENGTH: usize = 8192;
/// Documents whose bytes per token are reported.
const SAMPLE_DOCUMENTS: usize = 1000;
/// The trainer counts a pair in an i32 and does not say when it overflows.
const MOST_OF_A_PAIR: u64 = i32::MAX as u64;
/// Between plain progress lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// Between two changes of the line on a terminal.
const TICK_INTERVAL: Duration = Duration::from_millis(100);

/// What `posttrain tokenizer` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Rows to learn from: files or folders of texts, conversations or preference pairs
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    data: Vec<PathBuf>,
    /// The folder that gets tokenizer.json, tokenizer_config.json and special_tokens_map.json
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Tokens wished for, 256 bytes and 17 special tokens included; fewer where the data runs out of pairs
    #[arg(long, default_value_t = 49152)]
    vocab_size: usize,
    /// A pair seen fewer times does not become a token
    #[arg(long, default_value_t = 2)]
    min_frequency: u64,
    /// Read no more than the first N documents
    #[arg(long, value_name = "N")]
    max_documents: Option<usize>,
    /// Replace the tokenizer that --out holds
    #[arg(long)]
    overwrite: bool,
}

/// Trains, writes and reports; the number is the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    check(options)?;
    let mut reading = Reading::open(&options.data, options.max_documents)?;
    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot create --out {}", options.out.display()))?;
    let mut trainer = BpeTrainer::builder()
        .vocab_size(options.vocab_size)
        .min_frequency(options.min_frequency)
        .special_tokens(special_tokens())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .show_progress(false)
        .build();
    count_words(&mut trainer, &mut reading)?;
    let tokenizer = choose_merges(&trainer, options)?;
    write_folder(&options.out, &tokenizer)?;
    println!("{}", report(options, &tokenizer, &reading)?);
    Ok(0)
}

fn check(options: &Options) -> Result<()> {
    if options.vocab_size < SMALLEST_VOCABULARY {
        bail!(
            "--vocab-size {} is too small: the 256 bytes and {} special tokens alone are \
             {SMALLEST_VOCABULARY}; ask for more",
            options.vocab_size,
            SPECIAL_TOKENS.len()
        );
    }
    if options.max_documents == Some(0) {
        bail!("--max-documents 0 leaves nothing to learn from; ask for at least 1, or leave it out");
    }
    let file = options.out.join("tokenizer.json");
    if file.exists() && !options.overwrite {
        bail!("{} exists already; name another --out, or replace it with --overwrite", file.display());
    }
    Ok(())
}

/// Reads all the data; afterwards the trainer holds every word and how often it was seen.
fn count_words(trainer: &mut BpeTrainer, reading: &mut Reading<'_>) -> Result<()> {
    let words = pre_tokenizer();
    let fed = trainer.feed(reading.by_ref(), |text| {
        let mut pieces = PreTokenizedString::from(text);
        words.pre_tokenize(&mut pieces)?;
        let pieces = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        Ok(pieces.into_iter().map(|(word, _, _)| word.to_owned()).collect())
    });
    reading.progress.end();
    if let Some(error) = reading.failed.take() {
        return Err(error);
    }
    fed.map_err(|error| anyhow!("the words of --data cannot be counted: {error}"))?;
    if reading.documents == 0 {
        let paths: Vec<String> = reading.paths.iter().map(|path| path.display().to_string()).collect();
        bail!("--data {} holds no text; name files or folders whose rows have some", paths.join(" "));
    }
    eprintln!("words counted: {}", amount(reading.documents, reading.bytes));
    Ok(())
}

/// From word counts to the tokenizer. The order in which the trainer's hash maps give their words does not
/// matter: it takes the most frequent pair, of equals the one with the lower ids, and no token's spelling can
/// come from two different pairs.
fn choose_merges(trainer: &BpeTrainer, options: &Options) -> Result<Tokenizer> {
    let progress = Progress::begin()?;
    let merges = options.vocab_size - SMALLEST_VOCABULARY;
    progress.stage(format!("choosing up to {merges} merges"));
    let mut model = BPE::default();
    trainer.train(&mut model).map_err(|error| anyhow!("the merges cannot be chosen: {error}"))?;
    progress.end();
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer()));
    // As in cosmo2's file; the decoder looks at none of these flags.
    tokenizer.with_decoder(Some(ByteLevel::new(true, true, true)));
    tokenizer.add_special_tokens(&special_tokens());
    Ok(tokenizer)
}

fn pre_tokenizer() -> Sequence {
    Sequence::new(vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()])
}

fn special_tokens() -> Vec<AddedToken> {
    SPECIAL_TOKENS.iter().map(|token| AddedToken::from(*token, true)).collect()
}

/// The texts of every row, counted as they pass; ends early when something fails, and keeps why.
struct Reading<'a> {
    paths: &'a [PathBuf],
    /// Sources not read to their end yet.
    sources: VecDeque<Rows>,
    /// Texts of the current row that are still to be given out.
    waiting: VecDeque<String>,
    documents: usize,
    max_documents: usize,
    bytes: u64,
    /// How often two bytes stand side by side (256 x 256). A pair of tokens is seen no more often than the
    /// two bytes where they meet.
    neighbours: Vec<u64>,
    /// The texts of the first documents.
    sample: Vec<String>,
    failed: Option<anyhow::Error>,
    progress: Progress,
}

impl<'a> Reading<'a> {
    /// Every path is looked at before any is read.
    fn open(paths: &'a [PathBuf], max_documents: Option<usize>) -> Result<Self> {
        let sources: Result<VecDeque<Rows>, _> = paths.iter().map(|path| datasets::read(path)).collect();
        Ok(Self {
            paths,
            // The error's own text ends in its cause; as a context's cause it would be told twice.
            sources: sources.map_err(|error| anyhow!("--data: {error}"))?,
            waiting: VecDeque::new(),
            documents: 0,
            max_documents: max_documents.unwrap_or(usize::MAX),
            bytes: 0,
            neighbours: vec![0; 1 << 16],
            sample: Vec::new(),
            failed: None,
            progress: Progress::begin()?,
        })
    }

    /// The texts of the next row that has any; none at the end of the data.
    fn next_document(&mut self) -> Result<Option<VecDeque<String>>> {
        while let Some(rows) = self.sources.front_mut() {
            if self.documents == self.max_documents {
                return Ok(None);
            }
            let Some(located) = rows.next() else {
                for (file, reason) in rows.skipped() {
                    self.progress.say(&format!("warning: {} is skipped: {reason}", file.display()));
                }
                self.sources.pop_front();
                continue;
            };
            let located = located.map_err(|error| anyhow!("--data: {error}"))?;
            let texts = texts_of(located.row);
            if !texts.is_empty() {
                return Ok(Some(texts));
            }
        }
        Ok(None)
    }

    fn count_document(&mut self, texts: &VecDeque<String>) -> Result<()> {
        self.documents += 1;
        let mut most = 0;
        for text in texts {
            self.bytes += text.len() as u64;
            for pair in text.as_bytes().windows(2) {
                let seen = &mut self.neighbours[usize::from(pair[0]) << 8 | usize::from(pair[1])];
                *seen += 1;
                most = most.max(*seen);
            }
        }
        if self.documents <= SAMPLE_DOCUMENTS {
            self.sample.extend(texts.iter().cloned());
        }
        let (documents, bytes) = (self.documents, self.bytes);
        self.progress.update(|| format!("counting words: {}", amount(documents, bytes)));
        if most > MOST_OF_A_PAIR {
            bail!(
                "document {documents} of --data is one too many: two of its bytes stood side by side \
                 {most} times, and the trainer cannot count beyond {MOST_OF_A_PAIR}; read fewer, with \
                 --max-documents {}",
                documents - 1
            );
        }
        Ok(())
    }
}

impl Iterator for Reading<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.waiting.is_empty() && self.failed.is_none() {
            let read = self.next_document().and_then(|texts| match texts {
                Some(texts) => self.count_document(&texts).map(|()| texts),
                None => Ok(VecDeque::new()),
            });
            match read {
                Ok(texts) => self.waiting = texts,
                Err(error) => self.failed = Some(error),
            }
        }
        self.waiting.pop_front()
    }
}

/// What a row says: a document's text, or every message's content.
fn texts_of(row: Row) -> VecDeque<String> {
    let contents = |messages: Vec<datasets::Message>| messages.into_iter().map(|message| message.content);
    let texts: VecDeque<String> = match row {
        Row::Text(row) => VecDeque::from([row.text]),
        Row::Chat(row) => contents(row.messages).collect(),
        Row::Preference(row) => {
            contents(row.prompt).chain(contents(row.chosen)).chain(contents(row.rejected)).collect()
        }
    };
    texts.into_iter().filter(|text| !text.is_empty()).collect()
}

/// Writes the three files; `tokenizer.json`, which makes the folder a tokenizer's, comes last.
fn write_folder(folder: &Path, tokenizer: &Tokenizer) -> Result<()> {
    let text =
        tokenizer.to_string(true).map_err(|error| anyhow!("the tokenizer cannot be written: {error}"))?;
    keep(folder, "tokenizer_config.json", &pretty(&configuration(tokenizer)))?;
    keep(folder, "special_tokens_map.json", &pretty(&special_tokens_map()))?;
    keep(folder, "tokenizer.json", &text)
}

/// Writes one file, whole or not at all.
fn keep(folder: &Path, name: &str, text: &str) -> Result<()> {
    let write = || {
        let mut file = tempfile::Builder::new().prefix(".writing-").tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        // Temporary files are private; a tokenizer is readable as any other file.
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist(folder.join(name)).map_err(|error| error.error)?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", folder.join(name).display()))
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// What transformers reads beside `tokenizer.json`. The class is the one that takes that file as it is, also
/// where it is not GPT-2's own setting (the digits); `GPT2Tokenizer`, which SmolLM2 names, gives equal ids.
fn configuration(tokenizer: &Tokenizer) -> Value {
    let entry = |(id, token): (usize, &&str)| {
        let fields = json!({
            "content": token, "lstrip": false, "normalized": false, "rstrip": false,
            "single_word": false, "special": true,
        });
        (id.to_string(), fields)
    };
    let added: serde_json::Map<String, Value> = SPECIAL_TOKENS.iter().enumerate().map(entry).collect();
    json!({
        "add_prefix_space": false,
        "added_tokens_decoder": added,
        "additional_special_tokens": &SPECIAL_TOKENS[1..],
        "bos_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": false,
        "eos_token": END_OF_TEXT,
        "model_max_length": MODEL_MAX_LENGTH,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": END_OF_TEXT,
        "vocab_size": tokenizer.get_vocab_size(true),
    })
}

fn special_tokens_map() -> Value {
    json!({
        "additional_special_tokens": &SPECIAL_TOKENS[1..],
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "unk_token": END_OF_TEXT,
    })
}

fn report(options: &Options, tokenizer: &Tokenizer, reading: &Reading<'_>) -> Result<String> {
    let mut tokens = 0;
    for text in &reading.sample {
        let encoding = tokenizer.encode_fast(text.as_str(), false);
        tokens += encoding.map_err(|error| anyhow!("the new tokenizer fails: {error}"))?.len();
    }
    let bytes: usize = reading.sample.iter().map(String::len).sum();
    Ok(format!(
        "vocabulary: {}\ndata: {}\nbytes per token: {:.3} on the first {} documents\nwritten: {}",
        vocabulary_reached(tokenizer.get_vocab_size(true), options),
        amount(reading.documents, reading.bytes),
        bytes as f64 / tokens as f64,
        reading.documents.min(SAMPLE_DOCUMENTS),
        options.out.join("tokenizer.json").display()
    ))
}

fn vocabulary_reached(reached: usize, options: &Options) -> String {
    if reached >= options.vocab_size {
        return format!("{reached} tokens");
    }
    format!(
        "{reached} tokens of the {} wished for: no pair is left that is seen {} times or more; \
         more data or a smaller --min-frequency gives more",
        options.vocab_size,
        options.min_frequency.max(1)
    )
}

fn amount(documents: usize, bytes: u64) -> String {
    format!("{documents} documents, {bytes} bytes ({:.1} MB)", bytes as f64 / 1e6)
}

/// A line that changes on a terminal, a plain line now and then elsewhere.
struct Progress {
    bar: ProgressBar,
    last_said: Instant,
}

impl Progress {
    fn begin() -> Result<Self> {
        let bar = ProgressBar::new_spinner();
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.set_style(ProgressStyle::with_template("{spinner} {msg} ({elapsed})")?);
        Ok(Self { bar, last_said: Instant::now() })
    }

    /// What is going on right now, if it is time to say so.
    fn update(&mut self, text: impl FnOnce() -> String) {
        let interval = if self.bar.is_hidden() { LINE_INTERVAL } else { TICK_INTERVAL };
        if self.last_said.elapsed() < interval {
            return;
        }
        self.last_said = Instant::now();
        if self.bar.is_hidden() {
            eprintln!("{}", text());
        } else {
            self.bar.set_message(text());
            self.bar.tick();
        }
    }

    /// A stage that cannot be counted: said once; on a terminal its seconds run.
    fn stage(&self, text: String) {
        if self.bar.is_hidden() {
            eprintln!("{text}");
        } else {
            self.bar.set_message(text);
            self.bar.enable_steady_tick(TICK_INTERVAL);
        }
    }

    /// A line that stays.
    fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use datasets::{ChatRow, Message, PreferenceRow};

    fn options(vocab_size: usize, out: &Path) -> Options {
        Options {
            data: vec![out.join("rows.jsonl")],
            out: out.to_owned(),
            vocab_size,
            min_frequency: 2,
            max_documents: None,
            overwrite: false,
        }
    }

    #[test]
    fn a_row_gives_every_content_that_says_something() {
        let message = |content: &str| Message::new("user", content);
        let chat = ChatRow { messages: ["a", "", "b"].map(message).into(), metadata: Default::default() };
        assert_eq!(texts_of(Row::Chat(chat)), ["a", "b"]);
        let preference = PreferenceRow {
            prompt: vec![message("p")],
            chosen: vec![message("c")],
            rejected: vec![message("r")],
            metadata: Default::default(),
        };
        assert_eq!(texts_of(Row::Preference(preference)), ["p", "c", "r"]);
    }

    #[test]
    fn what_cannot_be_is_refused_before_anything_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let said = |options: &Options| format!("{:#}", check(options).unwrap_err());
        assert!(said(&options(272, folder.path())).starts_with("--vocab-size 272 is too small"));
        assert!(check(&options(273, folder.path())).is_ok());
        std::fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
        assert!(said(&options(273, folder.path())).contains("--overwrite"));
        assert!(check(&Options { overwrite: true, ..options(273, folder.path()) }).is_ok());
    }

    #[test]
    fn a_pair_the_trainer_cannot_count_ends_the_reading() {
        let mut reading = Reading::open(&[], None).unwrap();
        reading.neighbours[usize::from(b'a') << 8 | usize::from(b'b')] = MOST_OF_A_PAIR;
        reading.count_document(&VecDeque::from(["a b".to_owned()])).unwrap();
        let error = reading.count_document(&VecDeque::from(["ab".to_owned()])).unwrap_err().to_string();
        assert!(error.contains("2147483648 times") && error.ends_with("--max-documents 1"), "{error}");
    }

    #[test]
    fn a_vocabulary_below_the_wish_is_said() {
        let options = options(1000, Path::new("out"));
        assert_eq!(vocabulary_reached(1000, &options), "1000 tokens");
        assert!(vocabulary_reached(700, &options).starts_with("700 tokens of the 1000 wished for"));
    }
}
