//! The held-out rows of `--data`: read, checked and reduced to those that are measured.

use super::checker::QuestionChecker;
use super::options::{Options, Part};
use super::rows::{
    Document, DocumentRow, Example, ExampleRow, Pair, PairRow, Question, QuestionRow, Request, RequestRow,
};
use crate::jsonl;
use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What to do about a missing file.
const HINT: &str = "`--data` needs questions/test.jsonl, requests/test.jsonl, pairs/test.jsonl and \
                    held-out/SOURCE/documents.jsonl; select those that exist with `--parts`";
const QUESTIONS: &str = "questions/test.jsonl";
const EXAMPLES: &str = "questions/examples.jsonl";

/// All rows that are measured.
#[derive(Default)]
pub(super) struct HeldOut {
    pub(super) questions: Questions,
    pub(super) requests: Vec<Request>,
    pub(super) pairs: Vec<Pair>,
    pub(super) documents: Vec<Document>,
    /// SHA-256 of every file that was read, by its path in the folder.
    pub(super) files: BTreeMap<String, String>,
    skip_invalid: bool,
}

/// Questions with what is needed to ask and judge them.
#[derive(Default)]
pub(super) struct Questions {
    pub(super) list: Vec<Question>,
    pub(super) examples: Vec<Example>,
    pub(super) checker: Option<QuestionChecker>,
}

impl HeldOut {
    /// Reads what is measured.
    ///
    /// # Errors
    /// Names the file and the line; for a missing file, the files that are expected.
    pub(super) fn read(options: &Options, checker: Option<QuestionChecker>) -> Result<Self> {
        let folder = options.data.as_deref().context("`--data` is missing")?;
        ensure!(folder.is_dir(), "the folder {} does not exist; {HINT}", folder.display());
        let mut held_out = Self { skip_invalid: options.skip_invalid, ..Self::default() };
        held_out.read_questions(folder, options, checker)?;
        let limit = options.limited(usize::MAX);
        if options.measures(Part::Requests) {
            let check = |row: RequestRow, _| row.check();
            held_out.requests = held_out.read_rows(folder, "requests/test.jsonl", limit, check)?;
        }
        if options.measures(Part::Pairs) {
            held_out.pairs = held_out.read_rows(folder, "pairs/test.jsonl", limit, PairRow::check)?;
        }
        if options.measures(Part::Documents) {
            for source in sources(folder)? {
                let file = format!("held-out/{source}/documents.jsonl");
                let document =
                    |row: DocumentRow, line| Ok(Document { source: source.clone(), line, text: row.text });
                let documents = held_out.read_rows(folder, &file, limit, document)?;
                held_out.documents.extend(documents);
            }
        }
        Ok(held_out)
    }

    fn read_questions(
        &mut self,
        folder: &Path,
        options: &Options,
        checker: Option<QuestionChecker>,
    ) -> Result<()> {
        let Some(checker) = checker else {
            if options.parts.contains(&Part::Questions) {
                bail!("this program has no checker of answers; remove `questions` from `--parts`");
            }
            if folder.join(QUESTIONS).exists() {
                terminal::message!(
                    "note: {QUESTIONS} is not used, because this program has no checker of answers"
                );
            }
            return Ok(());
        };
        if !options.measures(Part::Questions) {
            return Ok(());
        }
        let list = self.read_rows(folder, QUESTIONS, usize::MAX, |row: QuestionRow, _| row.check(checker))?;
        let examples = match folder.join(EXAMPLES).exists() {
            true => self.read_rows(folder, EXAMPLES, usize::MAX, |row: ExampleRow, _| row.check())?,
            false => Vec::new(),
        };
        self.questions = Questions { list: select(list, options)?, examples, checker: Some(checker) };
        Ok(())
    }

    /// Reads the first rows of a file and checks them; an error names the line.
    fn read_rows<Row: DeserializeOwned, T>(
        &mut self,
        folder: &Path,
        file: &str,
        limit: usize,
        check: impl Fn(Row, usize) -> Result<T>,
    ) -> Result<Vec<T>> {
        let path = folder.join(file);
        let rows = jsonl::read_with(&path, HINT, (limit, self.skip_invalid), check)?;
        ensure!(!rows.is_empty(), "{} has no rows; {HINT}", path.display());
        self.files.insert(file.to_owned(), files::hash::sha256_of_file(&path)?);
        Ok(rows)
    }
}

/// The names of the sources of documents, sorted.
fn sources(folder: &Path) -> Result<Vec<String>> {
    let parent = folder.join("held-out");
    let entries =
        std::fs::read_dir(&parent).with_context(|| format!("cannot read {}; {HINT}", parent.display()))?;
    let folders: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    let mut names: Vec<String> =
        folders.iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
    names.sort();
    ensure!(!names.is_empty(), "{} contains no folders; {HINT}", parent.display());
    Ok(names)
}

/// The first questions of each selected kind, kind by kind.
///
/// # Errors
/// When two questions have the same id, or none has a kind of `--kinds`.
fn select(questions: Vec<Question>, options: &Options) -> Result<Vec<Question>> {
    let mut ids: Vec<&str> = questions.iter().map(|question| question.id.as_str()).collect();
    ids.sort_unstable();
    if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("{QUESTIONS}: two questions have the id {}", pair[0]);
    }
    let mut by_kind: Vec<(String, Vec<Question>)> = Vec::new();
    for question in questions {
        match by_kind.iter_mut().find(|(kind, _)| *kind == question.kind) {
            Some((_, list)) => list.push(question),
            None => by_kind.push((question.kind.clone(), vec![question])),
        }
    }
    if let Some(missing) = options.kinds.iter().find(|kind| by_kind.iter().all(|(name, _)| name != *kind)) {
        let names: Vec<&str> = by_kind.iter().map(|(name, _)| name.as_str()).collect();
        bail!("{QUESTIONS} has no questions of the kind `{missing}`; give kinds of {}", names.join(", "));
    }
    let limit = options.limited(options.per_kind);
    by_kind.retain(|(kind, _)| options.kinds.is_empty() || options.kinds.contains(kind));
    Ok(by_kind.into_iter().flat_map(|(_, questions)| questions.into_iter().take(limit)).collect())
}
