//! The pages of `docs/reference`: what each program prints for `--help`, subcommand by subcommand.
//! `SMOL_WRITE_REFERENCE=1 cargo test --release --test whole -- reference` writes them again.

use crate::programs::{of_project, program};
use std::fmt::Write;

/// What a program prints, of all its subcommands.
fn page(name: &str) -> String {
    let mut page =
        format!("# {name}\n\n<!-- Made from the program's own help by tests/whole/reference.rs. -->\n");
    let mut waiting: Vec<Vec<String>> = vec![Vec::new()];
    while let Some(path) = waiting.pop() {
        let mut command = program(name);
        // The help names defaults that follow from the machine or its variables nowhere; widths must not, either.
        command.args(&path).arg("--help").env("COLUMNS", "100").env_remove("SMOLSERVE_API_KEY");
        let output = command.output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        let mut inner: Vec<Vec<String>> =
            subcommands(&help).map(|one| [path.clone(), vec![one]].concat()).collect();
        inner.reverse();
        waiting.extend(inner);
        let title = [vec![name.to_owned()], path].concat().join(" ");
        let help = help.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        write!(page, "\n## {title}\n```text\n{}\n```\n", help.trim_end()).unwrap();
    }
    page
}

/// The names in a help's list of commands.
fn subcommands(help: &str) -> impl Iterator<Item = String> {
    let (_, list) = help.split_once("\nCommands:\n").unwrap_or_default();
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().map(str::to_owned));
    names.filter(|name| !name.is_empty() && name != "help").collect::<Vec<_>>().into_iter()
}

#[test]
fn the_reference_is_what_the_programs_say() {
    for name in ["smoltalk", "posttrain", "smoleval", "smolserve"] {
        let (expected, path) = (page(name), of_project("docs").join(format!("reference/{name}.md")));
        assert!(expected.contains("Usage:") && expected.contains("--"), "{expected}");
        if std::env::var_os("SMOL_WRITE_REFERENCE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &expected).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        let line = expected.lines().zip(found.lines()).position(|(one, other)| one != other);
        assert!(
            expected == found,
            "docs/reference/{name}.md is not what the program says (first difference in line {:?}); write it again with \
             SMOL_WRITE_REFERENCE=1",
            line.map(|line| line + 1)
        );
    }
}

#[test]
fn programs_complete_in_shells_and_have_manual_pages() {
    let folder = tempfile::tempdir().unwrap();
    for (name, known, page) in [
        ("smoltalk", "curate", "smoltalk-gen.1"),
        ("posttrain", "lora-rank", "posttrain-sft.1"),
        ("smoleval", "rescore", "smoleval-score.1"),
        ("smolserve", "guessed-tokens", "smolserve.1"),
    ] {
        for shell in ["bash", "zsh", "fish"] {
            let output = program(name).args(["completions", shell]).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(
                output.status.success() && text.contains(known) && text.contains(name),
                "{name}, {shell}: {text}"
            );
        }
        assert!(program(name).arg("man").arg(folder.path()).status().unwrap().success());
        assert!(folder.path().join(page).is_file(), "{page}");
    }
}
