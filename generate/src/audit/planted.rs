//! Rows whose texts are known to be good or bad, put through a task's own filters: what they keep and what they drop.

use crate::budget::Prices;
use crate::recipe::Task;
use crate::rows;
use crate::run::Run;
use crate::setup::{Common, Setup};
use crate::store::Verdict;
use crate::world::{questions, rewrite_style, summary_length};
use anyhow::Result;
use datasets::pocket::letters::{Letter, Style};
use datasets::pocket::requests::Request;
use datasets::pocket::stories::Story;
use datasets::pocket::{Draw, Kind, Question, Split};
use futures::{StreamExt, stream};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A row to plant: what is good or bad about it, the text it is made from, and the answers of the steps that write.
struct Plant {
    what: &'static str,
    source: Option<String>,
    given: Vec<(&'static str, String)>,
}

impl Plant {
    /// All of it, each text with its name, in the order in which it is said.
    fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        let source = self.source.iter().map(|source| ("source", source.as_str()));
        source.chain(self.given.iter().map(|(step, text)| (*step, text.as_str())))
    }
}

/// Plants good rows and bad ones of every task and prints what became of them, of each sort with `show` good rows that
/// were dropped and bad ones that were kept.
pub(super) fn run(common: &Common, count: usize, show: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let setup = Setup::open(common, count, None).await?;
        let folder = tempfile::tempdir()?;
        let run = Arc::new(Run::open(folder.path(), Prices::read(common.prices.as_deref())?, None)?);
        for recipe in &setup.recipes {
            for good in [true, false] {
                let mut draw = Draw::new(common.seed, if good { "good" } else { "bad" });
                let mut kept = BTreeMap::<&str, (usize, usize)>::new();
                let mut reasons = BTreeMap::<String, usize>::new();
                let mut shown = 0;
                let walks = (0..count).filter_map(|index| {
                    let position = index * 2 + usize::from(good);
                    // The style is drawn from the row, so the texts follow from it.
                    let walk = rows::walk(&setup, recipe, &run, position, None);
                    let style = walk.style().map(|style| style.key.clone());
                    let plant = plant(recipe.task, style.as_deref(), good, &mut draw)?;
                    let walk = rows::walk(&setup, recipe, &run, position, plant.source.clone());
                    let given = plant.given.iter().map(|(step, text)| ((*step).to_owned(), text.clone()));
                    let verdict = rows::planted(walk, given.collect());
                    Some(async move { verdict.await.map(|verdict| (plant, verdict)) })
                });
                let mut verdicts = stream::iter(walks).buffer_unordered(common.in_flight);
                while let Some(verdict) = verdicts.next().await {
                    let (plant, verdict) = verdict?;
                    let Some(verdict) = verdict else { continue };
                    let (of, all) = kept.entry(plant.what).or_default();
                    *all += 1;
                    let (is_kept, why) = match verdict {
                        Verdict::Kept(_) => (true, "kept".to_owned()),
                        Verdict::Dropped(dropped) => {
                            let why = format!("{}: {}", dropped.reason, dropped.detail);
                            *reasons.entry(dropped.reason).or_default() += 1;
                            (false, why)
                        }
                    };
                    *of += usize::from(is_kept);
                    if is_kept != good && shown < show {
                        shown += 1;
                        super::print_row(&format!("{}, {why}", plant.what), plant.texts());
                    }
                }
                print(recipe.task, if good { "good" } else { "bad" }, &kept, &reasons);
            }
        }
        Ok(())
    })
}

/// How many rows were kept, of each sort and in all, and why the others were not.
fn print(task: Task, name: &str, kept: &BTreeMap<&str, (usize, usize)>, reasons: &BTreeMap<String, usize>) {
    let (of, all) = kept.values().fold((0, 0), |(of, all), (a, b)| (of + a, all + b));
    if all == 0 {
        return;
    }
    let list = |parts: Vec<String>| if parts.is_empty() { "none".to_owned() } else { parts.join(", ") };
    let sorts = kept.iter().map(|(what, (of, all))| format!("{what} {of} of {all}")).collect();
    let reasons = reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    println!(
        "{}: {of} of {all} {name} rows are kept ({}); dropped: {}",
        task.name(),
        list(sorts),
        list(reasons)
    );
}

/// Nothing for tasks whose rows nobody here can write.
fn plant(task: Task, style: Option<&str>, good: bool, draw: &mut Draw) -> Option<Plant> {
    let given = |pairs: &[(&'static str, &str)]| {
        pairs.iter().map(|(step, text)| (*step, (*text).to_owned())).collect()
    };
    match task {
        Task::MagpieUltra => {
            let kind = draw.pick(&Kind::ALL);
            let turns = questions(kind, 2, draw, Split::Test);
            let (user, reply) = turns[0].clone();
            let (what, user, reply) = if good { (kind.name(), user, reply) } else { spoiled(kind, draw) };
            let (next, second) = &turns[1];
            let mut list = vec![("user_1", user.as_str()), ("assistant_1", &reply)];
            // What follows a spoiled question would be about another one.
            if good {
                list.extend([("user_2", next.as_str()), ("assistant_2", second)]);
            }
            Some(Plant { what, source: None, given: given(&list) })
        }
        Task::SmolConstraint => {
            let request = Request::new(draw, Split::Test);
            let (what, reply) =
                if good { ("rule kept", &request.reply) } else { ("rule broken", &request.wrong) };
            Some(Plant { what, source: None, given: given(&[("user", &request.user), ("assistant", reply)]) })
        }
        Task::SmolRewrite => {
            let (letter, style) = (Letter::new(draw, Split::Test), rewrite_style(style?)?);
            let source = letter.write(Style::Long, draw);
            let (what, reply) = match (good, draw.below(4)) {
                (true, _) => ("rewritten", letter.write(style, draw)),
                (false, 0) => ("unchanged", source.clone()),
                (false, _) => ("a word exchanged", letter.wrong(style, 1, draw)),
            };
            Some(Plant { what, source: Some(source), given: given(&[("assistant", &reply)]) })
        }
        Task::SmolSummarization => {
            let (story, length) = (Story::new(draw, Split::Test), summary_length(style?)?);
            let (what, reply) = match (good, draw.below(4)) {
                (true, _) => ("summed up", story.summary(length, draw)),
                (false, 0) => ("unchanged", story.text.clone()),
                (false, _) => ("a word exchanged", story.wrong_summary(length, 1, draw)),
            };
            Some(Plant { what, source: Some(story.text), given: given(&[("assistant", &reply)]) })
        }
        _ => None,
    }
}

/// A question with a wrong reply, or one that cannot be answered, or words mixed up; and which of these.
fn spoiled(kind: Kind, draw: &mut Draw) -> (&'static str, String, String) {
    let question = Question::new(kind, draw, Split::Test);
    match draw.below(4) {
        0 => {
            if let Some(other) = question.unanswerable(draw) {
                return ("not told", other.user, question.reply);
            }
        }
        1 => return ("mixed up", question.mixed_up(draw), question.reply),
        _ => {}
    }
    let (reply, _) = question.wrong(draw);
    ("wrong reply", question.user, reply)
}
