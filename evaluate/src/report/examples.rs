//! Questions and requests with the replies of every model and their verdicts, and a box to search them.

use crate::replies::{Ending, PromptMode, QuestionReply, Reply, RequestReply, kinds};
use crate::results::ModelResults;
use report::escape;
use report::html::note;
use std::collections::BTreeMap;

/// The first `count` questions of each kind and twice as many requests.
pub(super) fn section(models: &[ModelResults], count: usize) -> String {
    let replies = RepliesById::new(models);
    let mut html = String::new();
    for kind in kinds(replies.questions.iter().copied()) {
        let questions = replies.questions.iter().filter(|question| question.kind == kind);
        html.extend(questions.take(count).map(|question| replies.question_panel(question)));
    }
    html.extend(replies.requests.iter().take(2 * count).map(|request| replies.request_panel(request)));
    if html.is_empty() {
        return html;
    }
    let explanation = note(&format!(
        "The first {count} questions of each kind and the first {} requests, without selection. Search for words, for a \
         kind, or for \u{201c}wrong\u{201d}.",
        2 * count
    ));
    format!(
        "<section id=\"examples\"><h2>Examples</h2>\n{explanation}<label>Search <input id=\"search\" type=\"search\" \
         autocomplete=\"off\"></label> <span id=\"found\" class=\"note\" aria-live=\"polite\"></span>\n\
         <div class=\"examples\">\n{html}</div></section>\n"
    )
}

/// The replies of all models by the id of their question or request.
#[derive(Default)]
struct RepliesById<'a> {
    /// The first reply to each question, in the order of the replies.
    questions: Vec<&'a QuestionReply>,
    /// The first reply to each request, in the order of the replies.
    requests: Vec<&'a RequestReply>,
    /// The replies to a question, each with the model's name and mode.
    to_question: BTreeMap<&'a str, Vec<(String, &'a QuestionReply)>>,
    /// The replies to a request, each with the model's name.
    to_request: BTreeMap<&'a str, Vec<(&'a str, &'a RequestReply)>>,
}

impl<'a> RepliesById<'a> {
    fn new(models: &'a [ModelResults]) -> Self {
        let mut all = Self::default();
        for model in models {
            for reply in &model.replies {
                all.add(&model.name, reply);
            }
        }
        all
    }

    fn add(&mut self, model: &'a str, reply: &'a Reply) {
        match reply {
            Reply::Question(question) => {
                let replies = self.to_question.entry(&question.id).or_default();
                if replies.is_empty() {
                    self.questions.push(question);
                }
                let mode = if question.mode == PromptMode::Chat { "" } else { " (5-shot)" };
                replies.push((format!("{model}{mode}"), question));
            }
            Reply::Request(request) => {
                let replies = self.to_request.entry(&request.id).or_default();
                if replies.is_empty() {
                    self.requests.push(request);
                }
                replies.push((model, request));
            }
            _ => {}
        }
    }

    fn question_panel(&self, first: &QuestionReply) -> String {
        let replies = self.to_question[first.id.as_str()].iter().map(|(model, reply)| {
            let verdict = if reply.right { "right" } else { "wrong" };
            reply_html(model, &reply.reply, reply.ending, reply.right, verdict)
        });
        let answer = format!("answer: {}", first.answer);
        example_panel(&first.kind, &first.question, &answer, &replies.collect::<String>())
    }

    fn request_panel(&self, first: &RequestReply) -> String {
        let replies = self.to_request[first.id.as_str()].iter().map(|(model, reply)| {
            let instructions = reply.instruction_ids.iter().zip(&reply.followed);
            let broken: Vec<&str> =
                instructions.filter(|(_, followed)| !**followed).map(|(id, _)| id.as_str()).collect();
            let verdict =
                if broken.is_empty() { "right".to_owned() } else { format!("wrong: {}", broken.join(", ")) };
            reply_html(model, &reply.reply, reply.ending, broken.is_empty(), &verdict)
        });
        let ids = first.instruction_ids.join(", ");
        example_panel("request", &first.request, &ids, &replies.collect::<String>())
    }
}

fn example_panel(kind: &str, prompt: &str, expected: &str, replies: &str) -> String {
    format!(
        "<article class=\"panel\"><p class=\"kind\">{}</p><p class=\"prompt\">{}</p><p class=\"note\">{}</p>{replies}</article>\n",
        escape(kind),
        escape(prompt),
        escape(expected)
    )
}

fn reply_html(model: &str, reply: &str, ending: Ending, is_right: bool, verdict: &str) -> String {
    let ending = match ending {
        Ending::Stopped => "",
        Ending::Cut => ", cut",
        Ending::PromptTooLong => ", the prompt does not fit in the context",
    };
    let (class, sign) = if is_right { ("right", "\u{2713}") } else { ("wrong", "\u{2717}") };
    format!(
        "<div class=\"verdict {class}\"><p><b>{}</b> <span>{sign} {}{ending}</span></p><p class=\"reply\">{}</p></div>",
        escape(model),
        escape(verdict),
        escape(reply)
    )
}
