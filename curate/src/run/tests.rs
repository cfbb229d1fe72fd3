//! Whole runs on small inputs made here.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use std::fs;

const WORDS: &str = "angle circle number proof square triangle vector matrix limit series integral graph point line plane sphere cube \
    prime factor divisor product quotient remainder equation root degree term variable constant function domain range slope \
    curve area volume length height width ratio fraction decimal percent digit power base exponent logarithm sine cosine \
    tangent radius diameter chord arc sector axis origin quadrant median mean mode variance sample event outcome";

/// A page about mathematics with enough prose for every rule.
fn lesson(topic: usize) -> String {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let word = |at: usize| {
        let draw = random::splitmix((topic * 10_000 + at) as u64);
        // Every third word is one that all texts have.
        if at.is_multiple_of(3) {
            ["the", "of", "and", "to", "that", "with"][draw as usize % 6]
        } else {
            words[draw as usize % words.len()]
        }
    };
    let sentences: String = (0..16)
        .map(|line| format!("{}. ", (0..11).map(|at| word(11 * line + at)).collect::<Vec<_>>().join(" ")))
        .collect();
    format!(
        "<html><head><title>Lesson {topic}</title></head><body><nav><a href=\"/\">Home</a> <a href=\"/all\">All lessons</a></nav>\
         <article><h1>Lesson {topic}</h1><p>{sentences}</p><p>So the area is <span class=\"katex\"><span class=\"katex-mathml\"><math><semantics><mi>x</mi>\
         <annotation encoding=\"application/x-tex\">x^{topic}+1</annotation></semantics></math></span><span class=\"katex-html\">x{topic}+1</span></span>, \
         which was to be shown to the reader of this text.</p></article><footer>Copyright notice of the site</footer></body></html>"
    )
}

fn response(url: &str, status: &str, kind: &str, body: &str) -> Vec<u8> {
    let block = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n\r\n{body}");
    let head = format!(
        "WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nContent-Length: {}\r\n\r\n",
        block.len()
    );
    format!("{head}{block}\r\n\r\n").into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A small web of which the right fate of every page is known: two archives, one HTML file, rows.
fn web(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let spam = "<p>Buy now! ".to_owned() + &"cheap pills cheap pills ".repeat(60);
    let plain = lesson(4)
        .replace("katex", "plain")
        .replace("<math>", "<i>")
        .replace("</math>", "</i>")
        .replace("application/x-tex", "none");
    let first = [
        response("http://good.org/1", "200 OK", "text/html", &lesson(1)),
        response("http://good.org/missing", "404 Not Found", "text/html", &lesson(2)),
        response("http://good.org/a.pdf", "200 OK", "application/pdf", "%PDF"),
        response("http://bad.com/2", "200 OK", "text/html", &lesson(2)),
        response("http://spam.org/", "200 OK", "text/html", &spam),
        response("http://good.org/3", "200 OK", "text/html", &lesson(3)),
    ];
    let mut archive: Vec<u8> = first.iter().flat_map(|record| gzip(record)).collect();
    archive.extend_from_slice(b"this is not a member");
    fs::write(folder.join("a.warc.gz"), archive).unwrap();
    let second = [
        response("http://mirror.org/1", "200 OK", "text/html", &lesson(1)),
        response("http://deep.org/", "200 OK", "text/html", &"<div>".repeat(10_000)),
        response("http://plain.org/", "200 OK", "text/html", &plain),
        response("http://exam.org/", "200 OK", "text/html", &lesson(5).replace("So the area", QUESTION)),
    ];
    fs::write(folder.join("b.warc"), second.concat()).unwrap();
    fs::write(folder.join("c.html"), lesson(6)).unwrap();
    let rows = [
        json!({"text": "Too short, $x^2$.", "url": "http://rows.org/1"}),
        json!({"html": lesson(7), "url": "http://rows.org/2"}),
        json!({"other": 1}),
    ];
    fs::write(folder.join("d.jsonl"), rows.map(|row| row.to_string()).join("\n")).unwrap();
    fs::write(folder.join("e.pdf"), "no input").unwrap();
}

const QUESTION: &str = "A gardener plants eleven rows of nine bushes each and sells seven of all the bushes at noon for a fair price, so how many are left";

const RECIPE: &str = r#"
name = "small"
[[stage]]
kind = "url"
domains = "$domains"
[[stage]]
kind = "extract"
[[stage]]
kind = "mathematics"
min_formulas = 1
[[stage]]
kind = "gopher_quality"
[[stage]]
kind = "gopher_repetition"
[[stage]]
kind = "exact_duplicates"
[[stage]]
kind = "near_duplicates"
[[stage]]
kind = "decontaminate"
math = true
sets = [{ name = "made", path = "$questions", column = "question" }]
[[stage]]
kind = "pii"
"#;

fn settings(folder: &Path, out: &str) -> Settings {
    let path = |name: &str| folder.join(name).display().to_string();
    fs::write(path("recipe.toml"), RECIPE).unwrap();
    fs::write(path("domains.txt"), "# listed\nbad.com\n").unwrap();
    fs::write(path("questions.jsonl"), json!({"question": QUESTION}).to_string()).unwrap();
    let files =
        [("domains".to_owned(), path("domains.txt")), ("questions".to_owned(), path("questions.jsonl"))];
    let recipe = Recipe::read(&path("recipe.toml"), &files, &[]).unwrap();
    Settings {
        input: folder.join("in"),
        out: folder.join(out),
        recipe,
        restart: false,
        no_lock: false,
        sharing: Default::default(),
    }
}

/// Every file of a dataset.
fn bytes(out: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![];
    for folder in [out.to_owned(), out.join("data")] {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_file() && !name.starts_with('.') {
                files.push((name, fs::read(entry.path()).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn every_page_has_its_known_fate() {
    let folder = tempfile::tempdir().unwrap();
    web(&folder.path().join("in"));
    let settings = settings(folder.path(), "out");
    let summary = run(&settings, &Stop::default()).unwrap().unwrap();
    let dropped = fs::read_to_string(settings.out.join(DROPPED)).unwrap();
    let mut fates: Vec<(String, String)> = dropped
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|row| {
            (
                row["url"].as_str().or(row["row"].as_str()).unwrap().to_owned(),
                format!("{} {}", row["stage"].as_str().unwrap(), row["reason"].as_str().unwrap()),
            )
        })
        .collect();
    fates.sort();
    let expected = [
        ("d.jsonl:3", "extract no_column"),
        ("http://bad.com/2", "url domain"),
        ("http://deep.org/", "extract nested_too_deeply"),
        ("http://exam.org/", "decontaminate contaminated"),
        ("http://good.org/a.pdf", "extract media_type"),
        ("http://good.org/missing", "extract http_status"),
        ("http://mirror.org/1", "exact_duplicates exact_duplicate"),
        ("http://plain.org/", "mathematics too_few_formulas"),
        ("http://rows.org/1", "gopher_quality gopher_short_doc"),
        ("http://spam.org/", "mathematics too_few_formulas"),
    ];
    assert_eq!(fates, expected.map(|(page, fate)| (page.to_owned(), fate.to_owned())));
    let kept: Vec<_> = datasets::read_raw(&settings.out).unwrap().map(|row| row.unwrap().object).collect();
    let rows: Vec<&str> =
        kept.iter().map(|row| row["row"].as_str().unwrap().split(':').next().unwrap()).collect();
    assert_eq!(rows, ["a.warc.gz", "a.warc.gz", "c.html", "d.jsonl"]);
    assert_eq!(kept[0]["title"], "Lesson 1");
    let text = kept[0]["text"].as_str().unwrap();
    assert!(text.contains("$x^1+1$") && !text.contains("Copyright") && !text.contains("Home"), "{text}");
    assert!(kept[0]["words"].as_f64().unwrap() > 50.0 && kept[0]["top_2_gram"].as_f64().unwrap() < 0.2);
    assert!(
        summary.starts_with("14 pages, 4 kept (28.6%)") && summary.contains("1 damaged records were skipped"),
        "{summary}"
    );
    let report = fs::read_to_string(settings.out.join(REPORT)).unwrap();
    for part in ["gopher_short_doc", "good.org", "<rect class=\"gone\"", "offset"] {
        assert!(report.contains(part), "{part}");
    }
    // What is published names no place of this machine.
    let place = folder.path().display().to_string();
    assert!(
        bytes(&settings.out).iter().all(|(_, content)| !String::from_utf8_lossy(content).contains(&place))
    );
    // The way of single pages.
    let why = |name: &str| crate::why(&settings.out, name).unwrap();
    assert!(why("http://rows.org/1").ends_with("passed url, extract, mathematics\ndropped by gopher_quality: gopher_short_doc, words 3.0, limit 50.0"), "{}", why("http://rows.org/1"));
    assert!(
        why("http://mirror.org/1").contains("exact_duplicate, \"a.warc.gz:0\""),
        "{}",
        why("http://mirror.org/1")
    );
    assert!(
        why("http://good.org/1").contains("kept, ") && crate::why(&settings.out, "http://no.org").is_err()
    );
    assert!(!settings.out.join(WORK).exists());
}

#[test]
fn a_run_that_was_interrupted_writes_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    web(&folder.path().join("in"));
    let whole = settings(folder.path(), "whole");
    run(&whole, &Stop::default()).unwrap();
    let expected = bytes(&whole.out);
    assert_eq!(expected.len(), 5);
    // Each number of parts and passes that a killed run can have finished.
    for finished in 0..12 {
        let again = settings(folder.path(), &format!("again-{finished}"));
        let (sources, _) = Source::list(&again.input).unwrap();
        let stages = ready(&again.recipe).unwrap();
        let work = again.out.join(WORK);
        open_work(&work, &again.out, &identity(&again, &sources)).unwrap();
        let mut left = finished;
        for (number, pass) in passes(&again.recipe).iter().enumerate() {
            match pass {
                Pass::Pages(places) => {
                    let done = sources.len().min(left);
                    pages_pass(&sources[..done], &work, number, places, &stages, &Stop::default()).unwrap();
                    left -= done;
                    if done < sources.len() {
                        break;
                    }
                }
                Pass::Global(place) if left > 0 => {
                    global::run(&again.recipe.stages[*place], &work, number, sources.len()).unwrap();
                    left -= 1;
                }
                Pass::Global(_) => break,
            }
        }
        // What a killed writer leaves.
        fs::create_dir_all(work.join("pass-0")).unwrap();
        fs::write(work.join("pass-0/.writing-left"), "half").unwrap();
        run(&again, &Stop::default()).unwrap();
        assert!(bytes(&again.out) == expected, "after {finished}");
        // The same command again changes nothing.
        run(&again, &Stop::default()).unwrap();
        assert!(bytes(&again.out) == expected);
    }
}

#[test]
fn other_settings_are_refused_and_restart_starts_over() {
    let folder = tempfile::tempdir().unwrap();
    web(&folder.path().join("in"));
    let mut settings = settings(folder.path(), "out");
    run(&settings, &Stop::default()).unwrap();
    fs::remove_file(folder.path().join("in/c.html")).unwrap();
    let error = format!("{:#}", run(&settings, &Stop::default()).unwrap_err());
    assert!(error.contains("other settings (inputs was") && error.contains("`--restart`"), "{error}");
    settings.restart = true;
    let summary = run(&settings, &Stop::default()).unwrap().unwrap();
    assert!(summary.starts_with("13 pages, 3 kept"), "{summary}");
    settings.input = settings.out.join("data");
    let error = format!("{:#}", run(&settings, &Stop::default()).unwrap_err());
    assert!(error.contains("is inside the input"), "{error}");
}

/// The settings of a worker that shares the run with others.
fn shared(folder: &Path, out: &str) -> Settings {
    let sharing = shards::Options { shards: Some(2), worker: Some(0), workers: Some(1), lease: 60.0 };
    Settings { sharing, ..settings(folder, out) }
}

#[test]
fn a_finished_dataset_is_neither_made_again_nor_replaced_by_a_shared_run() {
    let folder = tempfile::tempdir().unwrap();
    web(&folder.path().join("in"));
    let summary = run(&settings(folder.path(), "out"), &Stop::default()).unwrap();
    let shared = shared(folder.path(), "out");
    assert_eq!(run(&shared, &Stop::default()).unwrap(), summary);
    assert!(!shared.out.join(shards::FOLDER).exists());
    fs::remove_file(folder.path().join("in/c.html")).unwrap();
    let error = format!("{:#}", run(&shared, &Stop::default()).unwrap_err());
    assert!(error.contains("other settings (inputs was"), "{error}");
    assert!(!shared.out.join(shards::FOLDER).exists());
}

#[test]
fn a_run_of_one_process_in_progress_keeps_workers_out() {
    let folder = tempfile::tempdir().unwrap();
    web(&folder.path().join("in"));
    let shared = shared(folder.path(), "out");
    let _running = OutputFolder::open(&shared.out, &FOLDER, false).unwrap();
    let error = format!("{:#}", run(&shared, &Stop::default()).unwrap_err());
    assert!(error.contains("is in use by another run"), "{error}");
    assert!(!shared.out.join(shards::FOLDER).exists());
}

#[test]
fn restart_sets_a_shared_run_aside_finished_or_not() {
    let folder = tempfile::tempdir().unwrap();
    web(&folder.path().join("in"));
    let (shared, alone) = (shared(folder.path(), "out"), settings(folder.path(), "out"));
    run(&shared, &Stop::default()).unwrap().unwrap();
    let expected = bytes(&shared.out);
    let record = shared.out.join(shards::FOLDER);
    assert!(record.is_dir() && !shared.out.join(WORK).exists());
    fs::remove_file(record.join("done/finish-00000")).unwrap();
    let error = format!("{:#}", run(&alone, &Stop::default()).unwrap_err());
    assert!(error.contains("a shared run that is not finished"), "{error}");
    run(&Settings { restart: true, ..alone }, &Stop::default()).unwrap().unwrap();
    assert!(!record.exists() && shared.out.join("set-aside-1").join(shards::FOLDER).is_dir());
    assert_eq!(bytes(&shared.out), expected);
}
