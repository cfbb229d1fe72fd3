//! The plan of the house: no crate has modules that import each other in a circle, and only the demonstration's own
//! places know its name.

use crate::programs::of_project;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Modules by their path below the crate's root, with the paths that each names and what each hands on.
#[derive(Default)]
struct Crate {
    modules: BTreeMap<Vec<String>, Module>,
}

#[derive(Default)]
struct Module {
    /// Paths from the crate's root.
    named: BTreeSet<Vec<String>>,
    /// Items that are re-exported: their name here, and the path that they come from.
    handed_on: BTreeMap<String, Vec<String>>,
}

/// Words and marks of a source text without its comments, strings and test modules.
fn tokens(text: &str) -> Vec<String> {
    let code: String = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).fold(
        String::new(),
        |code, line| {
            let line = line.trim_start();
            // A quotation mark as a character begins no string.
            let line = line.replace("'\"'", "").replace(r#"'\"'"#, "");
            if line.starts_with("//") { code } else { code + &line + "\n" }
        },
    );
    let (mut tokens, mut word, mut in_string, mut escaped) = (Vec::new(), String::new(), false, false);
    for letter in code.chars() {
        if in_string {
            in_string = escaped || letter != '"';
            escaped = letter == '\\' && !escaped;
            continue;
        }
        if letter.is_alphanumeric() || letter == '_' {
            word.push(letter);
            continue;
        }
        if !word.is_empty() {
            tokens.push(std::mem::take(&mut word));
        }
        in_string = letter == '"';
        if !letter.is_whitespace() {
            tokens.push(letter.to_string());
        }
    }
    tokens
}

/// The paths of a use tree that begins at `at`, each with the name it gets; `at` moves behind it.
fn use_tree(tokens: &[String], at: &mut usize, prefix: &[String], paths: &mut Vec<(Vec<String>, String)>) {
    let mut path = prefix.to_vec();
    while let Some(token) = tokens.get(*at) {
        match token.as_str() {
            ":" => *at += 1,
            "{" => {
                *at += 1;
                while tokens.get(*at).is_some_and(|token| token != "}" && token != ";") {
                    use_tree(tokens, at, &path, paths);
                    *at += usize::from(tokens.get(*at).is_some_and(|token| token == ","));
                }
                *at += 1;
                return;
            }
            "as" => {
                let name = tokens.get(*at + 1).cloned().unwrap_or_default();
                *at += 2;
                paths.push((path, name));
                return;
            }
            "," | "}" | ";" => {
                if path.last().is_some_and(|last| last == "self") {
                    path.pop();
                }
                let name = path.last().cloned().unwrap_or_default();
                paths.push((path, name));
                return;
            }
            word => {
                path.push(word.to_owned());
                *at += 1;
            }
        }
    }
}

/// A path from the crate's root; none for another crate's.
fn from_root(path: &[String], module: &[String], children: &BTreeSet<String>) -> Option<Vec<String>> {
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([module, &path[1..]].concat()),
        "super" => {
            let levels = path.iter().take_while(|part| *part == "super").count();
            let above = module.get(..module.len().checked_sub(levels)?)?;
            Some([above, &path[levels..]].concat())
        }
        child if children.contains(child) => Some([module, path].concat()),
        _ => None,
    }
}

fn read_module(text: &str, module: &[String]) -> Module {
    let tokens = tokens(text);
    let declared = tokens.windows(3).filter(|three| three[0] == "mod" && three[2] == ";");
    let children: BTreeSet<String> = declared.map(|three| three[1].clone()).collect();
    let (mut read, mut at) = (Module::default(), 0);
    while at < tokens.len() {
        let begins = matches!(tokens[at].as_str(), "crate" | "self" | "super")
            || children.contains(&tokens[at])
                && tokens.get(at.wrapping_sub(1)).is_none_or(|before| before != ":");
        if tokens[at] == "use" {
            let is_public = at > 0 && (tokens[at - 1] == "pub" || tokens[at - 1] == ")");
            let mut paths = Vec::new();
            at += 1;
            use_tree(&tokens, &mut at, &[], &mut paths);
            for (path, name) in paths {
                let Some(path) = from_root(&path, module, &children) else { continue };
                if is_public {
                    read.handed_on.insert(name, path);
                } else {
                    read.named.insert(path);
                }
            }
        } else if begins && tokens[at..].starts_with(&[tokens[at].clone(), ":".to_owned(), ":".to_owned()]) {
            let mut path = vec![tokens[at].clone()];
            while tokens.get(at + 1).is_some_and(|mark| mark == ":") {
                at += 3;
                path.extend(tokens.get(at).cloned());
            }
            read.named.extend(from_root(&path, module, &children));
        } else {
            at += 1;
        }
    }
    read
}

impl Crate {
    fn read(source: &Path) -> Self {
        let mut whole = Self::default();
        let mut folders = vec![source.to_owned()];
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let below = path.strip_prefix(source).unwrap().with_extension("");
                    let mut module: Vec<String> =
                        below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
                    if module == ["main"] || module.last().is_some_and(|last| last == "tests") {
                        continue;
                    }
                    if module == ["lib"] {
                        module.clear();
                    }
                    let text = std::fs::read_to_string(&path).unwrap();
                    whole.modules.insert(module.clone(), read_module(&text, &module));
                }
            }
        }
        whole
    }

    /// The module that a path leads into, through re-exports.
    fn target(&self, path: &[String], steps: usize) -> Vec<String> {
        let depth =
            (0..=path.len()).rev().find(|depth| self.modules.contains_key(&path[..*depth])).unwrap_or(0);
        let (module, rest) = path.split_at(depth);
        match rest.first().and_then(|item| self.modules.get(module)?.handed_on.get(item)) {
            Some(from) if steps > 0 => self.target(&[from, &rest[1..]].concat(), steps - 1),
            _ => module.to_vec(),
        }
    }

    /// Groups of modules that import each other in a circle.
    fn circles(&self) -> Vec<BTreeSet<String>> {
        let reach = |start: &Vec<String>| {
            let (mut seen, mut left) = (BTreeSet::new(), vec![start.clone()]);
            while let Some(module) = left.pop() {
                for path in self.modules.get(&module).into_iter().flat_map(|module| &module.named) {
                    let target = self.target(path, 8);
                    if target != module && seen.insert(target.clone()) {
                        left.push(target);
                    }
                }
            }
            seen
        };
        let reached: BTreeMap<_, _> = self.modules.keys().map(|module| (module, reach(module))).collect();
        let mut circles = BTreeSet::new();
        for (module, targets) in reached.iter().filter(|(module, targets)| targets.contains(**module)) {
            let together =
                targets.iter().filter(|target| reached.get(target).is_some_and(|it| it.contains(*module)));
            circles.insert(together.map(|module| module.join("::")).collect::<BTreeSet<_>>());
        }
        circles.into_iter().collect()
    }
}

/// The folders of the workspace's crates.
fn crates() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(of_project(".")).unwrap().map(|entry| entry.unwrap().path());
    let mut crates: Vec<PathBuf> = entries.filter(|path| path.join("src/lib.rs").is_file()).collect();
    crates.sort();
    crates
}

#[test]
fn modules_of_a_crate_import_each_other_in_no_circle() {
    assert!(crates().len() > 10);
    let circles = crates().into_iter().map(|folder| (Crate::read(&folder.join("src")).circles(), folder));
    let found: Vec<String> = circles
        .flat_map(|(circles, folder)| {
            circles.into_iter().map(move |circle| format!("{}: {circle:?}", folder.display()))
        })
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_circle_is_found_through_super_braces_and_reexports() {
    let module = |text: &str, path: &[&str]| {
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        (path.clone(), read_module(text, &path))
    };
    let of = |child: &str, other: &str| Crate {
        modules: BTreeMap::from([
            module("mod a;\nmod b;\npub use a::One;", &[]),
            module(child, &["a"]),
            module(other, &["b"]),
        ]),
    };
    let circle = || vec![BTreeSet::from(["a".to_owned(), "b".to_owned()])];
    assert_eq!(of("use super::b::{self, Two};", "use crate::One;").circles(), circle());
    assert_eq!(of("fn f() { crate::b::g() }", "use crate::a::One as Other;").circles(), circle());
    assert_eq!(of("use crate::b::Two;", "// use crate::One;\nconst A: &str = \"crate::One\";").circles(), []);
}

/// All files below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// A sentence of the documentation names the test that shows it: that test exists.
#[test]
fn the_documentation_names_tests_that_exist() {
    let sources: Vec<String> = crates()
        .iter()
        .flat_map(|folder| ["src", "tests", "whole"].map(|part| files_below(&folder.join(part))))
        .flatten()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let mut count = 0;
    for page in ["security.md", "what-survives-what.md"] {
        let text = std::fs::read_to_string(of_project("docs").join(page)).unwrap();
        for quoted in text
            .lines()
            .filter(|line| line.starts_with('|'))
            .flat_map(|line| line.split('`').skip(1).step_by(2))
        {
            let name = quoted.rsplit("::").next().unwrap_or_default();
            let is_path = quoted
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | ':'));
            if !is_path || name.matches('_').count() < 3 {
                continue;
            }
            let function = format!("fn {name}(");
            assert!(sources.iter().any(|source| source.contains(&function)), "{page} names {quoted}");
            count += 1;
        }
    }
    assert!(count > 50, "{count}");
}

/// Elsewhere the demonstration is data that is handed in.
#[test]
fn only_its_own_places_know_the_demonstration() {
    for folder in crates().iter().filter(|folder| !folder.ends_with("pocket")) {
        let mut folders = vec![folder.join("src")];
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(text) = std::fs::read_to_string(&path) {
                    assert!(!text.to_lowercase().contains("pocket"), "{}", path.display());
                }
            }
        }
    }
}
