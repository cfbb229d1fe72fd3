//! The dataset's card: what was made, by whom, what it cost, and what was dropped.

use super::{Part, percent};
use crate::setup::Setup;
use crate::store::{Entry, Outcome};
use datasets::card::{Config, Front, card};

pub(super) fn body(setup: &Setup, parts: &[Part], ledger: &[Entry]) -> String {
    let (recipes, configuration) = (&setup.recipes, &setup.configuration);
    let configs = parts.iter().map(|part| Config {
        name: part.name.to_owned(),
        data_files: vec![("train".to_owned(), format!("data/{}/train-*.parquet", part.name))],
    });
    let front = Front {
        pretty_name: "SmolTalk-style synthetic data".to_owned(),
        languages: vec!["en".to_owned()],
        tags: vec!["synthetic".to_owned(), "smoltalk".to_owned()],
        rows: parts.first().map_or(0, |part| part.rows),
        configs: configs.collect(),
    };
    let mut text = format!(
        "# SmolTalk-style synthetic data\n\nMade by smoltalk {} with the teacher `{}`, profile `{}`, seed {}.\n{}",
        env!("CARGO_PKG_VERSION"),
        configuration["teacher"].as_str().unwrap_or_default(),
        configuration["profile"].as_str().unwrap_or_default(),
        configuration["seed"],
        calls(ledger),
    );
    text.push_str("\n## Rows\n\n| config | begun | kept | yield |\n| --- | --- | --- | --- |\n");
    for part in parts {
        text.push_str(&format!(
            "| {} | {} | {} | {} |\n",
            part.name,
            part.begun,
            part.rows,
            percent(part.rows, part.begun)
        ));
    }
    text.push_str("\n## Dropped\n\nEvery dropped row stands in `dropped.jsonl` with its reason.\n\n| config | reason | rows |\n| --- | --- | --- |\n");
    for part in parts {
        for (reason, count) in &part.drops {
            text.push_str(&format!("| {} | {reason} | {count} |\n", part.name));
        }
    }
    for recipe in recipes {
        text.push_str(&format!(
            "\n## {}\n\nRecipe `{}`. Sampling:\n\n",
            recipe.task.name(),
            &recipe.hash[..16]
        ));
        for (step, sampling) in &recipe.settings.sampling {
            text.push_str(&format!(
                "- {step}: temperature {}, top_p {}, at most {} tokens\n",
                sampling.temperature, sampling.top_p, sampling.max_tokens
            ));
        }
        text.push_str("\n| prompt | SHA-256 |\n| --- | --- |\n");
        for (path, hash) in recipe.prompt_hashes() {
            text.push_str(&format!("| {path} | `{}` |\n", &hash[..16]));
        }
    }
    card(&front, &text)
}

/// What was asked, and what it cost where prices are known.
pub(super) fn calls(ledger: &[Entry]) -> String {
    let calls = |outcome| Entry::sum(ledger, outcome).calls;
    let answered = Entry::sum(ledger, Outcome::Answered);
    let dollars = answered.microdollars as f64 / 1e6;
    let money = if dollars > 0.0 { format!(", ${dollars:.2}") } else { String::new() };
    let lost = Entry::sum(ledger, Outcome::Failed).cost();
    let booked = match (lost.tokens, lost.microdollars) {
        (0, _) => String::new(),
        (tokens, 0) => format!(" (booked with up to {tokens} tokens)"),
        (tokens, money) => format!(" (booked with up to {tokens} tokens, ${:.2})", money as f64 / 1e6),
    };
    format!(
        "{} answers: {} prompt tokens, {} generated tokens{money}.\nCalls without an answer: {} turned away as too many (429, 503), {} failed{booked}, {} refused, {} lost at a kill.\n",
        answered.calls,
        answered.prompt_tokens,
        answered.completion_tokens,
        calls(Outcome::Busy),
        calls(Outcome::Failed),
        calls(Outcome::Refused),
        calls(Outcome::Lost),
    )
}
