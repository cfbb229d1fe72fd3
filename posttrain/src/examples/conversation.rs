//! A conversation as the model reads it: what serving would give the template, rendered, with a weight in the loss for each
//! token.

use super::outcome::{Dropped, Tokens, tokens};
use super::rules::{Rules, Tools, TrainOn};
use super::stored::{StoredReply, TokenIds, distributions};
use checkpoint::Tokenizer;
use checkpoint::chat::{self, RenderedChat, Rendering};
use checkpoint::tools::{prints_tools, with_tools_as_text};
use datasets::logprobs::{LOGPROBS, of_message};
use datasets::{Message, Row};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use training::TopTokens;

/// Returns a conversation, of which messages before `from` are never trained, in a row of a weight.
pub(super) fn conversation(
    messages: &[Message],
    row: &Row,
    (from, row_weight): (usize, f64),
    rules: &Rules<'_>,
    notes: &mut BTreeSet<&'static str>,
) -> Result<Tokens, Dropped> {
    note_messages(messages, notes);
    let (prepared, tools) = prepare(messages, row, rules, notes)?;
    let last_user = messages.iter().rposition(|message| message.role == "user");
    let starts = |message: &Prepared| last_user.is_none_or(|user| message.origin > user);
    let last_turn = prepared.iter().position(starts).unwrap_or(prepared.len());
    let (rendered, last_only) = rendered(&prepared, row, (tools.as_ref(), last_turn), rules, notes)?;
    let from = prepared.iter().position(|message| message.origin >= from).unwrap_or(prepared.len());
    let from = if last_only || rules.train_on == TrainOn::Last { from.max(last_turn) } else { from };
    let is_all = rules.train_on == TrainOn::All && !last_only;
    let weight = |role: &chat::TokenRole| -> f64 {
        let Some(index) = role.message.map(|index| index as usize) else {
            return f64::from(u8::from(is_all && from == 0));
        };
        let message = &prepared[index];
        match (message.weight, is_all) {
            _ if index < from => 0.0,
            (Some(weight), true) => weight,
            (None, true) => 1.0,
            _ if !role.content => 0.0,
            (Some(weight), false) => weight,
            (None, false) => f64::from(u8::from(message.message.role == "assistant")),
        }
    };
    let weights: Vec<f64> = rendered.roles.iter().map(|role| weight(role) * row_weight).collect();
    if spells_special_token(&rendered, rules.tokenizer) {
        notes.insert("special_tokens_in_text");
    }
    let distributions =
        rules.stored_logprobs.map(|ids| stored_distributions(&rendered, messages, &prepared, ids, rules));
    let distributions = distributions.transpose()?;
    let mut tokens = tokens(rendered.ids, &weights, rules)?;
    if let Some(distributions) = &distributions {
        let is_missing = |(id, top): (&u32, &TopTokens)| top.is_empty() && !rules.tokenizer.is_special(*id);
        let trained = tokens.sequence.ids.iter().zip(distributions).zip(tokens.sequence.trained.iter());
        if trained.filter(|(_, trained)| **trained).any(|(token, _)| is_missing(token)) {
            notes.insert("tokens_without_logprobs");
        }
    }
    tokens.distributions = distributions;
    Ok(tokens)
}

/// Returns what is stored of each token.
fn stored_distributions(
    rendered: &RenderedChat,
    messages: &[Message],
    prepared: &[Prepared],
    ids: &TokenIds,
    rules: &Rules<'_>,
) -> Result<Vec<TopTokens>, Dropped> {
    let mut replies = Vec::new();
    for (message, prepared) in prepared.iter().enumerate() {
        let is_reply = prepared.message.role == "assistant" && !prepared.message.content.is_empty();
        let tokens = of_message(&messages[prepared.origin]);
        let tokens = tokens.map_err(|reason| Dropped::new("unreadable_logprobs", reason))?;
        if let Some(tokens) = tokens.filter(|_| is_reply) {
            replies.push(StoredReply { message, content: &prepared.message.content, tokens });
        }
    }
    if replies.is_empty() {
        let detail = "no reply is stored with log-probabilities (`smoltalk gen --keep-logprobs`)";
        return Err(Dropped::new("no_logprobs", detail));
    }
    let distributions = distributions(rendered, &replies, rules.tokenizer, ids);
    match distributions.iter().all(Vec::is_empty) {
        true => {
            Err(Dropped::new("other_tokens", "the stored tokens are nowhere those of the model's tokenizer"))
        }
        false => Ok(distributions),
    }
}

/// Notes what is odd about messages before any template.
fn note_messages(messages: &[Message], notes: &mut BTreeSet<&'static str>) {
    if messages.iter().any(|message| message.role == "assistant" && message.is_empty()) {
        notes.insert("empty_replies");
    }
    if messages.windows(2).any(|pair| pair.iter().all(|message| message.role == "user")) {
        notes.insert("two_user_turns");
    }
}

/// A message as the template reads it.
struct Prepared {
    message: chat::Message,
    /// Its weight in the loss, where it states one.
    weight: Option<f64>,
    /// The index of the message of the row that it came from.
    origin: usize,
}

/// Returns the messages and tools as serving would give them to the template: in words where it prints no tools.
fn prepare(
    messages: &[Message],
    row: &Row,
    rules: &Rules<'_>,
    notes: &mut BTreeSet<&'static str>,
) -> Result<(Vec<Prepared>, Option<Value>), Dropped> {
    let tools = tools(row, messages)?;
    let uses_tools = !tools.is_null()
        || messages.iter().any(|message| message.role == "tool" || message.tool_calls.is_some());
    let mut prepared: Vec<chat::Message> =
        messages.iter().enumerate().map(|(index, message)| chat_message(index, message)).collect();
    if uses_tools {
        if !prints_tools(rules.template) {
            if rules.tools == Tools::Drop {
                return Err(Dropped::new(
                    "tools_not_printed",
                    "the chat template prints no tools; give `--tools words`",
                ));
            }
            notes.insert("tools_as_words");
        }
        prepared = with_tools_as_text(rules.template, prepared, &tools);
    }
    let mut origin = 0;
    let prepared = prepared.into_iter().map(|mut message| {
        let index = message.extra.remove(ORIGIN).and_then(|index| index.as_u64());
        origin = index.map_or(origin, |index| index as usize);
        let weight = index.and_then(|index| messages[index as usize].weight());
        Prepared { message, weight, origin }
    });
    Ok((prepared.collect(), Some(tools).filter(|tools| !tools.is_null())))
}

/// The field that keeps a message's index while messages are joined and added.
const ORIGIN: &str = "\u{e000}origin";

/// Returns the tools of a row, which may be JSON in a string; null where a message describes them already.
fn tools(row: &Row, messages: &[Message]) -> Result<Value, Dropped> {
    let tools = match row.metadata().get("tools") {
        Some(Value::String(text)) if !text.trim().is_empty() => {
            serde_json::from_str(text).map_err(|error| {
                Dropped::new("unreadable_tools", format!("the column `tools` is not JSON ({error})"))
            })?
        }
        Some(tools @ Value::Array(_)) => tools.clone(),
        None | Some(Value::Null | Value::String(_)) => Value::Null,
        Some(other) => {
            let detail = format!("the column `tools` is {other}; expected a list");
            return Err(Dropped::new("unreadable_tools", detail));
        }
    };
    let is_empty = tools.as_array().is_none_or(Vec::is_empty);
    let is_described = messages.iter().any(|message| message.content.contains("<tools>"));
    Ok(if is_empty || is_described { Value::Null } else { tools })
}

/// Returns the variables of the template: the row's own, then those of the run.
fn variables(row: &Row, rules: &Rules<'_>) -> Result<Option<Map<String, Value>>, Dropped> {
    let unreadable = |found: &dyn std::fmt::Display| {
        let detail = format!("the column `chat_template_kwargs` is {found}; expected a JSON object");
        Dropped::new("unreadable_template_kwargs", detail)
    };
    let own = match row.metadata().get("chat_template_kwargs") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(own)) => own.clone(),
        Some(Value::String(text)) if text.trim().is_empty() => Map::new(),
        Some(Value::String(text)) => serde_json::from_str(text).map_err(|_| unreadable(&text))?,
        Some(other) => return Err(unreadable(other)),
    };
    let mut all = rules.template_args.cloned().unwrap_or_default();
    all.extend(own);
    Ok((!all.is_empty()).then_some(all))
}

/// Renders a conversation; also returns whether only its last turn can be trained, because the template removes the
/// thoughts of earlier ones.
fn rendered(
    prepared: &[Prepared],
    row: &Row,
    (tools, last_turn): (Option<&Value>, usize),
    rules: &Rules<'_>,
    notes: &mut BTreeSet<&'static str>,
) -> Result<(RenderedChat, bool), Dropped> {
    let messages: Vec<chat::Message> = prepared.iter().map(|message| message.message.clone()).collect();
    let variables = variables(row, rules)?;
    let special_tokens_as_text = rules.split_special_tokens;
    let render = |first: usize| {
        let how = Rendering { tools, variables: variables.as_ref(), first, special_tokens_as_text };
        chat::render_as(rules.template, rules.tokenizer, &messages, how)
    };
    let refused = |error: checkpoint::Error| Dropped::new("template_refused", error.to_string());
    let thinks = |message: &chat::Message| {
        message.role == "assistant"
            && (message.content.contains("</think>") || message.reasoning_content.is_some())
    };
    match render(0) {
        Ok(whole) => {
            let missing = |from: usize| whole.unprinted_reasoning.iter().any(|index| *index >= from);
            let is_last_printed = !missing(last_turn) && messages[last_turn..].iter().any(thinks);
            let last_only = !whole.unprinted_reasoning.is_empty() && is_last_printed;
            if last_only {
                notes.insert("last_turn_only");
            } else if missing(0) {
                notes.insert("reasoning_not_printed");
            }
            Ok((whole, last_only))
        }
        Err(error) if messages[..last_turn].iter().any(thinks) => {
            let whole = render(last_turn).map_err(|_| refused(error))?;
            notes.insert("last_turn_only");
            Ok((whole, true))
        }
        Err(error) => Err(refused(error)),
    }
}

/// Returns a row's message as templates read it: with every field that it has.
fn chat_message(index: usize, message: &Message) -> chat::Message {
    let mut extra = message.extra.clone();
    extra.remove(LOGPROBS);
    let mut text = |name: &str| match extra.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let (tool_call_id, name, reasoning_content) =
        (text("tool_call_id"), text("name"), text("reasoning_content"));
    extra.insert(ORIGIN.to_owned(), index.into());
    chat::Message {
        role: message.role.clone(),
        content: message.content.clone(),
        tool_calls: message.tool_calls.clone(),
        tool_call_id,
        name,
        reasoning_content,
        extra,
    }
}

/// Whether a message has a special token before its end.
fn spells_special_token(rendered: &RenderedChat, tokenizer: &Tokenizer) -> bool {
    let tokens = rendered.roles.iter().zip(&rendered.ids);
    let contents: Vec<(Option<u32>, u32)> =
        tokens.map(|(role, id)| (role.message.filter(|_| role.content), *id)).collect();
    contents.windows(2).any(|pair| {
        let ((message, id), (next, _)) = (pair[0], pair[1]);
        message.is_some() && message == next && tokenizer.is_special(id)
    })
}
