//! `smolpocket audit`: how good a dataset of the pocket world is by the world's own checkers, and how well the filters
//! of `smoltalk gen` separate planted good rows from planted bad ones. Other datasets cannot be audited, because their
//! answers are not known.

mod planted;
mod print;

use crate::letters::{Style, check_rewrite};
use crate::names::has_held_out_name;
use crate::questions::{Verdict, check};
use crate::requests::{conditions, meets_conditions};
use crate::stories::{Length, check_summary};
use crate::talks;
use anyhow::{Result, bail};
use datasets::{ChatRow, Row};
use generate::TeacherOptions;
use print::print_row;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The options of `smolpocket audit`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder that `smoltalk gen` wrote, whose rows are judged; repeat it for several
    #[arg(long)]
    dataset: Vec<PathBuf>,
    /// Number of good rows and of bad rows of each task to plant before the filters
    #[arg(long, default_value_t = 0)]
    planted: usize,
    /// Number of rows to print: rows that are not right, and planted rows that the filters judged wrongly
    #[arg(long, default_value_t = 0)]
    show: usize,
    #[command(flatten)]
    teachers: TeacherOptions,
}

/// Judges datasets and plants rows.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<()> {
    if options.dataset.is_empty() && options.planted == 0 {
        bail!("nothing to audit; name a dataset with `--dataset`, or plant rows with `--planted N`");
    }
    for folder in &options.dataset {
        judge_dataset(folder, options.show)?;
    }
    if options.planted > 0 {
        planted::run(&options.teachers, options.planted, options.show)?;
    }
    Ok(())
}

/// Prints the share of right rows, by source, and up to `show` rows that are not right.
fn judge_dataset(folder: &Path, show: usize) -> Result<()> {
    let mut counts: BTreeMap<String, BTreeMap<Verdict, usize>> = BTreeMap::new();
    let (mut shown, mut held_out, mut others) = (0, 0, 0);
    for located in datasets::read(&folder.join("data"))? {
        let Row::Chat(row) = located?.row else {
            others += 1;
            continue;
        };
        let source = row.metadata.get("source").and_then(|source| source.as_str()).unwrap_or("rows");
        let verdict = judge(&row)?;
        *counts.entry(source.to_owned()).or_default().entry(verdict).or_default() += 1;
        held_out += usize::from(row.messages.iter().any(|message| has_held_out_name(&message.content)));
        if verdict != Verdict::Right && shown < show {
            shown += 1;
            let messages = row.messages.iter();
            print_row(
                &format!("{verdict:?}"),
                messages.map(|message| (message.role.as_str(), message.content.as_str())),
            );
        }
    }
    if counts.is_empty() {
        bail!(
            "{} contains no conversations to audit, but {others} other rows; give a dataset of conversations",
            folder.display()
        );
    }
    for (source, verdicts) in counts {
        let total: usize = verdicts.values().sum();
        let right = verdicts.get(&Verdict::Right).copied().unwrap_or(0);
        let parts: Vec<String> =
            verdicts.iter().map(|(verdict, count)| format!("{count} {verdict:?}").to_lowercase()).collect();
        println!(
            "{source}: {:.1}% of {total} rows are right ({})",
            100.0 * right as f64 / total as f64,
            parts.join(", ")
        );
    }
    // The teacher invents names and does not know which ones are held out.
    println!("{held_out} rows contain a held-out name");
    Ok(())
}

/// The verdict on a row by the checker of its task. A conversation is as good as its worst reply.
fn judge(row: &ChatRow) -> Result<Verdict> {
    let style = row.metadata.get("style").and_then(|style| style.as_str());
    let contents = |role: &str| -> Vec<&str> {
        let messages = row.messages.iter().filter(|message| message.role == role);
        messages.map(|message| message.content.as_str()).collect()
    };
    let (users, replies) = (contents("user"), contents("assistant"));
    let (Some(source), Some(reply)) = (users.first(), replies.first()) else {
        return Ok(Verdict::Unreadable);
    };
    let Some(style) = style else {
        let turns = (0..users.len()).map(|turn| judge_turn(&users[..=turn], &replies, turn));
        return Ok(turns.max().unwrap_or(Verdict::Unreadable));
    };
    match (Style::from_key(style), Length::from_key(style)) {
        (Some(style), _) => Ok(verdict(check_rewrite(source, reply, style))),
        (_, Some(length)) => Ok(verdict(check_summary(source, reply, length))),
        _ => bail!("a row has the style {style:?}, for which the pocket world has no checker"),
    }
}

fn verdict(is_right: bool) -> Verdict {
    if is_right { Verdict::Right } else { Verdict::Wrong }
}

/// The verdict on the reply to the last of a user's turns.
fn judge_turn(users: &[&str], replies: &[&str], turn: usize) -> Verdict {
    let Some(reply) = replies.get(turn) else { return Verdict::Unreadable };
    if let Some(conditions) = conditions(users[turn]) {
        return verdict(meets_conditions(&conditions, reply));
    }
    match check(users, reply) {
        Verdict::Unreadable => {
            talks::check(users, &replies[..turn], reply).map_or(Verdict::Unreadable, verdict)
        }
        verdict => verdict,
    }
}
