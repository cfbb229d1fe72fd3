//! `smolpocket web`: a small web of the pocket world, of which the right fate of every page under FineMath's recipe is known:
//! lessons, exercises, shops, chatter, stories, another language, copies, and pages with questions of evaluation sets.

mod archive;
mod encoder;
mod markup;
mod page;
mod texts;

use crate::draw::Draw;
use crate::output::fill;
use crate::rows::write;
use anyhow::Result;
use files::manifest;
use files::output_folder::FolderKind;
use page::{Kind, Page, SHARES};
use serde_json::{Value, json};
use std::path::PathBuf;
use texts::{exam, foreign};

/// The options of `smolpocket web`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder for archives/, sets/, encoder/, fates.jsonl and languages.jsonl
    #[arg(long)]
    out: PathBuf,
    /// Number of pages
    #[arg(long, default_value_t = 400)]
    pages: usize,
    /// Random seed; the same seed writes the same web
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// The folder of the web.
const FOLDER: FolderKind = FolderKind {
    program: "smolpocket web",
    description: manifest::FILE_NAME,
    files: &["fates.jsonl", "languages.jsonl"],
    working: &[],
};
/// Questions of each evaluation set.
const QUESTIONS: usize = 20;
/// The sets of FineMath's recipe, with the columns of their questions.
const SETS: [(&str, &str); 3] = [("gsm8k", "question"), ("math", "problem"), ("mmlu", "question")];
/// The label of the other language.
const FOREIGN: &str = "xx";

/// Writes the web.
///
/// # Errors
/// When a file cannot be written, or the folder contains what this command did not write.
pub fn run(options: &Options) -> Result<()> {
    let mut draw = Draw::new(options.seed, "web");
    let exams: Vec<String> = (0..SETS.len() * QUESTIONS).map(|_| exam(&mut draw)).collect();
    fill(&options.out, &FOLDER, |out| {
        for (set, (name, column)) in SETS.iter().enumerate() {
            let rows = exams.iter().skip(set).step_by(SETS.len()).map(|question| {
                Ok(match *name {
                    "gsm8k" => json!({"question": question, "answer": "#### 1"}),
                    _ => json!({*column: question}),
                })
            });
            write(&out.join(format!("sets/{name}.jsonl")), QUESTIONS, rows)?;
        }
        let pages = pages(options.pages, &exams, &mut draw);
        archive::write(&out.join("archives"), &pages)?;
        write(&out.join("fates.jsonl"), pages.len(), pages.iter().map(|page| Ok(page.fate())))?;
        let languages = pages.iter().filter(|page| page.has_text()).flat_map(languages).map(Ok);
        write(&out.join("languages.jsonl"), usize::MAX, languages)?;
        let words = pages.iter().filter(|page| page.has_text()).map(Page::text);
        encoder::write(&out.join("encoder"), words, options.seed)
    })
}

/// The pages in the order of the archives: copies come after what they are copies of.
fn pages(count: usize, exams: &[String], draw: &mut Draw) -> Vec<Page> {
    let (mut pages, mut copies): (Vec<Page>, Vec<Page>) = (Vec::new(), Vec::new());
    let mut kinds: Vec<Kind> = (0..count)
        .map(|at| {
            let mut rest = at % 100;
            let kind = SHARES.iter().find(|(_, share)| {
                let is_here = rest < *share;
                rest = rest.wrapping_sub(*share);
                is_here
            });
            kind.map_or(Kind::Lesson, |(kind, _)| *kind)
        })
        .collect();
    draw.shuffle(&mut kinds);
    for (number, kind) in kinds.into_iter().enumerate() {
        if kind == Kind::Copy {
            copies.push(Page::new(Kind::Copy, number, "", draw));
        } else {
            pages.push(Page::new(kind, number, &exams[number % exams.len()], draw));
        }
    }
    let originals: Vec<&Page> = pages.iter().filter(|page| page.kind == Kind::Lesson).collect();
    let copied = copies.into_iter().zip(originals.iter().cycle()).map(|(copy, original)| copy.of(original));
    let copied: Vec<Page> = copied.collect();
    pages.extend(copied);
    pages
}

/// A page's text in both languages, for a model that tells them apart.
fn languages(page: &Page) -> [Value; 2] {
    let english = if page.kind == Kind::Foreign { foreign(&page.text()) } else { page.text() };
    [json!({"text": english, "label": "en"}), json!({"text": foreign(&english), "label": FOREIGN})]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, HashSet};

    #[test]
    fn a_web_has_every_kind_of_page_and_follows_from_its_seed() {
        let web = |seed| {
            let mut draw = Draw::new(seed, "web");
            let exams: Vec<String> = (0..9).map(|_| exam(&mut draw)).collect();
            (pages(300, &exams, &mut draw), exams)
        };
        let (all, exams) = web(1);
        assert!(web(1).0 == all && web(2).0 != all);
        assert!(exams.iter().all(|exam| exam.split_whitespace().count() >= 20), "{exams:?}");
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        all.iter().for_each(|page| *counts.entry(format!("{:?}", page.kind)).or_default() += 1);
        assert_eq!(counts.len(), SHARES.len());
        assert_eq!(all.len(), 300);
        let addresses: HashSet<&str> = all.iter().map(|page| page.url.as_str()).collect();
        assert_eq!(addresses.len(), 300);
        for page in &all {
            match page.kind {
                Kind::Exam => assert!(exams.iter().any(|exam| page.text().contains(exam.as_str()))),
                _ => assert!(!exams.iter().any(|exam| page.text().contains(exam.as_str()))),
            }
        }
    }

    #[test]
    fn the_other_language_has_other_words_and_the_same_formulas() {
        let text = "Mara has 3 hats, so $3 \\times 4 = 12$ in all.";
        assert_eq!(foreign(text), "Aram sah 3 stah, os $3 \\times 4 = 12$ ni lla.");
        assert_eq!(foreign(&foreign(text)), text);
    }
}
