//! Links of the documentation lead to files and headings that exist.

use crate::programs::of_project;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// All Markdown files of the project that people read.
fn pages() -> Vec<PathBuf> {
    let root = of_project(".");
    let folders =
        ["", "docs", "docs/reference", "pocket", "prompts", "tests", "training", "datasets", "models"];
    let inside = |folder: &&str| std::fs::read_dir(root.join(folder)).into_iter().flatten();
    let paths = folders.iter().flat_map(inside).map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// The name by which GitHub links a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.flat_map(char::to_lowercase).map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

/// Lines outside of blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        is_code ^= fence;
        !is_code && !fence && !line.starts_with("    ")
    })
}

fn anchors(path: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(path).unwrap();
    prose(&text).filter_map(|line| Some(anchor(line.strip_prefix('#')?.trim_start_matches('#')))).collect()
}

/// The targets of the links in a text.
fn links(text: &str) -> Vec<String> {
    prose(text)
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
        .collect()
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
}
