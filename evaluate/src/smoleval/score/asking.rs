//! Many requests in flight, answers in the requests' order, and how far it is: a bar on a terminal, a plain line now
//! and then elsewhere.

use super::subject::{Subject, TOGETHER};
use crate::replies::Ending;
use anyhow::{Result, bail};
use engine::{Answer, Engine, Events, Finish, Request};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::VecDeque;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(10);

/// The answers, one a request; none where there was no request. `what` is for people.
pub(crate) fn ask(
    subject: &Subject,
    requests: Vec<Option<Request>>,
    what: &str,
) -> Result<Vec<Option<Answer>>> {
    let mut progress = Progress::begin(format!("{}: {what}", subject.name), requests.len());
    let mut waiting: VecDeque<Option<Events>> = VecDeque::new();
    let mut answers = Vec::with_capacity(requests.len());
    let mut requests = requests.into_iter();
    loop {
        while waiting.len() < 4 * TOGETHER {
            let Some(request) = requests.next() else { break };
            waiting.push_back(request.map(|request| subject.engine.submit(request)).transpose()?);
        }
        let Some(events) = waiting.pop_front() else { break };
        let answer = events.map(Events::collect_blocking);
        if let Some(Finish::Failed(reason) | Finish::Unfit(reason)) =
            answer.as_ref().map(|answer| &answer.finish)
        {
            bail!("{}: {reason}", subject.name);
        }
        answers.push(answer);
        progress.count();
    }
    progress.end();
    Ok(answers)
}

/// The text of an answer and how it ended.
pub(crate) fn said(answer: Option<Answer>) -> (String, Ending) {
    match answer {
        None => (String::new(), Ending::PromptTooLong),
        Some(answer) if answer.finish == Finish::Length => (answer.text, Ending::Cut),
        Some(answer) => (answer.text, Ending::Stopped),
    }
}

struct Progress {
    bar: ProgressBar,
    what: String,
    begun: Instant,
    told: Instant,
}

impl Progress {
    fn begin(what: String, count: usize) -> Self {
        let bar = ProgressBar::new(count as u64);
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len}, {per_sec}, ETA {eta}")
            .expect("the template is ours");
        bar.set_style(style.progress_chars("=> "));
        bar.set_prefix(what.clone());
        let now = Instant::now();
        Self { bar, what, begun: now, told: now }
    }

    fn count(&mut self) {
        self.bar.inc(1);
        if self.bar.is_hidden() && self.told.elapsed() >= LINE {
            self.told = Instant::now();
            let (done, all) = (self.bar.position(), self.bar.length().unwrap_or_default());
            let left = self.begun.elapsed().as_secs_f64() / done as f64 * (all - done) as f64;
            eprintln!("{} {done}/{all}, ETA {left:.0} s", self.what);
        }
    }

    fn end(&self) {
        self.bar.finish_and_clear();
        eprintln!("{} {} in {:.1} s", self.what, self.bar.position(), self.begun.elapsed().as_secs_f64());
    }
}
