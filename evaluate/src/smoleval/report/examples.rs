//! Questions and requests with what each model replied, right or wrong, and a box to search them.

use super::page::escape;
use crate::replies::{Ending, Mode, QuestionReply, Reply, RequestReply};
use crate::stored::Scored;
use datasets::pocket::Kind;
use std::collections::BTreeMap;

/// The first questions of each kind, and as many requests.
pub(super) fn section(models: &[Scored], shown: usize) -> String {
    let mut html = String::new();
    let said = Said::of(models);
    for kind in Kind::ALL {
        for id in
            said.questions.iter().filter(|(_, question)| question.kind == kind).map(|(id, _)| id).take(shown)
        {
            html.push_str(&said.question(id));
        }
    }
    for (id, _) in said.requests.iter().take(2 * shown) {
        html.push_str(&said.request(id));
    }
    if html.is_empty() {
        return html;
    }
    format!(
        "<section id=\"examples\"><h2>Examples</h2>\n<p class=\"note\">The first {shown} questions of each kind and the first {} requests, as they come: not picked. Search for a word, a kind, or \u{201c}wrong\u{201d}.</p>\n<label>Search <input id=\"search\" type=\"search\" autocomplete=\"off\"></label> <span id=\"found\" class=\"note\" aria-live=\"polite\"></span>\n<div class=\"examples\">\n{html}</div></section>\n",
        2 * shown
    )
}

/// Replies by what they answer, questions and requests in the order in which the first model was asked.
struct Said<'a> {
    questions: Vec<(&'a str, &'a QuestionReply)>,
    requests: Vec<(&'a str, &'a RequestReply)>,
    answers: BTreeMap<&'a str, Vec<(String, &'a QuestionReply)>>,
    writings: BTreeMap<&'a str, Vec<(&'a str, &'a RequestReply)>>,
}

impl<'a> Said<'a> {
    fn of(models: &'a [Scored]) -> Self {
        let mut said = Self {
            questions: Vec::new(),
            requests: Vec::new(),
            answers: BTreeMap::new(),
            writings: BTreeMap::new(),
        };
        for model in models {
            for reply in &model.replies {
                said.add(&model.name, reply);
            }
        }
        said
    }

    fn add(&mut self, model: &'a str, reply: &'a Reply) {
        match reply {
            Reply::Question(question) => {
                let answers = self.answers.entry(&question.id).or_default();
                if answers.is_empty() {
                    self.questions.push((&question.id, question));
                }
                let mode = if question.mode == Mode::Chat { "" } else { " (5-shot)" };
                answers.push((format!("{model}{mode}"), question));
            }
            Reply::Request(request) => {
                let writings = self.writings.entry(&request.id).or_default();
                if writings.is_empty() {
                    self.requests.push((&request.id, request));
                }
                writings.push((model, request));
            }
            _ => {}
        }
    }

    fn question(&self, id: &str) -> String {
        let answers = &self.answers[id];
        let (_, first) = &answers[0];
        let replies = answers.iter().map(|(model, answer)| {
            said(
                model,
                &answer.reply,
                answer.ending,
                answer.right,
                if answer.right { "right" } else { "wrong" },
            )
        });
        example(
            first.kind.name(),
            &first.question,
            &format!("answer: {}", first.answer),
            &replies.collect::<String>(),
        )
    }

    fn request(&self, id: &str) -> String {
        let writings = &self.writings[id];
        let replies = writings.iter().map(|(model, writing)| {
            let broken: Vec<&str> = writing
                .instruction_ids
                .iter()
                .zip(&writing.followed)
                .filter(|(_, followed)| !**followed)
                .map(|(id, _)| id.as_str())
                .collect();
            let verdict =
                if broken.is_empty() { "right".to_owned() } else { format!("wrong: {}", broken.join(", ")) };
            said(model, &writing.reply, writing.ending, broken.is_empty(), &verdict)
        });
        let (_, first) = writings[0];
        example("request", &first.request, &first.instruction_ids.join(", "), &replies.collect::<String>())
    }
}

fn example(kind: &str, asked: &str, wanted: &str, replies: &str) -> String {
    format!(
        "<article class=\"card\"><p class=\"kind\">{}</p><p class=\"asked\">{}</p><p class=\"note\">{}</p>{replies}</article>\n",
        escape(kind),
        escape(asked),
        escape(wanted)
    )
}

fn said(model: &str, reply: &str, ending: Ending, right: bool, verdict: &str) -> String {
    let ended = match ending {
        Ending::Stopped => "",
        Ending::Cut => ", cut",
        Ending::PromptTooLong => ", the prompt did not fit",
    };
    let (class, sign) = if right { ("right", "\u{2713}") } else { ("wrong", "\u{2717}") };
    format!(
        "<div class=\"said {class}\"><p><b>{}</b> <span>{sign} {}{ended}</span></p><p class=\"reply\">{}</p></div>",
        escape(model),
        escape(verdict),
        escape(reply)
    )
}
