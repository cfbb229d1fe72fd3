//! `smoltalk audit`: how good a dataset of the pocket world is, by the world's own checkers, and how well the filters
//! tell good rows from bad ones that were planted among them. Nothing but the pocket world can be audited: elsewhere
//! nobody knows the answers.

mod planted;

use crate::printable::printable;
use crate::setup::Common;
use crate::world::{keeps, rewrite_style, summary_length};
use anyhow::{Result, bail};
use datasets::pocket::letters::check_rewrite;
use datasets::pocket::requests;
use datasets::pocket::stories::check_summary;
use datasets::pocket::{Verdict, check, names_held_out, talks};
use datasets::{ChatRow, Row};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What `smoltalk audit` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Datasets whose rows are judged: folders that `smoltalk gen` wrote
    #[arg(long)]
    dataset: Vec<PathBuf>,
    /// Good and bad rows of each task to plant before the filters
    #[arg(long, default_value_t = 0)]
    planted: usize,
    /// Print so many of the rows that are wrong, or of the planted ones that were wrongly kept or dropped
    #[arg(long, default_value_t = 0)]
    show: usize,
    #[command(flatten)]
    common: Common,
}

/// Judges and plants; the number is the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    if options.dataset.is_empty() && options.planted == 0 {
        bail!("nothing to audit: name datasets with --dataset, or plant rows with --planted N");
    }
    for folder in &options.dataset {
        rows(folder, options.show)?;
    }
    if options.planted > 0 {
        planted::run(&options.common, options.planted, options.show)?;
    }
    Ok(0)
}

/// What is known of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Finding {
    Right,
    Wrong,
    /// Its question does not tell what it asks for.
    Unanswerable,
    /// Not a question of the world: nobody can tell.
    Unreadable,
}

fn rows(folder: &Path, show: usize) -> Result<()> {
    let mut counts: BTreeMap<String, BTreeMap<Finding, usize>> = BTreeMap::new();
    let (mut shown, mut held_out, mut others) = (0, 0, 0);
    for located in datasets::read(&folder.join("data"))? {
        let Row::Chat(row) = located?.row else {
            others += 1;
            continue;
        };
        let source =
            row.metadata.get("source").and_then(|source| source.as_str()).unwrap_or("rows").to_owned();
        let finding = judge(&row)?;
        *counts.entry(source).or_default().entry(finding).or_default() += 1;
        held_out += usize::from(row.messages.iter().any(|said| names_held_out(&said.content)));
        if finding != Finding::Right && shown < show {
            shown += 1;
            print_row(
                &format!("{finding:?}"),
                row.messages.iter().map(|said| (said.role.as_str(), said.content.as_str())),
            );
        }
    }
    if counts.is_empty() {
        bail!("{} holds no conversations to audit, but {others} other rows", folder.display());
    }
    for (source, found) in counts {
        let all: usize = found.values().sum();
        let right = found.get(&Finding::Right).copied().unwrap_or(0);
        let parts: Vec<String> =
            found.iter().map(|(finding, count)| format!("{count} {finding:?}").to_lowercase()).collect();
        println!(
            "{source}: {:.1}% of {all} rows are right ({})",
            100.0 * right as f64 / all as f64,
            parts.join(", ")
        );
    }
    // The teacher makes names up, and knows nothing of which are held out.
    println!("{held_out} rows name somebody whose name is held out");
    Ok(())
}

/// A row and what was found out about it, to read.
fn print_row<'a>(found: &str, said: impl Iterator<Item = (&'a str, &'a str)>) {
    println!("-- {}", printable(found));
    said.for_each(|(name, text)| println!("   [{name}] {}", printable(text)));
}

/// A row by its task; a conversation is as good as its worst reply.
fn judge(row: &ChatRow) -> Result<Finding> {
    let style = row.metadata.get("style").and_then(|style| style.as_str());
    let said = |role: &str| -> Vec<&str> {
        row.messages.iter().filter(|said| said.role == role).map(|said| said.content.as_str()).collect()
    };
    let (users, replies) = (said("user"), said("assistant"));
    let (Some(source), Some(reply)) = (users.first(), replies.first()) else {
        return Ok(Finding::Unreadable);
    };
    let Some(style) = style else {
        let turns = (0..users.len()).map(|turn| reply_to(&users[..=turn], &replies, turn));
        return Ok(turns.max().unwrap_or(Finding::Unreadable));
    };
    match (rewrite_style(style), summary_length(style)) {
        (Some(style), _) => Ok(of(check_rewrite(source, reply, style))),
        (_, Some(length)) => Ok(of(check_summary(source, reply, length))),
        _ => bail!("a row has the style {style:?}, which the pocket world has no checker for"),
    }
}

fn of(right: bool) -> Finding {
    if right { Finding::Right } else { Finding::Wrong }
}

fn reply_to(users: &[&str], replies: &[&str], turn: usize) -> Finding {
    let Some(reply) = replies.get(turn) else { return Finding::Unreadable };
    if let Some(conditions) = requests::conditions(users[turn]) {
        return of(keeps(&conditions, reply));
    }
    match check(users, reply) {
        Verdict::Right => Finding::Right,
        Verdict::Wrong => Finding::Wrong,
        Verdict::Unanswerable => Finding::Unanswerable,
        Verdict::Unreadable => match talks::check(users, &replies[..turn], reply) {
            Some(fits) => of(fits),
            None => Finding::Unreadable,
        },
    }
}
