//! One document of a task: what is asked, and what the answer is compared with.

use serde_json::Value;

/// A document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// What is put to the model, without description and examples.
    pub query: String,
    /// Its answer when it serves as a solved example.
    pub answer: String,
    /// The beginning of the reply, which is part of the prompt; usually empty.
    pub reply_start: String,
    /// What is asked.
    pub question: Question,
}

/// What is asked about a document.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// Which of several continuations of the query is the likeliest.
    Choices {
        /// Without the delimiter before them.
        choices: Vec<String>,
        /// The index of the right one.
        gold: usize,
    },
    /// After which of several queries a continuation is the likeliest.
    Contexts {
        /// The queries, in place of the document's.
        contexts: Vec<String>,
        /// Without the delimiter before it.
        continuation: String,
        /// The index of the right one.
        gold: usize,
    },
    /// A text that the model writes.
    Text(Generation),
    /// Several turns of a conversation, each with a text that the model writes.
    Conversation(Conversation),
    /// How likely the query itself is, as a text of its own.
    Likelihood,
}

/// A text that the model writes.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// The text ends before the first of them.
    pub stops: Vec<String>,
    /// Maximum length, in tokens.
    pub max_tokens: usize,
    /// What the scorer compares the text with. It is kept in the results, so that they can be scored again.
    pub gold: Value,
}

/// Turns of a conversation that the model answers one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// What the user says, at least one text.
    pub turns: Vec<String>,
    /// 0 is greedy.
    pub temperature: f32,
    /// Maximum length of each reply, in tokens.
    pub max_tokens: usize,
    /// What the judge needs. It is kept in the results.
    pub gold: Value,
}

impl Generation {
    /// A text that ends before the first of these strings.
    pub fn new(stops: &[&str], max_tokens: usize, gold: Value) -> Self {
        Self { stops: stops.iter().map(|stop| (*stop).to_owned()).collect(), max_tokens, gold }
    }
}

impl Document {
    /// A question with choices. The right choice is its answer in examples.
    pub fn choices(query: impl Into<String>, choices: Vec<String>, gold: usize) -> Self {
        let answer = choices.get(gold).cloned().unwrap_or_default();
        let question = Question::Choices { choices, gold };
        Self { query: query.into(), answer, reply_start: String::new(), question }
    }

    /// A question with the letters A, B, ... as choices, which the query lists as `A. choice`.
    pub fn letters(question: &str, choices: &[String], gold: usize) -> Self {
        let letters: Vec<String> = ('A'..='Z').take(choices.len()).map(String::from).collect();
        let lines: String =
            letters.iter().zip(choices).map(|(letter, choice)| format!("{letter}. {choice}\n")).collect();
        Self::choices(format!("{question}\n{lines}Answer:"), letters, gold)
    }

    /// A question that is answered in text.
    pub fn text(query: impl Into<String>, answer: impl Into<String>, generation: Generation) -> Self {
        let question = Question::Text(generation);
        Self { query: query.into(), answer: answer.into(), reply_start: String::new(), question }
    }

    /// The same document with a space before every choice and before the answer in examples: lighteval's form.
    pub fn with_spaces(mut self) -> Self {
        if let Question::Choices { choices, .. } = &mut self.question {
            choices.iter_mut().for_each(|choice| choice.insert(0, ' '));
        }
        self.answer.insert(0, ' ');
        self
    }
}
