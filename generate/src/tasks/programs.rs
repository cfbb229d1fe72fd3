//! Steps of a row that run Python: a program of the teacher's code and tests, in the sandbox that scores code benchmarks.

use crate::row_context::{RowContext, RowError};
use crate::trace::TracedStep;
use anyhow::Context;
use sandbox::Verdict;
use serde_json::{Value, json};
use std::sync::LazyLock;
use tokio::sync::Semaphore;

/// As many programs at a time as there are cores: a program that waits for a core uses up its time.
static PLACES: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));

/// Runs a program; the variable of the step is `{passed, reason}`, where the reason is the exception that ended it.
pub(super) async fn run(context: &RowContext<'_>, step: &str, program: String) -> Result<Value, RowError> {
    let _place = PLACES.acquire().await.map_err(anyhow::Error::from)?;
    let text = program.clone();
    let verdict =
        tokio::task::spawn_blocking(move || sandbox::run(&text)).await.map_err(anyhow::Error::from)?;
    let reason = match verdict.with_context(|| format!("step `{step}` cannot run its program"))? {
        Verdict::Passed => None,
        Verdict::Failed(reason) => Some(reason),
    };
    if let Some(trace) = &context.trace {
        trace.push(TracedStep {
            name: step.to_owned(),
            teacher: "sandbox".to_owned(),
            prompt: program,
            reply: reason.clone().unwrap_or_else(|| "passed".to_owned()),
            prompt_tokens: 0,
            completion_tokens: 0,
        });
    }
    Ok(json!({"passed": reason.is_none(), "reason": reason.unwrap_or_default()}))
}
