//! The Markdown that people read, taken apart: pages, prose, and the commands of its blocks.

use crate::programs::of_project;
use std::path::PathBuf;

/// The project's own programs.
pub(crate) const PROGRAMS: [&str; 5] = ["smoltalk", "posttrain", "smoleval", "smolserve", "smolpocket"];

/// All Markdown files of the project that people read.
pub(crate) fn pages() -> Vec<PathBuf> {
    let root = of_project(".");
    let folders = [
        "",
        "docs",
        "docs/guides",
        "docs/reference",
        "pocket",
        "prompts",
        "tests",
        "training",
        "datasets",
        "models",
        "generate/recipes",
        "packages",
        "posttrain/recipes",
    ];
    let inside = |folder: &&str| std::fs::read_dir(root.join(folder)).into_iter().flatten();
    let paths = folders.iter().flat_map(inside).map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// A page's path from the project's root.
pub(crate) fn short(page: &std::path::Path) -> String {
    page.strip_prefix(of_project(".")).unwrap_or(page).display().to_string()
}

/// Lines outside of blocks of code.
pub(crate) fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        is_code ^= fence;
        !is_code && !fence && !line.starts_with("    ")
    })
}

/// The texts between backquotes in a page's prose, with the lines on which they begin.
pub(crate) fn spans(text: &str) -> Vec<(usize, String)> {
    let (mut is_code, mut spans, mut paragraph) = (false, Vec::new(), String::new());
    // A span may go on in the next line, and ends with its paragraph; each row of a table is one.
    let mut end = |number: usize, paragraph: &mut String| {
        let first = number - paragraph.matches('\n').count();
        let mut before = 0;
        for (index, part) in paragraph.split('`').enumerate() {
            if index % 2 == 1 {
                // In a table a vertical bar is spelled with a backslash.
                spans.push((first + before, part.replace("\\|", "|").replace('\n', " ")));
            }
            before += part.matches('\n').count();
        }
        paragraph.clear();
    };
    for (index, line) in text.lines().enumerate() {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        let is_prose = !is_code && !is_fence && !line.starts_with("    ") && !line.is_empty();
        if !is_prose || line.starts_with('|') {
            end(index + 1, &mut paragraph);
        }
        if is_prose {
            paragraph += line;
            paragraph += "\n";
        }
    }
    end(text.lines().count() + 1, &mut paragraph);
    spans
}

/// One command of a block: its line in the page and its text, continued lines joined, and what a `console` shows below it.
#[derive(Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) text: String,
    pub(crate) output: Vec<String>,
}

/// The lines of a page's blocks of commands: indented blocks, fences of `sh`, and what follows `$ ` in fences of `console`.
/// Other fences hold other things. An indented block below an item of a list, which readers see as plain text, is an `Err`
/// with its line.
pub(crate) fn block_lines(text: &str) -> Result<Vec<Line>, usize> {
    let (mut lines, mut fence): (Vec<Line>, Option<String>) = (Vec::new(), None);
    let (mut may_begin, mut is_block, mut is_list, mut is_continued) = (true, false, false, false);
    for (index, line) in text.lines().enumerate() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(language.trim().to_owned()) };
            (may_begin, is_block, is_continued) = (true, false, false);
            continue;
        }
        let command = match (&fence, line.strip_prefix("    ")) {
            (Some(language), _) if language == "sh" => Some(line),
            (Some(language), _) if language == "console" => {
                if is_continued {
                    Some(line)
                } else {
                    line.strip_prefix("$ ")
                }
            }
            (Some(_), _) => None,
            (None, Some(inner)) if is_block || may_begin => {
                if is_list && PROGRAMS.iter().any(|name| inner.starts_with(name)) {
                    return Err(index + 1);
                }
                is_block = !is_list;
                is_block.then_some(inner)
            }
            (None, _) => None,
        };
        if fence.is_none() && command.is_none() {
            is_block = false;
            let is_blank = line.trim().is_empty();
            may_begin = is_blank || line.starts_with('#');
            if !is_blank && !line.starts_with(' ') {
                is_list = line.starts_with("- ")
                    || line.split_once(". ").is_some_and(|(number, _)| number.parse::<u8>().is_ok());
            }
        }
        let Some(command) = command else {
            if let (Some("console"), Some(last)) = (fence.as_deref(), lines.last_mut()) {
                last.output.push(line.to_owned());
            }
            continue;
        };
        let (part, goes_on) = match command.trim_end().strip_suffix('\\') {
            Some(part) => (part.trim(), true),
            None => (command.trim(), false),
        };
        match lines.last_mut() {
            Some(last) if is_continued => last.text += &format!(" {part}"),
            _ => lines.push(Line { number: index + 1, text: part.to_owned(), output: Vec::new() }),
        }
        is_continued = goes_on;
    }
    lines.retain(|line| !line.text.is_empty());
    Ok(lines)
}

/// The commands of a line, as words: two commands side by side, `&&`, pipes; without comments, redirections and variables that
/// are set before a command.
pub(crate) fn commands(line: &str) -> Option<Vec<Vec<String>>> {
    let mut commands = vec![Vec::new()];
    for column in line.split("    ") {
        commands.push(Vec::new());
        let mut words = shlex::split(column)?.into_iter();
        while let Some(word) = words.next() {
            let command = commands.last_mut().expect("one was pushed");
            match word.as_str() {
                "&&" | "||" | "|" | ";" | "&" => commands.push(Vec::new()),
                ">" | ">>" | "2>" | "<" => _ = words.next(),
                _ if command.is_empty() && is_assignment(&word) => {}
                _ => command.push(word),
            }
        }
    }
    commands.retain(|command| !command.is_empty());
    Some(commands)
}

/// Whether a word sets a variable for the command after it.
fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|letter: char| letter.is_ascii_uppercase())
            && name
                .chars()
                .all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_')
    })
}

#[test]
fn blocks_are_read_as_a_reader_sees_them() {
    let text = "# One\n    a b \\\n      c    # why\n\nText\n    of a paragraph\n\n```sh\nd\n```\n```toml\ne = 1\n```\n\
                ```console\n$ f\noutput\n```\n- item\n  more\n\n    of the item\n";
    let lines = block_lines(text).unwrap();
    let found: Vec<(usize, &str)> = lines.iter().map(|line| (line.number, line.text.as_str())).collect();
    assert_eq!(found, [(2, "a b c    # why"), (9, "d"), (15, "f")]);
    assert_eq!(lines[2].output, ["output"]);
    assert_eq!(block_lines("- item\n\n    smoltalk gen\n"), Err(3));
    let words =
        |line: &str| commands(line).unwrap().into_iter().map(|words| words.join(" ")).collect::<Vec<_>>();
    assert_eq!(words("A=b c 'd e' && f > g    h # i"), ["c d e", "f", "h"]);
    let found = spans("a `b` c `d\\|e`\n```\n`f`\n```\n\ng `h\ni` `j`\n");
    let found: Vec<(usize, &str)> = found.iter().map(|(number, span)| (*number, span.as_str())).collect();
    assert_eq!(found, [(1, "b"), (1, "d|e"), (6, "h i"), (7, "j")]);
}

/// Tables and single words (addresses) cannot be wrapped.
#[test]
fn the_front_page_and_the_guides_wrap_at_120_columns() {
    let read = |page: &String| page == "README.md" || page == "docs/README.md" || page.contains("guides/");
    for page in pages().iter().map(|page| short(page)).filter(read) {
        let text = std::fs::read_to_string(of_project(&page)).unwrap();
        for (number, line) in text.lines().enumerate() {
            let is_wrapped = line.chars().count() <= 120 || line.starts_with('|');
            assert!(is_wrapped, "{page}:{}: more than 120 columns", number + 1);
            let is_whole = line.matches('`').count().is_multiple_of(2) || line.starts_with("```");
            assert!(is_whole, "{page}:{}: what is between backquotes belongs on one line", number + 1);
        }
    }
}
