//! How a dataset is read: which part of it, which of its columns, and what happens to rows that cannot be used. All
//! commands have these flags, and read as they say.

use crate::{Choice, RowLimits};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// The flags of everything that reads rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadOptions {
    /// Columns by name, comma-separated: prompt=question,reply=response. Roles: prompt, reply, system, context, messages,
    /// chosen, rejected, text, tools, label, ignore
    #[arg(long, value_name = "ROLE=COLUMN", value_delimiter = ',')]
    pub columns: Vec<NamedColumn>,
    /// Configuration of the dataset card; by default its default one
    #[arg(long)]
    pub config: Option<String>,
    /// Split to read, or several as train+test; by default train
    #[arg(long)]
    pub split: Option<String>,
    /// Leave out rows that cannot be used instead of stopping; they are counted and listed with file, line and reason
    #[arg(long)]
    pub skip_invalid: bool,
    /// The largest row that is read.
    #[command(flatten)]
    #[serde(flatten)]
    pub limits: RowLimits,
}

impl ReadOptions {
    /// The part of the dataset that is read.
    pub fn choice(&self) -> Choice<'_> {
        Choice { config: self.config.as_deref(), split: self.split.as_deref() }
    }
}

/// What a column is in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnRole {
    /// What the user asks: a text, or messages.
    Prompt,
    /// What the assistant answers: a text, or messages.
    Reply,
    /// The system message.
    System,
    /// A text that belongs to the prompt.
    Context,
    /// A conversation.
    Messages,
    /// The preferred reply.
    Chosen,
    /// The other reply.
    Rejected,
    /// A document.
    Text,
    /// The tools that the assistant can call.
    Tools,
    /// Whether the reply is a good one.
    Label,
    /// Nothing: the column is left as it is.
    Ignore,
}

/// The roles with the columns that layouts have for them.
const ROLES: [(&str, &str, ColumnRole); 11] = [
    ("prompt", "prompt", ColumnRole::Prompt),
    ("reply", "completion", ColumnRole::Reply),
    ("system", "system", ColumnRole::System),
    ("context", "context", ColumnRole::Context),
    ("messages", "messages", ColumnRole::Messages),
    ("chosen", "chosen", ColumnRole::Chosen),
    ("rejected", "rejected", ColumnRole::Rejected),
    ("text", "text", ColumnRole::Text),
    ("tools", "tools", ColumnRole::Tools),
    ("label", "label", ColumnRole::Label),
    ("ignore", "", ColumnRole::Ignore),
];

/// A column and what it is, written ROLE=COLUMN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamedColumn {
    /// What it is.
    pub role: ColumnRole,
    /// Its name in the data.
    pub column: String,
}

impl FromStr for NamedColumn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || ROLES.map(|(name, ..)| name).join(", ");
        let (role, column) = text
            .split_once('=')
            .filter(|(_, column)| !column.is_empty())
            .ok_or_else(|| format!("`{text}` is not ROLE=COLUMN; the roles are {}", names()))?;
        match ROLES.iter().find(|(name, ..)| *name == role.trim()) {
            Some((_, _, role)) => Ok(Self { role: *role, column: column.trim().to_owned() }),
            None => Err(format!("`{role}` is no role of a column; expected one of {}", names())),
        }
    }
}

impl TryFrom<String> for NamedColumn {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<NamedColumn> for String {
    fn from(named: NamedColumn) -> Self {
        named.to_string()
    }
}

impl Display for NamedColumn {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let name = ROLES.iter().find(|(.., role)| *role == self.role).map_or("", |(name, ..)| name);
        write!(formatter, "{name}={}", self.column)
    }
}

/// Gives the columns of a row the names that layouts have for their roles, and removes those to be ignored. A column that
/// has such a name already is replaced.
pub(crate) fn rename(object: &mut Map<String, Value>, columns: &[NamedColumn]) {
    let mut taken = Vec::new();
    for named in columns {
        let Some(value) = object.remove(&named.column) else { continue };
        let known = ROLES.iter().find(|(.., role)| *role == named.role).map_or("", |(_, known, _)| *known);
        if named.role != ColumnRole::Ignore {
            taken.push((known.to_owned(), value));
        }
    }
    object.extend(taken);
}

/// The first column named by the flags that a row lacks. A column to be ignored may be missing: the files of a folder may
/// have different columns.
pub(crate) fn missing<'a>(
    object: &Map<String, Value>,
    columns: &'a [NamedColumn],
) -> Option<&'a NamedColumn> {
    let is_needed = |named: &&NamedColumn| named.role != ColumnRole::Ignore;
    columns.iter().filter(is_needed).find(|named| !object.contains_key(&named.column))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn named_columns_are_read_and_written_and_others_are_refused() {
        for text in ["prompt=question", "reply=model answer", "ignore=x"] {
            assert_eq!(text.parse::<NamedColumn>().unwrap().to_string(), text);
        }
        assert!("answer=x".parse::<NamedColumn>().unwrap_err().contains("expected one of prompt, reply"));
        assert!("prompt".parse::<NamedColumn>().unwrap_err().contains("ROLE=COLUMN"));
    }

    #[test]
    fn columns_take_the_names_of_their_roles() {
        let columns = ["prompt=q", "reply=prompt", "ignore=z"].map(|text| text.parse().unwrap());
        let without = json!({"q": "Hi", "prompt": "Hello"}).as_object().unwrap().clone();
        assert!(missing(&without, &columns).is_none(), "what is to be ignored may be missing");
        let mut row = json!({"q": "Hi", "prompt": "Hello", "z": 1}).as_object().unwrap().clone();
        assert!(missing(&row, &columns).is_none());
        rename(&mut row, &columns);
        assert_eq!(Value::Object(row), json!({"prompt": "Hi", "completion": "Hello"}));
    }
}
