//! The page around the parts: head, what was run, sections in order. Its policy allows its own style and script by
//! their hashes and nothing else.

use super::curves::{self, TrainingRun};
use super::dataset::{self, Dataset};
use super::{board, examples};
use crate::figures::Figures;
use crate::stored::Scored;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The whole page.
pub(super) fn render(models: &[Scored], runs: &[TrainingRun], datasets: &[Dataset], shown: usize) -> String {
    let figures: Vec<Figures> = models.iter().map(Scored::figures).collect();
    let columns = board::columns(models, &figures);
    let sections = [
        ("board", "Scoreboard", board::section(models, &columns)),
        ("training", "Training", curves::section(runs)),
        ("datasets", "Datasets", dataset::section(datasets)),
        ("examples", "Examples", examples::section(models, shown)),
        ("about", "What was run", about(models)),
    ];
    let there = || sections.iter().filter(|(_, _, html)| !html.is_empty());
    let links: String =
        there().map(|(id, name, _)| format!("<li><a href=\"#{id}\">{name}</a></li>")).collect();
    let body = header(models, &links) + &there().map(|(_, _, html)| html.as_str()).collect::<String>();
    let policy = format!(
        "default-src 'none'; style-src {}; script-src {}; img-src data:; base-uri 'none'; form-action 'none'",
        allowed(STYLE),
        allowed(SCRIPT)
    );
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>How good are {}?</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>{STYLE}</style>\n</head>\n<body>\n\
         {}<script>{SCRIPT}</script>\n</body>\n</html>\n",
        escape(&names(models)),
        body
    )
}

fn allowed(inside: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(inside)))
}

fn names(models: &[Scored]) -> String {
    models.iter().map(|model| model.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn header(models: &[Scored], links: &str) -> String {
    let cards: String = models.iter().map(of_model).collect();
    format!(
        "<header>\n<h1>{}, side by side</h1>\n<nav><ul>{links}</ul></nav>\n<div class=\"cards\">\n{cards}</div>\n</header>\n",
        escape(&names(models))
    )
}

fn of_model(model: &Scored) -> String {
    let text = |name: &str| match model.model.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let parameters = model.model.get("parameters").and_then(Value::as_f64).unwrap_or(f64::NAN) / 1e6;
    let template = if model.model.get("own_template") == Some(&Value::Bool(true)) {
        "its own"
    } else {
        "ChatML, for it has none"
    };
    let rows = [
        ("place", text("place")),
        ("parameters", format!("{parameters:.2} M")),
        ("context", text("context")),
        ("chat template", template.to_owned()),
        ("weights, SHA-256", text("sha256").chars().take(16).collect()),
        ("scored in", format!("{:.0} s", model.seconds)),
    ];
    let notes: String =
        model.notes.iter().map(|note| format!("<p class=\"note\">{}</p>", escape(note))).collect();
    format!("<div class=\"card\"><h3>{}</h3>{}{notes}</div>\n", escape(&model.name), facts(&rows))
}

/// Names with values.
pub(super) fn facts(rows: &[(&str, String)]) -> String {
    let rows: String = rows
        .iter()
        .map(|(name, value)| format!("<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value)))
        .collect();
    format!("<dl class=\"facts\">{rows}</dl>")
}

/// All that decided the figures, as it stands in the results.
fn about(models: &[Scored]) -> String {
    let inputs = models.iter().map(|model| {
        let text = serde_json::to_string_pretty(&model.inputs).unwrap_or_default();
        format!("<details><summary>{}</summary><pre>{}</pre></details>\n", escape(&model.name), escape(&text))
    });
    format!(
        "<section id=\"about\"><h2>What was run</h2>\n<p class=\"note\">smoleval {}; greedy decoding in f32. The inputs of each model:</p>\n{}</section>\n",
        env!("CARGO_PKG_VERSION"),
        inputs.collect::<String>()
    )
}

/// Text as HTML shows it, inside an element or a quoted attribute; control characters as their pictures.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(letter),
            '\0'..='\x1f' => escaped.extend(char::from_u32(0x2400 + letter as u32)),
            '\x7f' => escaped.push('\u{2421}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replies::{Ending, Mode, QuestionReply, Reply, RequestReply};
    use datasets::pocket::Kind;
    use serde_json::Map;

    const HOSTILE: &str = "</p></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\0";

    fn hostile() -> Scored {
        let question = |id: &str, reply: &str| {
            Reply::Question(QuestionReply {
                mode: Mode::Chat,
                id: id.to_owned(),
                kind: Kind::Place,
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
        let mut about = Map::new();
        about.insert("place".to_owned(), HOSTILE.into());
        Scored {
            name: HOSTILE.to_owned(),
            model: about.clone(),
            inputs: about,
            notes: vec![HOSTILE.to_owned()],
            seconds: 1.0,
            replies: vec![question(HOSTILE, HOSTILE), question("other", "plain"), request],
        }
    }

    #[test]
    fn nothing_that_was_written_becomes_markup() {
        let models = [hostile(), Scored { name: "second".to_owned(), ..hostile() }];
        let page = render(&models, &[], &[], 6);
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
            assert!(![STYLE, SCRIPT].iter().any(|text| text.contains(word)), "{word}");
        }
    }
}
