//! The stage `code`: the language of a file by its path and content, notebooks as text, and files that nobody wrote (generated,
//! vendored, minified) dropped. The limits on lines are those of StarCoder's and StarCoder2's data.

mod generated;
mod languages;
mod notebook;

use crate::fate::{Fate, cut, drop};
use crate::page::{Body, Page};
use crate::recipe::Code;
use serde_json::{Value, json};

/// Applies the stage; returns why the file is dropped, if it is.
pub(super) fn apply(settings: &Code, page: &mut Page) -> Option<Fate> {
    let path = page.values.get("path").and_then(Value::as_str).map(str::to_owned);
    let path = path.or_else(|| page.url.clone()).unwrap_or_default();
    let declared = page.values.get("language").and_then(Value::as_str).map(str::to_owned);
    if languages::extension(&path) == "ipynb" {
        match notebook::read(page.text()) {
            Ok((language, text)) => {
                page.values.insert("language".to_owned(), json!(language));
                page.values.insert("is_notebook".to_owned(), json!(true));
                page.body = Body::Text(text);
            }
            Err(reason) => return Some(drop("notebook", json!(reason))),
        }
    } else {
        let known = declared.as_deref().and_then(languages::named);
        let Some(language) = languages::of_file(&path, page.text()).or(known) else {
            return Some(drop("unknown_language", json!(path)));
        };
        page.values.insert("language".to_owned(), json!(language));
    }
    let language = page.values.get("language").and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_wanted = |wanted: &String| languages::named(wanted) == Some(language.as_str());
    if !settings.languages.is_empty() && !settings.languages.iter().any(is_wanted) {
        return Some(drop("language", json!(language)));
    }
    if let Some((reason, sign)) = generated::sign(&path, page.text()) {
        return Some(drop(reason, json!(sign)));
    }
    lines(settings, page, language == languages::MARKDOWN)
}

/// Drops files whose lines nobody wrote by hand. Prose has a line for each paragraph, so Markdown may have long ones.
fn lines(settings: &Code, page: &mut Page, is_prose: bool) -> Option<Fate> {
    let text = page.text();
    let characters = crate::python::length(text);
    let longest = text.lines().map(crate::python::length).max().unwrap_or_default() as f64;
    let mean = characters as f64 / text.lines().count().max(1) as f64;
    let alphanumeric =
        text.chars().filter(|letter| letter.is_alphanumeric()).count() as f64 / characters.max(1) as f64;
    for (name, value) in [("longest_line", longest), ("mean_line", mean), ("alphanumeric", alphanumeric)] {
        page.values.insert(name.to_owned(), json!(value));
    }
    let is_long = |value: f64, limit: f64| !is_prose && value > limit;
    if characters == 0 {
        Some(drop("empty", json!(0)))
    } else if is_long(longest, settings.max_line) {
        Some(cut("long_line", "longest_line", longest, settings.max_line))
    } else if is_long(mean, settings.max_mean_line) {
        Some(cut("long_lines", "mean_line", mean, settings.max_mean_line))
    } else if alphanumeric < settings.min_alphanumeric {
        Some(cut("few_letters", "alphanumeric", alphanumeric, settings.min_alphanumeric))
    } else {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use serde_json::Map;

    fn file(path: &str, text: &str) -> Page {
        let values = Map::from_iter([("path".to_owned(), json!(path)), ("license".to_owned(), json!("mit"))]);
        Page { values, ..crate::page::page(String::new(), Body::Text(text.to_owned())) }
    }

    /// The language of a file that is kept, or why it is dropped.
    fn fate(settings: &Code, path: &str, text: &str) -> String {
        let mut page = file(path, text);
        let dropped = apply(settings, &mut page);
        assert_eq!(page.values["license"], "mit", "the license stays");
        dropped.map_or_else(|| page.values["language"].as_str().unwrap().to_owned(), |fate| fate.reason)
    }

    #[test]
    fn files_have_a_language_or_a_reason() {
        let settings = Code {
            languages: ["Python", "C++", "Markdown", "JavaScript"].map(str::to_owned).into(),
            ..Code::default()
        };
        let fate = |path: &str, text: &str| fate(&settings, path, text);
        assert_eq!(fate("src/area.py", "def area(r):\n    return 3 * r * r\n"), "Python");
        assert_eq!(fate("include/shape.h", "namespace shapes {\nclass Circle;\n}\n"), "Cpp");
        assert_eq!(fate("include/shape.h", "int area(int r);\n"), "language");
        assert_eq!(fate("bin/tool", "#!/usr/bin/env python3\nprint('hello world')\n"), "Python");
        assert_eq!(fate("notes.txt", "some words\n"), "unknown_language");
        assert_eq!(fate("app.min.js", "let a = 1;\n"), "minified");
        assert_eq!(fate("node_modules/x/index.js", "let a = 1;\n"), "vendored");
        assert_eq!(fate("api.py", "# Code generated by protoc. DO NOT EDIT.\nx = 1\n"), "generated");
        assert_eq!(
            fate("gen.py", "\"\"\"Explains how random numbers are generated.\"\"\"\nx = 1\n"),
            "Python"
        );
        assert_eq!(fate("data.py", &format!("x = [{}]\n", "12, ".repeat(400))), "long_line");
        assert_eq!(fate("wide.js", &format!("{}\n", "call(one, two); ".repeat(12)).repeat(20)), "long_lines");
        assert_eq!(fate("README.md", &format!("{}\n", "A long paragraph of prose. ".repeat(60))), "Markdown");
        assert_eq!(fate("signs.py", &"%$ ## !! ,, ;;\n".repeat(5)), "few_letters");
        assert_eq!(fate("none.py", ""), "empty");
    }

    #[test]
    fn notebooks_become_text_without_their_outputs() {
        let notebook = json!({
            "metadata": {"kernelspec": {"language": "python"}},
            "cells": [
                {"cell_type": "markdown", "source": ["# Circles\n", "The area grows."]},
                {"cell_type": "code", "source": "r = 2\nprint(3 * r * r)", "outputs": [{"text": "secret output"}]},
                {"cell_type": "raw", "source": "raw"},
                {"cell_type": "code", "source": []},
            ]
        });
        let mut page = file("circles.ipynb", &notebook.to_string());
        assert_eq!(apply(&Code::default(), &mut page), None);
        assert_eq!(page.text(), "# # Circles\n# The area grows.\n\nr = 2\nprint(3 * r * r)\n");
        assert_eq!((&page.values["language"], &page.values["is_notebook"]), (&json!("Python"), &json!(true)));
        let mut broken = file("circles.ipynb", "{\"cells\": [");
        assert_eq!(apply(&Code::default(), &mut broken).unwrap().reason, "notebook");
    }

    #[test]
    fn a_language_that_the_row_declares_decides_where_the_path_does_not() {
        let mut page = file("tool", "puts 'hello'\n");
        page.values.insert("language".to_owned(), json!("ruby"));
        assert_eq!(apply(&Code::default(), &mut page), None);
        assert_eq!(page.values["language"], "Ruby");
    }
}
