//! Links of the documentation lead to files and headings that exist.

use crate::documents::{pages, prose};
use crate::programs::of_project;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The name by which GitHub links a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.flat_map(char::to_lowercase).map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

fn anchors(path: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(path).unwrap();
    prose(&text).filter_map(|line| Some(anchor(line.strip_prefix('#')?.trim_start_matches('#')))).collect()
}

/// The targets of the links in a text, and of its pictures.
fn links(text: &str) -> Vec<String> {
    let targets = |line: &str| {
        let ends = [("](", ')'), ("src=\"", '"'), ("srcset=\"", '"')];
        let of = |(begin, end): (&str, char)| {
            let rests =
                line.split(begin).skip(1).filter_map(move |rest| Some(rest.split_once(end)?.0.to_owned()));
            rests.collect::<Vec<_>>()
        };
        ends.into_iter().flat_map(of).collect::<Vec<_>>()
    };
    prose(text).flat_map(targets).collect()
}

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for page in pages() {
        for link in links(&std::fs::read_to_string(&page).unwrap()) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let is_known = target.exists() && (heading.is_empty() || anchors(&target).contains(heading));
            if !is_known {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(count > 50, "only {count} links were found");
    assert!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
}

#[test]
fn headings_have_the_names_that_links_use() {
    assert_eq!(anchor(" The paper's benchmarks, on a `real` model"), "the-papers-benchmarks-on-a-real-model");
    assert_eq!(links("a [b](c.md#d) e\n```\n[f](g)\n```\n[h](#i)"), ["c.md#d", "#i"]);
    assert_eq!(links("<img src=\"a.svg\" alt=\"b\">"), ["a.svg"]);
}

/// The book's list of chapters has every page of the documentation once, and nothing else.
#[test]
fn every_page_of_the_documentation_is_in_the_book() {
    let book = of_project("docs");
    let mut listed: Vec<String> = links(&std::fs::read_to_string(book.join("SUMMARY.md")).unwrap());
    listed.sort();
    let in_docs = |page: PathBuf| Some(page.strip_prefix(&book).ok()?.display().to_string());
    let mut pages: Vec<String> =
        pages().into_iter().filter_map(in_docs).filter(|page| page != "SUMMARY.md").collect();
    pages.sort();
    assert_eq!(listed, pages, "docs/SUMMARY.md (left) against the pages in docs/ (right)");
}
