//! Stack-Edu's fifteen languages by a file's path, and by its content where the path does not say.

pub(super) const MARKDOWN: &str = "Markdown";

/// A language: its name in Stack-Edu, other names, the extensions of its files, and the interpreters of its scripts.
struct Language {
    name: &'static str,
    names: &'static [&'static str],
    extensions: &'static [&'static str],
    interpreters: &'static [&'static str],
}

const fn language(
    name: &'static str,
    names: &'static [&'static str],
    extensions: &'static [&'static str],
    interpreters: &'static [&'static str],
) -> Language {
    Language { name, names, extensions, interpreters }
}

const LANGUAGES: [Language; 15] = [
    language("C", &[], &["c", "h"], &[]),
    language("Cpp", &["c++"], &["cpp", "cc", "cxx", "c++", "hpp", "hh", "hxx", "h++", "ipp", "tpp"], &[]),
    language("CSharp", &["c#", "c-sharp"], &["cs", "csx"], &[]),
    language("Go", &["golang"], &["go"], &[]),
    language("Java", &[], &["java"], &[]),
    language("JavaScript", &["js"], &["js", "mjs", "cjs", "jsx"], &["node", "nodejs"]),
    language(MARKDOWN, &["md"], &["md", "markdown", "mkd"], &[]),
    language("PHP", &[], &["php", "phtml"], &["php"]),
    language("Python", &["py", "python3"], &["py", "pyw"], &["python", "python2", "python3"]),
    language("Ruby", &["rb"], &["rb", "rake"], &["ruby"]),
    language("Rust", &["rs"], &["rs"], &[]),
    language(
        "Shell",
        &["bash", "sh", "shellscript"],
        &["sh", "bash", "zsh"],
        &["sh", "bash", "zsh", "dash", "ksh"],
    ),
    language("SQL", &[], &["sql"], &[]),
    language("Swift", &[], &["swift"], &[]),
    language("TypeScript", &["ts"], &["ts", "tsx", "mts", "cts"], &["ts-node", "deno"]),
];

/// Signs of C++ in a header.
const CPP: [&str; 6] = ["class ", "namespace ", "template<", "template <", "std::", "public:"];

/// The language with this name, in Stack-Edu's spelling.
pub(super) fn named(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    let is_named = |language: &&Language| {
        language.name.to_lowercase() == name || language.names.contains(&name.as_str())
    };
    LANGUAGES.iter().find(is_named).map(|language| language.name)
}

/// The extension of a path in lower case; empty for one without.
pub(super) fn extension(path: &str) -> String {
    let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
    name.rsplit_once('.').map(|(_, extension)| extension.to_lowercase()).unwrap_or_default()
}

/// The language of a file; `None` for one of no known language.
pub(super) fn of_file(path: &str, text: &str) -> Option<&'static str> {
    let extension = extension(path);
    let by_path = LANGUAGES.iter().find(|language| language.extensions.contains(&extension.as_str()));
    match by_path.map(|language| language.name) {
        Some("C") if extension == "h" && CPP.iter().any(|sign| text.contains(sign)) => Some("Cpp"),
        // Qt's translations are XML with the extension of TypeScript.
        Some("TypeScript") if text.trim_start().starts_with("<?xml") || text.contains("<!DOCTYPE TS>") => {
            None
        }
        Some(language) => Some(language),
        None => of_script(text),
    }
}

/// The language that the first line of a script names.
fn of_script(text: &str) -> Option<&'static str> {
    let first = text.lines().next()?.strip_prefix("#!")?;
    let mut words = first.split_whitespace();
    let mut program = words.next()?.rsplit('/').next()?;
    if program == "env" {
        program = words.find(|word| !word.starts_with('-'))?;
    }
    // python3.12 is python3.
    let program = program.split('.').next()?;
    LANGUAGES.iter().find(|language| language.interpreters.contains(&program)).map(|language| language.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_found_by_name_path_and_first_line() {
        assert_eq!(named("c++").or(named("x")), Some("Cpp"));
        assert_eq!(
            (named("C#"), named("typescript"), named("cobol")),
            (Some("CSharp"), Some("TypeScript"), None)
        );
        assert_eq!(of_file("a/B.RS", ""), Some("Rust"));
        assert_eq!(of_file("translations/de.ts", "<?xml version=\"1.0\"?>"), None);
        assert_eq!(of_file("run", "#!/bin/bash -e\n"), Some("Shell"));
        assert_eq!(of_file("run", "#!/usr/bin/env -S python3.12 -u\n"), Some("Python"));
        assert_eq!(of_file("run", "#!/usr/bin/perl\n"), None);
        assert_eq!(of_file("dir.py/file", "text"), None);
    }
}
