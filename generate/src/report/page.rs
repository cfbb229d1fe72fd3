//! The page: the figures and the sample, rendered with the template (`body.html`) into the shell of all reports.

use super::counts::TaskCounts;
use super::figures::TaskFigures;
use super::samples::{DROPPED, KEPT, Samples, ShownRow};
use anyhow::Result;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, Output, State, UndefinedBehavior};
use report::html::{Tile, facts, tiles};
use report::numbers::{percent, separated, width};
use report::{Page, STYLE, escape};
use serde::Serialize;

/// The template of the page's body.
const BODY: &str = include_str!("body.html");
/// The rules that only this report has.
const OWN_STYLE: &str = include_str!("style.css");
/// The search in the sample.
const SCRIPT: &str = include_str!("script.js");

/// What the template reads.
#[derive(Serialize)]
struct Body<'a> {
    title: &'a str,
    /// HTML.
    tiles: Value,
    /// HTML.
    about: Value,
    tasks: Vec<TaskFigures<'a>>,
    /// The reasons of all tasks.
    reasons: Vec<&'a str>,
    samples: Vec<&'a ShownRow>,
    sampled_kept: usize,
    sampled_dropped: usize,
}

/// Renders the whole page.
pub(super) fn render(
    title: &str,
    about: &[(&str, String)],
    tasks: &[(String, TaskCounts)],
    samples: &Samples,
) -> Result<String> {
    let tasks: Vec<TaskFigures<'_>> =
        tasks.iter().map(|(name, counts)| TaskFigures::new(name, counts)).collect();
    let mut reasons: Vec<&str> =
        tasks.iter().flat_map(|task| &task.reasons).map(|reason| reason.name).collect();
    reasons.sort_unstable();
    reasons.dedup();
    let body = Body {
        title,
        tiles: Value::from_safe_string(totals(&tasks)),
        about: Value::from_safe_string(if about.is_empty() { String::new() } else { facts(about) }),
        tasks,
        reasons,
        samples: samples.all(),
        sampled_kept: KEPT,
        sampled_dropped: DROPPED,
    };
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_formatter(write_escaped);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.add_filter("number", separated);
    environment.add_filter("percent", percent);
    environment.add_filter("width", width);
    let body = environment.render_str(BODY, body)?;
    Ok(Page { title, styles: &[STYLE, OWN_STYLE], scripts: &[SCRIPT], body: &body }.render())
}

/// The large figures at the top.
fn totals(tasks: &[TaskFigures<'_>]) -> String {
    let (begun, kept) = tasks.iter().fold((0, 0), |sum, task| (sum.0 + task.begun, sum.1 + task.kept));
    let tile = |name, figure| Tile { name, figure: Some(figure), aside: String::new() };
    tiles(&[
        tile("rows started", separated(begun)),
        tile("kept", separated(kept)),
        tile("dropped", separated(begun - kept)),
        tile("yield", percent(kept, begun)),
    ])
}

/// Escapes as all reports do, control characters included, except what is HTML already.
fn write_escaped(output: &mut Output<'_>, _: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    let text = value.to_string();
    let text = if value.is_safe() { text } else { escape(&text) };
    output.write_str(&text).map_err(Error::from)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
pub(super) mod tests {
    use super::*;

    /// The style and the script that the page contains.
    pub(in crate::report) fn style_and_script() -> [(&'static str, String); 2] {
        [("style", [STYLE, OWN_STYLE].concat()), ("script", SCRIPT.to_owned())]
    }

    #[test]
    fn the_template_escapes_everything_and_loads_nothing() {
        let forbidden = [
            "safe",
            "autoescape",
            "http:",
            "https:",
            "@import",
            "url(",
            "src=",
            "innerHTML",
            "outerHTML",
            "eval(",
            "insertAdjacent",
            "document.write",
            "Function(",
            "fetch(",
            "style=",
            "javascript:",
            "onclick",
            "onload",
        ];
        for (name, text) in [("body", BODY), ("style", OWN_STYLE), ("script", SCRIPT)] {
            let found: Vec<_> = forbidden.iter().filter(|word| text.contains(**word)).collect();
            assert!(found.is_empty(), "{name}: {found:?}");
            assert_eq!((text.matches("<script").count(), text.matches("<style").count()), (0, 0), "{name}");
        }
        // The policy contains the hashes of style and script, so nothing may be filled in there.
        for (name, text) in style_and_script() {
            assert!(!["{{", "{%", "{#", "</"].iter().any(|mark| text.contains(mark)), "{name}");
        }
    }

    #[test]
    fn figures_are_written_for_people() {
        let mut environment = Environment::new();
        environment.set_formatter(write_escaped);
        let text = |value: &str| environment.render_str("{{ value }}", minijinja::context!(value)).unwrap();
        assert_eq!(text("a\0b\r\n\x1b[31m<"), "a\u{2400}b\u{240d}\n\u{241b}[31m&lt;");
    }
}
