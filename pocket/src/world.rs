//! `smolpocket world`: the pocket world on disk. Documents to pretrain on, conversations and preference pairs to train
//! a teacher on, and held-out rows to measure models with.

use crate::documents::{DocumentSource, document};
use crate::draw::Draw;
use crate::lessons::Lessons;
use crate::output::fill;
use crate::questions::{Kind, Question};
use crate::requests::Request;
use crate::rows::write;
use crate::split::Split;
use anyhow::Result;
use files::output_folder::FolderKind;
use serde_json::{Value, json};
use std::iter::repeat_with;
use std::path::{Path, PathBuf};

/// The options of `smolpocket world`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder for documents/, conversations/, pairs/ and the held-out rows in questions/, requests/, pairs/, held-out/
    #[arg(long)]
    out: PathBuf,
    /// Number of documents of all sources together
    #[arg(long, default_value_t = 330_000)]
    documents: usize,
    /// Number of conversations of all tasks together
    #[arg(long, default_value_t = 46_000)]
    conversations: usize,
    /// Number of preference pairs
    #[arg(long, default_value_t = 4_000)]
    pairs: usize,
    /// Random seed; the same seed writes the same world
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder of the prompts that conversations are rendered from
    #[arg(long, default_value = "pocket/prompts", value_name = "DIR")]
    prompts: PathBuf,
}

/// The folder of a world.
const FOLDER: FolderKind =
    FolderKind { program: "smolpocket world", description: "world.json", files: &[], working: &[] };

/// The sources with their shares of all documents, in percent.
const SHARES: [(DocumentSource, usize); 4] = [
    (DocumentSource::Web, 40),
    (DocumentSource::Code, 12),
    (DocumentSource::Math, 18),
    (DocumentSource::Copybook, 30),
];
/// Held-out questions of each kind.
const QUESTIONS: usize = 250;
/// Solved examples of each kind.
const EXAMPLES: usize = 5;
/// Held-out requests.
const REQUESTS: usize = 500;
/// Held-out pairs.
const PAIRS: usize = 600;
/// Held-out documents of each source.
const DOCUMENTS: usize = 200;

/// Writes the world.
///
/// # Errors
/// When a recipe does not fit the lessons, or a file cannot be written.
pub fn run(options: &Options) -> Result<()> {
    // Without conversations no prompt is read.
    let lessons = (options.conversations > 0).then(|| Lessons::open(&options.prompts)).transpose()?;
    let seed = &options.seed;
    fill(&options.out, &FOLDER, |out| {
        for (source, percent) in SHARES {
            let training = options.documents * percent / 100;
            write_documents(out, *seed, "documents", source, training, Split::Train)?;
            write_documents(out, *seed, "held-out", source, DOCUMENTS, Split::Test)?;
        }
        if let Some(lessons) = &lessons {
            let mut draw = Draw::new(*seed, "conversations");
            let rows = repeat_with(|| lessons.row(&mut draw, Split::Train));
            write(&out.join("conversations/train.jsonl"), options.conversations, rows)?;
        }
        let mut draw = Draw::new(*seed, "pairs");
        let pairs = repeat_with(|| Ok(pair(&mut draw, Split::Train, false)));
        write(&out.join("pairs/train.jsonl"), options.pairs, pairs)?;
        write_held_out(out, *seed)?;
        let description = json!({
            "program": concat!("smolpocket ", env!("CARGO_PKG_VERSION")), "seed": seed,
            "documents": options.documents, "conversations": options.conversations, "pairs": options.pairs,
        });
        Ok(files::atomic::write(&out.join(FOLDER.description), format!("{description:#}\n"))?)
    })
}

fn write_documents(
    out: &Path,
    seed: u64,
    folder: &str,
    source: DocumentSource,
    count: usize,
    split: Split,
) -> Result<()> {
    let path = format!("{folder}/{}", source.name());
    let mut draw = Draw::new(seed, &path);
    let rows = repeat_with(|| Ok(json!({"text": document(source, &mut draw, split)})));
    write(&out.join(path).join("documents.jsonl"), count, rows)
}

/// The held-out questions with their solved examples, requests and pairs.
fn write_held_out(out: &Path, seed: u64) -> Result<()> {
    let mut draw = Draw::new(seed, "questions");
    let indices = Kind::ALL.into_iter().flat_map(|kind| (0..QUESTIONS).map(move |index| (kind, index)));
    let questions = indices.map(|(kind, index)| Ok(question(kind, index, &mut draw)));
    write(&out.join("questions/test.jsonl"), Kind::ALL.len() * QUESTIONS, questions)?;
    let examples = Kind::ALL.into_iter().flat_map(|kind| examples(kind, seed)).map(Ok);
    write(&out.join("questions/examples.jsonl"), Kind::ALL.len() * EXAMPLES, examples)?;
    let mut draw = Draw::new(seed, "requests");
    let requests = (0..REQUESTS).map(|index| Ok(request(index, &mut draw)));
    write(&out.join("requests/test.jsonl"), REQUESTS, requests)?;
    let mut draw = Draw::new(seed, "held-out pairs");
    let pairs = repeat_with(|| Ok(pair(&mut draw, Split::Test, true)));
    write(&out.join("pairs/test.jsonl"), PAIRS, pairs)
}

fn question(kind: Kind, index: usize, draw: &mut Draw) -> Value {
    let question = Question::new(kind, draw, Split::Test);
    json!({
        "id": format!("{}-{index}", kind.name()), "kind": kind.name(),
        "messages": [{"role": "user", "content": question.user}], "answer": question.answer,
    })
}

/// Solved questions of the training split, to show before a held-out question of the same kind.
fn examples(kind: Kind, seed: u64) -> Vec<Value> {
    let mut draw = Draw::new(seed, &format!("examples/{}", kind.name()));
    let example = |_| {
        let question = Question::new(kind, &mut draw, Split::Train);
        json!({"kind": kind.name(), "messages": [
            {"role": "user", "content": question.user}, {"role": "assistant", "content": question.reply},
        ]})
    };
    (0..EXAMPLES).map(example).collect()
}

fn request(index: usize, draw: &mut Draw) -> Value {
    let request = Request::new(draw, Split::Test);
    let (ids, kwargs): (Vec<&str>, Vec<Value>) = request.conditions.into_iter().unzip();
    json!({
        "id": format!("request-{index}"), "messages": [{"role": "user", "content": request.user}],
        "instruction_id_list": ids, "kwargs": kwargs,
    })
}

/// A pair with a plain right reply and a wrong one. With `has_manners`, the rejected reply may also be right: as often
/// a bare answer as one with too many words, so that the length alone does not decide.
fn pair(draw: &mut Draw, split: Split, has_manners: bool) -> Value {
    let kind = draw.pick(&Kind::ALL);
    let question = Question::new(kind, draw, split);
    let rejected = match draw.below(10) {
        0..=3 if has_manners => question.bare_reply(),
        4..=7 if has_manners => question.chatty_reply(),
        _ => question.wrong_reply(draw),
    };
    let messages = |role: &str, content: String| json!([{"role": role, "content": content}]);
    json!({
        "prompt": messages("user", question.user),
        "chosen": messages("assistant", question.reply),
        "rejected": messages("assistant", rejected),
    })
}
