//! Conversations that need no tree of values: a list of messages with a role and a content each, beside columns that change
//! nothing. They are read straight into their packed form. What is anything else is refused without a reason, and read
//! again as other rows are: these two ways give the same rows.

use crate::layout::changes_conversations;
use crate::packed::push_number;
use crate::source::has_large_integers;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// Texts of more bytes are read as others are, which counts their values first.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// The roles that are named alike in all data.
const ROLES: [&str; 3] = ["system", "user", "assistant"];
/// The keys by which serde_json marks values of its own begin so.
const PRIVATE: &str = "$serde_json";

/// What is read of a plain conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plain {
    /// The messages as a packed column.
    pub(crate) messages: Vec<u8>,
    pub(crate) count: usize,
    /// The column `source`, if it is a text.
    pub(crate) source: Option<String>,
    /// The column `id`, if it is a text or an integer.
    pub(crate) id: Option<String>,
    /// All columns beside the messages, where they are [`Beside::Kept`].
    pub(crate) columns: Map<String, Value>,
}

/// What is read of the columns beside the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    /// All of them.
    Kept,
    /// `source` and `id`.
    Named,
}

/// The name of the messages' column.
pub(crate) const MESSAGES: &str = "messages";

impl Plain {
    /// Reads a line; `None` where it is anything else.
    pub(crate) fn of_line(line: &str, beside: Beside) -> Option<Self> {
        if line.len() > MAX_BYTES {
            return None;
        }
        let mut plain = Self { messages: Vec::with_capacity(line.len()), ..Self::default() };
        let mut deserializer = serde_json::Deserializer::from_str(line);
        match beside {
            Beside::Named => deserializer.deserialize_map(RowVisitor(&mut plain)).ok()?,
            Beside::Kept if has_large_integers(line) => return None,
            Beside::Kept => {
                deserializer.deserialize_map(WholeRowVisitor(&mut plain)).ok()?;
                // As other rows lose theirs: the last column takes its place.
                plain.columns.remove(MESSAGES);
            }
        }
        deserializer.end().ok()?;
        Some(plain).filter(|plain| plain.count > 0)
    }
}

/// Whether a column beside the messages is one that changes nothing.
pub(crate) fn is_plain_column(name: &str) -> bool {
    !name.starts_with(PRIVATE) && !changes_conversations(name)
}

/// A key of a row or of a message.
enum Key {
    Messages,
    Source,
    Id,
    Role,
    Content,
    Other { is_plain: bool },
}

impl<'de> serde::Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a key")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Key, E> {
                Ok(match name {
                    MESSAGES => Key::Messages,
                    "source" => Key::Source,
                    "id" => Key::Id,
                    "role" => Key::Role,
                    "content" => Key::Content,
                    name => Key::Other { is_plain: is_plain_column(name) },
                })
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

fn other<E: Error>() -> E {
    E::custom("not plain")
}

/// Writes the `expecting` of visitors whose errors nobody reads.
macro_rules! expecting {
    () => {
        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a plain conversation")
        }
    };
}

struct RowVisitor<'a>(&'a mut Plain);

impl<'de> Visitor<'de> for RowVisitor<'_> {
    type Value = ();

    expecting!();

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key()? {
            match key {
                Key::Messages if self.0.messages.is_empty() => map.next_value_seed(Messages(self.0))?,
                Key::Source => self.0.source = map.next_value::<Scalar>()?.into_text(),
                Key::Id => {
                    self.0.id = match map.next_value::<Scalar>()? {
                        Scalar::Float => return Err(other()),
                        Scalar::Integer(digits) => Some(digits),
                        scalar => scalar.into_text(),
                    }
                }
                Key::Role | Key::Content | Key::Other { is_plain: true } => {
                    map.next_value::<Scalar>().map(drop)?;
                }
                Key::Messages | Key::Other { is_plain: false } => return Err(other()),
            }
        }
        Ok(())
    }
}

/// A row of which all columns are kept. The messages' place among them is held by a null.
struct WholeRowVisitor<'a>(&'a mut Plain);

impl<'de> Visitor<'de> for WholeRowVisitor<'_> {
    type Value = ();

    expecting!();

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            let value = match name.as_str() {
                MESSAGES if self.0.messages.is_empty() => {
                    map.next_value_seed(Messages(self.0))?;
                    Value::Null
                }
                name if is_plain_column(name) => map.next_value()?,
                _ => return Err(other()),
            };
            self.0.columns.insert(name, value);
        }
        Ok(())
    }
}

/// The list of messages.
struct Messages<'a>(&'a mut Plain);

impl<'de> DeserializeSeed<'de> for Messages<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Messages<'_> {
    type Value = ();

    expecting!();

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Plain { messages, count, .. } = self.0;
        messages.extend([0; 4]);
        while list.next_element_seed(Message(messages))?.is_some() {
            *count += 1;
        }
        let number = u32::try_from(*count).map_err(|_| other())?;
        messages[..4].copy_from_slice(&number.to_le_bytes());
        Ok(())
    }
}

/// One message, appended to the bytes.
struct Message<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Message<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Message<'_> {
    type Value = ();

    expecting!();

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let start = self.0.len();
        let (mut role, mut content) = (None, None);
        while let Some(key) = map.next_key()? {
            let (place, is_role) = match key {
                Key::Role => (&mut role, true),
                Key::Content => (&mut content, false),
                _ => return Err(other()),
            };
            if place.replace(self.0.len() - start).is_some() {
                return Err(other());
            }
            map.next_value_seed(Text { bytes: self.0, is_role })?;
        }
        match (role, content) {
            (Some(0), Some(_)) => {}
            // The role comes first.
            (Some(at), Some(0)) => self.0[start..].rotate_left(at),
            _ => return Err(other()),
        }
        Ok(())
    }
}

/// A text, appended to the bytes.
struct Text<'a> {
    bytes: &'a mut Vec<u8>,
    is_role: bool,
}

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Text<'_> {
    type Value = ();

    expecting!();

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if self.is_role && !is_plain_role(text) {
            return Err(other());
        }
        push_number(self.bytes, text.len()).map_err(|_| other())?;
        self.bytes.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Whether a role has the same name here.
pub(crate) fn is_plain_role(name: &str) -> bool {
    ROLES.contains(&name)
}

/// A value beside the messages. Lists and objects are read, so that what is no JSON is noticed.
enum Scalar {
    Text(String),
    Integer(String),
    Float,
    Other,
}

impl Scalar {
    fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl<'de> serde::Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    expecting!();

    fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Scalar, E> {
        Ok(Scalar::Integer(number.to_string()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar::Integer(number.to_string()))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Scalar, E> {
        Ok(Scalar::Float)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_unit<E: Error>(self) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar, A::Error> {
        while list.next_element::<Scalar>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while let Some(key) = map.next_key::<Key>()? {
            if matches!(key, Key::Other { is_plain: false }) {
                // May be a key of serde_json's own; others of these are rare here.
                return Err(other());
            }
            map.next_value::<Scalar>()?;
        }
        Ok(Scalar::Other)
    }
}
