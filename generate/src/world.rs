//! `smoltalk world`: the pocket world on disk: documents to pretrain on, conversations and preference pairs that make a
//! teacher, and what is held out of all of them to measure with.

mod conversations;
mod judgements;

use crate::recipe::Task;
use anyhow::{Context, Result};
use conversations::Lessons;
pub(crate) use conversations::{keeps, questions, rewrite_style, summary_length};
use datasets::pocket::documents::{Source, document};
use datasets::pocket::letters::{Letter, Style};
use datasets::pocket::requests::Request;
use datasets::pocket::stories::Story;
use datasets::pocket::{Draw, Kind, Question, Split};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What `smoltalk world` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The folder that gets documents/, conversations/, pairs/, and what is held out: questions/, requests/, held-out/
    #[arg(long)]
    out: PathBuf,
    /// Documents of all sources together
    #[arg(long, default_value_t = 330_000)]
    documents: usize,
    /// Conversations of all tasks together
    #[arg(long, default_value_t = 46_000)]
    conversations: usize,
    /// Preference pairs
    #[arg(long, default_value_t = 4_000)]
    pairs: usize,
    /// Same seed: same world
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Shares of the sources in a hundred documents.
const SHARES: [(Source, usize); 4] =
    [(Source::Web, 40), (Source::Code, 12), (Source::Math, 18), (Source::Copybook, 30)];
/// Held-out questions of a kind, requests, pairs and documents of a source.
const QUESTIONS: usize = 250;
const REQUESTS: usize = 500;
const PAIRS: usize = 600;
const DOCUMENTS: usize = 200;

/// Writes the world; the number is the exit code.
///
/// # Errors
/// When a file cannot be written.
pub fn run(options: &Options) -> Result<u8> {
    let lessons = Lessons::load()?;
    let draw = |word: &str| Draw::new(options.seed, word);
    let file = |path: &str| options.out.join(path);
    for (source, share) in SHARES {
        for (folder, count, split) in [
            ("documents", options.documents * share / 100, Split::Train),
            ("held-out", DOCUMENTS, Split::Test),
        ] {
            let path = format!("{folder}/{}", source.name());
            let mut draw = draw(&path);
            let rows = (0..count).map(|_| Ok(json!({"text": document(source, &mut draw, split)})));
            write(&file(&path).join("documents.jsonl"), count, rows)?;
        }
    }
    let mut talking = draw("conversations");
    let rows = (0..options.conversations).map(|_| lessons.conversation(&mut talking, Split::Train));
    write(&file("conversations/train.jsonl"), options.conversations, rows)?;
    let mut pairing = draw("pairs");
    write(
        &file("pairs/train.jsonl"),
        options.pairs,
        (0..options.pairs).map(|_| Ok(pair(&mut pairing, Split::Train, false))),
    )?;
    let mut asking = draw("questions");
    let asked = Kind::ALL.into_iter().flat_map(|kind| (0..QUESTIONS).map(move |index| (kind, index)));
    write(
        &file("questions/test.jsonl"),
        usize::MAX,
        asked.map(|(kind, index)| Ok(question(kind, index, &mut asking))),
    )?;
    let mut requesting = draw("requests");
    write(
        &file("requests/test.jsonl"),
        REQUESTS,
        (0..REQUESTS).map(|index| Ok(request(index, &mut requesting))),
    )?;
    let mut pairing = draw("held-out pairs");
    write(&file("pairs/test.jsonl"), PAIRS, (0..PAIRS).map(|_| Ok(pair(&mut pairing, Split::Test, true))))?;
    Ok(0)
}

fn question(kind: Kind, index: usize, draw: &mut Draw) -> Value {
    let question = Question::new(kind, draw, Split::Test);
    json!({
        "id": format!("{}-{index}", kind.name()), "kind": kind.name(),
        "messages": [{"role": "user", "content": question.user}], "answer": question.answer,
    })
}

fn request(index: usize, draw: &mut Draw) -> Value {
    let request = Request::new(draw, Split::Test);
    let (ids, kwargs): (Vec<&str>, Vec<Value>) = request.conditions.into_iter().unzip();
    json!({
        "id": format!("request-{index}"), "messages": [{"role": "user", "content": request.user}],
        "instruction_id_list": ids, "kwargs": kwargs,
    })
}

/// A plain right reply and one that is wrong, or, where `manners` count, as often no sentence as with words too many:
/// length alone tells nothing.
fn pair(draw: &mut Draw, split: Split, manners: bool) -> Value {
    let kind = draw.pick(&Kind::ALL);
    let question = Question::new(kind, draw, split);
    let rejected = match draw.below(10) {
        0..=3 if manners => question.terse(),
        4..=7 if manners => question.chatty(),
        _ => question.wrong(draw).0,
    };
    let said = |role: &str, content: String| json!([{"role": role, "content": content}]);
    let chosen = said("assistant", question.reply);
    json!({"prompt": said("user", question.user), "chosen": chosen, "rejected": said("assistant", rejected)})
}

/// A text for a task to work on: a letter to rewrite, a story to sum up.
pub(crate) fn text(task: Task, draw: &mut Draw) -> String {
    match task {
        Task::SmolRewrite => Letter::new(draw, Split::Train).write(Style::Long, draw),
        _ => Story::new(draw, Split::Train).text,
    }
}

/// A file of rows, whole or absent.
fn write(path: &Path, count: usize, rows: impl Iterator<Item = Result<Value>>) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let rows = datasets::write::write_jsonl::<_, anyhow::Error>(path, rows)?;
    eprintln!("{}: {rows} rows", path.display());
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::recipe::{Profile, Recipe};
    use std::collections::BTreeSet;

    /// What the pocket teacher learns to write is what the task would keep.
    #[test]
    fn requests_replies_keep_their_own_conditions() {
        let mut draw = Draw::new(4, "requests");
        let mut kinds = BTreeSet::new();
        let mut foreign = 0;
        for _ in 0..3000 {
            let request = Request::new(&mut draw, Split::Train);
            for (index, (id, kwargs)) in request.conditions.iter().enumerate() {
                let check = evaluate::Instruction::new(id, kwargs.as_object().unwrap()).unwrap();
                // Short texts in capitals are not always told for English.
                foreign += usize::from(id.starts_with("change_case") && !check.strict(&request.reply));
                let kept = id.starts_with("change_case") || check.strict(&request.reply);
                assert!(kept, "{id} {kwargs}: {}\n{}", request.user, request.reply);
                assert!(index > 0 || !check.strict(&request.wrong), "{id} {kwargs}: {}", request.wrong);
                kinds.insert(*id);
            }
        }
        assert!(kinds.len() >= 12, "{kinds:?}");
        assert!(foreign < 60, "{foreign}");
    }

    /// What the pocket teacher answers as a judge fits the schemas that hold it.
    #[test]
    fn judgements_fit_the_tasks_schemas() {
        let recipe = Recipe::load(Task::MagpieUltra, Profile::Pocket).unwrap();
        let rewrite = Recipe::load(Task::SmolRewrite, Profile::Pocket).unwrap();
        let mut draw = Draw::new(4, "judgements");
        let fits = |recipe: &Recipe, step: &str, answer: &Value| {
            assert!(jsonschema::is_valid(recipe.schema(step).unwrap(), answer), "{step}: {answer}");
        };
        for round in 0..1000 {
            let kind = Kind::ALL[round % Kind::ALL.len()];
            let question = Question::new(kind, &mut draw, Split::Train);
            fits(&recipe, "difficulty", &judgements::difficulty(&question));
            fits(&recipe, "classification", &judgements::classification(kind));
            fits(&recipe, "quality", &judgements::task(kind, &mut draw, Split::Train).1);
            fits(&recipe, "reward", &judgements::replies(kind, &mut draw, Split::Train).2);
            let story = Story::new(&mut draw, Split::Train);
            fits(&rewrite, "faithfulness", &judgements::faithfulness(&story.text, &story.text));
        }
    }
}
