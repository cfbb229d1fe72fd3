//! What `smoltalk world` holds out, read and checked: every question has the answer the checker finds, every condition
//! an argument the verifier takes. Behind this edge all of it can be judged.

use super::{Options, Part};
use crate::stored::lines;
use anyhow::{Context, Result, bail, ensure};
use datasets::pocket::{Kind, Verdict, check};
use evaluate::Instruction;
use serde::Deserialize;
use serde_json::{Map, Value};
use smollm::Message;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const MADE_BY: &str = "smoltalk world --out DIR";

pub(crate) struct HeldOut {
    pub(crate) questions: Vec<Question>,
    pub(crate) requests: Vec<Request>,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) documents: Vec<Document>,
    /// SHA-256 of every file that was read, by its path below the world.
    pub(crate) files: BTreeMap<String, String>,
}

/// A question with its answer.
pub(crate) struct Question {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) text: String,
    pub(crate) answer: String,
}

/// A request with its conditions.
pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) instructions: Vec<Instruction>,
}

/// Two replies to one prompt, the first preferred.
pub(crate) struct Pair {
    /// Its line in the file.
    pub(crate) id: String,
    pub(crate) prompt: Vec<Message>,
    pub(crate) chosen: Vec<Message>,
    pub(crate) rejected: Vec<Message>,
}

/// A document of a source.
pub(crate) struct Document {
    pub(crate) source: String,
    /// In its file, from 1.
    pub(crate) line: usize,
    pub(crate) text: String,
}

#[derive(Deserialize)]
struct QuestionRow {
    id: String,
    kind: Kind,
    messages: Vec<Message>,
    answer: String,
}

#[derive(Deserialize)]
struct RequestRow {
    id: String,
    messages: Vec<Message>,
    instruction_id_list: Vec<String>,
    kwargs: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
struct PairRow {
    prompt: Vec<Message>,
    chosen: Vec<Message>,
    rejected: Vec<Message>,
}

#[derive(Deserialize)]
struct DocumentRow {
    text: String,
}

impl HeldOut {
    /// Reads what is to be measured.
    ///
    /// # Errors
    /// Names the file and the line; where a file is missing, the command that writes it.
    pub(crate) fn read(options: &Options) -> Result<Self> {
        let folder = &options.world;
        if !folder.is_dir() {
            bail!("there is no folder {}: `{MADE_BY}` makes it", folder.display());
        }
        let mut world = Self {
            questions: Vec::new(),
            requests: Vec::new(),
            pairs: Vec::new(),
            documents: Vec::new(),
            files: BTreeMap::new(),
        };
        if options.measures(Part::Questions) {
            world.questions =
                chosen(world.rows(folder, "questions/test.jsonl", usize::MAX, question)?, options)?;
        }
        let most = options.most(usize::MAX);
        if options.measures(Part::Requests) {
            world.requests = world.rows(folder, "requests/test.jsonl", most, |row, _| request(row))?;
        }
        if options.measures(Part::Pairs) {
            world.pairs = world.rows(folder, "pairs/test.jsonl", most, pair)?;
        }
        if options.measures(Part::Documents) {
            for source in sources(folder)? {
                let file = format!("held-out/{source}/documents.jsonl");
                let document =
                    |row: DocumentRow, line| Ok(Document { source: source.clone(), line, text: row.text });
                let documents = world.rows(folder, &file, most, document)?;
                world.documents.extend(documents);
            }
        }
        Ok(world)
    }

    /// The first rows of a file, checked; an error names the line.
    fn rows<R: serde::de::DeserializeOwned, T>(
        &mut self,
        folder: &Path,
        file: &str,
        most: usize,
        check: impl Fn(R, usize) -> Result<T>,
    ) -> Result<Vec<T>> {
        let path = folder.join(file);
        let rows: Vec<(usize, R)> = lines(&path, MADE_BY)?;
        ensure!(!rows.is_empty(), "{} holds no rows: `{MADE_BY}` writes them", path.display());
        self.files.insert(file.to_owned(), datasets::write::sha256(&path)?);
        let first = rows.into_iter().take(most);
        let checked = first
            .map(|(line, row)| check(row, line).with_context(|| format!("{}, line {line}", path.display())));
        checked.collect()
    }
}

/// The sources of held-out documents, by name.
fn sources(folder: &Path) -> Result<Vec<String>> {
    let place = folder.join("held-out");
    let entries = std::fs::read_dir(&place)
        .with_context(|| format!("cannot read {}: `{MADE_BY}` writes it", place.display()))?;
    let folders: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    let mut names: Vec<String> =
        folders.iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
    names.sort();
    ensure!(!names.is_empty(), "{} holds no folders: `{MADE_BY}` writes them", place.display());
    Ok(names)
}

fn question(row: QuestionRow, _: usize) -> Result<Question> {
    let QuestionRow { id, kind, messages, answer } = row;
    let text = only_user(messages)?;
    match check(&[&text], &answer) {
        Verdict::Right => Ok(Question { id, kind, text, answer }),
        Verdict::Wrong => bail!("question {id}: {answer:?} is not the answer that the checker finds"),
        Verdict::Unanswerable => bail!("question {id}: what it tells does not answer it"),
        Verdict::Unreadable => bail!("question {id}: the pocket world asks no such question"),
    }
}

fn request(row: RequestRow) -> Result<Request> {
    let RequestRow { id, messages, instruction_id_list, kwargs } = row;
    ensure!(
        instruction_id_list.len() == kwargs.len() && !kwargs.is_empty(),
        "request {id}: {} instruction ids with {} kwargs; each needs its own, one at least",
        instruction_id_list.len(),
        kwargs.len()
    );
    let instructions =
        instruction_id_list.iter().zip(&kwargs).map(|(id, kwargs)| Instruction::new(id, kwargs));
    let instructions = instructions.collect::<Result<_, _>>().with_context(|| format!("request {id}"))?;
    Ok(Request { text: only_user(messages)?, id, instructions })
}

fn pair(row: PairRow, line: usize) -> Result<Pair> {
    let PairRow { prompt, chosen, rejected } = row;
    let replies = |messages: &[Message]| messages.iter().any(|message| message.role == "assistant");
    ensure!(replies(&chosen) && replies(&rejected), "chosen and rejected each need an assistant's message");
    Ok(Pair { id: line.to_string(), prompt, chosen, rejected })
}

/// The words of a conversation of one user's message.
fn only_user(messages: Vec<Message>) -> Result<String> {
    match <[Message; 1]>::try_from(messages) {
        Ok([message]) if message.role == "user" => Ok(message.content),
        _ => bail!("messages must be one message of a user"),
    }
}

/// The first questions of each kind that is asked for; ids are different.
fn chosen(questions: Vec<Question>, options: &Options) -> Result<Vec<Question>> {
    let mut ids: Vec<&str> = questions.iter().map(|question| question.id.as_str()).collect();
    ids.sort_unstable();
    if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("questions/test.jsonl: two questions have the id {}", twice[0]);
    }
    let mut by_kind: BTreeMap<Kind, Vec<Question>> = BTreeMap::new();
    for question in questions {
        by_kind.entry(question.kind).or_default().push(question);
    }
    if let Some(missing) = options.kinds.iter().find(|kind| !by_kind.contains_key(kind)) {
        bail!("questions/test.jsonl has no question of the kind {}", missing.name());
    }
    let most = options.most(options.per_kind);
    let wanted = |kind: &Kind| options.kinds.is_empty() || options.kinds.contains(kind);
    let kinds = by_kind.into_iter().filter(|(kind, _)| wanted(kind));
    Ok(kinds.flat_map(|(_, questions)| questions.into_iter().take(most)).collect())
}
