//! Writes a page with one of everything, to look at: `cargo run -p report --example page > page.html`.

use report::bars::{Bar, bars, series_class};
use report::chart::{self, Chart};
use report::html::{Tile, escape, facts, note, panel, settings, tiles};
use report::metrics::Metrics;
use report::numbers::{duration, separated, short};
use report::{Page, STYLE};
use serde_json::json;

fn main() {
    let mut metrics = Metrics::parse(file().as_bytes());
    let steps = metrics.steps();
    let loss = metrics.last("loss").map(short);
    let figures = [
        Tile { name: "Last loss", figure: loss, aside: format!("at step {}", steps.1) },
        Tile { name: "Tokens", figure: Some(separated(9_830_400)), aside: String::new() },
        Tile { name: "Time", figure: Some(duration(7_801.0)), aside: String::new() },
        Tile { name: "Best evaluation", figure: None, aside: String::new() },
    ];
    let titles = [
        ("loss", "Loss", "nats", true),
        ("learning_rate", "Learning rate", "", false),
        ("rewards/margins", "Margins", "", false),
    ];
    let charts: String = titles
        .into_iter()
        .map(|(key, title, unit, skips_start)| {
            Chart { title: title.into(), unit, lines: metrics.take(key), skips_start }.figure(steps)
        })
        .collect();
    let bar = |index: usize, name: &str, value: f64| Bar {
        name: name.into(),
        class: series_class(index),
        value,
        standard_error: Some(0.03),
        figure: format!("{:.1}% \u{b1} 3.0", 100.0 * value),
    };
    let scores =
        bars(&[bar(0, "base", 0.11), bar(1, "after SFT", 0.52), bar(2, "after DPO", 0.64)], 1.0, Some(0.25));
    let about = facts(&[("model", "SmolLM2-135M".into()), ("data", "<rows>.jsonl".into())]);
    let configuration =
        json!({"seed": 7, "optimizer": {"lr": 1e-3, "betas": [0.9, 0.95]}, "data": "rows.jsonl"});
    let body = format!(
        "<header><h1>{}</h1>\n{about}</header>\n<ul class=\"warnings\"><li>This page is an example.</li></ul>\n{}\
         <h2>Curves</h2>\n<div class=\"charts\">\n{charts}</div>\n<h2>Scores</h2>\n<div class=\"panels\">\n{}{}</div>\n",
        escape("A training run"),
        tiles(&figures),
        panel("Accuracy", &(scores + &note("Dashed: chance. Error bars: one standard error."))),
        settings("Configuration", &configuration),
    );
    print!(
        "{}",
        Page { title: "Example report", styles: &[STYLE], scripts: &[chart::SCRIPT], body: &body }.render()
    );
}

/// A metrics.jsonl of a run that never was.
fn file() -> String {
    let line = |step: u32| {
        let at = f64::from(step);
        let noise = (at * 12.9898).sin() * 0.25;
        let loss = 2.2 + 8.0 * (-at / 40.0).exp() + noise;
        let eval = if step.is_multiple_of(200) { json!(loss - noise + 0.05) } else { json!(null) };
        let mut values = json!({
            "step": step, "loss": loss, "learning_rate": 1e-3 * (at / 100.0).min(1.0) * (1.0 - at / 2100.0),
            "rewards/margins": (at / 500.0).tanh() - 0.2 + 0.1 * noise,
        });
        if !eval.is_null() {
            values["eval_loss"] = eval;
        }
        format!("{values}\n")
    };
    (1..=2000).map(line).collect()
}
