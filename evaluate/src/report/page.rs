//! The page: its header with one panel per model, the sections, and the inputs of each model at the end.

use super::dataset::{self, Dataset};
use super::training::{self, TrainingRun};
use super::{examples, scoreboard};
use crate::benchmark::page::Section;
use crate::columns::columns;
use crate::figures::Figures;
use crate::results::ModelResults;
use report::html::{facts, note, panel};
use report::{Page, STYLE, chart, escape};
use serde_json::Value;

const OWN_STYLE: &str = include_str!("page.css");
const OWN_SCRIPT: &str = include_str!("page.js");

/// The whole page: the sections about benchmark tasks first; `example_count` is the number of questions of each kind to
/// show with their replies.
pub(super) fn render(
    models: &[ModelResults],
    runs: &[TrainingRun],
    datasets: &[Dataset],
    example_count: usize,
    benchmarks: Vec<Section>,
) -> String {
    let figures: Vec<Figures> = models.iter().map(ModelResults::figures).collect();
    let columns = columns(models, &figures);
    let mut sections = vec![
        (
            "board",
            "Scoreboard",
            if models.is_empty() { String::new() } else { scoreboard::section(models, &columns) },
        ),
        ("training", "Training", training::section(runs)),
        ("datasets", "Datasets", dataset::section(datasets)),
        ("examples", "Examples", examples::section(models, example_count)),
        ("inputs", "Inputs", if models.is_empty() { String::new() } else { inputs(models) }),
    ];
    sections.splice(0..0, benchmarks);
    sections.retain(|(_, _, html)| !html.is_empty());
    let links: String =
        sections.iter().map(|(id, name, _)| format!("<li><a href=\"#{id}\">{name}</a></li>")).collect();
    let mut body = header(models, &links);
    body.extend(sections.into_iter().map(|(_, _, html)| html));
    let page = Page {
        title: &title(models),
        styles: &[STYLE, OWN_STYLE],
        scripts: &[chart::SCRIPT, OWN_SCRIPT],
        body: &body,
    };
    page.render()
}

fn title(models: &[ModelResults]) -> String {
    if models.is_empty() { "Benchmark scores".to_owned() } else { format!("Scores of {}", names(models)) }
}

fn names(models: &[ModelResults]) -> String {
    models.iter().map(|model| model.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn header(models: &[ModelResults], links: &str) -> String {
    let panels: String = models.iter().map(model_panel).collect();
    let title = match models.is_empty() {
        true => title(models),
        false => format!("{}, side by side", names(models)),
    };
    format!(
        "<header>\n<h1>{}</h1>\n<nav><ul>{links}</ul></nav>\n</header>\n<div class=\"panels\">\n{panels}</div>\n",
        escape(&title)
    )
}

fn model_panel(model: &ModelResults) -> String {
    let text = |key: &str| match model.model.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let parameters = model.model.get("parameters").and_then(Value::as_f64).unwrap_or(f64::NAN) / 1e6;
    let has_template = model.model.get("own_template") == Some(&Value::Bool(true));
    let rows = [
        ("location", text("place")),
        ("parameters", format!("{parameters:.2} M")),
        ("context", format!("{} tokens", text("context"))),
        ("chat template", if has_template { "its own" } else { "ChatML" }.to_owned()),
        ("weights, SHA-256", text("sha256").chars().take(16).collect()),
        ("scored in", format!("{:.0} s", model.seconds)),
    ];
    let notes: String = model.notes.iter().map(|text| note(text)).collect();
    panel(&model.name, &(facts(&rows) + &notes))
}

/// Everything that decided the figures, as it is stored in the results.
fn inputs(models: &[ModelResults]) -> String {
    let explanation = note(&format!(
        "smoleval {}; greedy decoding in f32. The inputs of each model:",
        env!("CARGO_PKG_VERSION")
    ));
    let inputs = models.iter().map(|model| {
        let text = serde_json::to_string_pretty(&model.inputs).unwrap_or_default();
        format!("<details><summary>{}</summary><pre>{}</pre></details>\n", escape(&model.name), escape(&text))
    });
    let inputs: String = inputs.collect();
    format!("<section id=\"inputs\"><h2>Inputs</h2>\n{explanation}{inputs}</section>\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replies::{Ending, PromptMode, QuestionReply, Reply, RequestReply};
    use serde_json::Map;

    const HOSTILE: &str = "</p></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\0";

    fn hostile() -> ModelResults {
        let question = |id: &str, reply: &str| {
            Reply::Question(QuestionReply {
                mode: PromptMode::Chat,
                id: id.to_owned(),
                kind: "place".to_owned(),
                question: HOSTILE.to_owned(),
                answer: HOSTILE.to_owned(),
                reply: reply.to_owned(),
                ending: Ending::Cut,
                right: false,
            })
        };
        let request = Reply::Request(RequestReply {
            id: HOSTILE.to_owned(),
            request: HOSTILE.to_owned(),
            instruction_ids: vec![HOSTILE.to_owned()],
            reply: HOSTILE.to_owned(),
            ending: Ending::Stopped,
            followed: vec![false],
        });
        let mut values = Map::new();
        values.insert("place".to_owned(), HOSTILE.into());
        ModelResults {
            name: HOSTILE.to_owned(),
            model: values.clone(),
            inputs: values,
            notes: vec![HOSTILE.to_owned()],
            seconds: 1.0,
            replies: vec![question(HOSTILE, HOSTILE), question("other", "plain"), request],
        }
    }

    #[test]
    fn no_text_of_a_model_becomes_markup() {
        let models = [hostile(), ModelResults { name: "second".to_owned(), ..hostile() }];
        let page = render(&models, &[], &[], 6, Vec::new());
        assert_eq!(page.matches("<script").count(), 1);
        assert!(!page.contains("<img") && !page.contains("alert(1)<") && !page.contains('\0'), "{page}");
        assert!(page.contains(
            "&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=alert(2)&gt;&quot;&#39;&amp;\u{2400}"
        ));
        assert!(page.contains("\u{2717} wrong, cut"));
    }

    #[test]
    fn the_page_loads_nothing() {
        for word in
            ["http:", "https:", "@import", "url(", "src=", "innerHTML", "eval(", "document.write", "fetch("]
        {
            assert!(![OWN_STYLE, OWN_SCRIPT].iter().any(|text| text.contains(word)), "{word}");
        }
    }
}
