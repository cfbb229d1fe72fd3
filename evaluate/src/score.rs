//! `smoleval score`: evaluates models one after another on held-out rows, then prints a table of them side by side. A
//! model whose results have the same inputs is not evaluated again.

mod answers;
mod checker;
mod conditions;
mod documents;
mod held_out;
mod model;
mod options;
mod pairs;
mod questions;
mod rows;

pub use checker::QuestionChecker;
pub use options::Options;

use crate::benchmark;
use crate::replies::{PromptMode, Reply};
use crate::results::{self, ModelResults};
use crate::table;
use crate::task::TasksOfFile;
use answers::Interrupted;
use anyhow::{Context, Result, ensure};
use files::run_folder::changes;
use held_out::HeldOut;
use model::EvaluatedModel;
use options::Part;
use serde_json::{Map, Value, json};
use std::time::Instant;
use terminal::Stop;

/// Increased whenever the same weights and files would give other replies or verdicts.
const VERSION: u32 = 1;

/// Scores benchmark tasks if `--tasks` names some; otherwise evaluates the models whose results are missing, and prints
/// the table. Returns the exit code. Questions are asked only if there is a checker; `more_tasks` are benchmark
/// tasks of the caller. A signal stops the evaluation; the results of the models that are complete are kept.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options, checker: Option<QuestionChecker>, more_tasks: &[TasksOfFile]) -> Result<u8> {
    if !options.benchmark.tasks.is_empty() {
        let models = models(&options.model)?;
        return benchmark::run(&benchmark::Settings {
            models: &models,
            data: options.data.as_deref(),
            out: &options.out,
            limit: options.limit,
            restart: options.restart,
            skip_invalid: options.skip_invalid,
            options: &options.benchmark,
            more_tasks,
        });
    }
    ensure!(
        options.benchmark.sharing.shards.is_none(),
        "`--shards` applies to benchmark tasks; give `--tasks`"
    );
    let stop = Stop::listen().context("cannot handle signals")?;
    let models = models(&options.model)?;
    let held_out = HeldOut::read(options, checker)?;
    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot create --out {}", options.out.display()))?;
    results::refuse_foreign(&options.out, models.iter().map(|(name, _)| name.as_str()))?;
    let (mut names, mut results) = (Vec::new(), Vec::new());
    for (name, location) in &models {
        match score_model(name, location, &held_out, options, &stop) {
            Err(error) if error.is::<Interrupted>() => {
                terminal::message!(
                    "note: stopped by a signal after {} of {} models; run the same command again for the others",
                    names.len(),
                    models.len()
                );
                return Ok(stop.exit_code().unwrap_or(terminal::errors::ERROR_EXIT_CODE));
            }
            result => results.push(result?),
        }
        names.push(name.clone());
        results::update_scoreboard(&options.out, &names)?;
    }
    terminal::print_results(&table::side_by_side(&results))?;
    terminal::results!(
        "the results are in {0}; write a page of them with: smoleval report {0} --out report.html",
        options.out.display()
    )?;
    Ok(0)
}

/// The results of one model: the earlier ones if their inputs are the same, new ones otherwise.
fn score_model(
    name: &str,
    location: &str,
    held_out: &HeldOut,
    options: &Options,
    stop: &Stop,
) -> Result<ModelResults> {
    let start = Instant::now();
    let model = EvaluatedModel::open(name, location, stop.clone())?;
    let modes = options.modes(model.has_template());
    let inputs = inputs(&model, held_out, options, &modes)?;
    if let Some(earlier) = ModelResults::read(&options.out, name)?.filter(|_| !options.restart) {
        let changes = changes(&earlier.inputs.clone().into(), &inputs.clone().into());
        if changes.is_empty() {
            terminal::message!(
                "note: {name} is already scored with these inputs; `--restart` scores it again"
            );
            return Ok(earlier);
        }
        let names: Vec<String> = changes.into_iter().map(|change| change.name).collect();
        terminal::message!(
            "note: {name} was scored with other inputs ({}); scoring it again",
            names.join(", ")
        );
    }
    for note in &model.notes {
        terminal::message!("note: {name}: {note}");
    }
    let results = ModelResults {
        name: name.to_owned(),
        model: model.description(location),
        inputs,
        replies: replies(&model, held_out, options, &modes)?,
        seconds: start.elapsed().as_secs_f64(),
        notes: model.notes,
    };
    results.write(&options.out)?;
    Ok(results)
}

/// Everything that the model replies to the held-out rows.
fn replies(
    model: &EvaluatedModel,
    held_out: &HeldOut,
    options: &Options,
    modes: &[PromptMode],
) -> Result<Vec<Reply>> {
    let mut replies = Vec::new();
    for mode in modes {
        replies.extend(questions::ask(model, &held_out.questions, *mode, options.max_tokens)?);
    }
    replies.extend(conditions::ask(model, &held_out.requests, options.max_tokens)?);
    replies.extend(pairs::measure(model, &held_out.pairs)?);
    replies.extend(documents::measure(model, &held_out.documents)?);
    Ok(replies)
}

/// Names with locations, from `[NAME=]LOCATION`. The last part of a location is its name unless one is given.
fn models(arguments: &[String]) -> Result<Vec<(String, String)>> {
    let mut models: Vec<(String, String)> = Vec::new();
    for argument in arguments {
        let (name, location) = match argument.split_once('=') {
            Some((name, location)) => (name, location),
            None => {
                (argument.trim_end_matches('/').rsplit('/').next().unwrap_or_default(), argument.as_str())
            }
        };
        results::check_name(name)?;
        let is_new = models.iter().all(|(other, _)| other != name);
        ensure!(is_new, "two models have the name `{name}`; give another one with `--model NAME=DIR`");
        models.push((name.to_owned(), location.to_owned()));
    }
    Ok(models)
}

/// Everything that decides the replies and the verdicts.
fn inputs(
    model: &EvaluatedModel,
    held_out: &HeldOut,
    options: &Options,
    modes: &[PromptMode],
) -> Result<Map<String, Value>> {
    let parts: Vec<String> = Part::ALL
        .into_iter()
        .filter(|part| options.measures(*part))
        .map(|part| format!("{part:?}").to_lowercase())
        .collect();
    let inputs = json!({
        "program": format!("{} {VERSION}", env!("CARGO_PKG_VERSION")),
        "model": model.hashes()?,
        "files": held_out.files,
        "parts": parts,
        "kinds": options.kinds,
        "per_kind": options.limited(options.per_kind),
        "limit": options.limit,
        "modes": modes,
        "max_tokens": options.max_tokens,
    });
    Ok(inputs.as_object().cloned().unwrap_or_default())
}
