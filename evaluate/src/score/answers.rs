//! The answers to many requests that are in flight at a time, in the order of the requests.

use super::model::{BATCH, EvaluatedModel};
use crate::replies::Ending;
use anyhow::{Result, bail};
use engine::{Answer, Engine, Events, Finish, Request};
use std::collections::VecDeque;
use std::fmt;
use terminal::Progress;

/// The error when a signal asked the program to stop.
#[derive(Debug)]
pub(super) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("stopped by a signal")
    }
}

impl std::error::Error for Interrupted {}

/// Returns one answer per request; none where there is no request. `label` and `unit` ("questions") are for the
/// progress.
///
/// # Errors
/// [`Interrupted`] after a signal; what is in flight is canceled. Otherwise the engine's reason.
pub(super) fn collect(
    model: &EvaluatedModel,
    requests: Vec<Option<Request>>,
    label: &str,
    unit: &'static str,
) -> Result<Vec<Option<Answer>>> {
    let progress = Progress::new(label, unit, Some(requests.len() as u64));
    let mut in_flight: VecDeque<Option<Events>> = VecDeque::new();
    let mut answers = Vec::with_capacity(requests.len());
    let mut requests = requests.into_iter();
    loop {
        if model.stop.is_requested() {
            progress.finish();
            bail!(Interrupted);
        }
        while in_flight.len() < 4 * BATCH {
            let Some(request) = requests.next() else { break };
            in_flight.push_back(request.map(|request| model.engine.submit(request)).transpose()?);
        }
        let Some(events) = in_flight.pop_front() else { break };
        let answer = events.map(Events::collect_blocking);
        if let Some(Finish::Failed(reason) | Finish::ConstraintFailed(reason)) =
            answer.as_ref().map(|answer| &answer.finish)
        {
            bail!("{}: {reason}", model.name);
        }
        answers.push(answer);
        progress.advance(1);
    }
    let seconds = progress.elapsed().as_secs_f64();
    progress.finish_with(&format!("{label}: {} {unit} in {seconds:.1} s", answers.len()));
    Ok(answers)
}

/// The text of an answer and how it ended.
pub(super) fn text_and_ending(answer: Option<Answer>) -> (String, Ending) {
    match answer {
        None => (String::new(), Ending::PromptTooLong),
        Some(answer) if answer.finish == Finish::Length => (answer.text, Ending::Cut),
        Some(answer) => (answer.text, Ending::Stopped),
    }
}
