//! Every command in the documentation is one that its program accepts: subcommand, flags and values go through the program's
//! own parser. A flag that is renamed fails here until the pages say its new name.

use crate::documents::{PROGRAMS, block_lines, commands, pages, short, spans};
use crate::programs::{of_project, program, text_of};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, OnceLock};

/// What the pages call that is not of this project.
const OTHERS: [&str; 23] = [
    "apt",
    "curl",
    "docker",
    "eval",
    "export",
    "git",
    "hf",
    "kubectl",
    "llama-quantize",
    "llama-server",
    "lm_eval",
    "mdbook",
    "mpirun",
    "npm",
    "ollama",
    "pip",
    "sbatch",
    "source",
    "sudo",
    "torchrun",
    "trl",
    "vllm",
    "wait",
];

/// What is wrong with a command, or `None`.
fn fault(words: &[String]) -> Option<String> {
    let name = words[0].as_str();
    let rest = &words[1..];
    match name {
        _ if PROGRAMS.contains(&name) => arguments_fault(name, rest, false),
        "cargo" => cargo_fault(rest),
        "python" | "python3" | "PYTHON" | "sh" | "bash" => rest
            .first()
            .filter(|script| script.contains('/'))
            .and_then(|script| script_fault(script, &rest[1..])),
        _ if OTHERS.contains(&name) => None,
        _ if name.contains('/') => script_fault(name, rest),
        _ => Some(format!("`{name}` is no program that this test knows")),
    }
}

/// What the program's own parser says of the arguments, up to whether required ones are missing: with `--help` at the end
/// it reads them all and runs nothing. Placeholders in capitals are given a value that fits.
fn arguments_fault(name: &str, arguments: &[String], may_end_early: bool) -> Option<String> {
    let mut arguments: Vec<String> =
        arguments.iter().map(|word| plain(word)).filter(|word| !word.is_empty()).collect();
    match arguments.first().map(String::as_str) {
        Some("completions") if arguments.len() == 2 => arguments[1] = plain(arguments[1].split('|').next()?),
        Some("man") => return None,
        _ => arguments.push("--help".to_owned()),
    }
    for _ in 0..8 {
        let error = refusal(name, &arguments)?;
        let placeholder = error.split_once("invalid value '").and_then(|(_, rest)| rest.split_once('\''));
        let has_no_value = error.contains("a value is required for") && may_end_early;
        match placeholder.map(|(value, _)| value.to_owned()) {
            Some(value) if is_placeholder(&value) || may_end_early && value == "1" => {
                let fitting = error
                    .split_once("[possible values: ")
                    .and_then(|(_, list)| list.split([',', ']']).next());
                let place = arguments.iter().rposition(|word| word.ends_with(&value))?;
                let kept = arguments[place].len() - value.len();
                arguments[place].replace_range(kept.., fitting.unwrap_or("1"));
            }
            None if has_no_value => arguments.insert(arguments.len() - 1, "1".to_owned()),
            _ => return Some(error.lines().next().unwrap_or_default().to_owned()),
        }
    }
    Some("no value fits its placeholders".to_owned())
}

/// The message of a program that does not accept these arguments. Pages repeat commands, so it is asked once.
fn refusal(name: &str, arguments: &[String]) -> Option<String> {
    static KNOWN: OnceLock<Mutex<BTreeMap<Vec<String>, Option<String>>>> = OnceLock::new();
    let known = KNOWN.get_or_init(Mutex::default);
    let key = [&[name.to_owned()], arguments].concat();
    if let Some(answer) = known.lock().unwrap().get(&key) {
        return answer.clone();
    }
    let output = program(name).args(arguments).env("COLUMNS", "1000").output().unwrap();
    let answer = (!output.status.success()).then(|| text_of(&output));
    known.lock().unwrap().insert(key, answer.clone());
    answer
}

/// A word without the marks of what may be left out or repeated.
fn plain(word: &str) -> String {
    word.trim_start_matches('[').trim_end_matches(']').trim_end_matches("...").to_owned()
}

fn is_placeholder(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|letter| letter.is_ascii_uppercase() || "_|".contains(letter))
}

/// Packages, examples, tests and programs that cargo is told to take must exist.
fn cargo_fault(arguments: &[String]) -> Option<String> {
    let split = arguments.iter().position(|word| word == "--").unwrap_or(arguments.len());
    let (own, inner) = (&arguments[..split], arguments.get(split + 1..).unwrap_or_default());
    let mut package = None;
    for pair in own.windows(2) {
        let folder = package.as_deref().unwrap_or("");
        let path = match pair[0].as_str() {
            "-p" if !is_placeholder(&pair[1]) => {
                package = Some(pair[1].clone());
                format!("{}/Cargo.toml", pair[1])
            }
            "--path" => format!("{}/Cargo.toml", pair[1]),
            "--example" => format!("{folder}/examples/{}.rs", pair[1]),
            "--test" if pair[1] != "whole" => format!("{folder}/tests/{}.rs", pair[1]),
            _ => continue,
        };
        if !of_project(".").join(path.trim_start_matches('/')).exists() {
            return Some(format!("cargo: {path} does not exist"));
        }
    }
    match (own.first().map(String::as_str), package.as_deref()) {
        (Some("run"), Some("serve")) => arguments_fault("smolserve", inner, false),
        _ => None,
    }
}

/// A script of the project exists and contains the flags that it is given.
fn script_fault(script: &str, arguments: &[String]) -> Option<String> {
    let path = of_project(".").join(script);
    if script.starts_with("target/") || script == "training/gpu/toolkit" {
        return None;
    }
    let Ok(text) = std::fs::read_to_string(&path) else {
        return Some(format!("{script} does not exist"));
    };
    let text = text + &beside(&path);
    let flags = arguments.iter().filter(|word| word.starts_with("--") && word.len() > 2);
    let unknown = flags.map(|flag| flag.split('=').next().unwrap_or(flag)).find(|flag| !text.contains(*flag));
    unknown.map(|flag| format!("{script} has no {flag}"))
}

/// The Python and shell files beside a script, which hold the flags of some.
fn beside(script: &Path) -> String {
    let files = std::fs::read_dir(script.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let code = files.filter(|path| path.extension().is_none_or(|ending| ending == "py" || ending == "sh"));
    code.filter_map(|path| std::fs::read_to_string(path).ok()).collect()
}

#[test]
fn every_block_of_commands_is_accepted_by_the_programs() {
    let (mut faults, mut count) = (Vec::new(), 0);
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let place = |number: usize| format!("{}:{number}", short(&page));
        let lines = match block_lines(&text) {
            Ok(lines) => lines,
            Err(number) => {
                faults.push(format!(
                    "{}: below a list this is no block of code; give it a fence",
                    place(number)
                ));
                continue;
            }
        };
        for line in lines {
            let Some(found) = commands(&line.text) else {
                faults.push(format!("{}: quotes that do not end in `{}`", place(line.number), line.text));
                continue;
            };
            for words in found {
                count += 1;
                faults.extend(fault(&words).map(|fault| format!("{}: {fault}", place(line.number))));
            }
        }
    }
    assert!(count > 90, "only {count} commands were found");
    assert!(faults.is_empty(), "{} commands that are not accepted:\n{}", faults.len(), faults.join("\n"));
}

/// `posttrain sft | dpo --x` stands for each of them, `posttrain ... --x` and `posttrain --x` for at least one subcommand.
fn span_fault(name: &str, rest: &[String]) -> Option<String> {
    let is_open = rest.first().is_some_and(|word| word == "...");
    if is_open || rest.first().is_some_and(|word| word.starts_with("--")) && name != "smolserve" {
        let subcommands = ["sft", "dpo", "pretrain", "score", "gen", "curate"];
        let rest = &rest[usize::from(is_open)..];
        let tried = subcommands.iter().map(|one| [&[(*one).to_owned()], rest].concat());
        let faults: Option<Vec<String>> =
            tried.map(|arguments| arguments_fault(name, &arguments, true)).collect();
        return faults.and_then(|faults| faults.into_iter().next());
    }
    if rest.get(1).is_some_and(|word| word == "|") {
        let names: Vec<&String> =
            rest.iter().step_by(2).take_while(|word| !word.starts_with('-') && *word != "...").collect();
        let used = rest.iter().rposition(|word| word == "|").map_or(0, |last| last + 2);
        let tried = names.iter().map(|one| [&[(*one).clone()], &rest[used..]].concat());
        return tried.filter_map(|arguments| arguments_fault(name, &arguments, true)).next();
    }
    arguments_fault(name, rest, true)
}

/// Every flag in the reference, and those of `smolpocket`, which has none.
fn known_flags() -> BTreeSet<String> {
    let mut text = String::new();
    for name in ["smoltalk", "posttrain", "smoleval", "smolserve"] {
        text += &std::fs::read_to_string(of_project("docs").join(format!("reference/{name}.md"))).unwrap();
    }
    for subcommand in ["world", "texts", "web", "audit", "score"] {
        let output = program("smolpocket").args([subcommand, "--help"]).output().unwrap();
        text += &String::from_utf8(output.stdout).unwrap();
    }
    text.split("--").skip(1).map(|rest| format!("--{}", flag_name(rest))).collect()
}

fn flag_name(text: &str) -> &str {
    let end =
        text.find(|letter: char| !letter.is_ascii_lowercase() && !letter.is_ascii_digit() && letter != '-');
    &text[..end.unwrap_or(text.len())]
}

#[test]
fn flags_and_commands_in_the_prose_exist() {
    // Of cargo, of scripts and of other programs.
    let others: BTreeSet<&str> = ["--minutes", "--no-default-features", "--nocapture"].into();
    let known = known_flags();
    assert!(known.len() > 150, "{}", known.len());
    let (mut faults, mut count) = (Vec::new(), 0);
    let read =
        |page: &String| page == "README.md" || page.starts_with("docs/") && !page.contains("/reference/");
    for page in pages().iter().map(|page| short(page)).filter(read) {
        let text = std::fs::read_to_string(of_project(&page)).unwrap();
        // The first column of these tables is about other programs.
        let is_foreign = |number: usize, span: &str| {
            page == "docs/coming-from.md"
                && text.lines().nth(number - 1).is_some_and(|line| {
                    line.starts_with('|')
                        && line.split(" | ").next().is_some_and(|first| first.contains(span))
                })
        };
        for (number, span) in spans(&text) {
            let words = shlex::split(&span).unwrap_or_default();
            let fault = match words.first().map(String::as_str) {
                Some(name) if PROGRAMS.contains(&name) && words.len() > 1 => span_fault(name, &words[1..]),
                Some(word) if word.starts_with("--") && word.len() > 2 && !is_foreign(number, &span) => {
                    let flag = format!("--{}", flag_name(&word[2..]));
                    let is_known = known.contains(&flag) || others.contains(flag.as_str());
                    (!is_known).then(|| format!("no program has {flag}"))
                }
                _ => continue,
            };
            count += 1;
            faults.extend(fault.map(|fault| format!("{page}:{number}: `{span}`: {fault}")));
        }
    }
    assert!(count > 150, "only {count} flags and commands were found");
    assert!(faults.is_empty(), "{} that do not exist:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn wrong_commands_are_found() {
    let fault = |line: &str| {
        commands(line).unwrap().iter().find_map(|words| super::documented_commands::fault(words))
    };
    for right in [
        "smoltalk gen magpie-ultra --rows N --teacher TEACHER",
        "posttrain sft --model M --steps 5 --lora-rank 16",
        "smoltalk completions bash",
        "cargo run --release -p serve --no-default-features -- --model dpo",
    ] {
        assert_eq!(fault(right), None, "{right}");
    }
    for (wrong, expected) in [
        ("posttrain sft --model M --lora-ranks 16", "--lora-ranks"),
        ("posttrain sft --model M --steps many", "many"),
        ("posttrain tune --model M", "tune"),
        ("smoltalk gen no-such-task", "no-such-task"),
        ("cargo test -p nothing", "nothing/Cargo.toml"),
        ("training/gpu/check --hours 8", "--hours"),
        ("cargo run -p serve -- --models-folder X", "--models-folder"),
        ("unheard-of --x", "unheard-of"),
    ] {
        let found = fault(wrong).unwrap_or_default();
        assert!(found.contains(expected), "{wrong}: {found}");
    }
}
