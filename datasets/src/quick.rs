//! Reading without a tree of values where rows allow it. Most conversations are messages of a role and a content: these come
//! packed, ready to be written or compared. Every other row comes as [`RawRow`], as [`crate::read_raw`] gives it.

use crate::layout::Layout;
use crate::packed::Unpacker;
use crate::plain::Plain;
use crate::raw_row::{LocatedRow, RawRow};
use crate::row::{ChatRow, Message, Row};
use crate::source::{NumberedObject, NumberedPlain, Origin};
use crate::{Error, RowLimits};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A row of a file.
#[derive(Debug, Clone)]
pub enum QuickRow {
    /// A conversation of messages with a role and a content, and of columns that change nothing.
    Plain(PlainRow),
    /// Any other row.
    Raw(RawRow),
}

/// A conversation whose messages are roles and contents, each by the system, the user or the assistant; at least one.
#[derive(Debug, Clone)]
pub struct PlainRow {
    plain: Plain,
    origin: Origin,
    file: Arc<Path>,
    number: usize,
    limits: RowLimits,
}

impl QuickRow {
    /// The row as an object with all its columns.
    ///
    /// # Errors
    /// None: the row was read once before.
    pub fn raw(self) -> Result<RawRow, Error> {
        match self {
            Self::Raw(raw) => Ok(raw),
            Self::Plain(plain) => plain.raw(),
        }
    }
}

impl PlainRow {
    pub(crate) fn new(row: NumberedPlain, file: Arc<Path>, limits: RowLimits) -> Self {
        let NumberedPlain { number, plain, origin } = row;
        Self { plain, origin, file, number, limits }
    }

    /// The role and the content of each message.
    pub fn messages(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut unpacker = Unpacker::new(&self.plain.messages);
        unpacker.messages().unwrap_or_default().into_iter()
    }

    /// About how many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        self.plain.messages.len()
    }

    /// The messages as the first column of a packed row, to which others are appended.
    pub fn into_packed(self) -> Vec<u8> {
        self.plain.messages
    }

    /// The column `source`, if it is a text.
    pub fn source(&self) -> Option<&str> {
        self.plain.source.as_deref()
    }

    /// The column `id`, if it is a text or an integer.
    pub fn id(&self) -> Option<&str> {
        self.plain.id.as_deref()
    }

    /// Its file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Its line (its row in Parquet and Arrow), from 1.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The row; of the columns beside its messages those that were kept.
    pub(crate) fn located(self) -> LocatedRow {
        let messages = self.messages().map(|(role, content)| Message::new(role, content)).collect();
        let row = Row::Chat(ChatRow { messages, metadata: self.plain.columns });
        LocatedRow { row, file: PathBuf::from(&*self.file), number: self.number }
    }

    /// The row as an object with all its columns.
    ///
    /// # Errors
    /// None: the row was read once before.
    pub fn raw(self) -> Result<RawRow, Error> {
        let NumberedObject { number, object, .. } = self.origin.object(self.number)?;
        let file = PathBuf::from(&*self.file);
        let (layout, columns, limits) = (Layout::Messages, Arc::default(), self.limits);
        Ok(RawRow { object, layout, file, number, columns, limits })
    }
}
