//! `smoltalk curate` with everything that belongs to it: a web of which the fate of every page is known, a teacher that marks
//! pages, the noise of its marks, classifiers that learn them, and the recipes as they are published.

use crate::annotator::{Annotator, Fate, fate};
use crate::programs::{of_project, program, read_json, text_of};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

fn smoltalk(arguments: &[&str]) -> Command {
    let mut command = program("smoltalk");
    command.args(arguments);
    command
}

/// Exit code 0; returns what was printed.
#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Exit code 2 and a last line that names the thing.
#[track_caller]
fn refused(command: &mut Command, expected: &str) {
    let output = command.output().unwrap();
    let text = text_of(&output);
    let last = text.lines().last().unwrap_or_default();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(last.starts_with("smoltalk: ") && last.contains(expected), "{text}");
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// All rows of a dataset, with their columns.
fn rows(folder: &Path) -> Vec<Map<String, Value>> {
    let files = datasets::data_files(folder, datasets::Choice::default()).unwrap();
    files.iter().flat_map(|file| datasets::file_objects(file).unwrap()).map(|row| row.unwrap().1).collect()
}

/// The pocket web in a folder, and what has to become of its pages.
struct Web {
    folder: PathBuf,
    fates: Vec<Value>,
}

impl Web {
    fn new(folder: &Path, pages: &str) -> Self {
        let web = folder.join("web");
        succeeds(program("smolpocket").args(["web", "--pages", pages, "--out", web.to_str().unwrap()]));
        let fates = lines(&web.join("fates.jsonl"));
        let web = Self { folder: web, fates };
        let mut language =
            smoltalk(&["curate", "train-classifier", &web.path("languages.jsonl"), "--label", "en"]);
        language.args(["--out", &web.path("lid"), "--dim", "16", "--word-ngrams", "1", "--buckets", "1000"]);
        succeeds(&mut language);
        web
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// `--file NAME=PATH` for each.
    fn files(&self, names: &[(&str, &str)]) -> Vec<String> {
        let all = names.iter().chain(&[("lid176", "lid/model.bin")]);
        all.flat_map(|(name, path)| ["--file".to_owned(), format!("{name}={}", self.path(path))]).collect()
    }

    fn curate(&self, recipe: &str, out: &str, files: &[(&str, &str)], more: &[&str]) -> String {
        let mut command =
            smoltalk(&["curate", &self.path("archives"), "--recipe", recipe, "--out", &self.path(out)]);
        succeeds(command.args(self.files(files)).args(more))
    }

    /// A teacher for its pages.
    fn teacher(&self, noise: u64) -> Annotator {
        let points = self
            .fates
            .iter()
            .filter_map(|page| Some((page["title"].as_str().unwrap().to_owned(), page["points"].as_u64()?)));
        Annotator::start(points.collect(), noise)
    }

    fn annotate(&self, task: &str, teacher: &Annotator, source: &str, out: &str, more: &[&str]) -> String {
        let mut command = smoltalk(&["gen", task, "--teacher", &teacher.name, "--rows", "10000"]);
        succeeds(command.args(["--source", &self.path(source), "--out", &self.path(out)]).args(more))
    }
}

const SETS: [(&str, &str); 3] =
    [("gsm8k", "sets/gsm8k.jsonl"), ("math_test", "sets/math.jsonl"), ("mmlu", "sets/mmlu.jsonl")];

/// The whole of FineMath's second pass: candidates, marks by a teacher, a classifier on an encoder, the published recipe.
#[test]
fn every_page_of_the_web_has_its_fate_under_finemath() {
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let web = Web::new(folder.path(), "400");
    let without = ["--without", "math", "--without", "near_duplicates", "--without", "decontaminate"];
    web.curate("finemath", "candidates", &[], &without);
    let teacher = web.teacher(0);
    web.annotate("annotate-math-lessons", &teacher, "candidates", "marks", &[]);
    let marks = rows(&web.folder.join("marks"));
    let asked = teacher.asked();
    // The same command again asks nothing.
    web.annotate("annotate-math-lessons", &teacher, "candidates", "marks", &[]);
    assert_eq!(teacher.asked(), asked);
    check_marks(&web, &marks);

    let mut train = smoltalk(&["curate", "train-classifier", &web.path("marks"), "--out", &web.path("math")]);
    train.args(["--encoder", &web.path("encoder"), "--score-column", "score"]);
    let table = succeeds(&mut train);
    assert!(table.contains("macro F1"), "{table}");
    let report = read_json(&web.folder.join("math/classifier.json"));
    let cut = &report["cuts"][2];
    assert_eq!(cut["cut"], 2.5);
    assert!(cut["f1"].as_f64().unwrap() > 0.95, "{table}");

    let files = [&SETS[..], &[("math", "math"), ("encoder", "encoder")]].concat();
    let tokenizer = of_project("models/pocket-base/tokenizer.json").display().to_string();
    let summary = web.curate("finemath", "out", &files, &["--tokenizer", &tokenizer]);
    assert!(
        summary.contains("1 damaged records were skipped") && summary.contains(" tokens are kept"),
        "{summary}"
    );
    check_fates(&web);
    // Seconds on two cores that are free; half a minute among twenty compilers.
    println!("{:.1} s", start.elapsed().as_secs_f64());
    assert!(
        start.elapsed().as_secs() < 180,
        "it has to take less than a minute, and less than three on a crowded machine"
    );
}

/// Every mark is the page's, and every page without one is a failure with its reason.
fn check_marks(web: &Web, marks: &[Map<String, Value>]) {
    let titles: HashMap<&str, u64> = web
        .fates
        .iter()
        .filter_map(|page| Some((page["title"].as_str()?, page["points"].as_u64()?)))
        .collect();
    let mut seen = BTreeSet::new();
    for row in marks {
        let text = row["text"].as_str().unwrap();
        let (title, points) = titles.iter().find(|(title, _)| text.contains(**title)).unwrap();
        assert_eq!(row["score"].as_u64(), Some(*points), "{title}");
        assert!(row["reason"].as_str().unwrap().contains("points"));
        assert!(matches!(fate(title), Fate::Marked | Fate::Mended), "{title}");
        seen.insert(fate(title) == Fate::Mended);
    }
    assert_eq!(seen.len(), 2, "some marks were mended");
    let reasons = |row: &Value| row["reason"].as_str().unwrap().to_owned();
    let reasons: BTreeSet<String> =
        lines(&web.folder.join("marks/dropped.jsonl")).iter().map(reasons).collect();
    assert_eq!(reasons.into_iter().collect::<Vec<_>>(), ["no_score", "score_out_of_scale"]);
}

fn check_fates(web: &Web) {
    let out = web.folder.join("out");
    let mut found: BTreeMap<String, (Value, Value)> = BTreeMap::new();
    for row in lines(&out.join("dropped.jsonl")) {
        found.insert(row["url"].as_str().unwrap().to_owned(), (row["stage"].clone(), row["reason"].clone()));
    }
    for row in rows(&out) {
        found.insert(row["url"].as_str().unwrap().to_owned(), (Value::Null, Value::Null));
        assert!(row["tokens"].as_u64().unwrap() > 50 && row["math"].as_f64().unwrap() >= 2.5);
        // Every way of writing a formula has become LaTeX between dollars or stayed what it was.
        let text = row["text"].as_str().unwrap();
        assert!(text.contains(" = ") && (text.contains('$') || text.contains("\\(")), "{text}");
    }
    assert_eq!(found.len(), web.fates.len());
    let mut kinds = BTreeSet::new();
    for page in &web.fates {
        let expected = (page["stage"].clone(), page["reason"].clone());
        assert_eq!(found[page["url"].as_str().unwrap()], expected, "{page}");
        kinds.insert(page["kind"].as_str().unwrap());
    }
    assert_eq!(kinds.len(), 13);
    let report = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(report.contains("tokens kept"));
}

/// FineMath's first pass: domains are kept whole or not at all.
#[test]
fn domains_are_chosen_by_their_share_of_good_pages() {
    let folder = tempfile::tempdir().unwrap();
    let web = Web::new(folder.path(), "400");
    let without = ["--without", "math", "--without", "domains"];
    web.curate("finemath-domains", "candidates", &[], &without);
    let teacher = web.teacher(0);
    let marks = web.teacher(4);
    for (teacher, out, seed) in [(&teacher, "first", "0"), (&marks, "second", "1")] {
        web.annotate("annotate-math-lessons", teacher, "candidates", out, &["--seed", seed]);
    }
    let table = succeeds(&mut smoltalk(&["curate", "agreement", &web.path("first"), &web.path("second")]));
    let figure = |name: &str| -> f64 {
        let line = table.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().last().unwrap().parse().unwrap()
    };
    // One mark in four is off by one.
    assert!((0.6..0.9).contains(&figure("equal")) && figure("within one") == 1.0, "{table}");
    assert!(figure("correlation") > 0.9, "{table}");

    let mut train = smoltalk(&["curate", "train-classifier", &web.path("first"), "--out", &web.path("math")]);
    succeeds(train.args(["--encoder", &web.path("encoder"), "--score-column", "score"]));
    web.curate("finemath-domains", "out", &[("math", "math"), ("encoder", "encoder")], &[]);
    let host = |row: &Value| row["url"].as_str().unwrap().split('/').nth(2).unwrap().to_owned();
    let kept: BTreeSet<String> =
        rows(&web.folder.join("out")).into_iter().map(|row| host(&Value::Object(row))).collect();
    let schools = [0, 1, 2].map(|number| format!("www.school{number}.example"));
    let expected: BTreeSet<String> = schools.into_iter().chain(["mirror.example".to_owned()]).collect();
    assert_eq!(kept, expected);
    let by_domain: BTreeSet<String> = lines(&web.folder.join("out/dropped.jsonl"))
        .iter()
        .filter(|row| row["stage"] == "domains")
        .inspect(|row| assert!(row["measure"] == row["reason"] && row["value"].is_number(), "{row}"))
        .map(host)
        .collect();
    assert_eq!(by_domain.len(), 4, "three shops and the tales: {by_domain:?}");
    let threads = web.fates.iter().filter(|page| page["kind"] == "chatter").count();
    let titles = rows(&web.folder.join("out"))
        .iter()
        .filter(|row| row["text"].as_str().unwrap().contains("Thread "))
        .count();
    assert_eq!(titles, threads, "bad pages of good domains stay");
}

/// Files of code: language, license, what is dropped, one classifier for each language.
#[test]
#[allow(clippy::too_many_lines, reason = "one story")]
fn code_is_curated_by_the_recipe_of_stack_edu() {
    let folder = tempfile::tempdir().unwrap();
    let web = Web::new(folder.path(), "100");
    let words = ["area", "volume", "length", "width", "circle", "square", "angle", "point", "line", "plane"];
    let code = |language: &str, good: bool, number: usize| {
        let comment = if language == "Python" { "#" } else { "//" };
        let line = |at: usize| {
            let word = |step: usize| words[(number * 7 + at * 3 + step) % words.len()];
            match good {
                true => format!(
                    "{comment} how many {} has the {}? we multiply the rows\n{} = {} * {number}\n",
                    word(1),
                    word(2),
                    word(3),
                    word(4)
                ),
                false => {
                    format!("buy{}({number}, {at}); order now cheap free delivery {}\n", word(1), word(2))
                }
            }
        };
        (0..6).map(line).collect::<String>()
    };
    for (language, extension) in [("Python", "py"), ("Java", "java")] {
        let row = |number: usize| {
            let good = number.is_multiple_of(2);
            let score = match (good, language) {
                (true, "Java") => 2,
                (true, _) => 4,
                (false, _) => 0,
            };
            json!({"text": code(language, good, number), "score": score, "path": format!("{number}.{extension}")}).to_string()
        };
        let labels = folder.path().join(format!("{language}.jsonl"));
        std::fs::write(&labels, (0..200).map(row).collect::<Vec<_>>().join("\n")).unwrap();
        let mut train =
            smoltalk(&["curate", "train-classifier", labels.to_str().unwrap(), "--score-column", "score"]);
        succeeds(train.args([
            "--encoder",
            &web.path("encoder"),
            "--out",
            &web.path(&format!("classifiers/{language}")),
        ]));
    }
    let file = |path: &str, content: String| json!({"content": content, "path": path, "max_stars_repo_licenses": ["mit", "apache-2.0"], "repo_name": "a/b"});
    let notebook =
        json!({"metadata": {}, "cells": [{"cell_type": "code", "source": code("Python", true, 907)}]});
    let input = [
        file("src/good.py", code("Python", true, 901)),
        file("src/bad.py", code("Python", false, 902)),
        file("Good.java", code("Java", true, 903)),
        file("src/copy.py", code("Python", true, 901)),
        file("lesson.ipynb", notebook.to_string()),
        file("main.go", code("Go", true, 905)),
        file("api_pb2.py", code("Python", true, 906)),
        file("a.zig", "const a = 1;".to_owned()),
    ];
    let rows_file = folder.path().join("code.jsonl");
    std::fs::write(&rows_file, input.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")).unwrap();
    let out = folder.path().join("code");
    let mut command = smoltalk(&[
        "curate",
        rows_file.to_str().unwrap(),
        "--recipe",
        "stack-edu",
        "--out",
        out.to_str().unwrap(),
    ]);
    for (name, path) in [("classifiers", "classifiers"), ("encoder", "encoder")] {
        command.args(["--file", &format!("{name}={}", web.path(path))]);
    }
    succeeds(&mut command);
    let kept: Vec<(String, String)> = rows(&out)
        .iter()
        .map(|row| {
            assert_eq!((&row["license"], &row["repository"]), (&json!("mit, apache-2.0"), &json!("a/b")));
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            (text("path"), text("language"))
        })
        .collect();
    let expected = [("src/good.py", "Python"), ("Good.java", "Java"), ("lesson.ipynb", "Python")];
    assert_eq!(kept, expected.map(|(path, language)| (path.to_owned(), language.to_owned())));
    let dropped = lines(&out.join("dropped.jsonl"));
    let reasons: Vec<(&str, &str)> =
        dropped.iter().map(|row| (row["stage"].as_str().unwrap(), row["reason"].as_str().unwrap())).collect();
    for expected in [
        ("edu", "score"),
        ("exact_duplicates", "exact_duplicate"),
        ("edu", "no_classifier"),
        ("code", "generated"),
        ("code", "unknown_language"),
    ] {
        assert!(reasons.contains(&expected), "{expected:?} is not in {reasons:?}");
    }
}

/// What does not belong together is refused, with the remedy.
#[test]
fn classifiers_and_encoders_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let web = Web::new(folder.path(), "100");
    let other = folder.path().join("other");
    succeeds(program("smolpocket").args([
        "web",
        "--pages",
        "100",
        "--seed",
        "1",
        "--out",
        other.to_str().unwrap(),
    ]));
    let labels = folder.path().join("labels.jsonl");
    let row = |number: usize| {
        json!({"text": format!("page {number} {}", if number.is_multiple_of(2) { "sum" } else { "buy" }), "score": 4 * (number % 2)}).to_string()
    };
    std::fs::write(&labels, (0..60).map(row).collect::<Vec<_>>().join("\n")).unwrap();
    let train = |more: &[&str]| {
        let mut command =
            smoltalk(&["curate", "train-classifier", labels.to_str().unwrap(), "--out", &web.path("model")]);
        command.args(more);
        command
    };
    let encoder = web.path("encoder");
    refused(&mut train(&["--score-column", "score"]), "needs `--at-least`");
    refused(
        &mut train(&["--encoder", &encoder, "--score-column", "score", "--head", "logistic"]),
        "`--head logistic` learns a label",
    );
    refused(&mut train(&["--encoder", &web.path("sets"), "--score-column", "score"]), "config.json");
    succeeds(&mut train(&["--encoder", &encoder, "--score-column", "score"]));
    let recipe = folder.path().join("r.toml");
    let write = |line: &str| {
        let stage =
            format!("kind = \"classifier\"\nname = \"math\"\nmodel = \"{}\"\n{line}", web.path("model"));
        std::fs::write(&recipe, format!("name = \"r\"\n[[stage]]\nkind = \"extract\"\n[[stage]]\n{stage}\n"))
            .unwrap();
    };
    let curate = || {
        smoltalk(&[
            "curate",
            &web.path("archives"),
            "--recipe",
            recipe.to_str().unwrap(),
            "--out",
            &web.path("out"),
        ])
    };
    write("");
    refused(&mut curate(), "name its folder as `encoder`");
    write(&format!("encoder = \"{}\"", other.join("encoder").display()));
    refused(&mut curate(), "was trained on another encoder");
    write(&format!("encoder = \"{encoder}\""));
    succeeds(&mut curate());
}
