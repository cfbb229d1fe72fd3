//! Rows -> token sequences with the trained tokens marked.
//!
//! The mask comes from `checkpoint::chat::render_as`, which serving's prompts come from, too. A row that gives no sequence
//! is dropped with a reason, which is counted and stored beside the tokens; what is odd about one that gives some is
//! counted as well.

use checkpoint::chat::{self, RenderedChat, Rendering};
use checkpoint::tools::{prints_tools, with_tools_as_text};
use checkpoint::{ChatTemplate, Tokenizer};
use datasets::{Message, Row};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use training::Sequence;

/// Which tokens of a conversation add to the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum TrainOn {
    /// The assistant's messages, and the stop token after each
    Assistant,
    /// The assistant's messages after the last one of the user
    Last,
    /// All tokens, as in SmolLM2's own SFT
    All,
}

/// What happens to a sequence that is longer than `max_length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum TooLong {
    /// Cut off its end, and count it
    Cut,
    /// Drop it as `too_long`
    Drop,
    /// Split a document into several rows; cut a conversation
    Split,
}

/// What happens to tools and their calls where the chat template prints no tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum Tools {
    /// Write them in words into the messages, as smolserve does
    Words,
    /// Drop the row as `tools_not_printed`
    Drop,
}

/// How rows become sequences.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The template of conversations.
    pub template: &'a ChatTemplate,
    /// The model's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The token that ends a document.
    pub document_end: Option<u32>,
    /// Maximum tokens of a sequence.
    pub max_length: usize,
    /// What happens to longer sequences.
    pub too_long: TooLong,
    /// Which tokens add to the loss.
    pub train_on: TrainOn,
    /// What happens to tools that the template does not print.
    pub tools: Tools,
    /// Variables of the template; a row's `chat_template_kwargs` come before them.
    pub template_args: Option<&'a Map<String, Value>>,
    /// Whether special tokens that a message spells are text.
    pub split_special_tokens: bool,
    /// Whether the loss can weight tokens by fractions.
    pub fractions: bool,
    /// Whether pairs of equal replies or equal scores are dropped.
    pub drop_ties: bool,
}

impl<'a> Rules<'a> {
    /// Returns the rules of a template and a tokenizer that cut at `max_length` and train the assistant's messages.
    pub fn new(template: &'a ChatTemplate, tokenizer: &'a Tokenizer, max_length: usize) -> Self {
        Self {
            template,
            tokenizer,
            document_end: None,
            max_length,
            too_long: TooLong::Cut,
            train_on: TrainOn::Assistant,
            tools: Tools::Words,
            template_args: None,
            split_special_tokens: false,
            fractions: true,
            drop_ties: true,
        }
    }
}

/// Returns whether a row's reply is labeled as a good one, as for KTO; `None` if it does not say.
fn label(row: &Row) -> Option<bool> {
    ["label", "kto_tag"].iter().find_map(|name| row.metadata().get(*name)?.as_bool())
}

/// The reason of rows that the other of two stores takes.
pub(crate) const OTHER_LABEL: &str = "other_label";

/// Why a row gives no sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The reason by which it is counted.
    pub reason: &'static str,
    /// Details, such as the error of the template.
    pub detail: String,
}

impl Dropped {
    fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// The sequences of a row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Example {
    /// One sequence; for a pair two, the chosen one first; for a document that is split one or more.
    pub sequences: Vec<Sequence<'static>>,
    /// The weight of each token of each sequence in the loss, where not all that are trained have 1.
    pub weights: Option<Vec<Vec<f32>>>,
    /// How many of them were cut.
    pub cut: usize,
    /// Tokens that were cut off.
    pub lost: usize,
    /// What is odd about the row, by the name under which it is counted.
    pub notes: BTreeSet<&'static str>,
}

/// What a run trains on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Conversations, prompts with completions, documents.
    Sft,
    /// Preference pairs.
    Preference,
    /// Conversations whose `label` is true.
    Desirable,
    /// Conversations whose `label` is false.
    Undesirable,
}

impl Kind {
    /// Returns the label of its rows; `None` where it takes rows without one.
    fn label(self) -> Option<bool> {
        match self {
            Self::Sft | Self::Preference => None,
            Self::Desirable => Some(true),
            Self::Undesirable => Some(false),
        }
    }
}

/// A conversation or document as tokens.
struct Tokens {
    sequence: Sequence<'static>,
    weights: Option<Vec<f32>>,
}

/// Returns the sequences of a row.
///
/// # Errors
/// Why it gives none.
pub fn example(row: &Row, kind: Kind, rules: &Rules<'_>) -> Result<Example, Dropped> {
    if let Some(wanted) = kind.label() {
        match label(row) {
            None => return Err(Dropped::new("no_label", "expected `label`, true or false")),
            Some(label) if label != wanted => return Err(Dropped::new(OTHER_LABEL, "")),
            Some(_) => {}
        }
    }
    if let Some(reason) = row.unfit().filter(|reason| *reason != "rejected_reply" || kind.label().is_none()) {
        let detail = match reason {
            "rejected_reply" => "its `label` is false: the reply is a bad one",
            _ => "the row has an image, a video or a sound; `--columns ignore=COLUMN` trains its text alone",
        };
        return Err(Dropped::new(reason, detail));
    }
    let mut example = Example::default();
    let complete = complete_sequences(row, kind, rules, &mut example.notes)?;
    let is_document = matches!(row, Row::Text(_));
    for tokens in complete {
        add(&mut example, tokens, is_document, rules)?;
    }
    if kind == Kind::Preference {
        refuse_pair(row, &example, rules.drop_ties)?;
    }
    Ok(example)
}

/// Adds a sequence, cut or split where it is too long.
fn add(example: &mut Example, tokens: Tokens, is_document: bool, rules: &Rules<'_>) -> Result<(), Dropped> {
    let Tokens { mut sequence, mut weights } = tokens;
    let (length, limit) = (sequence.ids.len(), rules.max_length);
    if sequence.trained_tokens() == 0 {
        return Err(Dropped::new("no_trained_token", "no token has a weight above 0"));
    }
    if length > limit && rules.too_long == TooLong::Split && is_document {
        for start in (0..length).step_by(limit) {
            let end = length.min(start + limit);
            if end - start == 1 {
                // No token comes before it that it could be predicted from.
                example.lost += 1;
                continue;
            }
            let (ids, trained) = (sequence.ids[start..end].to_vec(), sequence.trained[start..end].to_vec());
            example.sequences.push(Sequence { ids: ids.into(), trained: trained.into() });
            push_weights(example, weights.as_ref().map(|weights| weights[start..end].to_vec()));
        }
        return Ok(());
    }
    if length > limit {
        if rules.too_long == TooLong::Drop {
            return Err(Dropped::new("too_long", format!("{length} tokens")));
        }
        sequence.ids.to_mut().truncate(limit);
        sequence.trained.to_mut().truncate(limit);
        if let Some(weights) = &mut weights {
            weights.truncate(limit);
        }
        example.cut += 1;
        example.lost += length - limit;
    }
    if sequence.trained_tokens() == 0 {
        return Err(Dropped::new("no_trained_token", "cut before the first trained token"));
    }
    example.sequences.push(sequence);
    push_weights(example, weights);
    Ok(())
}

/// Adds the weights of the last sequence; sequences before it that have none get ones.
fn push_weights(example: &mut Example, weights: Option<Vec<f32>>) {
    let sequences = example.sequences.len();
    if weights.is_none() && example.weights.is_none() {
        return;
    }
    let ones = |index: usize| vec![1.0; example.sequences[index].ids.len()];
    let mut all = example.weights.take().unwrap_or_else(|| (0..sequences - 1).map(ones).collect());
    all.push(weights.unwrap_or_else(|| ones(sequences - 1)));
    example.weights = Some(all);
}

/// Refuses a pair from which nothing can be learned, or the wrong thing.
fn refuse_pair(row: &Row, example: &Example, drop_ties: bool) -> Result<(), Dropped> {
    let Row::Preference(pair) = row else { return Ok(()) };
    let scores = [("score_chosen", "score_rejected"), ("chosen_score", "rejected_score")];
    let score = |name: &str| pair.metadata.get(name).and_then(Value::as_f64);
    let tie = scores.iter().find(|(one, other)| score(one).is_some() && score(one) == score(other));
    if let Some((one, other)) = tie.filter(|_| drop_ties) {
        return Err(Dropped::new("tie", format!("`{one}` and `{other}` are equal")));
    }
    if drop_ties && example.sequences[0].ids == example.sequences[1].ids {
        return Err(Dropped::new("tie", "chosen and rejected are the same tokens"));
    }
    if pair.chosen.iter().all(Message::is_empty) {
        return Err(Dropped::new("empty_reply", "the chosen reply says nothing"));
    }
    Ok(())
}

/// Returns the sequences of a row, however long they are.
fn complete_sequences(
    row: &Row,
    kind: Kind,
    rules: &Rules<'_>,
    notes: &mut BTreeSet<&'static str>,
) -> Result<Vec<Tokens>, Dropped> {
    let row_weight = row.weight().unwrap_or(1.0);
    Ok(match (kind, row) {
        (Kind::Sft, Row::Chat(chat)) => {
            vec![conversation(&chat.messages, row, (0, row_weight), rules, notes)?]
        }
        (Kind::Desirable | Kind::Undesirable, Row::Chat(chat)) => {
            let rules = &Rules { fractions: false, train_on: TrainOn::Last, ..*rules };
            vec![conversation(&chat.messages, row, (0, row_weight), rules, notes)?]
        }
        (Kind::Desirable | Kind::Undesirable, _) => {
            return Err(Dropped::new("not_a_conversation", "expected a prompt with a reply and its `label`"));
        }
        (Kind::Sft, Row::Text(text)) => vec![document(&text.text, row_weight, rules)?],
        (Kind::Preference, Row::Preference(pair)) => {
            let rules = &Rules { fractions: false, ..*rules };
            let mut side = |reply: &[Message]| {
                let messages = [&pair.prompt, reply].concat();
                conversation(&messages, row, (pair.prompt.len(), row_weight), rules, notes)
            };
            vec![side(&pair.chosen)?, side(&pair.rejected)?]
        }
        (Kind::Sft, _) => {
            return Err(Dropped::new("preference_row", "a preference pair; `posttrain dpo` trains on it"));
        }
        (Kind::Preference, _) => return Err(Dropped::new("not_a_pair", "expected chosen and rejected")),
    })
}

/// Returns a conversation, of which messages before `from` are never trained, in a row of a weight.
fn conversation(
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
    tokens(rendered.ids, &weights, rules)
}

/// Returns ids with the tokens of a weight above 0 trained.
fn tokens(ids: Vec<u32>, weights: &[f64], rules: &Rules<'_>) -> Result<Tokens, Dropped> {
    let trained: Vec<bool> = weights.iter().map(|weight| *weight > 0.0).collect();
    let fraction = weights.iter().find(|weight| **weight > 0.0 && **weight != 1.0);
    if let Some(fraction) = fraction.filter(|_| !rules.fractions) {
        let detail = format!("its weight in the loss is {fraction}; pairs and pretraining know 0 and 1");
        return Err(Dropped::new("fractional_weight", detail));
    }
    let weights = fraction.map(|_| weights.iter().map(|weight| *weight as f32).collect());
    Ok(Tokens { sequence: Sequence { ids: ids.into(), trained: trained.into() }, weights })
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

/// Returns a document and the token that ends it, all of it trained.
fn document(text: &str, weight: f64, rules: &Rules<'_>) -> Result<Tokens, Dropped> {
    if text.trim().is_empty() {
        return Err(Dropped::new("empty_text", ""));
    }
    let end = rules.document_end.ok_or_else(|| {
        Dropped::new("no_end_token", "the checkpoint names no end-of-sequence token to end a document with")
    })?;
    let ids = rules.tokenizer.encode_document(text);
    let mut ids = ids.map_err(|error| Dropped::new("tokenizer_failed", error.to_string()))?;
    // Some tokenizers add it themselves.
    if ids.last() != Some(&end) {
        ids.push(end);
    }
    let weights = vec![weight; ids.len()];
    tokens(ids, &weights, rules)
}
